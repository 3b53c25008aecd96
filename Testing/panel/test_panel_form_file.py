"""The form and the code agree, as far as that can be read from both without running them."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from Testing.panel.form_bench import addImage, formBenches

MODULE = Path(__file__).resolve().parents[2] / "SuperResolution"
FORM = ElementTree.parse(MODULE / "Resources" / "UI" / "SuperResolution.ui").getroot()
SOURCES = [MODULE / "SuperResolution.py", *sorted((MODULE / "SuperResolutionPanel").glob("*.py"))]


@pytest.fixture
def form(module, scene):
    """The form by itself, over a fake catalog."""
    with formBenches() as openForm:
        yield openForm()


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def isTranslation(node) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("_", "translate")


def widgetNameOf(node) -> str | None:
    """``name`` in an expression ``ui.name`` or ``self._ui.name``."""
    if not isinstance(node, ast.Attribute):
        return None
    owner = node.value
    ownerName = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
    return node.attr if ownerName in ("ui", "_ui") else None


def test_everyParameterNameIsAParameter(module):
    named = [each.findtext("string") for each in FORM.iter("property") if each.get("name") == "SlicerParameterName"]
    parameters = module.SuperResolutionParameterNode.allParameters
    assert len(named) == len(set(named)) > 0
    assert set(named) <= set(parameters)


def test_everySceneWidgetGetsTheScene():
    sceneWidgets = {each.get("name") for each in FORM.iter("widget") if each.get("class").startswith("qMRMLNode")}
    connected = {
        each.findtext("receiver")
        for each in FORM.iter("connection")
        if each.findtext("sender") == FORM.find("widget").get("name")
        and each.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
        and each.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    }
    assert sceneWidgets == connected


def test_everyCustomWidgetIsDeclared():
    declared = {each.findtext("class") for each in FORM.iter("customwidget")}
    used = {each.get("class") for each in FORM.iter("widget") if not each.get("class").startswith("Q")}
    assert used == declared


def test_everyWidgetThatCanBeSetExplainsItself():
    silent = ("QLabel", "QProgressBar", "ctkCollapsibleButton", "qMRMLWidget")
    for widget in FORM.iter("widget"):
        if widget.get("class") not in silent:
            assert any(each.get("name") == "toolTip" for each in widget.findall("property")), widget.get("name")


def propertyOf(widget, name: str) -> str:
    return next(
        ("".join(each.itertext()).strip() for each in widget.findall("property") if each.get("name") == name), ""
    )


def test_everyLabelBelongsToItsWidget():
    widgets = {each.get("name") for each in FORM.iter("widget")}
    labels = [each for each in FORM.iter("widget") if propertyOf(each, "text").endswith(":")]
    assert len(labels) > 8
    for label in labels:
        assert propertyOf(label, "buddy") in widgets, label.get("name")


def test_everyWidgetWithoutATextHasAName():
    """For who hears the form instead of seeing it."""
    mute = ("QComboBox", "QLineEdit", "qMRMLNodeComboBox", "QProgressBar")
    for widget in FORM.iter("widget"):
        if widget.get("class") in mute:
            assert propertyOf(widget, "accessibleName"), widget.get("name")


def test_tabKeyGoesFromTopToBottom():
    canBeSet = ("QComboBox", "QLineEdit", "qMRMLNodeComboBox", "QCheckBox", "QPushButton", "QToolButton")
    shown = [each.get("name") for each in FORM.iter("widget") if each.get("class") in canBeSet]
    assert [each.text for each in FORM.iter("tabstop")] == shown


def test_sectionsInSlicersOrder():
    sections = [each for each in FORM.iter("widget") if each.get("class") == "ctkCollapsibleButton"]
    assert [propertyOf(each, "text") for each in sections] == ["Inputs", "Outputs", "Compare", "Advanced"]
    assert [propertyOf(each, "collapsed") for each in sections] == ["", "", "", "true"]


def test_researchUseIsSaidOnce():
    texts = [each.text or "" for each in FORM.iter("string")]
    assert sum("research use only" in text for text in texts) == 1


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_translatedTextsAreLiterals(path):
    for call in filter(isTranslation, ast.walk(parsed(path))):
        for argument in call.args:
            assert isinstance(argument, ast.Constant), f"{path.name}:{call.lineno}: only a plain text can be translated"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_codeUsesWidgetsAndPropertiesThatExist(path, form):
    # PySide6 takes any attribute; PythonQt, in Slicer, raises for one that is not a property.
    ui = form.ui
    for node in ast.walk(parsed(path)):
        name = widgetNameOf(node)
        if name is not None:
            assert hasattr(ui, name), f"{path.name}:{node.lineno}: the form has no widget {name}"
        targets = node.targets if isinstance(node, ast.Assign) else []
        for target in targets:
            widgetName = widgetNameOf(getattr(target, "value", None))
            if widgetName is not None:
                properties = getattr(ui, widgetName).metaObject()
                assert properties.indexOfProperty(target.attr) >= 0, f"{path.name}:{node.lineno}: {target.attr}"


def test_nothingIsCutAtFourHundredPixels(form):
    import qt
    import slicer

    addImage((2, 60, 80), channels=3)
    form.ui.advancedCollapsibleButton.collapsed = False
    form.form.showStatus("Created CT head SR x4, CT head bicubic x4 in 3.2 s.")
    for extent in range(form.ui.extentComboBox.count):
        form.ui.extentComboBox.currentIndex = extent
        form.widget.show()
        form.widget.resize(400, 1000)
        slicer.app.processEvents()
        assert form.widget.width == 400
        kinds = (qt.QLabel, qt.QCheckBox, qt.QPushButton, qt.QToolButton)
        for each in (each for kind in kinds for each in form.widget.findChildren(kind) if each.visible):
            if each.hasHeightForWidth():
                assert each.heightForWidth(each.width) <= each.height, each.name
            else:
                assert each.sizeHint().width() <= each.width, each.name
                assert each.sizeHint().height() <= each.height, each.name


def test_buttonStaysWhereItIs(form):
    """What appears, once a volume is chosen or a run goes on, pushes nothing away that is clicked."""
    import slicer

    form.widget.show()
    form.widget.resize(400, 900)
    places = []
    for change in (
        lambda: None,
        lambda: addImage((2, 60, 80), channels=3),
        lambda: form.form.showRunning(),
        lambda: form.form.showProgress(0.5, "slice 1 of 2", 3),
    ):
        change()
        slicer.app.processEvents()
        places.append(form.ui.applyButton.geometry)
    assert places == [places[0]] * len(places)
    assert not form.ui.warningLabel.isHidden()


def test_nothingWidensThePanel(form):
    """Neither an empty panel, with room for a wider font, nor names without a place to break."""
    import slicer

    assert form.widget.minimumSizeHint().width() <= 320
    addImage((2, 60, 80), name=200 * "x")
    form.ui.advancedCollapsibleButton.collapsed = False
    for label in ("outlookLabel", "statusLabel", "warningLabel", "modelsFoundLabel"):
        getattr(form.ui, label).text = 200 * "x"
        getattr(form.ui, label).visible = True
    form.widget.show()
    form.widget.resize(320, 1000)
    slicer.app.processEvents()
    assert form.widget.width == 320


def test_longNamesAreBrokenRatherThanCut(form):
    import slicer

    from SuperResolutionPanel.outlook import breakable

    form.ui.statusLabel.text = breakable(200 * "x")
    form.ui.statusLabel.visible = True
    form.widget.show()
    form.widget.resize(320, 1000)
    slicer.app.processEvents()
    label = form.ui.statusLabel
    assert label.height >= 4 * label.fontMetrics().lineSpacing()
