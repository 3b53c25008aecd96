"""What a parameter node says, as arguments of the logic."""

from __future__ import annotations

from SuperResolutionLib import mrml_region, mrml_sequence


def argumentsOf(chosen, sliceNode) -> dict:
    """The arguments of SuperResolutionLogic.upscale for the choices of a parameter node.

    Args:
        chosen: SuperResolutionParameterNode.
        sliceNode: slice node that shows the current slice, or None.

    Raises:
        SuperResolutionError: if the chosen part of the volume does not exist.
    """
    return {
        "inputVolume": chosen.inputVolume,
        "model": chosen.modelFamily,
        "scale": chosen.scale,
        "srVolume": chosen.srVolume,
        "bicubicVolume": chosen.bicubicVolume,
        "makeBicubic": chosen.makeBicubic,
        "keepConsistent": chosen.keepConsistent,
        "device": chosen.device,
        "precision": chosen.precision,
        "region": _regionOf(chosen, sliceNode),
        # The box keeps its tick for the next sequence while another volume is chosen.
        "allTimePoints": chosen.allTimePoints and timePointsOf(chosen.inputVolume) > 1,
    }


def timePointsOf(inputVolume) -> int:
    """How many volumes the sequence has that a volume node shows; 1 if it shows none."""
    series = mrml_sequence.timeSeriesOf(inputVolume)
    return 1 if series is None else series.count


def _regionOf(chosen, sliceNode):
    if chosen.extent == "roi":
        return mrml_region.regionFromROI(chosen.inputVolume, chosen.roi)
    if chosen.extent == "slice":
        return mrml_region.regionFromSlice(chosen.inputVolume, sliceNode)
    return None
