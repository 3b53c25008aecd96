"""Regions from real ROI and slice nodes: turned, moved, transformed, thin, outside."""

from __future__ import annotations

import numpy as np
import pytest

from SuperResolutionLib.errors import UsageError
from Testing.mrml.nodes import addVolume, obliqueMatrix

slicer = pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
import vtk  # noqa: E402  (comes with slicer)

from SuperResolutionLib import mrml, mrml_region  # noqa: E402

SIZE = (12, 10, 6)


@pytest.fixture
def volume(scene):
    return addVolume(np.zeros(SIZE[::-1], np.int16), "MR")


def addROI(box: np.ndarray, size):
    """A ROI whose object coordinates are mapped by ``box`` to its node's."""
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    roi.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(box))
    roi.SetSize(*size)
    return roi


def boxAround(volume, region, grow: float = 0.0):
    """(matrix, size) of the box whose faces are the outer faces of the voxels of a region, grown by some voxels."""
    toRAS = mrml.arrayToRAS(volume)
    spacing = np.linalg.norm(toRAS[:3, :3], axis=0)
    low, high = np.array(region).T
    box = np.eye(4)
    box[:3, :3] = toRAS[:3, :3] / spacing * (1, 1, np.sign(np.linalg.det(toRAS[:3, :3])))
    box[:3, 3] = toRAS[:3, :3] @ ((low + high - 1) / 2) + toRAS[:3, 3]
    return box, (high - low + 2 * grow) * spacing


def turn(degrees: float, axis: str, offset=(0, 0, 0)) -> np.ndarray:
    transform = vtk.vtkTransform()
    transform.Translate(offset)
    getattr(transform, f"Rotate{axis}")(degrees)
    return slicer.util.arrayFromVTKMatrix(transform.GetMatrix())


def addTransform(matrix: np.ndarray):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


REGION = ((2, 7), (1, 4), (3, 5))


def test_faceOnFaceTakesExactlyTheseVoxels(volume):
    assert mrml_region.regionFromROI(volume, addROI(*boxAround(volume, REGION))) == REGION


@pytest.mark.parametrize(("grow", "more"), [(0.1, 1), (-0.1, 0)])
def test_voxelsThatAreTouchedAreTaken(volume, grow, more):
    found = mrml_region.regionFromROI(volume, addROI(*boxAround(volume, REGION, grow)))
    assert found == tuple((start - more, stop + more) for start, stop in REGION)


def test_turnedBoxIsEnclosed(scene):
    volume = slicer.util.addVolumeFromArray(np.zeros((40, 40, 40), np.uint8), ijkToRAS=np.eye(4), name="cube")
    roi = addROI(turn(45, "Z", (20, 20, 20)), (10, 10, 4))
    reach = 10 / np.sqrt(2)
    flat = (int(np.floor(20 - reach + 0.5)), int(np.ceil(20 + reach + 0.5)))
    assert mrml_region.regionFromROI(volume, roi) == (flat, flat, (18, 23))


def test_transformsOfBothAreFollowed(volume):
    box, size = boxAround(volume, REGION)
    ofVolume, ofROI = turn(30, "X", (5, -7, 9)), turn(-70, "Y", (100, 0, 3))
    volume.SetAndObserveTransformNodeID(addTransform(ofVolume).GetID())
    roi = addROI(np.linalg.inv(ofROI) @ ofVolume @ box, size)
    roi.SetAndObserveTransformNodeID(addTransform(ofROI).GetID())
    assert mrml_region.regionFromROI(volume, roi) == REGION


def test_nonLinearTransformIsRefusedUnlessItMovesBoth(volume, scene):
    roi = addROI(*boxAround(volume, REGION))
    warp = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "warp")
    volume.SetAndObserveTransformNodeID(warp.GetID())
    with pytest.raises(UsageError, match="non-linear transform lies between 'R' and 'MR'"):
        mrml_region.regionFromROI(volume, roi)
    roi.SetAndObserveTransformNodeID(warp.GetID())
    assert mrml_region.regionFromROI(volume, roi) == REGION


def test_boxIsCutToTheVolume(volume):
    roi = addROI(*boxAround(volume, ((-5, 4), (8, 30), (-1, 40))))
    assert mrml_region.regionFromROI(volume, roi) == ((0, 4), (8, 10), (0, 6))


def test_boxOutsideIsRefused(volume):
    with pytest.raises(UsageError, match="'R' lies outside the volume 'MR'"):
        mrml_region.regionFromROI(volume, addROI(*boxAround(volume, ((-9, -1), (0, 10), (0, 6)))))


def test_thinBoxTakesOneVoxel(volume):
    box, size = boxAround(volume, ((4, 5), (4, 5), (2, 3)))
    assert mrml_region.regionFromROI(volume, addROI(box, size * 0.01)) == ((4, 5), (4, 5), (2, 3))


@pytest.mark.parametrize("make", [lambda: None, lambda: slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")])
def test_missingBoxIsRefused(volume, make):
    with pytest.raises(UsageError, match="not placed yet"):
        mrml_region.regionFromROI(volume, make())


def test_extentThatDoesNotStartAtZero(volume):
    before = boxAround(volume, REGION)
    volume.GetImageData().SetExtent(2, 13, 0, 9, 0, 5)
    found = mrml_region.regionFromROI(volume, addROI(*before))
    assert found == ((0, 5), *REGION[1:])


@pytest.mark.parametrize("mirrored", [False, True])
def test_newBoxIsTheMiddleHalf(scene, mirrored):
    matrix = obliqueMatrix() @ np.diag((-1 if mirrored else 1, 1, 1, 1))
    volume = slicer.util.addVolumeFromArray(np.zeros((8, 16, 12), np.int16), ijkToRAS=matrix, name="MR")
    volume.SetAndObserveTransformNodeID(addTransform(turn(20, "Z", (1, 2, 3))).GetID())
    roi = mrml_region.createROI(volume)
    assert mrml_region.regionFromROI(volume, roi) == ((3, 9), (4, 12), (2, 6))
    assert roi.GetName() == "MR region"
    assert roi.GetDisplayNode().GetVisibility()
    axes = slicer.util.arrayFromVTKMatrix(roi.GetObjectToNodeMatrix())[:3, :3]
    assert np.linalg.det(axes) == pytest.approx(1)


@pytest.fixture
def sliceNode(scene):
    node = scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    node.SetFieldOfView(20, 20, 1)
    return node


def place(sliceNode, matrix: np.ndarray) -> None:
    sliceNode.GetSliceToRAS().DeepCopy(slicer.util.vtkMatrixFromArray(matrix))
    sliceNode.UpdateMatrices()


@pytest.mark.parametrize("index", [0, 3, 5])
@pytest.mark.parametrize("view", ["along the slices", "across the slices"])
def test_sliceOfTheViewsCenter(volume, sliceNode, index, view):
    toRAS = mrml.arrayToRAS(volume)
    axes = toRAS[:3, :3] / np.linalg.norm(toRAS[:3, :3], axis=0)
    matrix = np.eye(4)
    matrix[:3, :3] = axes if view == "along the slices" else axes[:, [0, 2, 1]]
    matrix[:3, 3] = (toRAS @ (5, 4, index + 0.3 * (index < 5), 1))[:3]
    place(sliceNode, matrix)
    assert mrml_region.regionFromSlice(volume, sliceNode) == ((0, 12), (0, 10), (index, index + 1))


def test_panningAnObliqueViewMovesItsCenter(scene, sliceNode):
    volume = slicer.util.addVolumeFromArray(np.zeros((20, 8, 8), np.int16), ijkToRAS=np.eye(4), name="MR")
    place(sliceNode, turn(90, "X", (4, 4, 10)))  # the view's vertical axis runs along k
    assert mrml_region.regionFromSlice(volume, sliceNode)[2] == (10, 11)
    sliceNode.SetXYZOrigin(0, 6, 0)
    assert mrml_region.regionFromSlice(volume, sliceNode)[2] == (16, 17)


def test_sliceFollowsTheTransformOfTheVolume(scene, sliceNode):
    volume = slicer.util.addVolumeFromArray(np.zeros((20, 8, 8), np.int16), ijkToRAS=np.eye(4), name="MR")
    volume.SetAndObserveTransformNodeID(addTransform(turn(0, "X", (0, 0, 5))).GetID())
    place(sliceNode, turn(0, "X", (4, 4, 10)))
    assert mrml_region.regionFromSlice(volume, sliceNode)[2] == (5, 6)


def test_viewThatShowsNoSliceIsRefused(volume, sliceNode):
    matrix = mrml.arrayToRAS(volume)
    matrix[:3, 3] = (matrix @ (0, 0, 5.6, 1))[:3]
    place(sliceNode, matrix)
    with pytest.raises(UsageError, match="'Red' shows no slice of 'MR': its center lies at k = 5.6"):
        mrml_region.regionFromSlice(volume, sliceNode)
    with pytest.raises(UsageError, match="No slice view is shown"):
        mrml_region.regionFromSlice(volume, None)
