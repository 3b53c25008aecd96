"""The host's layout manager: it must build, link and paint views as Slicer's does, or the other tests mean little."""

from __future__ import annotations

import numpy as np
import pytest


def colorAt(widget, x: int, y: int) -> tuple[int, int, int]:
    color = widget.grab().toImage().pixelColor(x, y)
    return color.red(), color.green(), color.blue()


def test_layoutManagerIsThereOnDemandOnly(scene):
    import slicer

    assert slicer.app.layoutManager() is None


def test_layoutsOfSlicer(layoutManager):
    import slicer

    assert slicer.app.layoutManager() is layoutManager
    assert layoutManager.sliceViewNames() == ["Red", "Green", "Yellow"]
    layoutManager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView)
    assert layoutManager.sliceViewNames() == ["Red", "Yellow"]
    mapped = [layoutManager.sliceWidget(name).mrmlSliceNode().IsMappedInLayout() for name in ("Red", "Green", "Yellow")]
    assert mapped == [1, 0, 1]
    assert layoutManager.sliceWidget("Blue") is None
    widths = [layoutManager.sliceWidget(name).mrmlSliceNode().GetDimensions()[0] for name in ("Red", "Yellow")]
    assert sum(widths) == pytest.approx(layoutManager.widget.width, abs=4)


def test_maximizedViewIsAloneUntilAnotherLayout(layoutManager):
    layoutNode = layoutManager.layoutLogic().GetLayoutNode()
    layoutNode.AddMaximizedViewNode(layoutManager.sliceWidget("Green").mrmlSliceNode())
    assert (layoutManager.sliceViewNames(), layoutManager.layout) == (["Green"], 3)
    layoutNode.SetViewArrangement(6)  # one red view
    assert layoutManager.sliceViewNames() == ["Green"], "as in Slicer, whose menu lets go of it first"
    layoutManager.setLayout(3)
    assert layoutManager.sliceViewNames() == ["Red", "Green", "Yellow"]


def test_viewsPaintWhatTheyShow(layoutManager, scene):
    import slicer

    node = slicer.util.addVolumeFromArray(np.full((3, 8, 8), 100, np.int16), name="white")
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevel(100, 50)
    layoutManager.setLayout(6)
    red = layoutManager.sliceWidget("Red")
    assert colorAt(red, red.width // 2, red.height // 2) == (0, 0, 0)
    red.mrmlSliceCompositeNode().SetBackgroundVolumeID(node.GetID())
    layoutManager.resetSliceViews()
    assert colorAt(red, red.width // 2, red.height // 2) == (255, 255, 255)
    assert colorAt(red, 2, red.height // 2) == (0, 0, 0), "beside the volume"
    node.GetDisplayNode().SetWindowLevel(200, 100)
    assert colorAt(red, red.width // 2, red.height // 2)[0] == pytest.approx(127, abs=1)


def test_controllersLinkViews(layoutManager, addVolume):
    node = addVolume()
    for name in ("Red", "Green"):
        widget = layoutManager.sliceWidget(name)
        widget.mrmlSliceNode().SetOrientation("Axial")
        widget.mrmlSliceCompositeNode().SetBackgroundVolumeID(node.GetID())
        widget.sliceController().setSliceLink(True)
        widget.sliceController().setHotLinked(True)
    layoutManager.sliceWidget("Red").sliceController().setSliceOffsetValue(2.5)
    assert layoutManager.sliceWidget("Green").sliceLogic().GetSliceOffset() == pytest.approx(2.5)
    assert layoutManager.mrmlSliceLogics().GetNumberOfItems() == 3


def test_savedVolumeIsLoaded(addVolume, tmp_path):
    import slicer

    node = addVolume()
    before = slicer.util.arrayFromVolume(node).copy()
    assert slicer.util.saveNode(node, str(tmp_path / "head.nrrd"))
    again = slicer.util.loadVolume(str(tmp_path / "head.nrrd"))
    assert again.GetName() == "head"
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(again), before)
