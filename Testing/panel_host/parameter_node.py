"""``slicer.parameterNodeWrapper`` for plain types: nodes, str, bool, int, float, with Choice and WithinRange.

Values are stored in a real vtkMRMLScriptedModuleNode, so that they follow a saved scene, and under the same names as in
Slicer: a parameter of ``typing.Union[A, B, None]`` under its name and the number of the member that fits. As in Slicer,
a wrapper keeps the values that it read last until the node says that it was modified, and then writes the defaults of
those that are missing, as after the scene was closed. ``parameter_gui`` connects the parameters to widgets.

One thing is stricter than in Slicer: a misspelt parameter raises AttributeError.
"""

from __future__ import annotations

import dataclasses
import types
import typing
import weakref

import slicer

from . import parameter_gui


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


class _PlainParameter:
    """Reads and writes one text, truth value or number of a parameter node."""

    EMPTY: typing.ClassVar = {str: "", bool: False, int: 0, float: 0.0}
    nodeTypes = ()

    def __init__(self, name, valueType, validators, default):
        if valueType not in self.EMPTY:
            raise TypeError(f"The host knows no parameters of type {valueType}.")
        self.name, self.type, self.validators = name, valueType, validators
        self.default = self.EMPTY[valueType] if default is None else default

    def isIn(self, node) -> bool:
        return node.HasParameter(self.name)

    def read(self, node):
        text = node.GetParameter(self.name)
        return text == "True" if self.type is bool else self.type(text)

    def write(self, node, value):
        if value is None:
            raise ValueError(f"{self.name} cannot be None.")
        accepted = (int, float) if self.type is float else self.type
        # Slicer lets a bool pass for a number and then cannot read it back.
        if not isinstance(value, accepted) or (self.type is not bool and isinstance(value, bool)):
            raise TypeError(f"{self.name} takes a {self.type.__name__}, not a {type(value).__name__}.")
        for validator in self.validators:
            validator.validate(value)
        node.SetParameter(self.name, str(value))


class _NodeParameter:
    """Reads and writes one reference of a parameter node to another node.

    Args:
        nodeTypes: the classes of a ``Union``, or the one class.
    """

    type = None
    validators = ()
    default = None

    def __init__(self, name, nodeTypes, isUnion):
        self.name, self.nodeTypes = name, nodeTypes
        self.roles = [f"{name}.{index}" for index in range(len(nodeTypes))] if isUnion else [name]
        self.noneName = f"{name}.{len(nodeTypes)}" if isUnion else name

    def isIn(self, node) -> bool:
        return any(node.HasParameter(each) for each in {*self.roles, self.noneName})

    def read(self, node):
        return next((node.GetNodeReference(role) for role in self.roles if node.HasParameter(role)), None)

    def write(self, node, value):
        fitting = [role for role, nodeType in zip(self.roles, self.nodeTypes) if isinstance(value, nodeType)]
        if value is not None and not fitting:
            raise TypeError(f"{self.name} takes no {type(value).__name__}.")
        for role in self.roles:
            node.RemoveNodeReferenceIDs(role)
        for each in {*self.roles, self.noneName}:
            node.UnsetParameter(each)
        if value is None:
            node.SetParameter(self.noneName, "" if self.noneName == self.name else "True")
        else:
            node.SetParameter(fitting[0], "")
            node.SetNodeReferenceID(fitting[0], value.GetID())


def _parameter(name, annotation, default):
    isAnnotated = typing.get_origin(annotation) is typing.Annotated
    valueType, *validators = typing.get_args(annotation) if isAnnotated else (annotation,)
    # As in Slicer, ``A | B`` would be stored, but no node selector could be connected to it.
    isUnion = typing.get_origin(valueType) is typing.Union
    members = [each for each in typing.get_args(valueType) if each is not type(None)] if isUnion else [valueType]
    if all(isinstance(each, type) and issubclass(each, slicer.vtkMRMLNode) for each in members):
        return _NodeParameter(name, tuple(members), isUnion)
    return _PlainParameter(name, valueType, tuple(validators), default)


def parameterNodeWrapper(wrapped: type) -> type:
    """Class decorator: annotated members become parameters of the node that the constructor gets."""
    annotations = typing.get_type_hints(wrapped, include_extras=True)
    parameters = {name: _parameter(name, each, getattr(wrapped, name, None)) for name, each in annotations.items()}
    members = {name: _member(name) for name in parameters}
    return types.new_class(
        wrapped.__name__,
        (_ParameterNode,),
        exec_body=lambda body: body.update(members, allParameters=parameters, __doc__=wrapped.__doc__),
    )


def _member(name: str) -> property:
    return property(lambda self: self._values[name], lambda self, value: self.setValue(name, value))


class _ParameterNode:
    """What a decorated class can do beside its parameters."""

    allParameters: typing.ClassVar[dict] = {}

    def __init__(self, parameterNode):
        self.parameterNode = parameterNode
        self._values = {}
        self._connections = parameter_gui.Connections(self)
        self._refresh()
        # No reference to the wrapper: it would live as long as the node.
        weak = weakref.ref(self)

        def refresh(_caller, _event):
            wrapper = weak()
            if wrapper is not None:  # the node may be modified between the wrapper's death and the end of this
                wrapper._refresh()

        weakref.finalize(self, parameterNode.RemoveObserver, parameterNode.AddObserver("ModifiedEvent", refresh))

    def __setattr__(self, name, value):
        if not name.startswith("_") and name != "parameterNode" and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__} has no parameter {name!r}")
        super().__setattr__(name, value)

    def _refresh(self):
        for name, parameter in self.allParameters.items():
            if not parameter.isIn(self.parameterNode):
                parameter.write(self.parameterNode, parameter.default)
            self._values[name] = parameter.read(self.parameterNode)

    def getValue(self, name):
        return self._values[name]

    def setValue(self, name, value):
        with slicer.util.NodeModify(self.parameterNode):
            self.allParameters[name].write(self.parameterNode, value)
            self._values[name] = self.allParameters[name].read(self.parameterNode)

    def connectGui(self, gui) -> int:
        """Connect each widget with a ``SlicerParameterName``, both ways; returns a tag for ``disconnectGui``."""
        return self._connections.connect(gui)

    def disconnectGui(self, tag) -> None:
        self._connections.disconnect(tag)

    # The node's own interface, as far as observers and NodeModify need it.

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModifying):
        return self.parameterNode.EndModify(wasModifying)

    def Modified(self):
        self.parameterNode.Modified()
