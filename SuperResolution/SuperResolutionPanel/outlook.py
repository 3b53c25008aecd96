"""What Upscale would give and cost with the present choices: one live line, and what to keep in mind."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from html import escape

from slicer.i18n import tr as _
from vtk.util import numpy_support

from SuperResolutionLib import mrml
from SuperResolutionLib.backends.limits import free_memory
from SuperResolutionLib.errors import SuperResolutionError
from SuperResolutionLib.forecast import MEMORY_SHARE, forecast
from SuperResolutionPanel import childprocess, speed


@dataclass(frozen=True)
class Outlook:
    """What is known before a run.

    Attributes:
        line: output size and expected time; empty if nothing can be said.
        warnings: sentences to keep in mind.
        refusal: the sentence that says why the run is impossible; empty if it is not.
        tooLarge: the sentence with which the run is refused as long as no room becomes free; empty if it fits.
        work: ``Forecast.work`` of the run, for ``speed.remember``; 0 if it is impossible.
        seconds: that it is expected to take; None if this computer has not run the model yet.
    """

    line: str = ""
    warnings: tuple[str, ...] = ()
    refusal: str = ""
    tooLarge: str = ""
    work: float = 0
    seconds: float | None = None


def outlook(
    inputVolume,
    card,
    region=None,
    makeBicubic: bool = True,
    device: str = "auto",
    precision: str = "auto",
    timePoints: int = 1,
    deviceText: str = "",
) -> Outlook:
    """Foresee a run from the sizes alone; reads no voxels and takes about a millisecond.

    Args:
        inputVolume: volume node, or None.
        card: ModelCard, or None.
        region: half-open ranges along i, j, k, or None for the whole volume.
        timePoints: how many volumes of this size are upscaled.
        deviceText: the device as the user knows it, for the line.
    """
    if inputVolume is None or card is None:
        return Outlook()
    try:
        mrml.checkInputNode(inputVolume)
        image, freeMemory = inputVolume.GetImageData(), _freeMemory()
        foreseen = forecast(
            image.GetDimensions(),
            inputVolume.GetSpacing(),
            image.GetNumberOfScalarComponents(),
            numpy_support.get_numpy_array_type(image.GetScalarType()),
            card,
            region,
            bicubic=makeBicubic,
            free_bytes=freeMemory,
        )
    except SuperResolutionError as error:
        return Outlook(refusal=str(error))
    work = foreseen.work * timePoints
    seconds = speed.secondsFor(card.id, device, work, precision)
    line = _sizeText(foreseen, makeBicubic, timePoints) + "\n" + _timeText(seconds, deviceText)
    warnings, tooLarge = foreseen.warnings, foreseen.refusal
    if not tooLarge:
        results = foreseen.output_bytes * (2 if makeBicubic else 1) * timePoints
        tooLarge = _obstacle(results, _bytesOf(image) * timePoints, freeMemory)
        warnings += (tooLarge,) if tooLarge else ()
    return Outlook(line, warnings, tooLarge=tooLarge, work=work, seconds=seconds)


def _obstacle(results: int, inputs: int, freeMemory: int | None) -> str:
    """The sentence for results that do not fit into the scene, or with their inputs not on the disk; empty if they do.

    The results of all time points are kept as files, beside copies of their inputs, until the last one is there; then
    they are copied into the scene.

    Args:
        results, inputs: bytes of all time points. freeMemory: in bytes; None if that is not known.
    """
    share = f"{MEMORY_SHARE:.0%}"
    if freeMemory is not None and results > MEMORY_SHARE * freeMemory:
        sentence = _(
            "The results of all time points need {needed} of memory, more than {share} of the {free} that are free; "
            "upscale one time point or a region, or choose a smaller scale."
        )
        return sentence.format(needed=bytesText(results), share=share, free=bytesText(freeMemory))
    folder = childprocess.temporaryFolder()
    freeSpace = _freeSpace(folder)
    if freeSpace is not None and inputs + results > MEMORY_SHARE * freeSpace:
        sentence = _(
            "The run needs {needed} for files in {folder}, more than {share} of the {free} that are free there; make "
            "room, upscale a region, or choose a smaller scale."
        )
        free = bytesText(freeSpace)
        return sentence.format(needed=bytesText(inputs + results), folder=folder, share=share, free=free)
    return ""


def _sizeText(foreseen, makeBicubic: bool, timePoints: int) -> str:
    voxels = " x ".join(str(length) for length in foreseen.size)
    count = timePoints * (2 if makeBicubic else 1)
    one = bytesText(foreseen.output_bytes)
    if count == 1:
        return _("Output: {voxels} voxels, {bytes}").format(voxels=voxels, bytes=one)
    text = _("Output: {voxels} voxels, {count} volumes of {bytes}")
    return text.format(voxels=voxels, count=count, bytes=one)


def _timeText(seconds: float | None, device: str) -> str:
    if seconds is None:
        return _("Time unknown until the first run ({device})").format(device=device)
    return _("Expected time: {time} ({device})").format(time=durationText(seconds), device=device)


def durationText(seconds: float) -> str:
    """A length of time as a person would say it."""
    if seconds < 1.5:
        return _("about 1 s")
    if seconds < 100:
        return _("about {seconds} s").format(seconds=round(seconds))
    if seconds < 100 * 60:
        return _("about {minutes} min").format(minutes=round(seconds / 60))
    return _("about {hours} h").format(hours=f"{seconds / 3600:.1f}")


def breakable(text: str) -> str:
    """A text for a label that wraps: long names and paths without a space can be broken, too."""

    def broken(word) -> str:
        # Zero-width spaces after what separates the parts of a name, and within parts that are long themselves.
        parts = re.split(r"(?<=[_/\\.-])", word[0])
        return "\u200b".join(part[start : start + 20] for part in parts for start in range(0, len(part), 20))

    return re.sub(r"\S{20,}", broken, text)


def literal(text: str) -> str:
    """A text for a tool tip or a dialog, which take what looks like markup for markup: shown as it is."""
    if not set("<&") & set(text):
        return text
    return "<html>" + escape(text).replace("\n", "<br>") + "</html>"


def bytesText(count: int) -> str:
    """A number of bytes in MB, or in GB where that reads better."""
    if count >= 10**9:
        return _("{size} GB").format(size=f"{count / 1e9:.1f}")
    return _("{size} MB").format(size=f"{count / 1e6:.1f}" if count < 10**7 else str(round(count / 1e6)))


def _bytesOf(image) -> int:
    return image.GetNumberOfPoints() * image.GetNumberOfScalarComponents() * image.GetScalarSize()


def _freeMemory() -> int | None:
    try:
        return free_memory()
    except ImportError:  # of psutil, which is installed at first use
        return None


def _freeSpace(folder) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:  # the run will say what is wrong with the folder
        return None
