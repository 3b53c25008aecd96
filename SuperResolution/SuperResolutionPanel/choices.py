"""What a parameter node says, as arguments of the logic."""

from __future__ import annotations

from slicer.i18n import tr as _

from SuperResolutionLib import mrml, mrml_region, mrml_sequence
from SuperResolutionLib.errors import DataError, SuperResolutionError, UsageError
from SuperResolutionPanel.target import originsOf, reusable


def argumentsOf(chosen, sliceNode) -> dict:
    """The arguments of SuperResolutionLogic.upscale for the choices of a parameter node.

    An output volume that holds a result of another input, model, scale or extent is left alone: new ones are made.

    Args:
        chosen: SuperResolutionParameterNode.
        sliceNode: slice node that shows the current slice, or None.

    Raises:
        SuperResolutionError: if the chosen part of the volume does not exist.
    """
    mrml.checkInputNode(chosen.inputVolume)
    region = regionOf(chosen, sliceNode)
    # The box keeps its tick for the next sequence while another volume is chosen.
    allTimePoints = chosen.allTimePoints and timePointsOf(chosen.inputVolume) > 1
    origins = originsOf(chosen.inputVolume, chosen.modelFamily, chosen.scale, region, allTimePoints)
    return {
        "inputVolume": chosen.inputVolume,
        "model": chosen.modelFamily,
        "scale": chosen.scale,
        "srVolume": reusable(chosen.srVolume, chosen.inputVolume, origins[0]),
        "bicubicVolume": reusable(chosen.bicubicVolume, chosen.inputVolume, origins[1]) if chosen.makeBicubic else None,
        "makeBicubic": chosen.makeBicubic,
        "keepConsistent": chosen.keepConsistent,
        "device": chosen.device,
        "precision": chosen.precision,
        "region": region,
        "allTimePoints": allTimePoints,
    }


def outputObstacle(chosen, sliceNode) -> str:
    """One sentence that says why a chosen output volume cannot take the result; empty if it can."""
    try:
        arguments = argumentsOf(chosen, sliceNode)
    except SuperResolutionError:  # of the input or its part, which are told elsewhere
        return ""
    try:
        mrml.checkOutputNodes(chosen.inputVolume, arguments["srVolume"], arguments["bicubicVolume"])
    except DataError as error:
        return str(error)
    return ""


def timePointsOf(inputVolume) -> int:
    """How many volumes the sequence has that a volume node shows; 1 if it shows none."""
    series = mrml_sequence.timeSeriesOf(inputVolume)
    return 1 if series is None else series.count


def regionOf(chosen, sliceNode):
    """The chosen part of the input volume as ranges along i, j, k; None for all of it.

    Raises:
        SuperResolutionError: with a sentence for the user if there is no such part.
    """
    if chosen.extent == "roi":
        if chosen.roi is None:
            raise UsageError(_("Choose or create a region of interest first."))
        return mrml_region.regionFromROI(chosen.inputVolume, chosen.roi)
    if chosen.extent == "slice":
        if sliceNode is None:
            raise UsageError(_("No slice view is open; choose another extent."))
        return mrml_region.regionFromSlice(chosen.inputVolume, sliceNode)
    return None
