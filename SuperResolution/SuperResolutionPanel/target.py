"""The nodes of a run: the volumes that it takes, and those that its results go into."""

from __future__ import annotations

import json

import slicer
from slicer.i18n import tr as _

from SuperResolutionLib import mrml, mrml_region, mrml_sequence
from SuperResolutionLib.errors import DataError, UsageError

#: On a result: what it was made of, so that no other result takes its place unasked.
INPUT_REFERENCE, ORIGIN_ATTRIBUTE = "SuperResolution.input", "SuperResolution.Origin"


class Target:
    """What a run takes from the scene and what it gives to it.

    Args:
        inputVolume: volume node to upscale.
        card: ModelCard.
        region: ranges along i, j, k; None for the whole volume.
        srVolume, bicubicVolume: volume nodes for the results; made when None.
        allTimePoints: take every volume of the sequence that the input shows.

    Attributes:
        count: number of volumes.

    Raises:
        DataError: if the input is no image, or a given node cannot take a result.
        UsageError: if all time points are wanted of a volume that shows no sequence.
    """

    def __init__(self, inputVolume, card, region=None, srVolume=None, bicubicVolume=None, allTimePoints=False):
        mrml.checkInputNode(inputVolume)
        mrml.checkOutputNodes(inputVolume, srVolume, bicubicVolume)
        self._input, self._outputs = inputVolume, (srVolume, bicubicVolume)
        self._series = mrml_sequence.timeSeriesOf(inputVolume) if allTimePoints else None
        if allTimePoints and self._series is None:
            sentence = _("The volume {name} shows no sequence, so there are no time points to upscale.")
            raise UsageError(sentence.format(name=inputVolume.GetName()))
        moment = mrml_sequence.momentOf(inputVolume) if self._series is None else ""
        self._part = " ".join(part for part in (mrml_region.partOf(inputVolume, region), moment) if part)
        # A volume that shows a sequence may be played on during the run: its voxels were taken at the start.
        self._stamp = None if self._series is not None or moment else _stampOf(inputVolume)
        self._origins = originsOf(inputVolume, card.family, card.scale, region, allTimePoints)
        self.count = 1 if self._series is None else self._series.count

    def volume(self, index: int):
        """The Volume of one time point; its array is a view of the scene's memory."""
        return mrml.volumeFromNode(self._input, copy=False) if self._series is None else self._series.volume(index)

    def checkPresence(self) -> None:
        """Raise DataError if a node of the run has left the scene, or the input is no longer what was upscaled."""
        inputs = [self._input]
        if self._series is not None:
            inputs += [self._series.sequenceNode, self._series.browserNode]
        if any(_isGone(node) for node in inputs):
            raise DataError(_("The input volume was removed from the scene, so its result has no place there."))
        if self._stamp not in (None, _stampOf(self._input)):
            raise DataError(_("The input volume was changed during the run; upscale it again."))
        if self._series is not None and self._series.count != self.count:
            raise DataError(_("The sequence was changed during the run; upscale it again."))
        for node in self._outputs:
            if node is not None and _isGone(node):
                sentence = _("The output volume {name} was removed from the scene; choose another and upscale again.")
                raise DataError(sentence.format(name=node.GetName()))

    def addResults(self, results):
        """Take the results, one for each volume, into the scene; returns (SR node, bicubic node or None)."""
        if self._series is not None:
            nodes = self._series.addResults(results, *self._outputs, part=self._part)
        else:
            nodes = mrml.addResult(self._input, results[0], *self._outputs, part=self._part)
        for node, origin in zip(nodes, self._origins):
            if node is not None:
                _bearer(node).SetNodeReferenceID(INPUT_REFERENCE, self._input.GetID())
                _bearer(node).SetAttribute(ORIGIN_ATTRIBUTE, json.dumps(origin))
        return nodes


def originsOf(inputVolume, family: str, scale: int, region, allTimePoints: bool) -> tuple[list, list]:
    """What the SR and the bicubic volume of a run are made of, besides their input: model, scale, part, time point.

    The time point is True for all of them, False where there is no sequence.
    """
    size = inputVolume.GetImageData().GetDimensions()
    part = [[0, length] for length in size] if region is None else [[int(start), int(stop)] for start, stop in region]
    moment = bool(allTimePoints) or mrml_sequence.momentOf(inputVolume) or False
    return [family, scale, part, moment], ["", scale, part, moment]


def reusable(node, inputVolume, origin: list):
    """An output node if a result of this origin may replace what it holds; None if that is another result."""
    if node is None or _originOf(node) is None:
        return node
    isSame = _originOf(node) == origin and _bearer(node).GetNodeReference(INPUT_REFERENCE) is inputVolume
    return node if isSame else None


def twinOf(srVolume, bicubicVolume):
    """The bicubic volume, unless it is known to be of another input or part than the super-resolved one."""
    if bicubicVolume is None or None in (_originOf(srVolume), _originOf(bicubicVolume)):
        return bicubicVolume
    inputs = [_bearer(node).GetNodeReference(INPUT_REFERENCE) for node in (srVolume, bicubicVolume)]
    return bicubicVolume if inputs[0] is inputs[1] and _originOf(srVolume)[1:] == _originOf(bicubicVolume)[1:] else None


def inputOf(srVolume, otherwise):
    """The volume that a result was made of, None if it is gone or shows another time point by now.

    ``otherwise`` for what is no result of the panel.
    """
    origin = _originOf(srVolume) if srVolume is not None else None
    if origin is None:
        return otherwise
    node = _bearer(srVolume).GetNodeReference(INPUT_REFERENCE)
    isPlayedOn = node is not None and isinstance(origin[3], str) and origin[3] != mrml_sequence.momentOf(node)
    return None if isPlayedOn else node


def _originOf(node) -> list | None:
    text = _bearer(node).GetAttribute(ORIGIN_ATTRIBUTE)
    return None if text is None else json.loads(text)


def _bearer(node):
    # A node that shows a sequence loses its attributes with every time point.
    series = mrml_sequence.timeSeriesOf(node)
    return node if series is None else series.sequenceNode


def _stampOf(node) -> tuple:
    """Differs where a result would not lie where the input lies by now; other voxels (live images) do not count."""
    image = node.GetImageData()
    return image.GetDimensions() if image is not None else None, mrml.ijkToRAS(node).tobytes()


def _isGone(node) -> bool:
    return node.GetScene() is not slicer.mrmlScene
