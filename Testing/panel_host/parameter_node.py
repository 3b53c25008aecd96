"""``slicer.parameterNodeWrapper`` for plain types: nodes, str, bool, int, float, with Choice and WithinRange.

Values are stored in a real vtkMRMLScriptedModuleNode, so that they follow a saved scene. A widget is connected through
its dynamic property ``SlicerParameterName``. As in Slicer, a node selector then offers the classes of the annotation,
whatever the form says, and several classes must be written as ``typing.Union[A, B, None]``.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing

import slicer
import vtk

from . import pythonqt
from .widgets import qMRMLNodeComboBox

qt = pythonqt.install()


@dataclasses.dataclass(frozen=True)
class Choice:
    """The value must be one of these."""

    choices: list

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"{value!r} is not one of {self.choices}")


@dataclasses.dataclass(frozen=True)
class WithinRange:
    """The value must lie in this closed range."""

    minimum: float
    maximum: float

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within {self.minimum} and {self.maximum}")


class _Parameter:
    """Reads and writes one value of a parameter node."""

    EMPTY: typing.ClassVar = {str: "", bool: False, int: 0, float: 0.0}

    def __init__(self, name, annotation, default):
        self.name = name
        isAnnotated = typing.get_origin(annotation) is typing.Annotated
        self.type = typing.get_args(annotation)[0] if isAnnotated else annotation
        self.validators = typing.get_args(annotation)[1:] if isAnnotated else ()
        self.nodeTypes = _nodeTypes(self.type)
        self.isNode = bool(self.nodeTypes)
        if not self.isNode and self.type not in self.EMPTY:
            raise TypeError(f"The host knows no parameters of type {annotation}.")
        self.default = default if default is not None or self.isNode else self.EMPTY[self.type]

    def read(self, node):
        if self.isNode:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        return text == "True" if self.type is bool else self.type(text)

    def write(self, node, value):
        if self.isNode:
            if value is not None and not isinstance(value, self.nodeTypes):
                raise TypeError(f"{self.name} takes no {type(value).__name__}.")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            return
        if not isinstance(value, self.type) or (self.type is not bool and isinstance(value, bool)):
            raise TypeError(f"{self.name} takes a {self.type.__name__}, not a {type(value).__name__}.")
        for validator in self.validators:
            validator.validate(value)
        node.SetParameter(self.name, str(value))

    def writeDefault(self, node):
        if not self.isNode and not node.HasParameter(self.name):
            self.write(node, self.default)


def _nodeTypes(annotation) -> tuple[type, ...]:
    """The node classes of an annotation ``A`` or ``Union[A, B, None]``; empty if it is about something else."""
    isUnion = typing.get_origin(annotation) is typing.Union
    choices = [each for each in typing.get_args(annotation) if each is not type(None)] if isUnion else [annotation]
    areNodes = all(isinstance(each, type) and issubclass(each, slicer.vtkMRMLNode) for each in choices)
    return tuple(choices) if areNodes else ()


def parameterNodeWrapper(wrapped: type) -> type:
    """Class decorator: annotated members become parameters of the node that the constructor gets."""
    annotations = typing.get_type_hints(wrapped, include_extras=True)
    parameters = {
        name: _Parameter(name, annotation, getattr(wrapped, name, None)) for name, annotation in annotations.items()
    }
    members = {name: _member(parameter) for name, parameter in parameters.items()}
    return types.new_class(
        wrapped.__name__,
        (_ParameterNode,),
        exec_body=lambda body: body.update(members, allParameters=parameters, __doc__=wrapped.__doc__),
    )


def _member(parameter: _Parameter) -> property:
    return property(
        lambda self: parameter.read(self.parameterNode),
        lambda self, value: parameter.write(self.parameterNode, value),
    )


class _ParameterNode:
    """What a decorated class can do beside its parameters."""

    allParameters: typing.ClassVar[dict] = {}

    def __init__(self, parameterNode):
        self.parameterNode = parameterNode
        self._connections = {}
        with slicer.util.NodeModify(parameterNode):
            for parameter in self.allParameters.values():
                parameter.writeDefault(parameterNode)

    def __setattr__(self, name, value):
        # A misspelt parameter must not become a new attribute.
        if not name.startswith("_") and name != "parameterNode" and name not in self.allParameters:
            raise AttributeError(f"{type(self).__name__} has no parameter {name!r}")
        super().__setattr__(name, value)

    def connectGui(self, gui) -> int:
        """Connect each widget with a ``SlicerParameterName``, both ways; returns a tag for ``disconnectGui``."""
        named = [widget for widget in vars(gui).values() if widget.property("SlicerParameterName")]
        connectors = [_Connector(self, widget) for widget in named]

        def update(_caller=None, _event=None):
            for connector in connectors:
                connector.updateWidget()

        update()
        tag = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, update)
        self._connections[tag] = connectors
        return tag

    def disconnectGui(self, tag) -> None:
        for connector in self._connections.pop(tag, []):
            connector.disconnect()
        if tag is not None:
            self.parameterNode.RemoveObserver(tag)

    # The node's own interface, as far as observers and NodeModify need it.

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModifying):
        return self.parameterNode.EndModify(wasModifying)


class _Connector:
    """One widget and its parameter."""

    def __init__(self, wrapper, widget):
        name = widget.property("SlicerParameterName")
        if name not in wrapper.allParameters:
            raise ValueError(f"{widget.name} names a parameter that does not exist: {name}")
        self._wrapper, self._widget, self._name = wrapper, widget, name
        self._signal, self._read, self._write = self._accessors(widget, wrapper.allParameters[name])
        self._signal.connect(self.updateParameter)

    @staticmethod
    def _accessors(widget, parameter):
        """(signal, read, write) of a widget; the pairs of widget and type are those that Slicer knows."""
        if isinstance(widget, qMRMLNodeComboBox) and parameter.isNode:
            widget.nodeTypes = [each.__name__ for each in parameter.nodeTypes]
            return widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode
        pairs = (
            (qt.QCheckBox, bool, "toggled", "checked"),
            (qt.QLineEdit, str, "textChanged", "text"),
            (qt.QSpinBox, int, "valueChanged", "value"),
            (qt.QDoubleSpinBox, float, "valueChanged", "value"),
        )
        for widgetType, valueType, signal, attribute in pairs:
            if isinstance(widget, widgetType) and parameter.type is valueType:
                read = functools.partial(getattr, widget, attribute)
                return getattr(widget, signal), read, functools.partial(setattr, widget, attribute)
        raise RuntimeError(f"{widget.name} cannot show a parameter of type {parameter.type}.")

    def updateWidget(self):
        value = getattr(self._wrapper, self._name)
        if self._read() is not value and self._read() != value:
            self._write(value)

    def updateParameter(self, *_value):
        setattr(self._wrapper, self._name, self._read())

    def disconnect(self):
        self._signal.disconnect(self.updateParameter)
