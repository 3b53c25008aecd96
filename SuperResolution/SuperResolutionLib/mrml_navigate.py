"""Moving linked slice views, and what lies under a point of them; for doors that have no interactor of Slicer's.

Each movement is announced to Slicer as an interaction: only then do linked views follow. Points (x, y) of a view are in
pixels from its upper left corner, x to the right and y down.
"""

from __future__ import annotations

import numpy as np
import slicer

from .mrml import arrayToRAS, volumeFromNode

#: The narrowest and the widest field of view, in millimetres.
NARROWEST, WIDEST = 0.1, 1e5


def scroll(logic, steps: float) -> None:
    """Move by so many slices of the view's volume; it stops at the volume's ends."""
    step = logic.GetLowestVolumeSliceSpacing()[2]
    first, last = sliceRange(logic)
    wanted = logic.GetSliceOffset() + steps * step
    moveTo(logic, min(max(wanted, first), last))


def moveTo(logic, offset: float) -> None:
    """Show the slice at an offset in millimetres along the view's normal."""
    logic.StartSliceOffsetInteraction()
    logic.SetSliceOffset(offset)
    logic.EndSliceOffsetInteraction()


def sliceRange(logic) -> tuple[float, float]:
    """Offsets of the centers of the first and last slice of the view's volume, in millimetres."""
    bounds = np.zeros(6)
    logic.GetBackgroundSliceBounds(bounds)
    half = logic.GetLowestVolumeSliceSpacing()[2] / 2
    middle = (bounds[4] + bounds[5]) / 2
    return min(bounds[4] + half, middle), max(bounds[5] - half, middle)


def pan(logic, right: float, down: float) -> None:
    """Move what a view shows by so many pixels."""
    node = logic.GetSliceNode()
    pixel = node.GetFieldOfView()[0] / node.GetDimensions()[0]
    x, y, z = node.GetXYZOrigin()
    _change(logic, node.GetFieldOfView()[:2], (x - right * pixel, y + down * pixel, z))


def zoom(logic, factor: float, x: float, y: float) -> None:
    """Magnify by a factor (below 1 reduces) around the point (x, y), which stays where it is."""
    node = logic.GetSliceNode()
    width, height, _depth = node.GetDimensions()
    fieldOfView = np.array(node.GetFieldOfView()[:2])
    low, high = NARROWEST / fieldOfView[0], WIDEST / fieldOfView[0]
    shrink = float(np.clip(1 / factor, low, high))
    center = np.array(node.GetXYZOrigin()[:2])
    point = center + (np.array((x / width, 1 - y / height)) - 0.5) * fieldOfView
    origin = point + (center - point) * shrink
    _change(logic, fieldOfView * shrink, (*origin, node.GetXYZOrigin()[2]))


def setWindow(volumeNode, window: float, level: float) -> None:
    """Set window (at least 1e-6) and level of a volume by hand; both are in its units."""
    display = volumeNode.GetDisplayNode()
    with slicer.util.NodeModify(display):
        display.AutoWindowLevelOff()
        display.SetWindowLevel(max(float(window), 1e-6), float(level))


def pointRAS(logic, x: float, y: float) -> np.ndarray:
    """(3,) RAS in millimetres of the point (x, y) of a view."""
    node = logic.GetSliceNode()
    toRAS = slicer.util.arrayFromVTKMatrix(node.GetXYToRAS())
    return (toRAS @ (x - 0.5, node.GetDimensions()[1] - y - 0.5, 0.0, 1.0))[:3]


def valueAt(volumeNode, ras: np.ndarray):
    """The voxel of an untransformed volume that holds a RAS point.

    Returns:
        (i, j, k) and its value, a number or a tuple of three; None outside the volume.
    """
    index = np.linalg.inv(arrayToRAS(volumeNode)) @ (*ras, 1.0)
    i, j, k = (int(number) for number in np.floor(index[:3] + 0.5))
    size = volumeNode.GetImageData().GetDimensions()
    if not all(0 <= each < length for each, length in zip((i, j, k), size)):
        return None
    value = volumeFromNode(volumeNode, copy=False).array[k, j, i]
    return (i, j, k), value.item() if value.ndim == 0 else tuple(value.tolist())


def regionInView(logic, volumeNode):
    """The box of an untransformed volume's voxels that a view shows, through all slices behind and before it.

    Returns:
        Half-open ranges ((i0, i1), (j0, j1), (k0, k1)); None if the view shows nothing of the volume.
    """
    node = logic.GetSliceNode()
    width, height, _depth = node.GetDimensions()
    toIndex = np.linalg.inv(arrayToRAS(volumeNode))
    corners = [pointRAS(logic, x, y) for x in (0, width) for y in (0, height)]
    indices = np.array([(toIndex @ (*corner, 1.0))[:3] for corner in corners])
    normal = toIndex[:3, :3] @ slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, 2]
    through = int(np.argmax(np.abs(normal)))
    region = []
    for axis, length in enumerate(volumeNode.GetImageData().GetDimensions()):
        low, high = np.floor(indices[:, axis].min() + 0.5), np.ceil(indices[:, axis].max() + 0.5)
        start, stop = (0, length) if axis == through else (max(int(low), 0), min(int(high), length))
        region.append((start, stop))
    return None if any(start >= stop for start, stop in region) else tuple(region)


def look(logic, reference, ras: np.ndarray, magnification: float) -> None:
    """Show the surroundings of a RAS point as another view shows them, but larger; for views that are not linked."""
    node, source = logic.GetSliceNode(), reference.GetSliceNode()
    width, height, _depth = node.GetDimensions()
    pixel = source.GetFieldOfView()[0] / source.GetDimensions()[0] / magnification
    toSlice = np.linalg.inv(slicer.util.arrayFromVTKMatrix(source.GetSliceToRAS()))
    x, y, _z, _one = toSlice @ (*ras, 1.0)
    with slicer.util.NodeModify(node):
        node.GetSliceToRAS().DeepCopy(source.GetSliceToRAS())
        node.SetFieldOfView(width * pixel, height * pixel, source.GetFieldOfView()[2])
        node.SetXYZOrigin(x, y, source.GetXYZOrigin()[2])
        node.UpdateMatrices()


def _change(logic, fieldOfView, origin) -> None:
    node = logic.GetSliceNode()
    flags = slicer.vtkMRMLSliceNode.FieldOfViewFlag | slicer.vtkMRMLSliceNode.XYZOriginFlag
    logic.StartSliceNodeInteraction(flags)
    with slicer.util.NodeModify(node):
        node.SetFieldOfView(float(fieldOfView[0]), float(fieldOfView[1]), node.GetFieldOfView()[2])
        node.SetXYZOrigin(*map(float, origin))
    logic.EndSliceNodeInteraction()
