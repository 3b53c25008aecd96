"""Runs of the panel with a worker that only pretends: results, progress, cancelling, failing, nodes that vanish."""

from __future__ import annotations

import numpy as np
import pytest

from SuperResolutionLib.errors import ModelError, WorkerError
from Testing.panel.fakes import FakeCatalog, clickUpscale, waitUntil


def volumeNames() -> list[str]:
    import slicer

    return [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]


def shownVolumes(layoutManager) -> list:
    """The volumes in the background of the slice views that are shown."""
    import slicer

    widgets = [layoutManager.sliceWidget(name) for name in layoutManager.sliceViewNames()]
    shown = [widget.mrmlSliceCompositeNode().GetBackgroundVolumeID() for widget in widgets]
    return [slicer.mrmlScene.GetNodeByID(each) for each in shown]


def isReady(widget) -> bool:
    return widget.ui.applyButton.text == "Upscale" and widget.ui.applyButton.enabled


def test_upscaleCreatesBothVolumes(openPanel, addVolume, worker):
    import slicer

    node = addVolume()
    widget = openPanel()
    clickUpscale(widget)
    assert volumeNames() == ["CT head", "CT head SR x4", "CT head bicubic x4"]
    sr = widget._parameterNode.srVolume
    assert sr.GetName() == "CT head SR x4"
    assert widget.ui.srVolumeSelector.currentNode() is sr
    expected = slicer.util.arrayFromVolume(node).repeat(4, axis=1).repeat(4, axis=2)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(sr), expected)
    assert sr.GetAttribute("SuperResolution.Model") == "grey-fast-x4"
    assert "Created CT head SR x4, CT head bicubic x4" in widget.ui.statusLabel.text
    assert isReady(widget)
    assert worker.jobs[0].isReleased


def test_whatTheEngineHadToChangeIsSaid(openPanel, addVolume, worker):
    addVolume("fundus", channels=3)
    widget = openPanel()
    widget._parameterNode.modelFamily = "grey-fast"
    shown = widget._form.outlook.warnings
    worker.notices = [*shown, "The memory of cuda:0 did not suffice; the rest was computed on the CPU."]
    clickUpscale(widget)
    created, *said = widget.ui.statusLabel.text.splitlines()
    assert created.startswith("Created fundus SR x4") and created.endswith(" s.")
    assert shown and said == worker.notices[len(shown) :], "the warnings stand in the form already"


def test_upscaleWithNothingChosen(openPanel, worker):
    widget = openPanel()
    widget.ui.applyButton.click()
    assert not widget._run.running and worker.calls == []
    assert not widget.ui.applyButton.enabled and "input volume" in widget.ui.applyButton.toolTip


def test_logicWithNothingChosenSaysSo(module, worker):
    from SuperResolutionLib.errors import DataError

    with pytest.raises(DataError, match="No input volume is chosen"):
        module.SuperResolutionLogic(FakeCatalog(), worker).upscale(None, "grey-fast")
    assert worker.calls == []


def test_secondRunReplacesTheFirst(openPanel, addVolume, scene):
    addVolume()
    widget = openPanel()
    clickUpscale(widget)
    nodeCount = scene.GetNumberOfNodes()
    clickUpscale(widget)
    assert scene.GetNumberOfNodes() == nodeCount


def test_anotherInputGetsItsOwnResult(openPanel, addVolume):
    addVolume("first")
    second = addVolume("second")
    widget = openPanel()
    clickUpscale(widget)
    widget.ui.inputVolumeSelector.setCurrentNode(second)
    clickUpscale(widget)
    assert {"first SR x4", "second SR x4"} < set(volumeNames())
    assert widget.ui.srVolumeSelector.currentNode().GetName() == "second SR x4"


@pytest.mark.parametrize(
    ("parameter", "value", "name"),
    [
        ("modelFamily", "grey-good", "CT head SR x2"),
        ("extent", "roi", "CT head SR x4 region"),
        ("precision", "bfloat16", "CT head SR x4"),
    ],
)
def test_otherResultsAreKept(openPanel, addVolume, parameter, value, name):
    """The result of another model, scale or part stays as it is; the same again takes its place."""
    addVolume()
    widget = openPanel()
    clickUpscale(widget)
    first = widget._parameterNode.srVolume, widget._parameterNode.bicubicVolume
    images = [node.GetImageData() for node in first]
    if parameter == "extent":
        widget.ui.extentComboBox.currentIndex = widget.ui.extentComboBox.findData(value)
    else:
        setattr(widget._parameterNode, parameter, value)
    assert widget._parameterNode.srVolume is first[0], "a choice alone changes no output"
    clickUpscale(widget)
    second = widget._parameterNode.srVolume
    assert second.GetName() == name
    isKept = [node.GetImageData() is image for node, image in zip(first, images)] == [True, True]
    assert isKept == (second is not first[0]) == (parameter != "precision")


def test_anotherSliceIsKept(openPanel, addVolume, layoutManager):
    addVolume()
    widget = openPanel()
    widget._parameterNode.extent = "slice"
    names = []
    for offset in (0, 3, 3):
        layoutManager.sliceWidget("Red").mrmlSliceNode().SetSliceOffset(offset)
        clickUpscale(widget)
        names.append(widget._parameterNode.srVolume.GetName())
    assert names == ["CT head SR x4 slice 0", "CT head SR x4 slice 1", "CT head SR x4 slice 1"]


def test_volumeChosenByHandIsFilled(openPanel, addVolume):
    addVolume()
    other = addVolume("mine")
    widget = openPanel()
    widget.ui.srVolumeSelector.setCurrentNode(other)
    clickUpscale(widget)
    assert widget._parameterNode.srVolume is other and other.GetImageData().GetDimensions() == (32, 24, 2)


def test_progressIsShownWhileRunning(openPanel, addVolume, worker):
    addVolume()
    widget = openPanel()
    seen = []

    def look(step):
        ui = widget.ui
        enabled = ui.inputsCollapsibleButton.enabled
        seen.append((ui.applyButton.text, ui.progressBar.value, enabled, ui.statusLabel.text))

    worker.onPoll = look
    clickUpscale(widget)
    assert [text for text, _value, _enabled, _status in seen] == ["Cancel"] * 4
    assert [value for _text, value, _enabled, _status in seen] == [0, 0, 25, 50]
    assert not any(enabled for _text, _value, enabled, _status in seen)
    assert seen[2][3] == "Slice 2 of 4, about 3 s left"
    assert widget.ui.inputsCollapsibleButton.enabled


def test_takingTheResultIntoTheSceneIsAStage(openPanel, addVolume, monkeypatch):
    addVolume()
    widget = openPanel()
    stages = []
    monkeypatch.setattr(widget._form, "showProgress", lambda fraction, stage, left: stages.append((fraction, stage)))
    widget._run._form = widget._form
    clickUpscale(widget)
    assert stages[-1] == (1.0, "adding the result to the scene")


@pytest.mark.parametrize("step", [0, 2, 3])
def test_cancelLeavesTheSceneAsItWas(openPanel, addVolume, worker, errorsShown, scene, step):
    addVolume()
    widget = openPanel()
    nodeCount = scene.GetNumberOfNodes()
    worker.onPoll = lambda current: current == step and widget.ui.applyButton.click()
    clickUpscale(widget)
    assert len(worker.calls) == 1, "a click while running cancels, it does not start another run"
    assert scene.GetNumberOfNodes() == nodeCount
    assert worker.jobs[0].isReleased
    assert "Cancelled" in widget.ui.statusLabel.text
    assert isReady(widget)
    assert errorsShown == []


def test_cancelComesTooLateWhileTheResultIsAdded(openPanel, addVolume, monkeypatch):
    addVolume()
    widget = openPanel()
    show, enabled = widget._form.showProgress, []

    def cancelAtTheEnd(fraction, stage, left):
        show(fraction, stage, left)
        enabled.append(widget.ui.applyButton.enabled)
        if fraction == 1.0:
            widget.ui.applyButton.click()

    monkeypatch.setattr(widget._form, "showProgress", cancelAtTheEnd)
    clickUpscale(widget)
    assert set(enabled[:-1]) == {True} and not enabled[-1]
    assert "CT head SR x4" in volumeNames()
    assert "Created" in widget.ui.statusLabel.text and isReady(widget)


def test_cancelWhilePackagesAreInstalled(openPanel, addVolume, worker, firstUse):
    addVolume()
    widget = openPanel()
    firstUse.ensure = lambda: widget.ui.applyButton.click() or True
    widget.ui.applyButton.click()
    assert worker.calls == []
    assert "Cancelled" in widget.ui.statusLabel.text and isReady(widget)


@pytest.mark.parametrize(
    ("error", "sentence", "details"),
    [
        (ModelError("The weights of 'grey-fast-x4' are damaged."), "The weights of 'grey-fast-x4' are damaged.", None),
        (WorkerError("The process that computes crashed.", "last words"), "The process that computes crashed.", "last"),
        (MemoryError(), "There is not enough memory for this volume at this scale.", "MemoryError"),
        (ValueError("odd"), "Upscaling failed unexpectedly: odd", "Traceback"),
    ],
)
def test_failureIsOneSentence(openPanel, addVolume, worker, monkeypatch, error, sentence, details):
    import slicer

    shown = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, detailedText=None: shown.append((text, detailedText)))
    addVolume()
    widget = openPanel()
    worker.error = error
    clickUpscale(widget)
    assert [text for text, _details in shown] == [sentence]
    assert (shown[0][1] is None) if details is None else (details in shown[0][1])
    assert widget.ui.statusLabel.text == sentence
    assert volumeNames() == ["CT head"]
    assert isReady(widget)


@pytest.mark.parametrize("error", [None, ModelError("No.")])
def test_aFailureOfThePanelItselfIsShown(openPanel, addVolume, worker, monkeypatch, error):
    import slicer

    def fail(nodes):
        raise ZeroDivisionError("in the panel")

    shown = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, detailedText="": shown.append((text, detailedText)))
    addVolume()
    widget = openPanel()
    monkeypatch.setattr(widget._run, "_onEnd", fail)
    worker.error = error
    clickUpscale(widget)
    ((sentence, details),) = shown
    assert sentence == widget.ui.statusLabel.text == "Upscaling failed unexpectedly: in the panel"
    assert "ZeroDivisionError" in details and ("ModelError" in details) == (error is not None)
    assert isReady(widget) and widget.ui.inputsCollapsibleButton.enabled


def test_panelIsReadyBeforeTheDialogOpens(openPanel, addVolume, worker, monkeypatch):
    import slicer

    addVolume()
    widget = openPanel()
    seen = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda *_text, **_details: seen.append(isReady(widget)))
    worker.error = ModelError("No.")
    clickUpscale(widget)
    assert seen == [True]


def test_outputThatCannotTakeTheResultIsToldOnTheButton(openPanel, addVolume, worker, firstUse):
    volume = addVolume()
    fundus = addVolume("fundus", channels=3)
    widget = openPanel()
    chosen = widget._parameterNode
    for srVolume, bicubicVolume, words in (
        (fundus, None, "of another kind"),
        (volume, None, "'CT head' is the input"),
        (None, volume, "'CT head' is the input"),
    ):
        chosen.srVolume, chosen.bicubicVolume = srVolume, bicubicVolume
        assert not widget.ui.applyButton.enabled and words in widget.ui.applyButton.toolTip
        assert words in widget.ui.outlookLabel.text
    assert worker.calls == [] and firstUse.asked == 0
    chosen.makeBicubic = False  # it is not written then
    assert widget.ui.applyButton.enabled
    clickUpscale(widget)
    assert len(worker.calls) == 1


def test_bicubicVolumeThatIsNotWrittenMayGo(openPanel, addVolume, worker, scene, errorsShown):
    addVolume()
    widget = openPanel()
    clickUpscale(widget)
    widget._parameterNode.makeBicubic = False
    former = widget._parameterNode.bicubicVolume
    worker.onPoll = lambda step: scene.RemoveNode(former) if step == 1 else None
    clickUpscale(widget)
    assert errorsShown == [] and "Created CT head SR x4" in widget.ui.statusLabel.text


@pytest.mark.parametrize("change", ["hardened", "voxels"])
def test_inputChangedWhileRunning(openPanel, addVolume, worker, scene, errorsShown, change):
    import slicer
    import vtk

    volume = addVolume()

    def onPoll(step):
        if step == 1 and change == "hardened":
            matrix = vtk.vtkMatrix4x4()
            matrix.SetElement(0, 3, 100)
            volume.ApplyTransformMatrix(matrix)
        elif step == 1:
            slicer.util.updateVolumeFromArray(volume, np.zeros((3, 5, 7), np.int16))

    worker.onPoll = onPoll
    widget = openPanel()
    clickUpscale(widget)
    assert errorsShown == ["The input volume was changed during the run; upscale it again."]
    assert widget._parameterNode.srVolume is None


def test_liveInputMayGetOtherVoxelsWhileRunning(openPanel, addVolume, worker, errorsShown):
    import slicer

    volume = addVolume()
    before = slicer.util.arrayFromVolume(volume).copy()
    worker.onPoll = lambda step: slicer.util.updateVolumeFromArray(volume, before + step)
    widget = openPanel()
    clickUpscale(widget)
    assert errorsShown == []
    assert slicer.util.arrayFromVolume(widget._parameterNode.srVolume).max() == before.max()


def test_inputDeletedWhileRunning(openPanel, addVolume, worker, scene, errorsShown):
    node = addVolume()
    widget = openPanel()
    worker.onPoll = lambda step: step == 2 and scene.RemoveNode(node)
    clickUpscale(widget)
    assert volumeNames() == []
    assert "removed from the scene" in errorsShown[0]
    assert worker.jobs[0].state == "cancelled", "nobody waits for a result that has no place"


def test_outputDeletedWhileRunning(openPanel, addVolume, worker, scene, errorsShown):
    addVolume()
    widget = openPanel()
    clickUpscale(widget)
    sr = widget._parameterNode.srVolume
    worker.onPoll = lambda step: step == 2 and scene.RemoveNode(sr)
    clickUpscale(widget)
    assert "output volume CT head SR x4 was removed" in errorsShown[0]
    assert volumeNames() == ["CT head", "CT head bicubic x4"]
    worker.onPoll = lambda step: None
    clickUpscale(widget)
    assert widget._parameterNode.srVolume.GetName().startswith("CT head SR x4")


def test_speedIsRemembered(openPanel, addVolume):
    from SuperResolutionPanel import speed

    addVolume()
    widget = openPanel()
    work = widget._form.outlook.work
    assert work > 0 and speed.secondsFor("grey-fast-x4", "auto", work) is None
    clickUpscale(widget)
    assert speed.secondsFor("grey-fast-x4", "auto", work) == pytest.approx(0.5)
    assert "Expected time: about 1 s" in widget.ui.outlookLabel.text


def test_windowStaysAliveWhileRunning(openPanel, addVolume):
    import qt

    addVolume()
    widget = openPanel()
    widget.ui.applyButton.click()
    qt.QTimer.singleShot(0, widget.ui.applyButton.click)
    waitUntil(lambda: not widget._run.running)
    assert "Cancelled" in widget.ui.statusLabel.text, "the click waited in the event loop and was seen"


def test_regionOutsideTheVolume(openPanel, addVolume, worker, scene, errorsShown):
    node = addVolume()
    widget = openPanel()
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "far")
    roi.SetXYZ(500, 500, 500)
    roi.SetRadiusXYZ(1, 1, 1)
    widget._parameterNode.roi = roi
    widget._parameterNode.extent = "roi"
    assert not widget.ui.applyButton.enabled and "outside" in widget.ui.applyButton.toolTip
    # The button may be a moment behind: the run itself refuses, too.
    widget._run.start(widget.chosenArguments)
    assert worker.calls == [] and "outside" in errorsShown[0]
    assert node.GetScene() is scene


def test_onlyTheRegionOfInterest(openPanel, addVolume, worker):
    node = addVolume()
    widget = openPanel()
    widget.ui.extentComboBox.currentIndex = widget.ui.extentComboBox.findData("roi")
    clickUpscale(widget)
    assert worker.calls[0][2].region == ((2, 6), (1, 5), (0, 2))
    sr = widget._parameterNode.srVolume
    assert sr.GetImageData().GetDimensions() == (16, 16, 2)
    inner, outer = [0.0] * 6, [0.0] * 6
    sr.GetRASBounds(inner)
    node.GetRASBounds(outer)
    # Voxels 2 to 5, 1 to 4 and both slices, of 0.5 x 0.7 x 3 mm; a voxel reaches half its size to either side.
    assert inner == pytest.approx([1.5 * 0.5, 5.5 * 0.5, 0.5 * 0.7, 4.5 * 0.7, outer[4], outer[5]])


def test_currentSliceWithoutASliceView(openPanel, addVolume, worker, errorsShown):
    addVolume()
    widget = openPanel()
    widget._parameterNode.extent = "slice"
    clickUpscale(widget)
    assert worker.calls == [] and "slice view" in errorsShown[0]


def test_resultKeepsTheTransformOfTheVolume(openPanel, addVolume, scene):
    node = addVolume()
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    node.SetAndObserveTransformNodeID(transform.GetID())
    widget = openPanel()
    clickUpscale(widget)
    assert widget._parameterNode.srVolume.GetTransformNodeID() == transform.GetID()


def test_greyModelOnAColorVolume(openPanel, addVolume, worker):
    addVolume("fundus", channels=3)
    widget = openPanel()
    widget._parameterNode.modelFamily = "grey-fast"
    clickUpscale(widget)
    assert worker.calls[0][1].channels == 1
    assert widget._parameterNode.srVolume.GetClassName() == "vtkMRMLVectorVolumeNode"


def test_onlyTheCurrentSlice(openPanel, addVolume, worker, layoutManager):
    import slicer

    node = slicer.util.addVolumeFromArray(np.zeros((5, 40, 40), np.int16), ijkToRAS=np.diag((1, 1, 4, 1.0)), name="CT")
    widget = openPanel()
    redNode = layoutManager.sliceWidget("Red").mrmlSliceNode()
    redNode.SetOrientation("Axial")
    redNode.SetSliceOffset(8.5)
    widget._parameterNode.extent = "slice"
    clickUpscale(widget)
    assert worker.calls[0][2].region == ((0, 40), (0, 40), (2, 3))
    assert widget._parameterNode.srVolume.GetImageData().GetDimensions() == (160, 160, 1)
    assert node.GetImageData().GetDimensions() == (40, 40, 5)


def test_comparisonIsOneClickAway(openPanel, addVolume, layoutManager):
    addVolume()
    widget = openPanel()
    assert not widget.ui.compareButton.enabled
    before = layoutManager.layout
    clickUpscale(widget)
    assert layoutManager.layout == before, "nobody asked for another layout"
    assert widget.ui.compareButton.enabled
    widget.ui.compareButton.click()
    assert layoutManager.layout != before
    clickUpscale(widget)
    assert layoutManager.layout != before and widget._compareView.shown, "a new result is shown in place of the old one"
    widget.exit()
    assert layoutManager.layout == before


def test_comparisonOutlivesChoicesAndFollowsTheRun(openPanel, addVolume, layoutManager, scene):
    node, other = addVolume(), addVolume("other")
    widget = openPanel()
    clickUpscale(widget)
    before = layoutManager.layout
    widget.ui.compareButton.click()
    widget.ui.originalCheckBox.click()
    first = [widget._parameterNode.srVolume, widget._parameterNode.bicubicVolume, node]
    assert shownVolumes(layoutManager) == first
    logic = layoutManager.sliceWidget("SuperResolutionSR").sliceLogic()
    logic.SetSliceOffset(3.0)
    widget.ui.modelFamilyComboBox.currentIndex = 1
    widget.ui.scaleComboBox.currentIndex = 0
    widget.ui.inputVolumeSelector.setCurrentNode(other)
    assert shownVolumes(layoutManager) == first, "what is shown is still true"
    widget.ui.inputVolumeSelector.setCurrentNode(node)
    clickUpscale(widget)
    assert [each.GetName() for each in shownVolumes(layoutManager)] == [
        "CT head SR x2",
        "CT head bicubic x2",
        "CT head",
    ]
    assert logic.GetSliceOffset() == pytest.approx(3.0), "the same slice"
    scene.RemoveNode(widget._parameterNode.srVolume)
    assert layoutManager.layout == before


def test_differenceIsComputedOnceAResult(openPanel, addVolume, layoutManager, monkeypatch):
    from SuperResolutionLib import mrml_difference

    addVolume()
    widget = openPanel()
    clickUpscale(widget)
    widget.ui.compareButton.click()
    widget.ui.differenceCheckBox.click()
    computed, subtract = [], mrml_difference.subtract
    monkeypatch.setattr(mrml_difference, "subtract", lambda *arrays: computed.append(0) or subtract(*arrays))
    clickUpscale(widget)
    waitUntil(lambda: not widget._compareView._catchUpTimer.isActive())
    assert len(computed) == 1 and len(shownVolumes(layoutManager)) == 3
