"""The difference volume: exact, shown around zero, and gone or new when its volumes change."""

from __future__ import annotations

import numpy as np
import pytest

from SuperResolutionLib.errors import ResourceError, UsageError
from Testing.mrml.nodes import addVolume, boundsOf, countByClass, obliqueMatrix, resultFor

slicer = pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")

from SuperResolutionLib import mrml, mrml_difference  # noqa: E402  (needs slicer)


@pytest.fixture
def pair(scene):
    """(SR, bicubic) nodes of which the second is 3 units brighter."""
    node = addVolume(np.random.default_rng(2).integers(-500, 500, (3, 6, 8)).astype(np.int16))
    return mrml.addResult(node, resultFor(node))


@pytest.fixture
def difference(scene):
    made = mrml_difference.Difference()
    yield made
    made.forget()


@pytest.mark.parametrize(
    ("dtype", "low", "high", "expected"),
    [
        ("uint8", 0, 255, "int16"),
        ("int8", -128, 127, "int16"),
        ("int16", -32768, 32767, "int32"),
        ("uint16", 0, 65535, "int32"),
        ("int32", -(2**31), 2**31 - 1, "float32"),
        ("float32", -1e30, 1e30, "float32"),
        ("float64", -4.0, 4.0, "float32"),
    ],
)
def test_nothingSaturates(dtype, low, high, expected):
    extremes = np.array([[[low, high]]], dtype)
    values = mrml_difference.subtract(extremes, extremes[..., ::-1])
    assert values.dtype == expected
    span = float(high) - float(low)
    np.testing.assert_allclose(values.astype(float).ravel(), [-span, span], rtol=1e-6)


def test_smallDifferencesOfLargeNumbersSurvive():
    first = np.array([[[1e9 + 0.5]]])
    assert mrml_difference.subtract(first, first - 0.25).item() == 0.25


def test_nodeHoldsTheDifferenceInPlace(pair, difference, scene):
    sr, bicubic = pair
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    sr.SetAndObserveTransformNodeID(transform.GetID())
    node = difference.of(sr, bicubic)
    assert node.GetName() == "CT head SR x4 minus bicubic"
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), -3)
    np.testing.assert_allclose(boundsOf(node), boundsOf(sr))
    assert node.GetParentTransformNode() is transform
    assert difference.of(sr, bicubic) is node


def test_zeroIsMiddleGrey(pair, difference):
    sr, bicubic = pair
    values = slicer.util.arrayFromVolume(sr)
    values[:] = slicer.util.arrayFromVolume(bicubic)
    values[0] += 40
    values[1] -= 20
    display = difference.of(sr, bicubic).GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (80, 0)
    assert not display.GetAutoWindowLevel() and not display.GetApplyThreshold()


def test_equalVolumesHaveAWindow(pair, difference):
    sr, bicubic = pair
    slicer.util.arrayFromVolume(sr)[:] = slicer.util.arrayFromVolume(bicubic)
    assert difference.of(sr, bicubic).GetDisplayNode().GetWindow() > 0


def test_missingVoxelsDoNotSpoilTheWindow(scene, difference):
    node = addVolume(np.ones((2, 4, 4), np.float32), "MR")
    sr, bicubic = mrml.addResult(node, resultFor(node))
    slicer.util.arrayFromVolume(sr)[0, 0, 0] = np.nan
    assert difference.of(sr, bicubic).GetDisplayNode().GetWindow() == pytest.approx(6)


def test_shownDifferenceFollowsItsVolumes(pair, difference):
    sr, bicubic = pair
    node = difference.of(sr, bicubic)
    difference.shown = True
    slicer.util.arrayFromVolume(sr)[:] += 10
    slicer.util.arrayFromVolumeModified(sr)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), 7)
    moved = obliqueMatrix()
    for each in pair:
        each.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(moved))
    assert difference.node is None, "one moved before the other: they had no common grid"


def test_hiddenDifferenceIsRemovedWhenOutOfDate(pair, difference, scene):
    sr, bicubic = pair
    before = countByClass(scene)
    difference.of(sr, bicubic)
    slicer.util.arrayFromVolumeModified(bicubic)
    assert difference.node is None
    assert countByClass(scene) == before


def test_runIntoTheSameNodesRenewsIt(pair, difference):
    sr, bicubic = pair
    node = slicer.util.getNode("CT head")
    shown = difference.of(sr, bicubic)
    difference.shown = True
    mrml.addResult(node, resultFor(node), sr, bicubic)
    assert difference.node in (None, shown)
    again = difference.of(sr, bicubic)
    assert slicer.util.arrayFromVolume(again).shape == slicer.util.arrayFromVolume(sr).shape
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(again), -3)
    assert len(slicer.util.getNodes("*minus bicubic*")) == 1


def test_loadedDifferenceIsTakenUp(pair, difference, scene, tmp_path):
    difference.of(*pair)
    difference.forget()
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    sr, bicubic = (slicer.util.getNode(f"CT head {kind} x4") for kind in ("SR", "bicubic"))
    difference.adopt(sr, bicubic)
    assert difference.of(sr, bicubic) is slicer.util.getNode("CT head SR x4 minus bicubic")
    assert len(slicer.util.getNodes("*minus bicubic*")) == 1
    slicer.util.arrayFromVolumeModified(sr)
    assert not slicer.util.getNodes("*minus bicubic*")


def test_otherVolumesEndIt(pair, difference, scene):
    node = slicer.util.getNode("CT head")
    difference.of(*pair)
    other = difference.of(*mrml.addResult(node, resultFor(node, 2)))
    assert list(slicer.util.getNodes("*minus bicubic*").values()) == [other]


def test_differentGridsAreRefused(pair, difference, scene):
    sr, _bicubic = pair
    with pytest.raises(UsageError, match="do not have the same voxel grid"):
        difference.of(sr, slicer.util.getNode("CT head"))
    with pytest.raises(UsageError, match="needs two volumes with voxels"):
        difference.of(sr, scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"))
    assert mrml_difference.differenceObstacle(None, sr)


def test_withoutMemoryNothingIsLeft(pair, difference, monkeypatch, scene):
    def fail(minuend, subtrahend):
        raise MemoryError

    before = countByClass(scene)
    monkeypatch.setattr(mrml_difference, "subtract", fail)
    with pytest.raises(ResourceError, match="not enough memory for the difference"):
        difference.of(*pair)
    assert countByClass(scene) == before


def test_aLoadedDifferenceStaysUntilVoxelsChange(pair, difference, scene):
    node = difference.of(*pair)
    difference.forget()
    loaded = mrml_difference.Difference()
    loaded.adopt(*pair)
    pair[0].SetName("mine")
    assert scene.IsNodePresent(node) and loaded.node is node
    slicer.util.updateVolumeFromArray(pair[0], slicer.util.arrayFromVolume(pair[0]) + 1)
    assert not scene.IsNodePresent(node)


def test_aRemovedDifferenceLeavesNoStorageBehind(pair, difference, scene):
    node = difference.of(*pair)
    node.AddDefaultStorageNode()
    before = countByClass(scene)["vtkMRMLVolumeArchetypeStorageNode"]
    difference.remove()
    assert countByClass(scene).get("vtkMRMLVolumeArchetypeStorageNode", 0) == before - 1
