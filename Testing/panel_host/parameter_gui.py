"""Connects the parameters of a parameter node to the widgets that name them in ``SlicerParameterName``, both ways.

The pairs of widget and type are those that Slicer knows, by the exact class of the widget. As in Slicer a node selector
then offers the classes of the annotation, a list the values of ``Choice``, a number box the range of ``WithinRange``
(or any number), whatever the form says; and while the widgets are brought up to date they do not write back.
"""

from __future__ import annotations

import functools

import slicer
import vtk

from . import pythonqt
from .widgets import qMRMLNodeComboBox

qt = pythonqt.install()

ANY_INTEGER = (-(2**31), 2**31 - 1)
ANY_NUMBER = (float("-inf"), float("inf"))


class Connections:
    """The widgets that are connected to one wrapper, by tag; the first tag is 0, which is false."""

    removesObserver = True  # when they are disconnected; Slicer 5.10 does not

    def __init__(self, wrapper):
        self._wrapper = wrapper
        self._connected = {}  # tag -> (connectors, tag of the node's observer)
        self._nextTag = 0
        self._updating = False

    def connect(self, gui) -> int:
        named = {widget.property("SlicerParameterName"): widget for widget in vars(gui).values()}
        named.pop(None, None)
        for name, widget in named.items():
            if name not in self._wrapper.allParameters:
                raise ValueError(f"{widget.name} names a parameter that does not exist: {name}")
        connectors = [_Connector(widget, self._wrapper.allParameters[name]) for name, widget in named.items()]
        for connector in connectors:
            connector.write(self._wrapper.getValue(connector.name))
            connector.connect(functools.partial(self._updateParameter, connector))
        observer = self._wrapper.AddObserver(vtk.vtkCommand.ModifiedEvent, self._updateWidgets)
        tag, self._nextTag = self._nextTag, self._nextTag + 1
        self._connected[tag] = connectors, observer
        return tag

    def disconnect(self, tag) -> None:
        connectors, observer = self._connected.pop(tag, ((), None))
        for connector in connectors:
            connector.disconnect()
        if observer is not None and self.removesObserver:
            self._wrapper.RemoveObserver(observer)

    def _updateParameter(self, connector, *_value):
        if not self._updating:
            with slicer.util.NodeModify(self._wrapper):
                self._wrapper.setValue(connector.name, connector.read())

    def _updateWidgets(self, _caller, _event):
        if self._updating:
            return
        self._updating = True
        try:
            with slicer.util.NodeModify(self._wrapper):
                for connectors, _observer in list(self._connected.values()):
                    for connector in connectors:
                        connector.write(self._wrapper.getValue(connector.name))
        finally:
            self._updating = False


class _Connector:
    """One widget, prepared for its parameter: ``read`` and ``write`` are the widget's value."""

    def __init__(self, widget, parameter):
        self.name = parameter.name
        self._widget, self._parameter = widget, parameter
        self._callback = None
        kind = type(widget)
        if kind is qMRMLNodeComboBox and parameter.nodeTypes:
            self._prepareNodes()
        elif kind is qt.QComboBox and parameter.type is not None:
            self._prepareChoices()
        elif (kind, parameter.type) in ((qt.QSpinBox, int), (qt.QDoubleSpinBox, int), (qt.QDoubleSpinBox, float)):
            self._prepareNumber(ANY_INTEGER if kind is qt.QSpinBox else ANY_NUMBER)
        elif (kind, parameter.type) in ((qt.QCheckBox, bool), (qt.QPushButton, bool)):
            self._prepareSwitch()
        elif (kind, parameter.type) in ((qt.QLineEdit, str), (qt.QLabel, str)):
            self._signal = getattr(widget, "textChanged", None)  # a label has none
            self._useProperty("text")
        else:
            raise RuntimeError(f"{widget.name} cannot show a parameter of type {parameter.type}.")

    def _useProperty(self, name):
        self.read = functools.partial(getattr, self._widget, name)
        self.write = functools.partial(setattr, self._widget, name)

    def _prepareNodes(self):
        self._widget.nodeTypes = [each.__name__ for each in self._parameter.nodeTypes]
        self._signal = self._widget.currentNodeChanged
        self.read, self.write = self._widget.currentNode, self._widget.setCurrentNode

    def _prepareChoices(self):
        choices = next((each.choices for each in self._parameter.validators if hasattr(each, "choices")), None)
        if choices is None:
            raise RuntimeError(f"{self._widget.name} is a list: its parameter must be Annotated with Choice.")
        self._widget.clear()
        for choice in choices:
            self._widget.addItem(str(choice))
        self._signal = self._widget.currentIndexChanged
        self.read = lambda: choices[self._widget.currentIndex]
        self.write = lambda value: setattr(self._widget, "currentIndex", choices.index(value))

    def _prepareNumber(self, anyNumber):
        limits = next((each for each in self._parameter.validators if hasattr(each, "minimum")), None)
        self._widget.setRange(*((limits.minimum, limits.maximum) if limits else anyNumber))
        self._signal = self._widget.valueChanged
        self._useProperty("value")
        if self._parameter.type is int:
            self.read = lambda: int(self._widget.value)

    def _prepareSwitch(self):
        self._widget.checkable = True
        self._signal = self._widget.toggled
        self._useProperty("checked")

    def connect(self, callback):
        self._callback = callback
        if self._signal is not None:
            self._signal.connect(callback)

    def disconnect(self):
        if self._signal is not None:
            self._signal.disconnect(self._callback)
