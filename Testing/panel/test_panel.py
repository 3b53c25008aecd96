"""The panel in the host: choosing, running, cancelling, failing, and scenes that close at the wrong moment."""

from __future__ import annotations

import time

import numpy as np
import pytest

from SuperResolutionLib.errors import ModelError


def items(comboBox) -> list[str]:
    return [comboBox.itemText(index) for index in range(comboBox.count)]


def volumeNames() -> list[str]:
    import slicer

    return [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]


def test_opensOnAnEmptyScene(openPanel):
    ui = openPanel().ui
    assert not ui.applyButton.enabled
    assert "input volume" in ui.applyButton.toolTip
    assert not ui.progressBar.visible
    assert items(ui.modelFamilyComboBox) == ["grey-fast", "grey-good", "color-gan (color)"]
    assert items(ui.deviceComboBox)[:2] == ["Automatic", "CPU"]


def test_firstVolumeIsChosenOnEntering(openPanel, addVolume):
    node = addVolume()
    ui = openPanel().ui
    assert ui.inputVolumeSelector.currentNode() is node
    assert ui.applyButton.enabled
    assert ui.applyButton.text == "Upscale"


def test_volumeThatComesLaterCanBeChosen(openPanel, addVolume):
    widget = openPanel()
    node = addVolume()
    widget.ui.inputVolumeSelector.setCurrentNode(node)
    assert widget._parameterNode.inputVolume is node
    assert widget.ui.applyButton.enabled


def test_labelmapsAndModelsAreNotOffered(openPanel, scene):
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "liver")
    scene.AddNewNodeByClass("vtkMRMLModelNode", "skin")
    widget = openPanel()
    assert widget.ui.inputVolumeSelector.nodes() == []
    assert widget._parameterNode.inputVolume is None


def test_modelsForTheKindOfVolumeComeFirst(openPanel, addVolume):
    addVolume("fundus", channels=3)
    ui = openPanel().ui
    assert items(ui.modelFamilyComboBox) == ["color-gan (color)", "grey-fast", "grey-good"]
    assert ui.modelFamilyComboBox.currentData == "color-gan"


def test_everySelectorOffersScalarAndColorVolumes(openPanel, addVolume):
    ui = openPanel().ui
    volumes = {addVolume(), addVolume("fundus", channels=3)}
    for selector in (ui.inputVolumeSelector, ui.srVolumeSelector, ui.bicubicVolumeSelector):
        assert set(selector.nodes()) == volumes, selector.name


def test_modelFollowsTheVolumeUntilOneIsChosen(openPanel, addVolume):
    widget = openPanel()
    head, fundus = addVolume(), addVolume("fundus", channels=3)
    chosen = []
    for node in (head, fundus, head):
        widget.ui.inputVolumeSelector.setCurrentNode(node)
        chosen.append(widget._parameterNode.modelFamily)
    assert chosen == ["grey-fast", "color-gan", "grey-fast"]
    widget.ui.modelFamilyComboBox.currentIndex = 1
    widget.ui.inputVolumeSelector.setCurrentNode(fundus)
    assert widget._parameterNode.modelFamily == "grey-good"


def test_modelsForComparisonComeLast(openPanel, module, engine):
    from Testing.panel.fakes import FakeCatalog, card

    catalog = FakeCatalog()
    catalog.cards.append(card("a-old-one", 4))
    catalog.cards[-1].baseline = True
    ui = openPanel(module.SuperResolutionLogic(catalog, engine)).ui
    assert items(ui.modelFamilyComboBox) == ["grey-fast", "grey-good", "a-old-one", "color-gan (color)"]


def test_colorModelIsRefusedForScalarVolume(openPanel, addVolume):
    addVolume()
    widget = openPanel()
    widget.ui.modelFamilyComboBox.currentIndex = 2
    assert widget._parameterNode.modelFamily == "color-gan"
    assert not widget.ui.applyButton.enabled
    assert "needs a color volume" in widget.ui.applyButton.toolTip


def test_scalesFollowTheModel(openPanel, addVolume):
    addVolume()
    widget = openPanel()
    assert items(widget.ui.scaleComboBox) == ["x4"]
    widget.ui.modelFamilyComboBox.currentIndex = 1
    assert items(widget.ui.scaleComboBox) == ["x2", "x8"]
    assert widget._parameterNode.scale == 2
    widget.ui.scaleComboBox.currentIndex = 1
    assert widget._parameterNode.scale == 8


def test_choicesReachTheEngine(openPanel, addVolume, engine):
    node = addVolume()
    widget = openPanel()
    widget.ui.modelFamilyComboBox.currentIndex = 1
    widget.ui.scaleComboBox.currentIndex = 1
    widget.ui.keepConsistentCheckBox.checked = False
    widget.ui.makeBicubicCheckBox.checked = False
    widget.ui.deviceComboBox.currentIndex = 1
    widget.ui.applyButton.click()
    (volume, card, options) = engine.calls[0]
    assert volume.name == node.GetName()
    assert card.id == "grey-good-x8"
    assert (options.consistent, options.bicubic, options.device) == (False, False, "cpu")
    assert volumeNames() == ["CT head", "CT head SR x8"]
    assert not widget.ui.bicubicVolumeSelector.enabled


def test_choicesAreRestoredFromTheParameterNode(openPanel, addVolume):
    addVolume()
    widget = openPanel()
    widget.ui.modelFamilyComboBox.currentIndex = 1
    widget.ui.scaleComboBox.currentIndex = 1
    widget.exit()
    again = openPanel()
    assert again.ui.modelFamilyComboBox.currentData == "grey-good"
    assert again.ui.scaleComboBox.currentData == 8


def test_deviceOfASavedSceneIsKept(openPanel, addVolume):
    addVolume()
    widget = openPanel()
    widget._parameterNode.device = "cuda:1"
    assert widget.ui.deviceComboBox.currentData == "cuda:1"


def test_upscaleCreatesBothVolumes(openPanel, addVolume):
    import slicer

    node = addVolume()
    widget = openPanel()
    widget.ui.applyButton.click()
    assert volumeNames() == ["CT head", "CT head SR x4", "CT head bicubic x4"]
    sr = widget._parameterNode.srVolume
    assert sr.GetName() == "CT head SR x4"
    assert widget.ui.srVolumeSelector.currentNode() is sr
    expected = slicer.util.arrayFromVolume(node).repeat(4, axis=1).repeat(4, axis=2)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(sr), expected)
    assert sr.GetAttribute("SuperResolution.Model") == "grey-fast-x4"
    assert "Created CT head SR x4, CT head bicubic x4" in widget.ui.statusLabel.text
    assert widget.ui.applyButton.text == "Upscale" and widget.ui.applyButton.enabled


def test_secondRunReplacesTheFirst(openPanel, addVolume, scene):
    addVolume()
    widget = openPanel()
    widget.ui.applyButton.click()
    nodeCount = scene.GetNumberOfNodes()
    widget.ui.applyButton.click()
    assert scene.GetNumberOfNodes() == nodeCount


def test_anotherInputGetsItsOwnResult(openPanel, addVolume):
    addVolume("first")
    second = addVolume("second")
    widget = openPanel()
    widget.ui.applyButton.click()
    widget.ui.inputVolumeSelector.setCurrentNode(second)
    assert widget.ui.srVolumeSelector.currentNode() is None
    widget.ui.applyButton.click()
    assert {"first SR x4", "second SR x4"} < set(volumeNames())


def test_progressIsShownWhileRunning(openPanel, addVolume, engine):
    addVolume()
    widget = openPanel()
    seen = []

    def look(step):
        ui = widget.ui
        seen.append(
            (ui.applyButton.text, ui.progressBar.value, ui.inputsCollapsibleButton.enabled, ui.statusLabel.text)
        )

    engine.onStep = look
    widget.ui.applyButton.click()
    assert [text for text, _value, _enabled, _status in seen] == ["Cancel"] * 4
    assert [value for _text, value, _enabled, _status in seen] == [0, 0, 25, 50]
    assert not any(enabled for _text, _value, enabled, _status in seen)
    assert seen[2][3] == "Slice 2 of 4, about 3 s left"
    assert widget.ui.inputsCollapsibleButton.enabled


@pytest.mark.parametrize("step", [0, 2, 3])
def test_cancelLeavesTheSceneAsItWas(openPanel, addVolume, engine, errorsShown, step):
    addVolume()
    widget = openPanel()
    engine.onStep = lambda current: current == step and widget.ui.applyButton.click()
    widget.ui.applyButton.click()
    assert len(engine.calls) == 1, "a click while running cancels, it does not start another run"
    assert volumeNames() == ["CT head"]
    assert "Cancelled" in widget.ui.statusLabel.text
    assert widget.ui.applyButton.text == "Upscale" and widget.ui.applyButton.enabled
    assert errorsShown == []


def test_windowStaysAliveWhileRunning(openPanel, addVolume, engine):
    import qt

    addVolume()
    widget = openPanel()
    qt.QTimer.singleShot(0, widget.ui.applyButton.click)
    engine.onStep = lambda _step: time.sleep(0.03)
    widget.ui.applyButton.click()
    assert "Cancelled" in widget.ui.statusLabel.text, "the click waited in the event loop and was seen"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ModelError("The weights of 'grey-fast-x4' are damaged."), "The weights of 'grey-fast-x4' are damaged."),
        (MemoryError(), "There is not enough memory for this volume at this scale."),
        (ValueError("odd"), "Upscaling failed unexpectedly: odd"),
    ],
)
def test_failureIsOneSentence(openPanel, addVolume, engine, errorsShown, error, sentence):
    addVolume()
    widget = openPanel()
    engine.error = error
    widget.ui.applyButton.click()
    assert errorsShown == [sentence]
    assert widget.ui.statusLabel.text == sentence
    assert volumeNames() == ["CT head"]
    assert widget.ui.applyButton.text == "Upscale" and widget.ui.applyButton.enabled


def test_outputOfAnotherKindIsRefusedBeforeTheRun(openPanel, addVolume, engine, errorsShown):
    addVolume()
    fundus = addVolume("fundus", channels=3)
    widget = openPanel()
    widget.ui.srVolumeSelector.setCurrentNode(fundus)
    widget.ui.applyButton.click()
    assert engine.calls == []
    assert "of another kind" in errorsShown[0]


def test_closingTheSceneCancelsTheRun(openPanel, addVolume, engine, scene, errorsShown):
    addVolume()
    widget = openPanel()
    engine.onStep = lambda step: step == 1 and scene.Clear(0)
    widget.ui.applyButton.click()
    assert volumeNames() == []
    assert errorsShown == []
    assert not widget.ui.applyButton.enabled
    scene.Clear(0)
    assert widget.ui.statusLabel.text == ""
    addVolume("next")
    widget.initializeParameterNode()
    engine.onStep = lambda step: None
    widget.ui.applyButton.click()
    assert "next SR x4" in volumeNames()


def test_inputDeletedWhileRunning(openPanel, addVolume, engine, scene, errorsShown):
    node = addVolume()
    widget = openPanel()
    engine.onStep = lambda step: step == 2 and scene.RemoveNode(node)
    widget.ui.applyButton.click()
    assert volumeNames() == []
    assert "removed from the scene" in errorsShown[0]


def test_leavingThePanelLetsTheRunFinish(openPanel, addVolume, engine):
    addVolume()
    widget = openPanel()
    engine.onStep = lambda step: step == 1 and widget.exit()
    widget.ui.applyButton.click()
    widget.enter()
    assert widget.ui.srVolumeSelector.currentNode().GetName() == "CT head SR x4"


def test_sceneClosedInAnotherModule(openPanel, addVolume, scene):
    addVolume()
    widget = openPanel()
    widget.exit()
    widget.parent.isEntered = False
    scene.Clear(0)
    assert widget._parameterNode is None
    widget.enter()
    assert not widget.ui.applyButton.enabled


def test_logicNeedsNoWidgets(module, addVolume, engine):
    from Testing.panel.fakes import FakeCatalog

    node = addVolume("fundus", channels=3)
    sr, bicubic = module.SuperResolutionLogic(FakeCatalog(), engine).upscale(node, "color-gan", makeBicubic=False)
    assert sr.GetClassName() == "vtkMRMLVectorVolumeNode"
    assert bicubic is None


def test_moduleDescribesItself(module):
    import slicer

    parent = slicer.modules.superresolution
    assert parent.title == "Super-Resolution"
    assert parent.categories == ["Image Synthesis"]
    assert parent.dependencies == []
    assert parent.helpText and parent.acknowledgementText


def test_reloadReadsThePackagesAgain(openPanel, addVolume, monkeypatch):
    import sys

    import slicer

    node = addVolume()
    widget = openPanel()
    kept = dict(sys.modules)
    monkeypatch.setattr(slicer.modules, "SuperResolutionWidget", widget)
    try:
        widget.onReload()
        reloaded = slicer.modules.SuperResolutionWidget
        assert reloaded is not widget
        assert sys.modules["SuperResolutionPanel.form"] is not kept["SuperResolutionPanel.form"]
        assert sys.modules["SuperResolutionLib.errors"] is not kept["SuperResolutionLib.errors"]
        assert reloaded.ui.inputVolumeSelector.currentNode() is node
        reloaded.cleanup()
    finally:
        # Other tests hold on to the classes of the modules that were loaded first.
        sys.modules.update({name: each for name, each in kept.items() if name.startswith("SuperResolution")})


def test_pictureOfThePanel(openPanel, addVolume, tmp_path):
    from Testing.panel_host.scripted_module import picture

    addVolume()
    widget = openPanel()
    widget.ui.applyButton.click()
    picture(widget, tmp_path / "panel.png")
    assert (tmp_path / "panel.png").stat().st_size > 4000
