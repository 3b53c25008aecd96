"""Offers, once, a library that computes faster where there is no graphics card."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from SuperResolutionPanel.firstuse import isInstalled
from SuperResolutionPanel.outlook import durationText

#: A run that is expected to take less is not worth a question.
WORTH_SECONDS = 60

#: What is installed, and how many times as fast as without it the bundled models were at most where it was measured.
REQUIREMENT, GAIN = "openvino>=2024.6", 1.1

#: Setting that says that the question was answered, either way.
ANSWERED = "SuperResolution/OpenVINOOffered"


def offer(seconds: float | None, device: str, devices, tell=lambda text: None, confirm=None, install=None) -> bool:
    """Ask whether OpenVINO shall be installed, if it is likely to help and was not offered before.

    Args:
        seconds: that the run is expected to take; None if nobody knows.
        device: that was chosen. devices: [("cpu", name), ...] of this computer, or None while they are not known.
        tell: called with a sentence before the installation, which takes a while.
        confirm: asks the user a question, returns True for yes. install: installs a list of requirements.

    Returns:
        Whether it was installed, so that the process that computes has to be started anew. A failure to install it
        is shown and keeps nobody from a run without it.
    """
    onCpu = device == "cpu" or (device == "auto" and devices is not None and len(devices) < 2)
    settings = qt.QSettings()
    if not onCpu or seconds is None or seconds < WORTH_SECONDS or settings.value(ANSWERED) or isInstalled("openvino"):
        return False
    question = _(
        "This computer computes without a graphics card, and the run will take {time}. Intel's OpenVINO, a free "
        "library, made such runs up to {gain} times as fast where it was measured, most with 8-bit images, and is used "
        "only where it is faster and shows no difference. Download and install it now? You will not be asked again."
    ).format(time=durationText(seconds), gain=GAIN)
    settings.setValue(ANSWERED, "yes")
    if not (confirm or slicer.util.confirmYesNoDisplay)(question):
        return False
    tell(_("Installing OpenVINO; this takes a while..."))
    try:
        (install or slicer.util.pip_install)([REQUIREMENT])
    except Exception as error:
        slicer.util.errorDisplay(_("OpenVINO was not installed: {error}").format(error=error))
        return False
    return True
