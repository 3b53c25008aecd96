"""A run of the logic: a job for each volume on the worker, then the results are taken into the scene.

Nothing here waits: a timer or the caller's loop calls ``step``. The scene is touched once, at the end of it all, so a
run that fails or is cancelled leaves nothing behind.
"""

from __future__ import annotations

import logging
import time

import qt
import slicer
from slicer.i18n import tr as _

from SuperResolutionLib.errors import Cancelled

STEP_MILLISECONDS, SLEEP_SECONDS = 30, 0.002

#: The last stage, in which a run can no longer be cancelled.
ADDING = "adding the result to the scene"


class Upscaling:
    """A run under way.

    Args:
        worker: Worker that computes; busy until the last job is done.
        card: ModelCard.
        options: Options of each job.
        target: Target, the nodes of the run.
        progress: called with (fraction 0..1, stage in English, seconds left or None).
        cancelled: asked at every step; True ends the run.
        completed: called once, at the end, with (nodes, None) or (None, error); what it raises is logged.

    Attributes:
        running: False after the end. nodes, error: how it ended.
        seconds: what the jobs took, as the engine measured it. notices: what the engine said of them, each sentence
            once.

    Raises:
        UsageError: if the worker is at work already.
    """

    def __init__(self, worker, card, options, target, progress=None, cancelled=None, completed=None):
        self.card = card
        self.running, self.nodes, self.error, self.seconds = True, None, None, 0.0
        self.notices = []
        self._worker, self._options, self._target = worker, options, target
        self._progress, self._cancelled, self._completed = progress, cancelled, completed
        self._jobs, self._results = [], []
        self._began = time.monotonic()
        self._isStepping = self._isAdding = False
        self._startJob()

    def cancel(self) -> None:
        """End the run at once; nothing happens if it has ended, or while its result is being added to the scene."""
        if not self._isAdding:
            self._end(error=Cancelled(_("The run was cancelled.")))

    def step(self) -> None:
        """Take up what the worker has done since the last step."""
        if not self.running or self._isStepping:  # a callback may let the event loop run
            return
        self._isStepping = True
        try:
            self._advance()
        except Exception as error:  # told to whoever asked for the run
            self._end(error=error)
        finally:
            self._isStepping = False

    def stepByTimer(self) -> None:
        """Let the event loop call ``step`` until the end; the timer keeps this object alive meanwhile."""
        timer = qt.QTimer()  # Slicer's ``QTimer.singleShot`` would leave a timer behind at every step
        timer.setInterval(STEP_MILLISECONDS)

        def onTimer():
            if self._isStepping:  # an event loop inside a callback: the timer must outlive its own signal
                return
            # In Slicer this thread keeps Python's lock while Qt waits: those that write and read need a moment of it.
            time.sleep(SLEEP_SECONDS)
            self.step()
            if not self.running:
                timer.stop()
                timer.deleteLater()

        timer.timeout.connect(onTimer)
        timer.start()

    def wait(self):
        """Step until the end with a live event loop.

        Returns:
            (SR node, bicubic node or None).

        Raises:
            SuperResolutionError: why there is no result.
        """
        try:
            while self.running:
                slicer.app.processEvents()
                self.step()
                time.sleep(0.005)
        finally:
            self.cancel()  # after Ctrl-C or an error in a slot
        if self.error is not None:
            raise self.error
        return self.nodes

    def _advance(self) -> None:
        self._target.checkPresence()
        if self._cancelled is not None and self._cancelled():
            self.cancel()
        elif len(self._results) == self._target.count:
            self._end(nodes=self._addResults())
        elif self._jobs[-1].poll() == "running":
            self._tell()
        else:
            result = self._jobs[-1].result()
            self._results.append(result)
            self.seconds += result.report.get("seconds", 0.0)
            self.notices += [each for each in result.report.get("notices", []) if each not in self.notices]
            if len(self._results) < self._target.count:
                self._startJob()
            elif self._progress is not None:
                # Shown before the next step, which may take a while for a large volume.
                self._progress(1.0, ADDING, None)

    def _addResults(self):
        self._isAdding = True
        try:
            return self._target.addResults(self._results)
        finally:
            self._isAdding = False

    def _startJob(self) -> None:
        volume = self._target.volume(len(self._jobs))
        self._jobs.append(self._worker.start(volume, self.card, self._options))

    def _tell(self) -> None:
        if self._progress is None:
            return
        job, done, count = self._jobs[-1], len(self._results), self._target.count
        stage, left = job.stage, job.seconds_left
        if count > 1:
            stage = f"time point {done + 1} of {count}: {stage}"
            if left is not None:
                soFar = time.monotonic() - self._began
                left = left + (count - done - 1) * (soFar + left) / (done + 1)
        self._progress((done + job.fraction) / count, stage, left)

    def _end(self, nodes=None, error=None) -> None:
        if not self.running:  # a callback cancelled it
            return
        self.running, self.nodes, self.error = False, nodes, error
        self._results.clear()  # the maps, before their files
        for job in self._jobs:
            job.release()
        if self._completed is not None:
            try:
                self._completed(nodes, error)
            except Exception:  # the run is over, and whoever steps is not who asked for it
                logging.exception("The callback for the end of a super-resolution run failed.")
