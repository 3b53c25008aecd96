"""The nodes of a run: the volumes that it takes, and those that its results go into."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from SuperResolutionLib import mrml, mrml_sequence
from SuperResolutionLib.errors import DataError, UsageError


class Target:
    """What a run takes from the scene and what it gives to it.

    Args:
        inputVolume: volume node to upscale.
        srVolume, bicubicVolume: volume nodes for the results; made when None.
        allTimePoints: take every volume of the sequence that the input shows.

    Attributes:
        count: number of volumes.

    Raises:
        DataError: if the input is no image, or a given node cannot take a result.
        UsageError: if all time points are wanted of a volume that shows no sequence.
    """

    def __init__(self, inputVolume, srVolume=None, bicubicVolume=None, allTimePoints=False):
        mrml.checkInputNode(inputVolume)
        mrml.checkOutputNodes(inputVolume, srVolume, bicubicVolume)
        self._input, self._outputs = inputVolume, (srVolume, bicubicVolume)
        self._series = mrml_sequence.timeSeriesOf(inputVolume) if allTimePoints else None
        if allTimePoints and self._series is None:
            sentence = _("The volume {name} shows no sequence, so there are no time points to upscale.")
            raise UsageError(sentence.format(name=inputVolume.GetName()))
        self.count = 1 if self._series is None else self._series.count

    def volume(self, index: int):
        """The Volume of one time point; its array is a view of the scene's memory."""
        return mrml.volumeFromNode(self._input, copy=False) if self._series is None else self._series.volume(index)

    def checkPresence(self) -> None:
        """Raise DataError if a node of the run has left the scene."""
        inputs = [self._input]
        if self._series is not None:
            inputs += [self._series.sequenceNode, self._series.browserNode]
        if any(_isGone(node) for node in inputs):
            raise DataError(_("The input volume was removed from the scene, so its result has no place there."))
        if self._series is not None and self._series.count != self.count:
            raise DataError(_("The sequence was changed during the run; upscale it again."))
        for node in self._outputs:
            if node is not None and _isGone(node):
                sentence = _("The output volume {name} was removed from the scene; choose another and upscale again.")
                raise DataError(sentence.format(name=node.GetName()))

    def addResults(self, results):
        """Take the results, one for each volume, into the scene; returns (SR node, bicubic node or None)."""
        if self._series is not None:
            return self._series.addResults(results, *self._outputs)
        return mrml.addResult(self._input, results[0], *self._outputs)


def _isGone(node) -> bool:
    return node.GetScene() is not slicer.mrmlScene
