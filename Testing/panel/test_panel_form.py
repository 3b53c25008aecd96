"""The form: each choice reaches the parameter node, and what is listed fits the volume, the catalog and the machine."""

from __future__ import annotations

import re

import numpy as np
import pytest

from Testing.panel.form_bench import addImage, card, formBenches


@pytest.fixture
def openBench(module, scene):
    with formBenches() as open:
        yield open


def items(comboBox) -> list[str]:
    return [comboBox.itemText(index) for index in range(comboBox.count)]


def choose(comboBox, data) -> None:
    """What a click on an entry of the list does."""
    index = comboBox.findData(data)
    assert index >= 0, f"{data} is not offered"
    comboBox.currentIndex = index


def sliceNodeAt(scene, offset: float):
    node = scene.AddNewNodeByClass("vtkMRMLSliceNode")
    node.SetOrientation("Axial")
    node.SetSliceOffset(offset)
    return node


@pytest.mark.parametrize(
    ("widget", "parameter"),
    [
        ("allTimePointsCheckBox", "allTimePoints"),
        ("makeBicubicCheckBox", "makeBicubic"),
        ("keepConsistentCheckBox", "keepConsistent"),
        ("originalCheckBox", "showOriginal"),
        ("differenceCheckBox", "showDifference"),
        ("showVoxelsCheckBox", "showVoxels"),
    ],
)
def test_checkBoxesFollowTheirParameters(openBench, widget, parameter):
    bench = openBench()
    box, before = getattr(bench.ui, widget), getattr(bench.parameters, parameter)
    assert box.checked == before
    box.checked = not before
    assert getattr(bench.parameters, parameter) is not before
    setattr(bench.parameters, parameter, before)
    assert box.checked == before


@pytest.mark.parametrize(
    ("widget", "parameter", "value"),
    [
        ("extentComboBox", "extent", "slice"),
        ("modelFamilyComboBox", "modelFamily", "span-general-psnr"),
        ("scaleComboBox", "scale", 2),
        ("deviceComboBox", "device", "cuda:0"),
        ("precisionComboBox", "precision", "bfloat16"),
    ],
)
def test_listsFollowTheirParameters(openBench, addVolume, widget, parameter, value):
    bench = openBench(card(scale=2), card(scale=4), card("span-general-psnr", 2), card("span-general-psnr", 4))
    addVolume()
    bench.form.setDevices([("cpu", "CPU"), ("cuda:0", "NVIDIA A1")])
    comboBox, before = getattr(bench.ui, widget), getattr(bench.parameters, parameter)
    assert comboBox.currentData == before
    choose(comboBox, value)
    assert getattr(bench.parameters, parameter) == value
    setattr(bench.parameters, parameter, before)
    assert comboBox.currentData == before


def test_nodeSelectorsFollowTheirParameters(openBench, addVolume, scene):
    bench = openBench()
    volume, result, bicubic = addVolume(), addVolume("result"), addVolume("bicubic")
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    for selector, node in (("inputVolume", volume), ("srVolume", result), ("bicubicVolume", bicubic), ("roi", roi)):
        widget = getattr(bench.ui, f"{selector}Selector")
        widget.setCurrentNode(node)
        assert getattr(bench.parameters, selector) is node


def test_labelMapsAreOfferedNowhere(openBench, addVolume, scene):
    bench = openBench()
    label = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "liver")
    volumes = {addVolume(), addVolume("fundus", channels=3)}
    for selector in (bench.ui.inputVolumeSelector, bench.ui.srVolumeSelector, bench.ui.bicubicVolumeSelector):
        assert set(selector.nodes()) == volumes, f"{selector.name} offers {label.GetName()}"


def test_regionIsAskedForOnlyWhereItMatters(openBench, addVolume):
    bench = openBench()
    addVolume()
    ui = bench.ui
    assert ui.roiWidget.isHidden() and ui.roiLabel.isHidden()
    choose(ui.extentComboBox, "roi")
    assert not ui.roiWidget.isHidden() and not ui.roiLabel.isHidden()
    choose(ui.extentComboBox, "slice")
    assert ui.roiWidget.isHidden() and ui.roiLabel.isHidden()


def test_hiddenRowsStayHiddenWhenTheSectionIsOpened(openBench, addVolume):
    bench = openBench()
    addVolume()
    section, ui = bench.ui.inputsCollapsibleButton, bench.ui
    choose(ui.extentComboBox, "roi")
    section.collapsed = True
    bench.parameters.extent = "volume"
    section.collapsed = False
    assert ui.roiWidget.isHidden() and ui.roiLabel.isHidden() and ui.allTimePointsCheckBox.isHidden()
    assert not ui.extentComboBox.isHidden()


def test_regionIsMadeWhenFirstAskedFor(openBench, addVolume, scene):
    bench = openBench()
    addVolume()
    choose(bench.ui.extentComboBox, "roi")
    roi = bench.parameters.roi
    assert roi is not None and roi.GetDisplayVisibility()
    assert bench.ui.roiSelector.currentNode() is roi and bench.ui.roiVisibilityButton.checked
    choose(bench.ui.extentComboBox, "volume")
    choose(bench.ui.extentComboBox, "roi")
    assert bench.parameters.roi is roi
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") == 1


def test_noRegionForAVolumeWithoutVoxels(openBench, scene):
    bench = openBench()
    bench.parameters.inputVolume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    bench.ui.extentComboBox.currentIndex = 1
    assert (bench.parameters.extent, bench.parameters.roi) == ("roi", None)
    bench.ui.roiSelector.addNode("vtkMRMLMarkupsROINode")
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") == 1


def test_regionMadeInTheSelectorFitsTheVolume(openBench, scene):
    bench = openBench()
    addImage((2, 160, 200))
    choose(bench.ui.extentComboBox, "roi")
    first = bench.parameters.roi
    second = bench.ui.roiSelector.addNode()
    assert bench.parameters.roi is second is not first
    np.testing.assert_allclose(second.GetSize(), first.GetSize())
    np.testing.assert_allclose(second.GetCenter(), first.GetCenter())
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") == 2
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROIDisplayNode") == 2
    assert bench.ui.applyButton.enabled


def test_buttonShowsAndHidesTheRegion(openBench, addVolume):
    bench = openBench()
    addVolume()
    button = bench.ui.roiVisibilityButton
    assert not button.enabled
    choose(bench.ui.extentComboBox, "roi")
    button.click()
    assert not bench.parameters.roi.GetDisplayVisibility()
    bench.parameters.roi.SetDisplayVisibility(True)
    assert button.checked, "shown elsewhere in Slicer"


def test_movingTheRegionChangesTheOutlook(openBench):
    bench = openBench()
    addImage((2, 160, 200))
    choose(bench.ui.extentComboBox, "roi")
    assert "400 x 320 x 2 voxels" in bench.ui.outlookLabel.text
    bench.parameters.roi.SetSize(25, 56, 3)
    assert "200 x 320 x 2 voxels" in bench.ui.outlookLabel.text
    bench.parameters.roi.SetCenter(1000, 0, 0)
    assert "outside the volume" in bench.ui.outlookLabel.text
    assert not bench.ui.applyButton.enabled
    bench.parameters.roi = None
    assert "Choose or create a region" in bench.ui.applyButton.toolTip


def test_currentSlice(openBench, scene):
    sliceNode = sliceNodeAt(scene, 3)
    bench = openBench(sliceNode=sliceNode)
    addImage((2, 160, 200))
    choose(bench.ui.extentComboBox, "slice")
    assert "800 x 640 x 1 voxels" in bench.ui.outlookLabel.text
    sliceNode.SetSliceOffset(500)
    bench.form.refresh()
    assert "shows no slice" in bench.ui.warningLabel.text
    assert bench.ui.applyButton.enabled, "the view may be moved before the click"


def test_currentSliceWithoutAView(openBench, addVolume):
    bench = openBench()
    addVolume()
    choose(bench.ui.extentComboBox, "slice")
    assert "No slice view" in bench.ui.warningLabel.text


def test_timePointsAreOfferedForSequencesOnly(openBench, addVolume):
    bench = openBench()
    addVolume()
    assert bench.ui.allTimePointsCheckBox.isHidden()
    bench.timePoints = 5
    bench.update()
    assert not bench.ui.allTimePointsCheckBox.isHidden()
    bench.ui.allTimePointsCheckBox.checked = True
    assert "10 volumes of" in bench.ui.outlookLabel.text


@pytest.mark.parametrize(
    ("name", "channels", "first"),
    [
        ("MRHead", 1, "b-brain-psnr"),
        ("CTChest", 1, "c-chest-psnr"),
        ("Unknown", 1, "a-general-psnr"),
        ("Controls", 1, "a-general-psnr"),
        ("fundus", 3, "d-fundus-psnr"),
    ],
)
def test_modelsThatFitComeFirst(openBench, addVolume, name, channels, first):
    cards = [
        card("0-old-psnr", baseline=True),
        card("a-general-psnr"),
        card("a-general-gan", title="a-general-gan, x4"),
        card("b-brain-psnr", domain="brain MRI"),
        card("c-chest-psnr", domain="chest CT"),
        card("d-fundus-psnr", channels=3, domain="fundus photographs"),
    ]
    bench = openBench(*cards)
    addVolume(name, channels=channels)
    families = [bench.ui.modelFamilyComboBox.itemData(index) for index in range(len(cards))]
    assert families[0] == first == bench.parameters.modelFamily
    assert families.index("a-general-psnr") < families.index("a-general-gan")
    assert families[-2:] == ["0-old-psnr", "d-fundus-psnr"] if channels == 1 else families[-1] == "0-old-psnr"


def measured(name: str, gain: float) -> list[dict]:
    """What a card says of one test set: the gain over bicubic made consistent, in dB."""
    scores = {"model": 30 + gain, "bicubic consistent": 30}
    return [{"set": name, "images": 3, "methods": {key: {"psnr": psnr, "ssim": 0.9} for key, psnr in scores.items()}}]


@pytest.mark.parametrize(("gain", "first"), [(1.5, "b-brain-psnr"), (0.5, "a-general-psnr")])
def test_theDefaultFollowsWhatWasMeasured(openBench, addVolume, gain, first):
    general = card("a-general-psnr", measured=measured("mri3d test", 1.0))
    bench = openBench(general, card("b-brain-psnr", domain="brain MR", measured=measured("mri3d test", gain)))
    assert bench.parameters.modelFamily == "a-general-psnr"
    addVolume("MRHead")
    assert bench.parameters.modelFamily == first == bench.ui.modelFamilyComboBox.itemData(0)


def test_theDefaultKeepsTheScale(openBench, addVolume):
    """A better model without the preselected scale is no default there; choosing its scale keeps the model."""
    general = [card("b-general-psnr", scale, measured=measured("ct test", 1.0)) for scale in (2, 4)]
    bench = openBench(card("a-chest-psnr", 2, domain="chest CT", measured=measured("ct test", 3.0)), *general)
    chest = addVolume("CTChest")
    assert (bench.parameters.modelFamily, bench.parameters.scale) == ("b-general-psnr", 4)
    choose(bench.ui.scaleComboBox, 2)
    assert (bench.parameters.modelFamily, bench.parameters.scale) == ("b-general-psnr", 2)
    assert items(bench.ui.scaleComboBox) == ["x2", "x4"]
    bench.parameters.inputVolume = addVolume("MRHead")
    bench.parameters.inputVolume = chest
    assert (bench.parameters.modelFamily, bench.parameters.scale) == ("a-chest-psnr", 2)


def test_modalityFromTheSubjectHierarchy(openBench, addVolume, scene):
    import slicer

    from SuperResolutionPanel.modellist import modalityOf

    node = addVolume("series 3")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert modalityOf(node) == "" == modalityOf(None)
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "US")
    assert modalityOf(node) == "US"


def test_familiesWithOneTitleAreToldApart(openBench):
    bench = openBench(card(title="EDSR, x4"), card("edsr-general-gan", title="EDSR, x4"), card("span-b-psnr"))
    texts = items(bench.ui.modelFamilyComboBox)
    assert sorted(texts) == ["EDSR (edsr-general-gan)", "EDSR (edsr-general-psnr)", "span-b-psnr"]


def test_modelTip(openBench):
    measured = [
        {
            "set": "a<b",
            "images": 3,
            "methods": {"model": {"psnr": 31.256, "ssim": 0.9123}, "bicubic": {"psnr": 28.0, "ssim": 0.85}},
        }
    ]
    bench = openBench(card(measured=measured), card(scale=8, measured=measured), card("z-old-psnr", baseline=True))
    tip = bench.ui.modelFamilyComboBox.toolTip
    assert tip == bench.ui.modelFamilyComboBox.itemData(0, 3)  # Qt.ToolTipRole
    for part in ("Made for tests.", "31.26 / 0.912", "28.00 / 0.850", "a&lt;b (3)", "Apache-2.0", "0.2 to 1 mm"):
        assert part in tip
    assert tip.count("<table") == 2 and "x8, measured" in tip
    assert "For comparison only" in bench.ui.modelFamilyComboBox.itemData(1, 3)


def test_colorModelIsRefusedForAScalarVolume(openBench, addVolume):
    bench = openBench(card(), card("span-color-psnr", channels=3))
    addVolume()
    choose(bench.ui.modelFamilyComboBox, "span-color-psnr")
    assert not bench.ui.applyButton.enabled
    assert "needs a color volume" in bench.ui.applyButton.toolTip
    assert bench.ui.outlookLabel.text == bench.ui.applyButton.toolTip


def test_greyModelOnAColorVolumeWarns(openBench, addVolume):
    bench = openBench()
    addVolume("fundus", channels=3)
    assert bench.ui.applyButton.enabled
    assert "color" in bench.ui.warningLabel.text and not bench.ui.warningLabel.isHidden()


def test_volumeThatGetsItsVoxelsLater(openBench, scene):
    import slicer

    bench = openBench(card(), card("span-color-psnr", channels=3))
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "late")
    bench.parameters.inputVolume = node
    assert "holds no voxels" in bench.ui.applyButton.toolTip
    slicer.util.updateVolumeFromArray(node, np.zeros((1, 200, 200, 3), np.uint8))
    assert bench.ui.applyButton.enabled
    assert bench.parameters.modelFamily == "span-color-psnr"


def test_devicesByName(openBench):
    bench = openBench()
    assert items(bench.ui.deviceComboBox) == ["Automatic", "CPU"]
    bench.form.setDevices([("cpu", "CPU"), ("cuda:0", "NVIDIA A1"), ("cuda:1", "NVIDIA A1"), ("cuda:2", "B")])
    assert items(bench.ui.deviceComboBox)[2:] == ["NVIDIA A1 (cuda:0)", "NVIDIA A1 (cuda:1)", "B"]
    assert bench.parameters.device == "auto"
    bench.parameters.device = "cuda:7"
    assert bench.ui.deviceComboBox.currentData == "cuda:7", "of a saved scene"
    assert "no such device" in bench.ui.deviceComboBox.itemData(5, 3)


@pytest.mark.parametrize(
    ("extent", "names"),
    [
        ("volume", ("CT head SR x4", "CT head bicubic x4")),
        ("roi", ("CT head SR x4 region", "CT head bicubic x4 region")),
        ("slice", ("CT head SR x4 slice", "CT head bicubic x4 slice")),
    ],
)
def test_outputsAreNamedAfterTheExtent(openBench, addVolume, extent, names):
    bench = openBench()
    addVolume()
    choose(bench.ui.extentComboBox, extent)
    assert (bench.ui.srVolumeSelector.baseName, bench.ui.bicubicVolumeSelector.baseName) == names


def test_runningAndReady(openBench, addVolume):
    bench = openBench()
    addVolume()
    ui = bench.ui
    bench.form.showRunning()
    assert ui.applyButton.text == "Cancel" and ui.applyButton.enabled and not ui.progressBar.isHidden()
    assert not (ui.inputsCollapsibleButton.enabled or ui.advancedCollapsibleButton.enabled)
    bench.form.showProgress(0.5, "slice 3 of 6", 130.0)
    assert ui.progressBar.value == 50 and ui.statusLabel.text == "Slice 3 of 6, about 2 min left"
    bench.form.showProgress(1.0, "adding the result to the scene", None)
    assert not ui.applyButton.enabled and ui.statusLabel.text == "Adding the result to the scene"
    bench.update()
    assert ui.applyButton.text == "Cancel", "what changes meanwhile leaves the button alone"
    bench.form.showReady()
    assert ui.applyButton.text == "Upscale" and ui.progressBar.isHidden() and ui.inputsCollapsibleButton.enabled


def test_stagesAreTranslated(module, monkeypatch):
    """Every stage that the engine can name is in the form's table."""
    from SuperResolutionPanel import form

    monkeypatch.setattr(form, "_", lambda text: re.sub(r"\{[A-Z]+\}", lambda m: m[0].lower(), text.upper()))
    choosing = "choosing how to compute"
    for stage in (
        "starting",
        "reading the image",
        "loading the model",
        choosing,
        "handing the result over",
        "slice 3 of 40",
    ):
        assert form.stageText(stage) == stage.upper()
        assert form.stageText(f"time point 2 of 3: {stage}") == f"TIME POINT 2 OF 3: {stage.upper()}"
    assert form.stageText("thinking") == "thinking"


def test_forgottenParameterNodeIsLeftAlone(openBench, addVolume):
    bench = openBench(card(scale=2), card(scale=4))
    addVolume()
    choose(bench.ui.extentComboBox, "roi")
    roi = bench.parameters.roi
    bench.form.forget()
    for comboBox in (bench.ui.scaleComboBox, bench.ui.extentComboBox, bench.ui.precisionComboBox):
        comboBox.currentIndex = 0
    assert (bench.parameters.scale, bench.parameters.extent) == (4, "roi")
    assert not bench.ui.applyButton.enabled
    roi.SetSize(1, 1, 1)
    assert bench.ui.outlookLabel.text == "Choose an input volume first."
