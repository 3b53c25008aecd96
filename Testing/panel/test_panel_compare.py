"""The Compare section: when it can be used, what each of its widgets does, and that it leaves nothing behind."""

from __future__ import annotations

import types

import numpy as np
import pytest

from Testing.mrml.nodes import resultFor
from Testing.panel.form_bench import FORM, parameterNodeClass

FOUR_UP = 3


@pytest.fixture
def bench(scene, addVolume):
    """Function that opens the form with a CompareView behind it, over an input with SR and bicubic volumes."""
    import slicer
    import vtk

    from SuperResolutionLib import mrml
    from SuperResolutionPanel.compareview import CompareView
    from Testing.panel_host.widgets import destroy

    opened = []

    def open():
        node = addVolume()
        node.CreateDefaultDisplayNodes()
        sr, bicubic = mrml.addResult(node, resultFor(node))
        widget = slicer.util.loadUI(str(FORM))
        ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        parameters = parameterNodeClass()(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Parameters"))
        parameters.inputVolume, parameters.srVolume, parameters.bicubicVolume = node, sr, bicubic
        view = CompareView(ui)
        guiTag = parameters.connectGui(ui)
        tag = parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda _caller, _event: view.update(parameters))
        view.update(parameters)

        def close():
            parameters.RemoveObserver(tag)
            parameters.disconnectGui(guiTag)
            view.close()
            destroy(widget)

        opened.append(close)
        return types.SimpleNamespace(
            ui=ui, view=view, parameters=parameters, input=node, sr=sr, bicubic=bicubic, widget=widget
        )

    yield open
    for close in opened:
        close()


@pytest.fixture
def opened(bench, layoutManager):
    return bench()


@pytest.fixture
def mainWindow(monkeypatch):
    """A main window, for keys."""
    import qt
    import slicer

    window = qt.QMainWindow()
    monkeypatch.setattr(slicer.util, "mainWindow", lambda verbose=True: window)
    yield window
    window.deleteLater()


def names(layoutManager) -> list[str]:
    """The volumes that the slice views show, by view."""
    import slicer

    widgets = [layoutManager.sliceWidget(name) for name in layoutManager.sliceViewNames()]
    shown = [widget.mrmlSliceCompositeNode().GetBackgroundVolumeID() for widget in widgets]
    return [slicer.mrmlScene.GetNodeByID(each).GetName() for each in shown]


def test_oneClickComparesAndAnotherEndsIt(opened, layoutManager):
    opened.ui.compareButton.click()
    assert opened.view.shown and opened.ui.compareButton.checked
    assert layoutManager.layout >= 100
    assert names(layoutManager) == ["CT head SR x4", "CT head bicubic x4"]
    opened.ui.compareButton.click()
    assert not opened.view.shown and not opened.ui.compareButton.checked
    assert layoutManager.layout == FOUR_UP
    assert layoutManager.sliceViewNames() == ["Red", "Green", "Yellow"]


def test_thePreviousLayoutComesBack(opened, layoutManager):
    layoutManager.setLayout(6)  # one red view
    opened.view.show()
    opened.view.hide()
    assert layoutManager.layout == 6


def test_aMaximizedViewDoesNotHideTheOthers(opened, layoutManager):
    """A double click maximizes a view."""
    layoutNode = layoutManager.layoutLogic().GetLayoutNode()
    layoutNode.AddMaximizedViewNode(layoutManager.sliceWidget("Red").mrmlSliceNode())
    opened.ui.compareButton.click()
    assert names(layoutManager) == ["CT head SR x4", "CT head bicubic x4"]
    layoutNode.AddMaximizedViewNode(layoutManager.sliceWidget("SuperResolutionSR").mrmlSliceNode())
    assert names(layoutManager) == ["CT head SR x4"]
    opened.ui.originalCheckBox.click()
    assert names(layoutManager) == ["CT head SR x4", "CT head bicubic x4", "CT head"]
    layoutNode.AddMaximizedViewNode(layoutManager.sliceWidget("SuperResolutionSR").mrmlSliceNode())
    opened.ui.compareButton.click()
    assert layoutManager.sliceViewNames() == ["Red", "Green", "Yellow"]


def test_bothViewsAreRendered(opened, layoutManager):
    """The pictures on the screen: the same place, so hardly different, and not empty."""
    from SuperResolutionLib.mrml_offscreen import sliceImage

    opened.view.show()
    pictures = [
        sliceImage(layoutManager.sliceWidget(name).sliceLogic())[..., 0] for name in layoutManager.sliceViewNames()
    ]
    assert all(picture.std() > 20 for picture in pictures)
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() < 6
    image = layoutManager.widget.grab().toImage()
    assert (image.width(), image.height()) == (800, 420)


def test_checkBoxesAddViews(opened, layoutManager):
    opened.view.show()
    opened.ui.originalCheckBox.click()
    assert names(layoutManager)[2:] == ["CT head"]
    opened.ui.differenceCheckBox.click()
    assert names(layoutManager)[2:] == ["CT head", "CT head SR x4 minus bicubic"]
    opened.ui.originalCheckBox.click()
    assert names(layoutManager)[2:] == ["CT head SR x4 minus bicubic"]
    opened.ui.differenceCheckBox.click()
    assert len(layoutManager.sliceViewNames()) == 2


def test_voxelsByChoice(opened):
    opened.view.show()
    assert opened.sr.GetDisplayNode().GetInterpolate() == 0
    opened.ui.showVoxelsCheckBox.click()
    assert opened.sr.GetDisplayNode().GetInterpolate() == 1
    opened.ui.showVoxelsCheckBox.click()
    opened.view.hide()
    assert opened.sr.GetDisplayNode().GetInterpolate() == 1


def test_orientationByChoice(opened, layoutManager):
    opened.view.show()
    box = opened.ui.orientationComboBox
    assert [box.itemData(index) for index in range(box.count)] == ["volume", "Axial", "Sagittal", "Coronal"]
    box.currentIndex = 3
    assert opened.parameters.orientation == "Coronal"
    for name in layoutManager.sliceViewNames():
        assert layoutManager.sliceWidget(name).mrmlSliceNode().GetOrientation() == "Coronal"
    opened.parameters.orientation = "Sagittal"
    assert box.currentData == "Sagittal"


def test_flickerButtonAndKey(opened, layoutManager, mainWindow):
    import qt

    assert not opened.ui.flickerButton.enabled
    assert not mainWindow.findChildren(qt.QShortcut)
    opened.view.show()
    opened.ui.flickerButton.click()
    assert names(layoutManager)[0] == "CT head bicubic x4"
    (shortcut,) = mainWindow.findChildren(qt.QShortcut)
    assert shortcut.key.toString() == "K"
    assert "(K)" in opened.ui.flickerButton.text and "key K " in opened.ui.flickerButton.toolTip
    shortcut.activated.emit()
    assert names(layoutManager)[0] == "CT head SR x4"
    opened.view.hide()
    assert not shortcut.enabled
    qt.QCoreApplication.sendPostedEvents(None, qt.QEvent.DeferredDelete)
    assert not mainWindow.findChildren(qt.QShortcut)
    assert not opened.ui.flickerButton.enabled


def test_onlyWhatExistsCanBeCompared(opened):
    ui, parameters = opened.ui, opened.parameters
    assert ui.compareButton.enabled and ui.originalCheckBox.enabled and ui.differenceCheckBox.enabled
    parameters.bicubicVolume = None
    assert ui.compareButton.enabled, "with the input"
    assert not ui.originalCheckBox.enabled and not ui.differenceCheckBox.enabled
    parameters.inputVolume = None
    assert not ui.compareButton.enabled
    assert "Upscale a volume first" in ui.compareButton.toolTip
    parameters.inputVolume, parameters.srVolume = opened.input, None
    assert not ui.compareButton.enabled
    opened.view.update(None)
    assert not ui.compareButton.enabled


def test_withoutBicubicTheInputIsCompared(opened, layoutManager):
    opened.parameters.bicubicVolume = None
    opened.ui.compareButton.click()
    assert names(layoutManager) == ["CT head SR x4", "CT head"]


def test_choosingOtherVolumesChangesTheViews(opened, layoutManager):
    from SuperResolutionLib import mrml

    opened.view.show()
    other, bicubic = mrml.addResult(opened.input, resultFor(opened.input, 2))
    opened.parameters.srVolume, opened.parameters.bicubicVolume = other, bicubic
    assert names(layoutManager) == ["CT head SR x2", "CT head bicubic x2"]
    opened.parameters.srVolume = None
    assert not opened.view.shown and layoutManager.layout == FOUR_UP


def test_runIntoTheShownVolumes(opened, layoutManager):
    """A second run while the comparison is open: it stays, with one difference volume, up to date, and true voxels."""
    import slicer

    from SuperResolutionLib import mrml

    opened.parameters.showDifference = True
    opened.view.show()
    mrml.addResult(opened.input, resultFor(opened.input), opened.sr, opened.bicubic)
    opened.view.update(opened.parameters)
    (difference,) = slicer.util.getNodes("*minus bicubic*").values()
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(difference), -3)
    assert names(layoutManager) == ["CT head SR x4", "CT head bicubic x4", "CT head SR x4 minus bicubic"]
    assert opened.sr.GetDisplayNode().GetInterpolate() == 0


def test_deletedResultEndsIt(opened, layoutManager, scene):
    opened.view.show()
    scene.RemoveNode(opened.sr)
    assert not opened.view.shown and not opened.ui.compareButton.checked
    assert layoutManager.layout == FOUR_UP


def test_deletedBicubicVolumeGivesItsPlaceToTheInput(opened, layoutManager, scene):
    opened.parameters.showOriginal = opened.parameters.showDifference = True
    opened.view.show()
    scene.RemoveNode(opened.bicubic)
    assert opened.view.shown and opened.ui.compareButton.checked
    assert names(layoutManager) == ["CT head SR x4", "CT head"]


def test_closedSceneEndsIt(opened, layoutManager, scene):
    opened.ui.originalCheckBox.click()
    opened.ui.differenceCheckBox.click()
    opened.view.show()
    scene.Clear(0)
    assert not opened.view.shown and not opened.ui.compareButton.checked
    assert layoutManager.layout == FOUR_UP


def test_anotherLayoutEndsIt(opened, layoutManager):
    opened.view.show()
    layoutManager.setLayout(6)
    assert not opened.view.shown and not opened.ui.compareButton.checked
    assert layoutManager.layout == 6


def test_differenceThatCannotBeMadeIsSaid(opened, errorsShown, monkeypatch, layoutManager):
    from SuperResolutionLib import mrml_difference

    def fail(minuend, subtrahend):
        raise MemoryError

    monkeypatch.setattr(mrml_difference, "subtract", fail)
    opened.view.show()
    opened.ui.differenceCheckBox.click()
    assert len(errorsShown) == 1 and "not enough memory" in errorsShown[0]
    assert not opened.view.shown and layoutManager.layout == FOUR_UP


def test_startsWhereTheUserLooks(opened, layoutManager):
    red = layoutManager.sliceWidget("Red")
    red.mrmlSliceCompositeNode().SetBackgroundVolumeID(opened.input.GetID())
    red.sliceLogic().FitSliceToAll()
    for offset in (0.0, 3.0):
        red.sliceLogic().SetSliceOffset(offset)
        opened.view.show()
        logic = layoutManager.sliceWidget("SuperResolutionSR").sliceLogic()
        assert logic.GetSliceOffset() == pytest.approx(offset, abs=1e-6)
        opened.view.hide()


def test_currentSlice(opened, layoutManager):
    assert opened.view.sliceNode() is layoutManager.sliceWidget("Red").mrmlSliceNode()
    layoutManager.setLayout(8)  # one green view
    assert opened.view.sliceNode() is layoutManager.sliceWidget("Green").mrmlSliceNode()
    opened.view.show()
    assert opened.view.sliceNode() is layoutManager.sliceWidget("SuperResolutionSR").mrmlSliceNode()


def test_currentSliceOfASagittalVolume(opened, layoutManager):
    """The view that scrolls through the slices of the volume, wherever the user has put them."""
    import slicer

    turned = np.array([[0, 0, 1.2, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    voxels = np.zeros((6, 20, 20), np.int16)
    opened.parameters.inputVolume = slicer.util.addVolumeFromArray(voxels, ijkToRAS=turned, name="MRHead")
    sliceNodes = {name: layoutManager.sliceWidget(name).mrmlSliceNode() for name in ("Red", "Green", "Yellow")}
    assert opened.view.sliceNode() is sliceNodes["Yellow"]
    sliceNodes["Red"].SetOrientation("Sagittal")
    assert opened.view.sliceNode() is sliceNodes["Red"], "the first among equals"
    sliceNodes["Red"].SetOrientation("Axial")  # slice nodes survive the scene
    layoutManager.setLayout(8)  # one green view
    assert opened.view.sliceNode() is sliceNodes["Green"]


def test_withoutWindowThereIsNoComparison(bench):
    opened = bench()
    assert not opened.ui.compareButton.enabled
    opened.view.show()
    opened.view.hide()
    assert not opened.view.shown
    assert opened.view.sliceNode() is None


def test_savedSceneIsComparedAgain(opened, layoutManager, scene, tmp_path):
    import slicer

    opened.view.show()
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert layoutManager.layout == FOUR_UP
    parameters = parameterNodeClass()(slicer.util.getNode("Parameters"))
    assert parameters.srVolume.GetName() == "CT head SR x4"
    opened.view.update(parameters)
    opened.view.show()
    assert names(layoutManager) == ["CT head SR x4", "CT head bicubic x4"]


def test_comparedAgainAfterTheSceneWasClosed(bench, layoutManager, scene):
    """Views survive the scene, and Slicer links them by their slice nodes: there must be one of each, in use."""
    import slicer

    def show():
        opened = bench()
        opened.view.show()
        return opened

    first = show()
    scene.Clear(0)
    assert not first.view.shown
    first.view.update(None)
    show()
    sliceNodes = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    names = [node.GetLayoutName() for node in sliceNodes]
    assert len(names) == len(set(names)) and {"SuperResolutionSR", "SuperResolutionBicubic"} < set(names)
    widgets = [layoutManager.sliceWidget(name) for name in layoutManager.sliceViewNames()]
    assert all(widget.mrmlSliceNode() in sliceNodes for widget in widgets)
    widgets[0].sliceController().setSliceOffsetValue(3.0)
    assert [widget.sliceLogic().GetSliceOffset() for widget in widgets] == pytest.approx([3.0, 3.0])


def test_nothingIsBuiltWhileAResultIsAdded(opened, layoutManager):
    """A result of another grid takes the place of one that is shown with its difference."""
    import slicer

    from SuperResolutionLib import mrml
    from Testing.panel.fakes import waitUntil

    opened.parameters.showDifference = True
    opened.view.show()
    before = names(layoutManager)
    during = []
    for node in (opened.sr, opened.bicubic):
        node.AddObserver(node.ImageDataModifiedEvent, lambda _caller, _event: during.append(names(layoutManager)))
    mrml.addResult(opened.input, resultFor(opened.input, 2), opened.sr, opened.bicubic)
    assert during == [before] * len(during) and len(during) >= 2
    waitUntil(lambda: not opened.view._catchUpTimer.isActive())
    assert names(layoutManager) == before
    (difference,) = slicer.util.getNodes("*minus bicubic*").values()
    assert difference.GetImageData().GetDimensions() == opened.sr.GetImageData().GetDimensions() == (16, 12, 2)


def test_aChoiceMadeWhileViewsAreBuiltIsKept(opened, layoutManager):
    opened.view.show()
    settle, waiting = opened.view._comparison._settle, [opened.ui.differenceCheckBox.click]

    def clickMeanwhile():
        if waiting:
            waiting.pop()()
        settle()

    opened.view._comparison._settle = clickMeanwhile
    opened.ui.originalCheckBox.click()
    assert len(names(layoutManager)) == 4 and any("minus bicubic" in name for name in names(layoutManager))


def test_aSceneViewBringsNoSquaresBack(opened, layoutManager, scene):
    import slicer

    scene.RegisterNodeClass(slicer.vtkMRMLSceneViewNode())
    sceneView = scene.AddNewNodeByClass("vtkMRMLSceneViewNode", "view")
    opened.view.show()
    assert not opened.sr.GetDisplayNode().GetInterpolate()
    sceneView.StoreScene()
    opened.view.hide()
    sceneView.RestoreScene()
    assert opened.sr.GetDisplayNode().GetInterpolate()
