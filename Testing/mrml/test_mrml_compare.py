"""The comparison on real slice logics: what each view shows, how they follow each other, and what is left behind."""

from __future__ import annotations

import numpy as np
import pytest

from SuperResolutionLib.errors import UsageError
from Testing.mrml.nodes import addVolume, resultFor

slicer = pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")

from SuperResolutionLib import mrml  # noqa: E402  (needs slicer)
from SuperResolutionLib.mrml_compare import Comparison  # noqa: E402
from SuperResolutionLib.mrml_layout import (  # noqa: E402
    DIFFERENCE_VIEW,
    LAYOUTS,
    ORIGINAL_VIEW,
    PARTNER_VIEW,
    SR_VIEW,
)
from SuperResolutionLib.mrml_offscreen import sliceImage  # noqa: E402

FOUR_UP = 3


@pytest.fixture
def triple(scene):
    """(input, SR, bicubic) nodes."""
    voxels = np.random.default_rng(5).integers(-500, 500, (5, 12, 16)).astype(np.int16)
    node = addVolume(voxels)
    node.CreateDefaultDisplayNodes()
    return (node, *mrml.addResult(node, resultFor(node)))


@pytest.fixture
def endings():
    """One entry for each time that the comparison ended by itself."""
    return []


@pytest.fixture
def comparison(views, triple, endings):
    made = Comparison(views.logic, views.layoutNode, ended=lambda: endings.append("ended"))
    yield made
    made.close()


def backgrounds(comparison) -> dict:
    return {name: logic.GetSliceCompositeNode().GetBackgroundVolumeID() for name, logic in comparison.logics.items()}


def places(comparison) -> list[np.ndarray]:
    """Plane, panning and width of each view as one vector."""
    found = []
    for logic in comparison.logics.values():
        node = logic.GetSliceNode()
        plane = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS()).ravel()
        found.append(np.array([*plane, *node.GetXYZOrigin(), node.GetFieldOfView()[0]]))
    return found


def assertSamePlaces(comparison) -> None:
    first, *others = places(comparison)
    for each in others:
        np.testing.assert_allclose(each, first, atol=1e-9)


def test_twoViewsShowTheTwoVolumes(comparison, triple, views):
    node, sr, bicubic = triple
    comparison.show(node, sr, bicubic)
    assert views.layoutNode.GetViewArrangement() in LAYOUTS
    assert backgrounds(comparison) == {SR_VIEW: sr.GetID(), PARTNER_VIEW: bicubic.GetID()}
    labels = [logic.GetSliceNode().GetLayoutLabel() for logic in comparison.logics.values()]
    assert labels == ["SR", "Bicubic"]
    assertSamePlaces(comparison)
    comparison.hide()
    assert views.layoutNode.GetViewArrangement() == FOUR_UP
    assert not comparison.shown


def test_furtherViewsOnDemand(comparison, triple):
    node, sr, bicubic = triple
    shown = {}
    for original, difference in ((True, False), (False, True), (True, True)):
        comparison.show(node, sr, bicubic, original, difference)
        shown[original, difference] = list(comparison.logics)
        assertSamePlaces(comparison)
    assert shown[True, False] == [SR_VIEW, PARTNER_VIEW, ORIGINAL_VIEW]
    assert shown[False, True] == [SR_VIEW, PARTNER_VIEW, DIFFERENCE_VIEW]
    assert shown[True, True] == [SR_VIEW, PARTNER_VIEW, ORIGINAL_VIEW, DIFFERENCE_VIEW]
    assert backgrounds(comparison)[ORIGINAL_VIEW] == node.GetID()


def test_withoutBicubicTheInputIsThePartner(comparison, triple):
    node, sr, _bicubic = triple
    comparison.show(node, sr, None, original=True, difference=True)
    assert backgrounds(comparison) == {SR_VIEW: sr.GetID(), PARTNER_VIEW: node.GetID()}
    assert comparison.logics[PARTNER_VIEW].GetSliceNode().GetLayoutLabel() == "Input"


def test_nothingToCompareIsSaid(comparison, triple, scene, views):
    node, sr, _bicubic = triple
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    for arguments in ((node, None, None), (node, empty, None), (None, sr, None), (sr, sr, None), (node, sr, sr)):
        with pytest.raises(UsageError):
            comparison.show(*arguments)
    assert views.layoutNode.GetViewArrangement() == FOUR_UP


def test_slicesScrollTogether(comparison, triple):
    comparison.show(*triple, original=True, difference=True)
    logics = list(comparison.logics.values())
    before = logics[0].GetSliceOffset()
    for moved in logics:
        moved.StartSliceOffsetInteraction()
        moved.SetSliceOffset(moved.GetSliceOffset() + 3.3)
        moved.EndSliceOffsetInteraction()
        assertSamePlaces(comparison)
    assert logics[0].GetSliceOffset() == pytest.approx(before + 4 * 3.3)


def test_zoomAndPanningAreLinked(comparison, triple):
    comparison.show(*triple)
    flags = slicer.vtkMRMLSliceNode.FieldOfViewFlag | slicer.vtkMRMLSliceNode.XYZOriginFlag
    second = comparison.logics[PARTNER_VIEW]
    node = second.GetSliceNode()
    second.StartSliceNodeInteraction(flags)
    width, height, depth = node.GetFieldOfView()
    node.SetFieldOfView(width / 3, height / 3, depth)
    node.SetXYZOrigin(1.5, -2.0, 0)
    second.EndSliceNodeInteraction()
    assertSamePlaces(comparison)
    assert comparison.logics[SR_VIEW].GetSliceNode().GetFieldOfView()[0] == pytest.approx(width / 3)


def test_eachViewKeepsItsVolume(comparison, triple, scene):
    node, sr, bicubic = triple
    comparison.show(node, sr, bicubic)
    logic = comparison.logics[SR_VIEW]
    logic.StartSliceCompositeNodeInteraction(slicer.vtkMRMLSliceCompositeNode.BackgroundVolumeFlag)
    logic.GetSliceCompositeNode().SetBackgroundVolumeID(node.GetID())
    logic.EndSliceCompositeNodeInteraction()
    assert backgrounds(comparison)[PARTNER_VIEW] == bicubic.GetID()


def test_loadingAVolumeDoesNotPutItIntoTheseViews(comparison, triple):
    comparison.show(*triple)
    before = backgrounds(comparison)
    other = addVolume(np.zeros((2, 3, 4), np.int16), "other")
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetActiveVolumeID(other.GetID())
    slicer.app.applicationLogic().PropagateVolumeSelection()
    assert backgrounds(comparison) == before


def test_whatTheUserLaysOverAViewStays(comparison, triple):
    """Until the comparison ends."""
    node, sr, bicubic = triple
    comparison.show(node, sr, bicubic)
    composite = comparison.logics[SR_VIEW].GetSliceCompositeNode()
    composite.SetForegroundVolumeID(node.GetID())
    comparison.show(node, sr, bicubic, voxels=False)
    comparison.flicker()
    assert composite.GetForegroundVolumeID() == node.GetID()
    comparison.hide()
    comparison.show(node, sr, bicubic)
    assert composite.GetForegroundVolumeID() is None


def test_usersViewsStayUntouched(comparison, triple, views, scene):
    red = views.logic("Red")
    red.GetSliceCompositeNode().SetBackgroundVolumeID(triple[0].GetID())
    red.FitSliceToAll()
    nodes = [node for name in ("Red", "Green", "Yellow") for node in _nodesOfView(views.logic(name))]
    before = [node.GetMTime() for node in nodes]
    comparison.show(*triple, original=True, difference=True, orientation="Coronal")
    first = comparison.logics[SR_VIEW]
    first.StartSliceOffsetInteraction()
    first.SetSliceOffset(first.GetSliceOffset() + 1)
    first.EndSliceOffsetInteraction()
    comparison.flicker()
    comparison.hide()
    assert [node.GetMTime() for node in nodes] == before


def _nodesOfView(logic) -> list:
    return [logic.GetSliceNode(), logic.GetSliceCompositeNode()]


def test_windowAndLevelAreShared(comparison, triple):
    node, sr, bicubic = triple
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevel(400, 40)
    comparison.show(node, sr, bicubic)
    assert _levels(sr) == _levels(bicubic) == (400, 40), "as the input is shown"
    bicubic.GetDisplayNode().SetWindowLevel(1500, -600)
    assert _levels(sr) == (1500, -600)
    assert _levels(node) == (400, 40), "a volume that is not shown is not touched"
    comparison.show(node, sr, bicubic, original=True, difference=True)
    assert _levels(node) == (1500, -600)
    node.GetDisplayNode().SetWindowLevel(80, 30)
    assert _levels(sr) == _levels(bicubic) == (80, 30)
    comparison.hide()
    sr.GetDisplayNode().SetWindowLevel(10, 5)
    assert _levels(bicubic) == (80, 30)


@pytest.mark.parametrize("bicubicIsShown", [True, False])
def test_theInputKeepsItsLook(comparison, triple, bicubicIsShown):
    node, sr, bicubic = triple
    _setLook(node, 400, 40, "vtkMRMLColorTableNodeRed", True)
    shown = [node, sr, *([bicubic] if bicubicIsShown else [])]
    comparison.show(*shown, original=True)
    assert [_look(each) for each in shown] == [(400, 40, "vtkMRMLColorTableNodeRed", 1)] * len(shown)
    comparison.hide()
    assert _look(node) == (400, 40, "vtkMRMLColorTableNodeRed", 1)


def test_aResultThatJoinsLooksLikeTheOthers(comparison, triple):
    node, sr, bicubic = triple
    other, otherBicubic = mrml.addResult(node, resultFor(node, 2))
    _setLook(other, 10, 5, "vtkMRMLColorTableNodeRed", False)
    comparison.show(node, sr, bicubic, original=True)
    _setLook(sr, 400, 40, "vtkMRMLColorTableNodeGreen", True)
    comparison.show(node, other, otherBicubic, original=True)
    looks = {_look(each) for each in (node, other, otherBicubic)}
    assert looks == {(400, 40, "vtkMRMLColorTableNodeGreen", 1)}


def test_withoutTheInputTheResultIsFollowed(comparison, triple, scene):
    node, sr, bicubic = triple
    scene.RemoveNode(node)
    _setLook(sr, 400, 40, "vtkMRMLColorTableNodeRed", True)
    comparison.show(None, sr, bicubic)
    assert _look(bicubic) == _look(sr) == (400, 40, "vtkMRMLColorTableNodeRed", 1)


def _setLook(node, window: float, level: float, colorNodeID: str, isInverted: bool) -> None:
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(window, level)
    display.SetAndObserveColorNodeID(colorNodeID)
    display.SetInvertDisplayScalarRange(isInverted)


def _look(node) -> tuple:
    display = node.GetDisplayNode()
    return *_levels(node), display.GetColorNodeID(), display.GetInvertDisplayScalarRange()


def test_newDisplayNodeIsFollowed(comparison, triple, scene):
    node, sr, bicubic = triple
    comparison.show(node, sr, bicubic)
    display = scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
    display.AutoWindowLevelOff()
    bicubic.SetAndObserveDisplayNodeID(display.GetID())
    display.SetWindowLevel(123, 45)
    assert _levels(sr) == (123, 45)


def test_colorTableAndInversionAreShared(comparison, triple):
    node, sr, bicubic = triple
    comparison.show(node, sr, bicubic)
    sr.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeInvertedGrey")
    assert bicubic.GetDisplayNode().GetColorNodeID() == "vtkMRMLColorTableNodeInvertedGrey"
    sr.GetDisplayNode().SetInvertDisplayScalarRange(True)
    assert bicubic.GetDisplayNode().GetInvertDisplayScalarRange()


def _levels(node) -> tuple[float, float]:
    return node.GetDisplayNode().GetWindow(), node.GetDisplayNode().GetLevel()


def test_voxelsAreSquaresUntilTheEnd(comparison, triple):
    node, sr, bicubic = triple
    bicubic.GetDisplayNode().SetInterpolate(False)
    comparison.show(node, sr, bicubic, original=True, voxels=True)
    assert _interpolation(triple) == [0, 0, 0]
    comparison.show(node, sr, bicubic, voxels=True)
    assert _interpolation(triple) == [1, 0, 0], "the input's view is gone"
    comparison.show(node, sr, bicubic, voxels=False)
    assert _interpolation(triple) == [1, 1, 1]
    comparison.hide()
    assert _interpolation(triple) == [1, 1, 0]


def _interpolation(nodes) -> list[int]:
    return [node.GetDisplayNode().GetInterpolate() for node in nodes]


def test_voxelsAreSeenAsTheyAre(comparison, triple):
    """Each gray that is shown is that of a voxel; smoothing would show more."""
    comparison.show(*triple, voxels=True)
    exact = len(np.unique(sliceImage(comparison.logics[SR_VIEW])[..., 0]))
    comparison.show(*triple, voxels=False)
    smooth = len(np.unique(sliceImage(comparison.logics[SR_VIEW])[..., 0]))
    assert exact <= 12 * 16 + 1 and smooth > exact


def test_viewsShowTheSamePlaceOfTheImage(comparison, triple):
    """The test's SR and bicubic volumes differ by 3 units everywhere: the pictures may hardly differ."""
    comparison.show(*triple, original=True)
    pictures = [sliceImage(logic)[..., 0].astype(int) for logic in comparison.logics.values()]
    assert pictures[0].max() > 200
    assert np.abs(pictures[0] - pictures[1]).max() <= 2
    assert np.abs(pictures[0] - pictures[2]).max() <= 1


@pytest.mark.parametrize("stackedAlong", range(3))
def test_planeOfTheSlices(comparison, scene, views, stackedAlong):
    """Whatever axis of the patient the slices are stacked along: the view's normal is the stack's."""
    axes = np.roll(np.eye(3), stackedAlong, axis=1) * (0.8, 0.8, 4.0)
    turned = np.eye(4)
    angle = np.radians(12)
    turned[:3, :3] = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]) @ axes
    node = slicer.util.addVolumeFromArray(np.zeros((6, 20, 20), np.int16), ijkToRAS=turned, name="MR")
    sr, bicubic = mrml.addResult(node, resultFor(node))
    comparison.show(node, sr, bicubic)
    for logic in comparison.logics.values():
        view = slicer.util.arrayFromVTKMatrix(logic.GetSliceNode().GetSliceToRAS())[:3, :3]
        cosines = np.abs(view.T @ (turned[:3, :3] / np.linalg.norm(turned[:3, :3], axis=0)))
        assert cosines[2, 2] == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(np.sort(cosines, axis=0)[-1], 1, atol=1e-6)
    index = (np.linalg.inv(turned) @ slicer.util.arrayFromVTKMatrix(logic.GetSliceNode().GetSliceToRAS()))[2, 3]
    assert index == pytest.approx(round(index), abs=1e-3), "the view goes through the middle of a slice"


@pytest.mark.parametrize("orientation", ["Axial", "Sagittal", "Coronal"])
def test_patientPlanes(comparison, triple, orientation):
    comparison.show(*triple)
    comparison.show(*triple, orientation=orientation)
    for logic in comparison.logics.values():
        assert logic.GetSliceNode().GetOrientation() == orientation
    assertSamePlaces(comparison)


def test_placeIsKeptWhenViewsAreAdded(comparison, triple):
    comparison.show(*triple)
    first = comparison.logics[SR_VIEW]
    first.StartSliceOffsetInteraction()
    first.SetSliceOffset(first.GetSliceOffset() + 3.3)
    first.EndSliceOffsetInteraction()
    before = places(comparison)[0]
    comparison.show(*triple, original=True, difference=True)
    np.testing.assert_allclose(places(comparison)[0], before)
    assertSamePlaces(comparison)


def test_startsAtTheSliceThatTheUserLooksAt(comparison, triple):
    node, sr, bicubic = triple
    center = (mrml.ijkToRAS(node) @ (8, 6, 1, 1))[:3]
    comparison.show(node, sr, bicubic, center=center)
    toRAS = slicer.util.arrayFromVTKMatrix(comparison.logics[SR_VIEW].GetSliceNode().GetSliceToRAS())
    assert (np.linalg.inv(mrml.ijkToRAS(node)) @ toRAS[:, 3])[2] == pytest.approx(1, abs=1e-3)
    comparison.hide()
    comparison.show(node, sr, bicubic, center=(5000, 5000, 5000))
    toRAS = slicer.util.arrayFromVTKMatrix(comparison.logics[SR_VIEW].GetSliceNode().GetSliceToRAS())
    assert 0 <= (np.linalg.inv(mrml.ijkToRAS(node)) @ toRAS[:, 3])[2] <= 4


def test_flickerSwapsTheFirstView(comparison, triple):
    node, sr, bicubic = triple
    comparison.show(node, sr, bicubic)
    seen = []
    for _press in range(3):
        comparison.flicker()
        view = comparison.logics[SR_VIEW]
        seen.append((view.GetSliceCompositeNode().GetBackgroundVolumeID(), view.GetSliceNode().GetLayoutLabel()))
    assert seen == [(bicubic.GetID(), "Bicubic"), (sr.GetID(), "SR"), (bicubic.GetID(), "Bicubic")]
    comparison.hide()
    comparison.flicker()
    comparison.show(node, sr, bicubic)
    assert backgrounds(comparison)[SR_VIEW] == sr.GetID()


@pytest.mark.parametrize("gone", [1, 2])
def test_comparedVolumeThatIsDeletedEndsIt(comparison, triple, views, scene, endings, gone):
    comparison.show(*triple, original=True, difference=True)
    scene.RemoveNode(triple[gone])
    assert not comparison.shown and endings == ["ended"]
    assert views.layoutNode.GetViewArrangement() == FOUR_UP
    assert not slicer.util.getNodes("*minus bicubic*")


def test_inputThatIsDeletedClosesItsView(comparison, triple, scene, endings):
    comparison.show(*triple, original=True)
    scene.RemoveNode(triple[0])
    assert list(comparison.logics) == [SR_VIEW, PARTNER_VIEW] and endings == []


def test_differenceThatIsDeletedClosesItsView(comparison, triple, scene, endings):
    comparison.show(*triple, difference=True)
    scene.RemoveNode(slicer.util.getNode("*minus bicubic"))
    assert list(comparison.logics) == [SR_VIEW, PARTNER_VIEW] and endings == []


def test_sceneThatIsClosedEndsIt(comparison, triple, views, scene, endings):
    comparison.show(*triple, original=True, difference=True)
    scene.Clear(0)
    assert not comparison.shown and endings == ["ended"]
    assert views.layoutNode.GetViewArrangement() == FOUR_UP
    node = addVolume(np.zeros((2, 8, 8), np.int16))
    comparison.show(node, *mrml.addResult(node, resultFor(node)))
    assertSamePlaces(comparison)


def test_anotherLayoutOfTheUserStays(comparison, triple, views, endings):
    comparison.show(*triple)
    views.layoutNode.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    assert not comparison.shown and endings == ["ended"]
    assert views.layoutNode.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    comparison.hide()
    assert views.layoutNode.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView


def test_maximizedViewsGoWithTheirLayout(comparison, triple, views, scene):
    """A double click maximizes a view: Slicer's layout node would show it alone in any other layout, too."""
    views.layoutNode.AddMaximizedViewNode(scene.GetNodeByID("vtkMRMLSliceNodeRed"))
    comparison.show(*triple)
    assert views.layoutNode.GetNumberOfMaximizedViewNodes() == 0
    views.layoutNode.AddMaximizedViewNode(comparison.logics[SR_VIEW].GetSliceNode())
    assert comparison.shown
    comparison.hide()
    assert views.layoutNode.GetNumberOfMaximizedViewNodes() == 0
    assert views.layoutNode.GetViewArrangement() == FOUR_UP


def test_layoutLeftBehindIsNotComeBackTo(comparison, triple, views):
    """After a reload of the module the layout before may be our own."""
    comparison.show(*triple)
    again = Comparison(views.logic, views.layoutNode)
    again.show(*triple)
    again.hide()
    assert views.layoutNode.GetViewArrangement() == FOUR_UP
    again.close()


def test_viewsThatDoNotExistAreNoError(views, triple):
    """The web page may have two views only."""
    made = Comparison(lambda name: None)
    made.show(*triple, original=True)
    assert made.shown and made.logics == {}
    made.flicker()
    made.close()
    assert not made.shown


def test_colorVolumes(views, scene):
    node = addVolume(np.random.default_rng(1).integers(0, 255, (1, 10, 12, 3)).astype(np.uint8), "fundus")
    comparison = Comparison(views.logic, views.layoutNode)
    comparison.show(node, *mrml.addResult(node, resultFor(node)), original=True, difference=True)
    pictures = [sliceImage(logic) for logic in comparison.logics.values()]
    assert all(picture[..., :3].std() > 5 for picture in pictures[:3])
    assertSamePlaces(comparison)
    comparison.close()
