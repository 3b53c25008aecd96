"""The panel in the host: what it offers, and how choices reach the worker and come back from the scene."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.panel.fakes import FakeCatalog, card, clickUpscale


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


@pytest.mark.parametrize("scene_", ["saved", "of an earlier version"])
def test_aModelThatWasChosenIsKeptInASavedScene(openPanel, addVolume, scene, tmp_path, scene_):
    """Even the one that is preselected without a volume."""
    import slicer

    widget = openPanel()
    widget.ui.inputVolumeSelector.setCurrentNode(addVolume("fundus", channels=3))
    assert widget._parameterNode.modelFamily == "color-gan"
    box = widget.ui.modelFamilyComboBox
    box.currentIndex = box.findData("grey-fast")
    if scene_ == "of an earlier version":
        widget._parameterNode.parameterNode.UnsetParameter("automaticModelFamily")
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert widget._parameterNode.modelFamily == "grey-fast", "preselected"
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    widget.enter()
    assert widget._parameterNode.inputVolume.GetName() == "fundus"
    assert widget._parameterNode.modelFamily == "grey-fast" == box.currentData


def test_aModelThatWasNotChosenFollowsTheVolumeOfASavedScene(openPanel, addVolume, scene, tmp_path):
    import slicer

    addVolume("fundus", channels=3)
    widget = openPanel()
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    widget.enter()
    assert widget._parameterNode.modelFamily == "color-gan"
    widget.ui.inputVolumeSelector.setCurrentNode(addVolume())
    assert widget._parameterNode.modelFamily == "grey-fast"


def test_aModelThatIsGoneIsReplaced(openPanel, addVolume):
    addVolume()
    widget = openPanel()
    widget._parameterNode.modelFamily = "deleted"
    assert widget._parameterNode.modelFamily == "grey-fast"
    widget.ui.inputVolumeSelector.setCurrentNode(addVolume("fundus", channels=3))
    assert widget._parameterNode.modelFamily == "color-gan"


def test_modelsForComparisonComeLast(openPanel, module, worker):
    catalog = FakeCatalog()
    catalog.cards.append(card("a-old-one", 4, baseline=True))
    ui = openPanel(module.SuperResolutionLogic(catalog, worker)).ui
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


def test_choicesReachTheWorker(openPanel, addVolume, worker):
    node = addVolume()
    widget = openPanel()
    widget.ui.modelFamilyComboBox.currentIndex = 1
    widget.ui.scaleComboBox.currentIndex = 1
    widget.ui.keepConsistentCheckBox.checked = False
    widget.ui.makeBicubicCheckBox.checked = False
    widget.ui.deviceComboBox.currentIndex = 1
    widget.ui.precisionComboBox.currentIndex = 3
    clickUpscale(widget)
    (volume, model, options) = worker.calls[0]
    assert volume.name == node.GetName()
    assert model.id == "grey-good-x8"
    chosen = (options.consistent, options.bicubic, options.device, options.precision, options.region)
    assert chosen == (False, False, "cpu", "float16", None)
    assert volumeNames() == ["CT head", "CT head SR x8"]
    assert not widget.ui.bicubicVolumeSelector.enabled


def test_theVolumeIsHandedOverAsAView(openPanel, addVolume, worker):
    import slicer

    node = addVolume()
    clickUpscale(openPanel())
    assert np.shares_memory(worker.calls[0][0].array, slicer.util.arrayFromVolume(node))


def test_choicesAreRestoredFromTheParameterNode(openPanel, addVolume):
    addVolume()
    widget = openPanel()
    widget.ui.modelFamilyComboBox.currentIndex = 1
    widget.ui.scaleComboBox.currentIndex = 1
    widget.ui.precisionComboBox.currentIndex = 2
    widget.exit()
    again = openPanel()
    assert again.ui.modelFamilyComboBox.currentData == "grey-good"
    assert again.ui.scaleComboBox.currentData == 8
    assert again.ui.precisionComboBox.currentData == "bfloat16"


def test_deviceOfASavedSceneIsKept(openPanel, addVolume):
    addVolume()
    widget = openPanel()
    widget._parameterNode.device = "cuda:1"
    assert widget.ui.deviceComboBox.currentData == "cuda:1"


def test_modelsOfAnotherFolderAreReadAtOnce(openPanel, module, worker, monkeypatch):
    read = []
    monkeypatch.setattr(
        module.ModelCatalog, "default", classmethod(lambda cls, folder: read.append(folder) or FakeCatalog())
    )
    widget = openPanel(module.SuperResolutionLogic(worker=worker))
    before = widget.logic.catalog
    widget.onCatalogChanged()
    assert widget.logic.catalog is not before
    assert len(read) == 2


def test_moduleDescribesItself(module):
    import slicer

    parent = slicer.modules.superresolution
    assert parent.title == "Super-Resolution"
    assert parent.categories == ["Image Synthesis"]
    assert parent.dependencies == []
    assert parent.helpText and parent.acknowledgementText


def test_pictureOfThePanel(openPanel, addVolume, tmp_path):
    from Testing.panel_host.scripted_module import picture

    addVolume()
    widget = openPanel()
    clickUpscale(widget)
    picture(widget, tmp_path / "panel.png")
    assert (tmp_path / "panel.png").stat().st_size > 4000
