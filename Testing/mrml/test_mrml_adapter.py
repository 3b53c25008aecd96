"""The MRML adapter on a real scene: what goes in comes out, in the same place, looking the same."""

from __future__ import annotations

import numpy as np
import pytest

from SuperResolutionLib.errors import DataError
from SuperResolutionLib.upscaler import UpscaleResult
from Testing.mrml.nodes import addVolume, boundsOf, obliqueMatrix, resultFor

slicer = pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")

from SuperResolutionLib import mrml  # noqa: E402  (needs slicer)

RANDOM = np.random.default_rng(7)


@pytest.fixture
def ctNode(scene):
    return addVolume(RANDOM.integers(-1024, 3000, (3, 7, 9)).astype(np.int16))


@pytest.mark.parametrize("dtype", ["int16", "uint16", "uint8", "int32", "float32", "float64"])
def test_scalarVolumeComesBackEqual(scene, dtype):
    array = RANDOM.integers(0, 200, (3, 7, 9)).astype(dtype)
    volume = mrml.volumeFromNode(addVolume(array))
    assert volume.size == (9, 7, 3) and volume.channels == 1 and volume.name == "CT head"
    np.testing.assert_allclose(volume.ijk_to_ras, obliqueMatrix(), atol=1e-12)

    node, _bicubic = mrml.addResult(slicer.util.getNode("CT head"), UpscaleResult(volume, None, {}))
    again = mrml.volumeFromNode(node)
    assert again.array.dtype == array.dtype
    np.testing.assert_array_equal(again.array, array)
    np.testing.assert_allclose(again.ijk_to_ras, obliqueMatrix(), atol=1e-12)


def test_colorVolumeComesBackEqual(scene):
    array = RANDOM.integers(0, 255, (2, 6, 5, 3)).astype(np.uint8)
    node = addVolume(array, "fundus")
    volume = mrml.volumeFromNode(node)
    assert volume.channels == 3
    output, bicubic = mrml.addResult(node, resultFor(node, bicubic=False))
    assert bicubic is None
    assert output.GetClassName() == "vtkMRMLVectorVolumeNode"
    again = mrml.volumeFromNode(output).array
    np.testing.assert_array_equal(again, array.repeat(4, axis=1).repeat(4, axis=2))


def test_voxelsAreASnapshot(ctNode):
    volume = mrml.volumeFromNode(ctNode)
    before = volume.array.copy()
    slicer.util.arrayFromVolume(ctNode)[:] = 0
    np.testing.assert_array_equal(volume.array, before)


def test_voxelsCanBeAViewThatOutlivesTheNode(ctNode, scene):
    view = mrml.volumeFromNode(ctNode, copy=False).array
    assert np.shares_memory(view, slicer.util.arrayFromVolume(ctNode))
    before = view.copy()
    scene.RemoveNode(ctNode)
    np.testing.assert_array_equal(view, before)


def test_extentThatDoesNotStartAtZeroMovesTheGrid(ctNode):
    image = ctNode.GetImageData()
    i, j, k = image.GetDimensions()
    image.SetExtent(2, 2 + i - 1, 3, 3 + j - 1, 1, 1 + k - 1)
    expected = obliqueMatrix() @ np.array([2, 3, 1, 1.0])
    np.testing.assert_allclose(mrml.volumeFromNode(ctNode).ijk_to_ras[:, 3], expected, atol=1e-9)


def test_resultCoversTheSameSpace(ctNode):
    for node in mrml.addResult(ctNode, resultFor(ctNode)):
        np.testing.assert_allclose(boundsOf(node), boundsOf(ctNode), atol=1e-6)
        assert node.GetImageData().GetSpacing() == (1, 1, 1), "geometry belongs to the node"


def test_resultIsNamedAfterItsInput(ctNode):
    sr, bicubic = mrml.addResult(ctNode, resultFor(ctNode))
    assert (sr.GetName(), bicubic.GetName()) == ("CT head SR x4", "CT head bicubic x4")
    other, _bicubic = mrml.addResult(ctNode, resultFor(ctNode, scale=2))
    assert other.GetName() == "CT head SR x2"


def test_resultIsShownAsItsInput(ctNode):
    display = ctNode.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(350, 40)
    display.SetInterpolate(False)
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeInvertedGrey")
    display.SetInvertDisplayScalarRange(True)
    for node in mrml.addResult(ctNode, resultFor(ctNode)):
        shown = node.GetDisplayNode()
        assert not shown.GetAutoWindowLevel()
        assert (shown.GetWindow(), shown.GetLevel()) == (350, 40)
        assert not shown.GetInterpolate()
        assert shown.GetColorNodeID() == "vtkMRMLColorTableNodeInvertedGrey"
        assert shown.GetInvertDisplayScalarRange()


def test_automaticLevelsOfTheInputAreFrozen(ctNode):
    assert ctNode.GetDisplayNode().GetAutoWindowLevel()
    levels = ctNode.GetDisplayNode().GetWindow(), ctNode.GetDisplayNode().GetLevel()
    for node in mrml.addResult(ctNode, resultFor(ctNode)):
        assert (node.GetDisplayNode().GetWindow(), node.GetDisplayNode().GetLevel()) == levels


def test_parentTransformIsKept(ctNode, scene):
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    ctNode.SetAndObserveTransformNodeID(transform.GetID())
    for node in mrml.addResult(ctNode, resultFor(ctNode)):
        assert node.GetParentTransformNode() is transform


def test_placeInSubjectHierarchyIsKept(ctNode, scene):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    hierarchy.CreateItem(study, ctNode)
    for node in mrml.addResult(ctNode, resultFor(ctNode)):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_sourceIsTakenFromTheSubjectHierarchy(ctNode, scene):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), ctNode)
    hierarchy.SetItemUID(item, "DICOM", "1.2.3.4")
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "CT")
    source = mrml.volumeFromNode(ctNode).source
    assert source == {"SeriesInstanceUID": "1.2.3.4", "Modality": "CT"}


def test_provenanceIsOnTheNodes(ctNode):
    sr, bicubic = mrml.addResult(ctNode, resultFor(ctNode))
    assert sr.GetAttribute("SuperResolution.Model") == "edsr-ise-general-x4-psnr"
    assert sr.GetAttribute("SuperResolution.Method") == "super-resolution"
    assert mrml.provenanceOf(bicubic) == {"Method": "bicubic, Keys a = -0.5", "Scale": "4", "Source": "1.2.3"}
    assert mrml.provenanceOf(ctNode) == {}


def test_givenNodesAreFilledAndKeepTheirName(ctNode, scene):
    sr, bicubic = mrml.addResult(ctNode, resultFor(ctNode, scale=2))
    sr.SetName("mine")
    sr.SetAttribute("SuperResolution.old", "gone after the next run")
    nodeCount = scene.GetNumberOfNodes()
    again = mrml.addResult(ctNode, resultFor(ctNode, scale=4), sr, bicubic)
    assert again == (sr, bicubic)
    assert scene.GetNumberOfNodes() == nodeCount
    assert sr.GetName() == "mine"
    assert sr.GetImageData().GetDimensions() == (36, 28, 3)
    assert sr.GetAttribute("SuperResolution.old") is None
    np.testing.assert_allclose(boundsOf(sr), boundsOf(ctNode), atol=1e-6)


def test_fillingACloneLeavesTheOriginalAlone(ctNode):
    before = slicer.util.arrayFromVolume(ctNode).copy()
    clone = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    clone.SetAndObserveImageData(ctNode.GetImageData())  # shared, as a shallow copy is
    mrml.addResult(ctNode, resultFor(ctNode, bicubic=False), clone)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(ctNode), before)


@pytest.mark.parametrize("kind", ["LabelMapVolume", "DiffusionWeightedVolume", "DiffusionTensorVolume", "Model"])
def test_whatIsNotAnImageIsRefused(scene, kind):
    node = scene.AddNewNodeByClass(f"vtkMRML{kind}Node", "liver")
    assert mrml.firstImageVolume() is None
    with pytest.raises(DataError, match="'liver' is"):
        mrml.volumeFromNode(node)


def test_missingAndEmptyVolumesAreRefused(scene):
    with pytest.raises(DataError, match="No input volume"):
        mrml.volumeFromNode(None)
    with pytest.raises(DataError, match="'empty' holds no voxels"):
        mrml.volumeFromNode(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))


def test_unsuitableOutputsAreRefused(ctNode, scene):
    color = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "color")
    plain = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "plain")
    unsuitable = ((ctNode, None), "is the input"), ((color, None), "another kind"), ((plain, plain), "two different")
    for outputs, message in unsuitable:
        with pytest.raises(DataError, match=message):
            mrml.checkOutputNodes(ctNode, *outputs)
    mrml.checkOutputNodes(ctNode, plain, None)


def test_failureLeavesTheSceneAsItWas(ctNode, scene, monkeypatch):
    def fail(node, provenance):
        raise RuntimeError("late failure")

    ctNode.CreateDefaultDisplayNodes()
    before = {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}
    result = resultFor(ctNode)
    monkeypatch.setattr(mrml, "setProvenance", fail)
    with pytest.raises(RuntimeError, match="late failure"):
        mrml.addResult(ctNode, result)
    after = {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}
    assert after - before <= {"vtkMRMLSubjectHierarchyNode1"}


def test_inputThatLeftTheSceneIsRefused(ctNode, scene):
    result = resultFor(ctNode)
    scene.RemoveNode(ctNode)
    with pytest.raises(DataError, match="removed from the scene"):
        mrml.addResult(ctNode, result)
