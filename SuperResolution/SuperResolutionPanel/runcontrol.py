"""One run of the panel: it starts, shows progress, can be cancelled, and says in one sentence how it ended."""

from __future__ import annotations

import time
import traceback

import slicer
from slicer.i18n import tr as _

from SuperResolutionLib.errors import Cancelled, ResourceError, SuperResolutionError
from SuperResolutionPanel import speed


class RunControl:
    """Starts runs of the logic and shows them in the form; only one at a time.

    Args:
        form: Form that shows the state.
        upscale: SuperResolutionLogic.upscale.
        prepare: function called before a run that installs what is missing; raises SuperResolutionError.
        onEnd: called at the end of every run with (SR node, bicubic node or None), or None without a result.
    """

    def __init__(self, form, upscale, prepare, onEnd):
        self._form = form
        self._upscale = upscale
        self._prepare = prepare
        self._onEnd = onEnd
        self._run = None
        self._isPreparing = False
        self._cancelRequested = False
        self._forecast = None
        self._began = 0.0

    @property
    def running(self) -> bool:
        return self._isPreparing or self._run is not None

    def cancel(self) -> None:
        """End the run, if there is one; while packages are being installed, as soon as that is done."""
        if self._isPreparing:
            self._cancelRequested = True
            self._form.showStatus(_("Cancelling..."))
        elif self._run is not None:
            self._run.cancel()

    def start(self, arguments) -> None:
        """Begin a run; nothing happens if there is one already. Failures are shown, not raised.

        Args:
            arguments: function that returns the arguments of SuperResolutionLogic.upscale; called once all is
                prepared.
        """
        if self.running:
            return
        self._isPreparing, self._cancelRequested = True, False
        self._form.showRunning()
        self._form.showStatus(_("Starting..."))
        try:
            self._prepare()
            if self._cancelRequested:
                raise Cancelled(_("The run was cancelled."))
            self._began = time.monotonic()
            chosen = arguments()
            if self._form.outlook.tooLarge:  # before the input is copied for a run that would be refused
                raise ResourceError(self._form.outlook.tooLarge)
            self._forecast = (chosen["device"], self._form.outlook.work, chosen["precision"])
            callbacks = {"progress": self._form.showProgress, "completed": self._onCompleted}
            self._run = self._upscale(waitForCompletion=False, **callbacks, **chosen)
        except Exception as error:
            self._onCompleted(None, error)
        finally:
            self._isPreparing = False

    def _onCompleted(self, nodes, error) -> None:
        run, self._run, self._isPreparing = self._run, None, False
        try:
            if nodes is not None:
                device, work, precision = self._forecast
                speed.remember(run.card.id, device, work, run.seconds, precision)
            # The panel is ready again before a dialog waits for its reader.
            self._onEnd(nodes)
        except Exception as failure:  # of the panel itself; it is shown, and the button can be clicked again
            failure.__cause__ = error
            error = failure
            self._form.showReady()
        if error is None:
            names = ", ".join(node.GetName() for node in nodes if node is not None)
            seconds = f"{time.monotonic() - self._began:.1f}"
            created = _("Created {names} in {seconds} s.").format(names=names, seconds=seconds)
            notices = [each for each in run.notices if each not in self._form.outlook.warnings]
            self._form.showStatus("\n".join([created, *notices]))
        elif isinstance(error, Cancelled):
            self._form.showStatus(_("Cancelled; nothing was added to the scene."))
        else:
            self._showError(error)

    def _showError(self, error) -> None:
        if isinstance(error, SuperResolutionError):
            sentence, details = str(error), error.details
        else:
            details = "".join(traceback.format_exception(error))
            sentence = _("Upscaling failed unexpectedly: {error}").format(error=error)
        if isinstance(error, MemoryError):
            sentence = _("There is not enough memory for this volume at this scale.")
        self._form.showStatus(sentence)
        if details:
            slicer.util.errorDisplay(sentence, detailedText=details)
        else:
            slicer.util.errorDisplay(sentence)
