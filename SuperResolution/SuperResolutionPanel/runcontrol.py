"""One run of the panel: it starts, shows progress, can be cancelled, and says in one sentence how it ended."""

from __future__ import annotations

import time
import traceback

import slicer
from slicer.i18n import tr as _

from SuperResolutionLib.errors import Cancelled, SuperResolutionError

SECONDS_BETWEEN_EVENTS = 0.02


class RunControl:
    """Runs the logic in this process and keeps the window alive from its progress calls.

    Args:
        form: Form that shows the state.
        upscale: function with the keyword arguments of SuperResolutionLogic.upscale.
        prepare: function called before a run that installs what is missing; raises SuperResolutionError.
    """

    def __init__(self, form, upscale, prepare):
        self._form = form
        self._upscale = upscale
        self._prepare = prepare
        self._running = False
        self._cancelRequested = False
        self._lastEvents = 0.0

    @property
    def running(self) -> bool:
        return self._running

    def cancel(self) -> None:
        """Ask the run to stop; the engine looks several times a second."""
        if self._running:
            self._cancelRequested = True
            self._form.showStatus(_("Cancelling..."))

    def start(self, arguments: dict):
        """Upscale with these arguments for the logic; a second start while one is running does nothing.

        Returns:
            (SR node, bicubic node or None), or None if the run failed or was cancelled. Failures are shown, not
            raised.
        """
        if self._running:
            return None
        self._running, self._cancelRequested = True, False
        self._form.showRunning()
        started = time.monotonic()
        try:
            self._prepare()
            nodes = self._upscale(progress=self._onProgress, cancelled=self._onPoll, **arguments)
        except Cancelled:
            self._form.showStatus(_("Cancelled; nothing was added to the scene."))
        except SuperResolutionError as error:
            self._showError(str(error))
        except MemoryError:
            self._showError(_("There is not enough memory for this volume at this scale."), traceback.format_exc())
        except Exception as error:
            sentence = _("Upscaling failed unexpectedly: {error}").format(error=error)
            self._showError(sentence, traceback.format_exc())
        else:
            names = ", ".join(node.GetName() for node in nodes if node is not None)
            seconds = f"{time.monotonic() - started:.1f}"
            self._form.showStatus(_("Created {names} in {seconds} s.").format(names=names, seconds=seconds))
            return nodes
        finally:
            self._running = False
        return None

    def _onProgress(self, fraction: float, stage: str, secondsLeft: float | None) -> None:
        if not self._cancelRequested:
            self._form.showProgress(fraction, stage, secondsLeft)
        self._processEvents()

    def _onPoll(self) -> bool:
        self._processEvents()
        return self._cancelRequested

    def _processEvents(self) -> None:
        # The engine polls between blocks of a network, which may be every millisecond.
        now = time.monotonic()
        if now - self._lastEvents >= SECONDS_BETWEEN_EVENTS:
            self._lastEvents = now
            slicer.app.processEvents()

    def _showError(self, sentence: str, details: str = "") -> None:
        self._form.showStatus(sentence)
        if details:
            slicer.util.errorDisplay(sentence, detailedText=details)
        else:
            slicer.util.errorDisplay(sentence)
