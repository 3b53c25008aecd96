"""Saved scenes and repeated runs: what was there comes back, and nothing piles up."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from SuperResolutionLib.volume import Volume
from Testing.mrml.nodes import addVolume, boundsOf, countByClass, refined, resultFor

slicer = pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
import vtk  # noqa: E402  (comes with slicer)

from SuperResolutionLib import mrml  # noqa: E402
from SuperResolutionLib.geometry import shift  # noqa: E402
from SuperResolutionLib.mrml_compare import Comparison  # noqa: E402
from SuperResolutionLib.mrml_layout import LAYOUTS  # noqa: E402
from SuperResolutionLib.upscaler import UpscaleResult  # noqa: E402


@pytest.fixture
def ctNode(scene):
    node = addVolume(np.random.default_rng(4).integers(-1024, 3000, (3, 7, 9)).astype(np.int16))
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevel(350, 40)
    return node


def saveAndLoad(scene, path) -> None:
    slicer.util.saveScene(str(path))
    scene.Clear(0)
    slicer.util.loadScene(str(path))


def test_runsIntoTheSameNodesLeaveNothingBehind(ctNode, scene):
    sr, bicubic = mrml.addResult(ctNode, resultFor(ctNode))
    for node in (sr, bicubic):
        node.AddDefaultStorageNode()
    before = countByClass(scene)
    for scale in (2, 4, 2, 4, 2):
        mrml.addResult(ctNode, resultFor(ctNode, scale), sr, bicubic)
        assert countByClass(scene) == before
    assert slicer.util.arrayFromVolume(sr).shape == (3, 14, 18)


@pytest.mark.parametrize("leftHanded", [False, True])
def test_savedSceneShowsTheSame(ctNode, scene, tmp_path, leftHanded):
    if not leftHanded:
        ctNode.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(mrml.ijkToRAS(ctNode) @ np.diag((1, -1, 1, 1))))
    nodes = mrml.addResult(ctNode, resultFor(ctNode))
    nodes[0].GetDisplayNode().SetWindowLevel(777, 77)
    before = [
        (slicer.util.arrayFromVolume(each).copy(), mrml.ijkToRAS(each), mrml.provenanceOf(each)) for each in nodes
    ]
    saveAndLoad(scene, tmp_path / "scene.mrb")
    for name, levels, (voxels, matrix, provenance) in zip(("SR", "bicubic"), ((777, 77), (350, 40)), before):
        node = slicer.util.getNode(f"CT head {name} x4")
        if leftHanded:  # MRML reads such a volume with its slices in the other order, at the same place
            voxels = voxels[::-1]
            matrix = shift(matrix, (0, 0, len(voxels) - 1)) @ np.diag((1, 1, -1, 1))
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), voxels)
        np.testing.assert_allclose(mrml.ijkToRAS(node), matrix, atol=1e-9)
        assert mrml.provenanceOf(node) == provenance
        display = node.GetDisplayNode()
        assert (display.GetWindow(), display.GetLevel(), display.GetAutoWindowLevel()) == (*levels, 0)


def test_sceneThatIsSavedWhileComparingKnowsNothingOfIt(ctNode, scene, views, tmp_path):
    comparison = Comparison(views.logic, views.layoutNode)
    comparison.show(ctNode, *mrml.addResult(ctNode, resultFor(ctNode)), original=True, difference=True)
    slicer.util.saveScene(str(tmp_path / "comparing.mrb"))
    text = _sceneText(tmp_path / "comparing.mrb")
    assert not any(f'"{number}"' in text for number in LAYOUTS)
    assert "SuperResolutionSR" not in text, "nor are its views saved"
    comparison.hide()
    slicer.util.saveScene(str(tmp_path / "after.mrb"))
    number = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    assert f'currentViewArrangement="{number}"' in _sceneText(tmp_path / "after.mrb")
    comparison.close()


def test_interpolationIsGivenBackAfterLoading(ctNode, scene, views, tmp_path):
    comparison = Comparison(views.logic, views.layoutNode)
    comparison.show(ctNode, *mrml.addResult(ctNode, resultFor(ctNode)), original=True, voxels=True)
    saveAndLoad(scene, tmp_path / "scene.mrb")
    for name in ("CT head", "CT head SR x4", "CT head bicubic x4"):
        display = slicer.util.getNode(name).GetDisplayNode()
        assert display.GetInterpolate() == 1
        assert not display.GetAttributeNames()
    comparison.close()


def test_interpolationIsGivenBackToASceneThatIsThereAlready(ctNode, scene, views, tmp_path):
    """A new session: the scene is loaded before there is a comparison."""
    comparison = Comparison(views.logic, views.layoutNode)
    comparison.show(ctNode, *mrml.addResult(ctNode, resultFor(ctNode)), voxels=True)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    comparison.close()
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    displays = [slicer.util.getNode(name).GetDisplayNode() for name in ("CT head SR x4", "CT head bicubic x4")]
    assert [display.GetInterpolate() for display in displays] == [0, 0]
    comparison = Comparison(views.logic, views.layoutNode)
    assert [display.GetInterpolate() for display in displays] == [1, 1]
    assert not any(display.GetAttributeNames() for display in displays)
    comparison.close()


def _sceneText(path) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith(".mrml"))).decode()


def test_comparisonIsShownAgainAfterLoading(ctNode, scene, views, tmp_path):
    comparison = Comparison(views.logic, views.layoutNode)
    comparison.show(ctNode, *mrml.addResult(ctNode, resultFor(ctNode)), difference=True)
    saveAndLoad(scene, tmp_path / "scene.mrb")
    assert not comparison.shown
    names = ("CT head", "CT head SR x4", "CT head bicubic x4")
    comparison.show(*[slicer.util.getNode(name) for name in names], original=True, difference=True)
    assert [logic.GetBackgroundLayer().GetVolumeNode().GetName() for logic in comparison.logics.values()] == [
        "CT head SR x4",
        "CT head bicubic x4",
        "CT head",
        "CT head SR x4 minus bicubic",
    ]
    assert len(slicer.util.getNodes("*minus bicubic*")) == 1
    comparison.close()


def test_segmentationOnTheInputStillLinesUp(ctNode, scene):
    """A segment drawn on input voxels, taken onto the SR grid, covers exactly the finer voxels of the same place."""
    mask = np.zeros((3, 7, 9), np.uint8)
    mask[1:3, 2:5, 3:8] = 1
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    move = vtk.vtkMatrix4x4()
    move.SetElement(0, 3, 25.0)
    transform.SetMatrixTransformToParent(move)
    ctNode.SetAndObserveTransformNodeID(transform.GetID())
    segmentation = _segmentationOf(mask, ctNode)
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    sr, _bicubic = mrml.addResult(ctNode, resultFor(ctNode))
    segment = segmentation.GetSegmentation().GetNthSegmentID(0)
    onFinerGrid = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, sr)
    np.testing.assert_array_equal(onFinerGrid > 0, mask.repeat(4, axis=1).repeat(4, axis=2) > 0)
    np.testing.assert_allclose(boundsOf(sr), boundsOf(ctNode), atol=1e-6)


def _segmentationOf(mask, volumeNode):
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    labels.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(mrml.ijkToRAS(volumeNode)))
    slicer.util.updateVolumeFromArray(labels, mask)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    assert slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, segmentation)
    slicer.mrmlScene.RemoveNode(labels)
    return segmentation


def test_resultOfARegionLiesWhereTheRegionIs(ctNode):
    """Each SR voxel has the value of the input voxel that it lies in, asked for in world coordinates."""
    (i0, i1), (j0, j1), (k0, k1) = region = ((2, 6), (1, 5), (1, 3))
    volume = mrml.volumeFromNode(ctNode)
    part = volume.array[k0:k1, j0:j1, i0:i1].repeat(4, axis=1).repeat(4, axis=2)
    matrix = refined(shift(volume.ijk_to_ras, [start for start, _stop in region]), 4)
    sr, _bicubic = mrml.addResult(ctNode, UpscaleResult(Volume(part, matrix), None, {}))
    assert sr.GetName() == "CT head SR x4"
    indices = np.array(np.meshgrid(*[range(n) for n in part.shape[::-1]], indexing="ij")).reshape(3, -1)
    points = mrml.ijkToRAS(sr) @ np.vstack([indices, np.ones(indices.shape[1])])
    inInput = np.rint(np.linalg.inv(mrml.ijkToRAS(ctNode)) @ points)[:3].astype(int)
    expected = slicer.util.arrayFromVolume(ctNode)[inInput[2], inInput[1], inInput[0]]
    found = slicer.util.arrayFromVolume(sr)[indices[2], indices[1], indices[0]]
    np.testing.assert_array_equal(found, expected)
