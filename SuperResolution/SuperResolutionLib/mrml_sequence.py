"""Sequences: every time point of a volume that a sequence browser plays, and results that are played beside it."""

from __future__ import annotations

import dataclasses

import slicer

from .errors import DataError
from .mrml import (
    checkOutputNodes,
    copyPresentation,
    createOutputNode,
    fillNode,
    imageFromArray,
    isImageVolume,
    leaveSequence,
    outputClass,
    outputName,
    outputsOf,
    provenanceOf,
    removeVolume,
    scaleBetween,
    setProvenance,
    sourceOf,
    volumeFromNode,
)
from .volume import Volume


@dataclasses.dataclass(frozen=True)
class TimeSeries:
    """A volume node that shows one item of a sequence at a time (its proxy), with the sequence and its browser."""

    proxyNode: object
    sequenceNode: object
    browserNode: object

    @property
    def count(self) -> int:
        """Number of time points."""
        return self.sequenceNode.GetNumberOfDataNodes()

    @property
    def indexValues(self) -> list[str]:
        """The index value of each time point, as text, in ``indexName`` and ``indexUnit`` (such as time, s)."""
        return [self.sequenceNode.GetNthIndexValue(index) for index in range(self.count)]

    @property
    def indexName(self) -> str:
        return self.sequenceNode.GetIndexName()

    @property
    def indexUnit(self) -> str:
        return self.sequenceNode.GetIndexUnit()

    def volume(self, index: int, copy: bool = False) -> Volume:
        """One time point; without ``copy`` its array is a view of the scene's memory.

        Raises:
            DataError: if this time point is no image volume with voxels.
        """
        volume = volumeFromNode(self.sequenceNode.GetNthDataNode(index), copy)
        return dataclasses.replace(volume, name=self.proxyNode.GetName() or "", source=sourceOf(self.proxyNode))

    def addResults(self, results, srNode=None, bicubicNode=None, part: str = ""):
        """Put the results of all time points into the scene, as sequences that the same browser plays.

        Nodes are named, shown and placed as by ``mrml.addResult``. A sequence of earlier results that a given
        node shows is replaced.

        Args:
            results: an UpscaleResult for each time point, in order; any iterable, used once.
            srNode, bicubicNode: volume nodes that are to show the results; made when None.
            part: which part of the input was upscaled, for the names; empty for all of it.

        Returns:
            (node that shows the SR sequence, node that shows the bicubic one or None).

        Raises:
            DataError: if nodes are gone or cannot take the results, or if a time point has none. A failure of any
                kind leaves no new node behind.
        """
        self._check(srNode, bicubicNode)
        # All that needs memory is built before the scene is touched.
        sequences, scale = self._sequencesOf(results)
        created, shown = [], []
        try:
            for (kind, sequence), node in zip(sequences.items(), (srNode, bicubicNode)):
                if node is None:
                    node = createOutputNode(self.proxyNode, outputName(self.proxyNode, kind, scale, part))
                    created.append(node)
                self._play(sequence, node)
                shown.append(node)
            slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(self.browserNode)
        except Exception:
            for node in created:
                _removeSequence(node)
                removeVolume(node)
            raise
        return shown[0], shown[1] if len(shown) > 1 else None

    def _sequencesOf(self, results) -> tuple[dict, int]:
        """Filled sequences, not in the scene yet, by kind ("SR" and "bicubic"); and the scale."""
        sequences, scale = {}, None
        for result, indexValue in zip(results, self.indexValues):
            scale = scaleBetween(self.proxyNode, result.sr)
            for kind, volume, provenance in outputsOf(result):
                if kind not in sequences:
                    sequences[kind] = slicer.vtkMRMLSequenceNode()
                    sequences[kind].CopySequenceIndex(self.sequenceNode)
                    sequences[kind].RemoveAllDataNodes()
                    setProvenance(sequences[kind], provenance)
                self._append(sequences[kind], indexValue, volume, provenance)
        if not sequences or any(each.GetNumberOfDataNodes() != self.count for each in sequences.values()):
            raise DataError("Some time points have no result, so there is no sequence to show.")
        return sequences, scale

    def _append(self, sequence, indexValue: str, volume: Volume, provenance) -> None:
        pattern = getattr(slicer, outputClass(self.proxyNode))()
        pattern.SetName(sequence.GetIndexName() or "time point")
        node = sequence.SetDataNodeAtValue(pattern, indexValue)  # the sequence's own copy, which is filled
        fillNode(node, imageFromArray(volume.array), volume.ijk_to_ras)
        setProvenance(node, provenance)
        node.SetVoxelValueQuantity(self.proxyNode.GetVoxelValueQuantity())
        node.SetVoxelValueUnits(self.proxyNode.GetVoxelValueUnits())

    def _check(self, *outputNodes) -> None:
        for node in (self.proxyNode, self.sequenceNode, self.browserNode):
            if not slicer.mrmlScene.IsNodePresent(node):
                raise DataError("The input sequence was removed from the scene, so its result has no place there.")
        checkOutputNodes(self.proxyNode, *outputNodes)
        for node in outputNodes:
            other = timeSeriesOf(node)
            if other is not None and not provenanceOf(other.sequenceNode):
                raise DataError(
                    f"'{node.GetName()}' shows another sequence; choose another output volume or let a new one be made."
                )

    def _play(self, sequence, node) -> None:
        """Put a filled sequence into the scene and the browser, and let a node show it."""
        _removeSequence(node)
        sequence.SetName(slicer.mrmlScene.GenerateUniqueName(f"{node.GetName()} sequence"))
        slicer.mrmlScene.AddNode(sequence)
        # At once: a sequence without a proxy gets one of the browser's making.
        with slicer.util.NodeModify(self.browserNode):
            self.browserNode.AddSynchronizedSequenceNode(sequence)
            self.browserNode.AddProxyNode(node, sequence, False)
        copyPresentation(self.proxyNode, node)


def momentOf(node) -> str:
    """The time point that a node shows of its sequence, such as "time 2.5 s"; empty if it shows none."""
    series = timeSeriesOf(node)
    if series is None:
        return ""
    master, shown = series.browserNode.GetMasterSequenceNode(), series.browserNode.GetSelectedItemNumber()
    if master is None or not 0 <= shown < master.GetNumberOfDataNodes():
        return ""
    value = master.GetNthIndexValue(shown)
    # A sequence that lacks this number shows the one before it; of texts there is none before.
    item = series.sequenceNode.GetItemNumberFromIndexValue(value, False)
    value = series.sequenceNode.GetNthIndexValue(item) if item >= 0 else value
    return " ".join(part for part in (series.indexName or "time point", value, series.indexUnit) if part)


def timeSeriesOf(node) -> TimeSeries | None:
    """The sequence of volumes that a node shows; None if it shows none."""
    if node is None:
        return None
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"):
        sequence = browser.GetSequenceNode(node)
        if sequence is not None and sequence.GetNumberOfDataNodes():
            first = sequence.GetNthDataNode(0)
            if first is not None and isImageVolume(first):
                return TimeSeries(node, sequence, browser)
    return None


def _removeSequence(node) -> None:
    """Remove the sequence that a node shows, with its file; the node stays."""
    shown = timeSeriesOf(node)
    if shown is None:
        return
    leaveSequence(shown.browserNode, shown.sequenceNode, node)
    storage = shown.sequenceNode.GetStorageNode()
    for each in (shown.sequenceNode, storage):
        if each is not None:
            slicer.mrmlScene.RemoveNode(each)
