"""Moving linked slice views without an interactor, and what lies under a point of them."""

from __future__ import annotations

import types

import numpy as np
import pytest

pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")

import slicer  # noqa: E402

from SuperResolutionLib import mrml, mrml_navigate, mrml_offscreen, mrml_views  # noqa: E402
from SuperResolutionLib.geometry import refine  # noqa: E402

OBLIQUE = np.array([[0.8, 0, 1.8, 10], [0, 0.7, 0, -20], [-0.6, 0, 2.4, 30], [0, 0, 0, 1.0]])  # slices 3 mm apart


@pytest.fixture
def pair(scene):
    """A volume and one twice as fine, in two linked views of different size that show all of it."""
    application = slicer.app.applicationLogic()
    coarse = np.random.default_rng(1).integers(0, 1000, (7, 24, 32)).astype(np.int16)
    fine = coarse.repeat(2, axis=1).repeat(2, axis=2)
    nodes, logics = [], []
    for name, array, matrix in (("coarse", coarse, OBLIQUE), ("fine", fine, refine(OBLIQUE, (2, 2, 1)))):
        node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        mrml.fillNode(node, mrml.imageFromArray(array), matrix)
        node.CreateDefaultDisplayNodes()
        logic = mrml_offscreen.addSliceLogic(application, mrml_offscreen.addSliceNode(name), 200, 150)
        mrml_views.setUp(logic, node, name, (1, 1, 1))
        nodes.append(node)
        logics.append(logic)
    mrml_views.orient(logics[0], nodes[0], "volume")
    mrml_views.fit(logics[0])
    mrml_views.align(logics[1], logics[0])
    yield types.SimpleNamespace(nodes=nodes, logics=logics, arrays=(coarse, fine))
    for logic in logics:
        mrml_offscreen.removeSliceLogic(application, logic)


def offsets(pair) -> list[float]:
    return [logic.GetSliceOffset() for logic in pair.logics]


def test_scrollingMovesBothViewsAndStopsAtTheEnds(pair):
    before = offsets(pair)
    mrml_navigate.scroll(pair.logics[0], 1)
    assert offsets(pair) == pytest.approx([offset + 3 for offset in before])
    mrml_navigate.scroll(pair.logics[1], -100)
    assert offsets(pair) == pytest.approx([mrml_navigate.sliceRange(pair.logics[0])[0]] * 2)
    first = mrml_navigate.valueAt(pair.nodes[0], mrml_navigate.pointRAS(pair.logics[0], 100, 75))
    assert first[0][2] in (0, 6)  # the outermost slice, whichever way the view looks


def test_panningMovesWhatIsUnderThePointer(pair):
    was = mrml_navigate.pointRAS(pair.logics[0], 60, 40)
    mrml_navigate.pan(pair.logics[0], 13, -7)
    np.testing.assert_allclose(mrml_navigate.pointRAS(pair.logics[0], 73, 33), was, atol=1e-9)
    np.testing.assert_allclose(mrml_navigate.pointRAS(pair.logics[1], 73, 33), was, atol=1e-9)


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_zoomingKeepsThePointUnderThePointer(pair, factor):
    width = pair.logics[0].GetSliceNode().GetFieldOfView()[0]
    mrml_navigate.zoom(pair.logics[0], factor, 30.5, 120)
    for logic in pair.logics:
        assert logic.GetSliceNode().GetFieldOfView()[0] == pytest.approx(width / factor)
    near = [mrml_navigate.pointRAS(logic, 30.5, 120) for logic in pair.logics]
    mrml_navigate.zoom(pair.logics[0], 1 / factor, 30.5, 120)
    np.testing.assert_allclose(near[0], mrml_navigate.pointRAS(pair.logics[0], 30.5, 120), atol=0.3)
    np.testing.assert_allclose(near[0], near[1], atol=1e-6)


def test_zoomHasLimits(pair):
    for factor, limit in ((1e9, mrml_navigate.NARROWEST), (1e-12, mrml_navigate.WIDEST)):
        mrml_navigate.zoom(pair.logics[0], factor, 100, 75)
        assert pair.logics[0].GetSliceNode().GetFieldOfView()[0] == pytest.approx(limit)


def test_valuesAreThoseOfTheVoxelUnderThePoint(pair):
    matrix = mrml.ijkToRAS(pair.nodes[1])
    for index in ((0, 0, 0), (63, 47, 6), (20, 31, 3)):
        ras = (matrix @ (*index, 1.0))[:3]
        place, value = mrml_navigate.valueAt(pair.nodes[1], ras)
        assert place == index
        assert value == pair.arrays[1][index[2], index[1], index[0]]
        assert mrml_navigate.valueAt(pair.nodes[0], ras)[1] == value
    assert mrml_navigate.valueAt(pair.nodes[1], (matrix @ (-0.6, 0, 0, 1.0))[:3]) is None


def test_whatAViewShowsIsThatRegion(pair):
    assert mrml_navigate.regionInView(pair.logics[0], pair.nodes[0]) == ((0, 32), (0, 24), (0, 7))
    mrml_navigate.zoom(pair.logics[0], 4.0, 100, 75)
    region = mrml_navigate.regionInView(pair.logics[0], pair.nodes[0])
    assert region[2] == (0, 7)
    for start, stop in region[:2]:
        assert 0 < start < stop < 32
    for x, y in ((1, 1), (199, 149)):
        place, _value = mrml_navigate.valueAt(pair.nodes[0], mrml_navigate.pointRAS(pair.logics[0], x, y))
        assert all(start <= index < stop for index, (start, stop) in zip(place, region))
    mrml_navigate.pan(pair.logics[0], 1e5, 0)
    assert mrml_navigate.regionInView(pair.logics[0], pair.nodes[0]) is None


def test_anImageKeepsItsStampUntilItChanges(pair):
    first, second = pair.logics
    stamps = [mrml_offscreen.imageStamp(logic) for logic in pair.logics]
    assert 0 not in stamps
    assert [mrml_offscreen.imageStamp(logic) for logic in pair.logics] == stamps
    mrml_navigate.setWindow(pair.nodes[0], 100, 500)
    assert mrml_offscreen.imageStamp(first) != stamps[0]
    assert mrml_offscreen.imageStamp(second) == stamps[1]
    mrml_views.clear(first)
    assert mrml_offscreen.imageStamp(first) == 0
    assert mrml_offscreen.sliceImage(first) is None


def test_aLensShowsTheSamePlaceLarger(pair):
    application = slicer.app.applicationLogic()
    lens = mrml_offscreen.addSliceLogic(application, mrml_offscreen.addSliceNode("lens"), 50, 50)
    lens.GetSliceCompositeNode().SetBackgroundVolumeID(pair.nodes[0].GetID())
    ras = mrml_navigate.pointRAS(pair.logics[0], 80, 60)
    mrml_navigate.look(lens, pair.logics[0], ras, 4.0)
    np.testing.assert_allclose(mrml_navigate.pointRAS(lens, 25.5, 24.5), ras, atol=0.3)
    pixels = [
        logic.GetSliceNode().GetFieldOfView()[0] / logic.GetSliceNode().GetDimensions()[0]
        for logic in (pair.logics[0], lens)
    ]
    assert pixels[0] == pytest.approx(4 * pixels[1])
    mrml_offscreen.removeSliceLogic(application, lens)


def test_aBentVolumeIsShownInThePlaneNearestToItsSlices(pair, scene, capfd):
    import vtk

    bending = vtk.vtkThinPlateSplineTransform()
    points = [vtk.vtkPoints(), vtk.vtkPoints()]
    for x, y, z in [(0, 0, 0), (40, 0, 0), (0, 40, 0), (0, 0, 60), (40, 40, 60)]:
        points[0].InsertNextPoint(x, y, z)
        points[1].InsertNextPoint(x + 0.02 * y * y, y, z)
    bending.SetSourceLandmarks(points[0])
    bending.SetTargetLandmarks(points[1])
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetAndObserveTransformToParent(bending)
    pair.nodes[0].SetAndObserveTransformNodeID(transform.GetID())
    mrml_views.orient(pair.logics[0], pair.nodes[0], "volume")
    matrix = slicer.util.arrayFromVTKMatrix(pair.logics[0].GetSliceNode().GetSliceToRAS())
    np.testing.assert_array_equal(np.abs(matrix[:3, :3]).max(axis=0), 1)
    assert "non-linear" not in capfd.readouterr().err
