"""Slice views that show different volumes alike: linked, in one plane, at one place, at one magnification.

Works on vtkMRMLSliceLogic objects, wherever they come from: Slicer's layout manager or any other host of slice views.
"""

from __future__ import annotations

import numpy as np
import slicer
from slicer.util import NodeModify

from .geometry import slice_axis
from .mrml import ijkToRAS
from .mrml_layout import VIEW_GROUP

#: The axis of RAS that a plane is perpendicular to: R, A, S.
PLANES = ("Sagittal", "Coronal", "Axial")


def setUp(logic, volumeNode, label: str, color) -> None:
    """Show a volume in a view that is linked to the others but keeps its volume.

    Args:
        label: short name of the view.
        color: (r, g, b), 0 to 1.
    """
    sliceNode, composite = logic.GetSliceNode(), logic.GetSliceCompositeNode()
    with NodeModify(sliceNode):
        sliceNode.SetViewGroup(VIEW_GROUP)
        sliceNode.SetLayoutLabel(label)
        sliceNode.SetLayoutColor(color)
        sliceNode.SetSaveWithScene(False)
    volumes = slicer.vtkMRMLSliceCompositeNode
    with NodeModify(composite):
        composite.SetLinkedControl(True)
        composite.SetHotLinkedControl(True)
        # Links broadcast the choice of volumes, too, and a volume that is loaded goes to every view: not to these.
        selection = volumes.BackgroundVolumeFlag | volumes.ForegroundVolumeFlag | volumes.LabelVolumeFlag
        composite.SetInteractionFlagsModifier(0xFFFFFFFF & ~selection)
        composite.SetDoPropagateVolumeSelection(False)
        composite.SetSaveWithScene(False)
        composite.SetBackgroundVolumeID(volumeNode.GetID())


def clear(logic) -> None:
    """Show nothing, so that a view that is out of sight holds and computes nothing."""
    composite = logic.GetSliceCompositeNode()
    if composite is not None:
        with NodeModify(composite):
            composite.SetBackgroundVolumeID(None)
            composite.SetForegroundVolumeID(None)
            composite.SetLabelVolumeID(None)


def orient(logic, volumeNode, orientation: str) -> None:
    """Turn a view into a patient plane, or ("volume") into the plane of a volume's slices."""
    sliceNode = logic.GetSliceNode()
    if orientation != "volume":
        sliceNode.SetOrientation(orientation)
        return
    # Rotating to a volume finds the nearest of its planes: begin near the one that its slices lie in.
    sliceNode.SetOrientation(PLANES[int(np.argmax(np.abs(sliceNormal(volumeNode))))])
    parent = volumeNode.GetParentTransformNode()
    if parent is None or parent.IsTransformToWorldLinear():  # a bent volume has no one plane
        sliceNode.RotateToVolumePlane(volumeNode)


def fit(logic, center=None) -> None:
    """Make the view's volume fill it, and show its middle slice, or that through a point if it lies in the volume.

    Args:
        center: RAS point in millimetres, or None.
    """
    logic.FitSliceToBackground()
    if center is not None:
        bounds = np.zeros(6)
        logic.GetBackgroundSliceBounds(bounds)
        middle = logic.GetSliceOffset()
        logic.GetSliceNode().JumpSliceByOffsetting(*center)
        if not bounds[4] <= logic.GetSliceOffset() <= bounds[5]:
            logic.SetSliceOffset(middle)
    logic.SnapSliceOffsetToIJK()


def centerOf(logic) -> list[float]:
    """RAS of the middle of the slice that a view shows, in millimetres."""
    toRAS = logic.GetSliceNode().GetSliceToRAS()
    return [toRAS.GetElement(row, 3) for row in range(3)]


def align(logic, reference) -> None:
    """Give a view the plane, offset, panning and magnification of another one.

    Each view's own fit would differ by up to half a voxel, because it starts from that view's volume.
    """
    sliceNode, source = logic.GetSliceNode(), reference.GetSliceNode()
    if sliceNode is source:
        return
    width, height, _depth = sliceNode.GetDimensions()
    fieldOfView = source.GetFieldOfView()
    with NodeModify(sliceNode):
        sliceNode.GetSliceToRAS().DeepCopy(source.GetSliceToRAS())
        sliceNode.SetXYZOrigin(*source.GetXYZOrigin())
        # As linking does: the same width, and a height that keeps pixels square.
        sliceNode.SetFieldOfView(fieldOfView[0], fieldOfView[0] * height / max(width, 1), fieldOfView[2])
        sliceNode.UpdateMatrices()


def matchOf(sliceNode, volumeNode) -> float:
    """How well a view lies in the plane of a volume's slices: 1 if it does, 0 at a right angle to it."""
    toRAS = sliceNode.GetSliceToRAS()
    views = np.array([toRAS.GetElement(row, 2) for row in range(3)])
    normal = sliceNormal(volumeNode)
    return float(abs(views @ normal) / (np.linalg.norm(views) * np.linalg.norm(normal)))


def sliceNormal(volumeNode) -> np.ndarray:
    """Direction in world RAS that a volume's slices are stacked along, any length."""
    toRAS = ijkToRAS(volumeNode)
    size = volumeNode.GetImageData().GetDimensions()
    axis = slice_axis(size, tuple(np.linalg.norm(toRAS[:3, :3], axis=0)))
    middle = toRAS @ (*(np.array(size) / 2), 1.0)
    ends = [np.zeros(3), np.zeros(3)]
    for sign, end in zip((-0.5, 0.5), ends):
        volumeNode.TransformPointToWorld(middle[:3] + sign * toRAS[:3, axis], end)
    return ends[1] - ends[0]
