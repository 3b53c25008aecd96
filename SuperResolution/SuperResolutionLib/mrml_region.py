"""Which voxels of a volume node the user means: a region of interest, or the slice that a view shows.

Regions are half-open voxel ranges ((i0, i1), (j0, j1), (k0, k1)) of the volume's array, as the engine takes them.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from .errors import UsageError
from .geometry import AXES, Region, slice_axis
from .mrml import arrayToRAS, checkInputNode

#: A face of a region may leave its voxel by this share of it, which is rounding and not intention.
TOLERANCE = 1e-4


def regionFromROI(inputNode, roiNode) -> Region:
    """The voxel box that encloses a region of interest, cut to the volume; at least one voxel along each axis.

    The ROI may be turned, and it and the volume may be under different linear transforms.

    Raises:
        DataError: if the input is not an image volume with voxels.
        UsageError: if there is no ROI, it is not placed yet or lies outside the volume, or if a non-linear transform
            lies between the two.
    """
    checkInputNode(inputNode)
    if roiNode is None or roiNode.GetNumberOfDefinedControlPoints() == 0:
        raise UsageError("The region of interest is not placed yet: place it in the slice views, or create a new one.")
    corners = _cornersOf(roiNode)
    indices = np.linalg.inv(arrayToRAS(inputNode)) @ _nodeToNode(roiNode, inputNode) @ corners
    region = []
    for length, low, high in zip(inputNode.GetImageData().GetDimensions(), indices.min(axis=1), indices.max(axis=1)):
        # Voxel n reaches from n - 0.5 to n + 0.5.
        start = int(np.floor(low + 0.5 + TOLERANCE))
        stop = max(start + 1, int(np.ceil(high + 0.5 - TOLERANCE)))
        region.append((max(start, 0), min(stop, length)))
    if any(start >= stop for start, stop in region):
        raise UsageError(
            f"The region of interest '{roiNode.GetName()}' lies outside the volume '{inputNode.GetName()}': move it "
            "onto the image."
        )
    return tuple(region)


def regionFromSlice(inputNode, sliceNode) -> Region:
    """The one slice of the volume, along its slice axis, that holds the center of a slice view.

    The view may have any orientation and the volume any parent transform.

    Raises:
        DataError: if the input is not an image volume with voxels.
        UsageError: if there is no view, or its center lies before the first or behind the last slice.
    """
    checkInputNode(inputNode)
    if sliceNode is None:
        raise UsageError("No slice view is shown: choose a layout with one, or upscale the whole volume.")
    center = np.zeros(3)
    inputNode.TransformPointFromWorld(_centerOf(sliceNode), center)
    size = inputNode.GetImageData().GetDimensions()
    axis = _sliceAxis(inputNode)
    position = (np.linalg.inv(arrayToRAS(inputNode)) @ (*center, 1.0))[axis]
    # A view that looks exactly at the outer face still shows the slice behind it.
    index = int(np.clip(np.floor(position + 0.5), 0, size[axis] - 1))
    if abs(position - index) > 0.5 + TOLERANCE:
        raise UsageError(
            f"The slice view '{sliceNode.GetName()}' shows no slice of '{inputNode.GetName()}': its center lies at "
            f"{AXES[axis]} = {position:.1f}, and the volume has {AXES[axis]} = 0 to {size[axis] - 1}."
        )
    return tuple((index, index + 1) if each == axis else (0, size[each]) for each in range(3))


def partOf(inputNode, region: Region | None) -> str:
    """What a region is called in the name of its result: "slice 7", "region", or nothing if it is the whole volume."""
    size = inputNode.GetImageData().GetDimensions()
    if region is None or all((start, stop) == (0, length) for (start, stop), length in zip(region, size)):
        return ""
    axis = _sliceAxis(inputNode)
    isSlice = region[axis][1] - region[axis][0] == 1
    isSlice = isSlice and all(tuple(region[each]) == (0, size[each]) for each in range(3) if each != axis)
    return f"slice {region[axis][0]}" if isSlice else "region"


def createROI(inputNode):
    """Add a visible region of interest around the middle half of a volume, along its axes and under its transform.

    Returns:
        vtkMRMLMarkupsROINode named "<input> region".

    Raises:
        DataError: if the input is not an image volume with voxels.
    """
    checkInputNode(inputNode)
    size = np.array(inputNode.GetImageData().GetDimensions(), dtype=float)
    toRAS = arrayToRAS(inputNode)
    spacing = np.linalg.norm(toRAS[:3, :3], axis=0)
    box = np.eye(4)
    box[:3, :3] = toRAS[:3, :3] / spacing
    if np.linalg.det(box[:3, :3]) < 0:
        box[:3, 2] *= -1  # a box is the same seen from behind, and a markup's axes must be right-handed
    box[:3, 3] = toRAS[:3, :3] @ ((size - 1) / 2) + toRAS[:3, 3]
    name = slicer.mrmlScene.GenerateUniqueName(f"{inputNode.GetName()} region")
    roiNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    roiNode.CreateDefaultDisplayNodes()
    roiNode.SetAndObserveTransformNodeID(inputNode.GetTransformNodeID())
    roiNode.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(box))
    roiNode.SetSize(*(size * spacing / 2))
    roiNode.GetDisplayNode().SetVisibility(True)
    return roiNode


def _sliceAxis(inputNode) -> int:
    spacing = np.linalg.norm(arrayToRAS(inputNode)[:3, :3], axis=0)
    return slice_axis(inputNode.GetImageData().GetDimensions(), tuple(spacing))


def _cornersOf(roiNode) -> np.ndarray:
    """(4, 8) homogeneous corners of a ROI in the coordinates of its node, in millimetres."""
    signs = np.array(np.meshgrid((-0.5, 0.5), (-0.5, 0.5), (-0.5, 0.5))).reshape(3, -1)
    corners = np.ones((4, 8))
    corners[:3] = np.array(roiNode.GetSize())[:, None] * signs
    return slicer.util.arrayFromVTKMatrix(roiNode.GetObjectToNodeMatrix()) @ corners


def _nodeToNode(source, target) -> np.ndarray:
    """(4, 4) matrix from the coordinates of one transformable node to those of another."""
    parents = [node.GetParentTransformNode() for node in (source, target)]
    matrix = vtk.vtkMatrix4x4()
    if parents[0] is not parents[1]:
        # Asked first, because MRML writes errors to the log when it is asked for a matrix that does not exist.
        if any(parent is not None and not parent.IsTransformToWorldLinear() for parent in parents):
            raise UsageError(
                f"A non-linear transform lies between '{source.GetName()}' and '{target.GetName()}': put both under "
                "the same transform, or harden it."
            )
        slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(*parents, matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def _centerOf(sliceNode) -> np.ndarray:
    """RAS coordinates, in millimetres, of the middle of a slice view."""
    origin = sliceNode.GetXYZOrigin()  # panning moves the view by this within its plane
    sliceToRAS = slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS())
    return (sliceToRAS @ (origin[0], origin[1], 0.0, 1.0))[:3]
