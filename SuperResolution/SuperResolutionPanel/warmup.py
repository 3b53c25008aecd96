"""Lets the child process import torch while the user still chooses, and takes up which devices it found."""

from __future__ import annotations

import qt

from SuperResolutionLib.errors import SuperResolutionError

MILLISECONDS = 200


class WarmUp:
    """Starts the child process a moment after the panel has appeared, if what it needs is installed.

    Args:
        logic: SuperResolutionLogic with the worker.
        isComplete: function that says, without importing anything, whether all that is needed is installed.
        onDevices: called with the worker's devices once they are known.
    """

    def __init__(self, logic, isComplete, onDevices):
        self._logic = logic
        self._isComplete = isComplete
        self._onDevices = onDevices
        self._hasStarted = False
        self._timer = qt.QTimer()
        self._timer.setInterval(MILLISECONDS)
        self._timer.timeout.connect(self._onTimer)

    def start(self) -> None:
        """Begin at the timer's first tick, when the panel is on the screen."""
        self._hasStarted = False
        self._timer.start()

    def stop(self) -> None:
        """Look no further; a child process that was started stays warm."""
        self._timer.stop()

    def _onTimer(self) -> None:
        if not self._hasStarted:
            self._hasStarted = True
            if not self._isComplete() or not self._startWorker():
                self.stop()
            return
        worker = self._logic.worker
        worker.poll()
        if worker.devices is not None:
            self._onDevices(worker.devices)
        if worker.devices is not None or not worker.alive:
            self.stop()

    def _startWorker(self) -> bool:
        try:
            self._logic.worker.warm()
        except SuperResolutionError:  # said when a run is asked for
            return False
        return True
