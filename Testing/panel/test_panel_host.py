"""The host itself: it must be as strict as Slicer where the panel could go wrong."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Annotated, Union

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def wrapped(module, scene):
    """A parameter node with one parameter of each kind."""
    import slicer
    from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

    annotations = {
        "volume": Union[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLVectorVolumeNode, None],  # noqa: UP007
        "text": str,
        "flag": bool,
        "count": Annotated[int, Choice([2, 4])],
        "share": Annotated[float, WithinRange(0, 1)],
        "number": int,
    }
    defaults = {"flag": True, "count": 4, "share": 0.5}
    Parameters = type("Parameters", (), {"__annotations__": annotations, **defaults})
    return parameterNodeWrapper(Parameters)(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


def test_parametersHaveDefaultsAndKeepValues(wrapped, scene):
    assert (wrapped.volume, wrapped.text, wrapped.flag, wrapped.count, wrapped.share) == (None, "", True, 4, 0.5)
    wrapped.volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    wrapped.text, wrapped.flag, wrapped.count, wrapped.share = "a b", False, 2, 0.125
    again = type(wrapped)(wrapped.parameterNode)
    assert again.volume is wrapped.volume
    assert (again.text, again.flag, again.count, again.share) == ("a b", False, 2, 0.125)


@pytest.mark.parametrize(("name", "value"), [("count", 3), ("share", 2.0), ("text", None), ("flag", None)])
def test_validatorsRefuse(wrapped, name, value):
    with pytest.raises(ValueError):
        setattr(wrapped, name, value)


@pytest.mark.parametrize(
    ("name", "value"), [("count", "2"), ("number", True), ("text", 3), ("flag", 1), ("volume", "node")]
)
def test_wrongTypesRaise(wrapped, name, value):
    with pytest.raises(TypeError):
        setattr(wrapped, name, value)


def test_unknownParameterRaises(wrapped):
    with pytest.raises(AttributeError, match="colour"):
        wrapped.colour = 1


def test_referencesAreStoredAsInSlicer(wrapped, scene):
    """A saved scene names the member of the Union that fits, and a file of another extension may read it."""
    wrapped.volume = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode")
    assert wrapped.parameterNode.GetNodeReference("volume.0") is wrapped.volume
    wrapped.volume = None
    assert wrapped.parameterNode.GetParameter("volume.2") == "True"


def test_aRawWriteShowsWhenTheNodeIsModified(wrapped):
    import slicer

    with slicer.util.NodeModify(wrapped.parameterNode):
        wrapped.parameterNode.SetParameter("count", "2")
        assert wrapped.count == 4
    assert wrapped.count == 2


def test_closingTheSceneBringsTheDefaultsBack(wrapped, scene):
    wrapped.parameterNode.SetSingletonTag("Kept")
    wrapped.count, wrapped.text = 2, "typed"
    scene.Clear(0)
    assert (wrapped.count, wrapped.text) == (4, "")
    assert wrapped.parameterNode.GetParameter("count") == "4"


@pytest.fixture
def gui(module):
    """One widget of each kind that a parameter can be connected to."""
    import qt

    widgets = {"flag": qt.QCheckBox(), "count": qt.QComboBox(), "share": qt.QDoubleSpinBox(), "text": qt.QLineEdit()}
    widgets["number"] = qt.QSpinBox()
    for name, widget in widgets.items():
        widget.setProperty("SlicerParameterName", name)
    return types.SimpleNamespace(**widgets, label=qt.QLabel())


def test_widgetsFollowAndSet(wrapped, gui):
    gui.count.addItem("from the form")
    tag = wrapped.connectGui(gui)
    assert tag == 0  # Slicer's first tag is false, too
    shown = [gui.count.itemText(index) for index in range(gui.count.count)]
    assert (shown, gui.count.currentText) == (["2", "4"], "4")
    assert (gui.share.minimum, gui.share.maximum) == (0, 1)
    gui.flag.checked = False
    gui.count.currentIndex = 0
    gui.share.value = 0.25
    gui.text.text = "typed"
    gui.number.value = 123456  # no range of the form holds
    assert (wrapped.flag, wrapped.count, wrapped.share, wrapped.text) == (False, 2, 0.25, "typed")
    assert wrapped.number == 123456
    wrapped.share = 0.123456
    assert (gui.share.value, wrapped.share) == (0.12, 0.123456), "a widget that rounds does not write back"
    wrapped.disconnectGui(tag)
    gui.flag.checked = True
    assert not wrapped.flag


def test_widgetsThatSlicerCannotConnectRaise(wrapped, gui):
    import qt

    gui.count.setProperty("SlicerParameterName", "text")
    with pytest.raises(RuntimeError):  # a list whose parameter has no Choice
        wrapped.connectGui(types.SimpleNamespace(list=gui.count))
    button = qt.QToolButton()
    button.setProperty("SlicerParameterName", "flag")
    with pytest.raises(RuntimeError):
        wrapped.connectGui(types.SimpleNamespace(button=button))
    button.setProperty("SlicerParameterName", "absent")
    with pytest.raises(ValueError, match="absent"):
        wrapped.connectGui(types.SimpleNamespace(button=button))


def test_errorInASlotFailsTheTest(module):
    import qt

    from Testing.panel_host.strict import failOnHiddenErrors

    def fail():
        raise ValueError("in the slot")

    button = qt.QPushButton()
    button.clicked.connect(fail)
    with pytest.raises(AssertionError, match="in the slot"), failOnHiddenErrors():
        button.click()


def test_errorInAnObserverFailsTheTest(scene):
    from Testing.panel_host.strict import failOnHiddenErrors

    def fail(caller, event):
        raise ValueError("in the observer")

    tag = scene.AddObserver(scene.NodeAddedEvent, fail)
    with pytest.raises(AssertionError, match="in the observer"), failOnHiddenErrors():
        scene.AddNewNodeByClass("vtkMRMLModelNode")
    scene.RemoveObserver(tag)


def test_widgetsShowTheirPropertiesAsPythonQtDoes(module):
    import qt

    box = qt.QCheckBox()
    box.checked = True
    box.text = "Go"
    assert (box.checked, box.text, box.isChecked()) == (True, "Go", True)


def test_selectorLetsGoOfTheSceneWhenItDies(scene):
    from Testing.panel_host.widgets import destroy, qMRMLNodeComboBox

    selector = qMRMLNodeComboBox()
    selector.setMRMLScene(scene)
    called = []
    selector._observers.follow(scene, lambda: called.append(1))
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert called == [1]
    destroy(selector)
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert called == [1]


def test_theHostLeavesNoFolderBehind():
    script = "from Testing.panel_host.scene import boot; print(boot().temporaryPath)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    folder = ended.stdout.splitlines()[-1]
    assert "slicer-host-" in folder and not Path(folder).exists()
