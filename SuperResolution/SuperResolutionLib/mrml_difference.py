"""The difference of two volumes, SR minus bicubic, as a volume node of its own that is never out of date."""

from __future__ import annotations

import contextlib

import numpy as np
import slicer
import vtk
from slicer.util import NodeModify, VTKObservationMixin

from .errors import ResourceError, UsageError
from .mrml import (
    arrayToRAS,
    copyPresentation,
    fillNode,
    ijkToRAS,
    imageFromArray,
    isImageVolume,
    removeVolume,
    volumeFromNode,
)

#: Node references of a difference volume, by which it is found again in a loaded scene.
MINUEND = "SuperResolution.minuend"
SUBTRAHEND = "SuperResolution.subtrahend"

#: Grey levels reach to the difference that so many voxels stay below; single outliers would darken all others.
QUANTILE = 0.999


class Difference(VTKObservationMixin):
    """Keeps one difference node: computed when first asked for, anew or removed when its volumes change.

    Args:
        changed: called when the volumes changed, for a ``catchUp`` soon after; None catches up at once.
    """

    def __init__(self, changed=None):
        VTKObservationMixin.__init__(self)
        self._changed = changed or self.catchUp
        self._nodes = None  # minuend, subtrahend, difference
        self._computedFrom = self._seen = None  # stamps: of what it was computed, and of what was there last
        self.shown = False  # whether a change is answered by computing it anew, or by removing it

    @property
    def node(self):
        """The difference node, or None."""
        return self._nodes[2] if self._nodes is not None else None

    def of(self, minuend, subtrahend):
        """The node "<minuend> minus bicubic", up to date.

        Raises:
            UsageError: if the two cannot be subtracted.
            ResourceError: if there is not enough memory.
        """
        obstacle = differenceObstacle(minuend, subtrahend)
        if obstacle:
            raise UsageError(obstacle)
        self.adopt(minuend, subtrahend)
        if self._nodes is None:
            self._watch(minuend, subtrahend, _createNode(minuend, subtrahend))
        self._refresh()
        return self.node

    def adopt(self, minuend, subtrahend) -> None:
        """Look after the difference of these two that the scene has already, say from a file, and after no other."""
        found = _findNode(minuend, subtrahend)
        if self.node is not None and self.node is not found:
            self.remove()
        if found is not None and self.node is None:
            self._watch(minuend, subtrahend, found)

    def remove(self) -> None:
        """Take the difference out of the scene."""
        node = self.node
        self.forget()
        if node is not None and slicer.mrmlScene.IsNodePresent(node):
            removeVolume(node)

    def forget(self) -> None:
        """Look after no node from now on."""
        self.removeObservers()
        self._nodes = self._computedFrom = self._seen = None

    def nodeRemoved(self, node) -> None:
        """A node left the scene: without one of its volumes the difference goes, too."""
        if self._nodes is None:
            return
        if node is self._nodes[2]:
            self.forget()
        elif node in self._nodes:
            self.remove()

    def _watch(self, minuend, subtrahend, node) -> None:
        self._nodes, self._seen = (minuend, subtrahend, node), _stamp(minuend, subtrahend)
        for each in (minuend, subtrahend):
            for event in (slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, vtk.vtkCommand.ModifiedEvent):
                self.addObserver(each, event, self._onInputModified)

    def _onInputModified(self, _caller, _event) -> None:
        if _stamp(*self._nodes[:2]) != self._seen:
            self._changed()

    def catchUp(self) -> None:
        """Compute the difference anew if its volumes changed, or remove it if nobody looks at it."""
        if self._nodes is None or _stamp(*self._nodes[:2]) == self._seen:
            return
        minuend, subtrahend, _node = self._nodes
        if not self.shown or differenceObstacle(minuend, subtrahend):
            self.remove()
            return
        # Without memory the node is gone, which says enough; nobody above an observer could catch an error.
        with contextlib.suppress(ResourceError):
            self._refresh()

    def _refresh(self) -> None:
        minuend, subtrahend, node = self._nodes
        stamp = _stamp(minuend, subtrahend)
        if stamp == self._computedFrom:
            return
        try:
            values = subtract(volumeFromNode(minuend, copy=False).array, volumeFromNode(subtrahend, copy=False).array)
            image = imageFromArray(values)
        except MemoryError:
            self.remove()
            raise ResourceError(
                f"There is not enough memory for the difference of '{minuend.GetName()}' and "
                f"'{subtrahend.GetName()}': close other volumes first."
            ) from None
        fillNode(node, image, arrayToRAS(minuend))
        node.SetAndObserveTransformNodeID(minuend.GetTransformNodeID())
        self._computedFrom = self._seen = stamp
        _setSymmetricWindow(node, values)


def differenceObstacle(minuend, subtrahend) -> str:
    """One sentence that says why two volumes cannot be subtracted; empty if they can."""
    if minuend is None or subtrahend is None:
        return "A difference needs a super-resolved and a bicubic volume."
    images = [node.GetImageData() for node in (minuend, subtrahend) if isImageVolume(node)]
    if len(images) < 2 or None in images:
        return "A difference needs two volumes with voxels."
    shapes = [(image.GetDimensions(), image.GetNumberOfScalarComponents()) for image in images]
    sameGrid = shapes[0] == shapes[1] and np.allclose(arrayToRAS(minuend), arrayToRAS(subtrahend), atol=1e-4)
    if not sameGrid:
        return f"'{minuend.GetName()}' and '{subtrahend.GetName()}' do not have the same voxel grid."
    return ""


def subtract(minuend: np.ndarray, subtrahend: np.ndarray) -> np.ndarray:
    """The difference of two arrays of one shape, in a type that holds it: int16, int32 or float32."""
    kind = np.result_type(minuend, subtrahend)
    if kind.kind in "iu" and kind.itemsize <= 2 and max(minuend.itemsize, subtrahend.itemsize) <= 2:
        return np.subtract(minuend, subtrahend, dtype=np.int16 if kind.itemsize == 1 else np.int32)
    values = np.empty(minuend.shape, np.float32)
    np.subtract(minuend, subtrahend, out=values, dtype=np.float64, casting="unsafe")
    return values


def _stamp(minuend, subtrahend) -> tuple:
    """Differs before and after any change of voxels or place; only compared, never interpreted."""
    images = [node.GetImageData() for node in (minuend, subtrahend)]
    times = tuple(image.GetMTime() if image is not None else 0 for image in images)  # unique over all objects
    return (*times, minuend.GetTransformNodeID(), ijkToRAS(minuend).tobytes(), ijkToRAS(subtrahend).tobytes())


def _findNode(minuend, subtrahend):
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if node.GetNodeReference(MINUEND) is minuend and node.GetNodeReference(SUBTRAHEND) is subtrahend:
            return node
    return None


def _createNode(minuend, subtrahend):
    name = slicer.mrmlScene.GenerateUniqueName(f"{minuend.GetName()} minus bicubic")
    node = slicer.mrmlScene.AddNewNodeByClass(minuend.GetClassName(), name)
    copyPresentation(minuend, node)
    with NodeModify(node):
        node.SetNodeReferenceID(MINUEND, minuend.GetID())
        node.SetNodeReferenceID(SUBTRAHEND, subtrahend.GetID())
        node.SetDescription("Super-resolved minus bicubic values; research use only.")
    return node


def _setSymmetricWindow(node, values: np.ndarray) -> None:
    """Show zero as middle grey, and equal differences of either sign equally far from it."""
    step = max(1, values.size // 1_000_000)
    sample = np.abs(values.reshape(-1)[::step].astype(np.float32))
    reach = float(np.quantile(sample[np.isfinite(sample)], QUANTILE)) if np.isfinite(sample).any() else 0.0
    display = node.GetDisplayNode()
    with NodeModify(display):
        display.AutoWindowLevelOff()
        display.SetWindowLevel(2 * reach or 1.0, 0.0)
        display.SetApplyThreshold(False)
