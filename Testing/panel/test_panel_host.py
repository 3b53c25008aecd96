"""The host itself: it must be as strict as Slicer where the panel could go wrong."""

from __future__ import annotations

from typing import Annotated, Union

import pytest


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


@pytest.mark.parametrize(("name", "value"), [("count", 3), ("share", 2.0)])
def test_validatorsRefuse(wrapped, name, value):
    with pytest.raises(ValueError):
        setattr(wrapped, name, value)


@pytest.mark.parametrize(("name", "value"), [("count", "2"), ("text", None), ("flag", 1), ("volume", "node")])
def test_wrongTypesRaise(wrapped, name, value):
    with pytest.raises(TypeError):
        setattr(wrapped, name, value)


def test_unknownParameterRaises(wrapped):
    with pytest.raises(AttributeError, match="colour"):
        wrapped.colour = 1


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
