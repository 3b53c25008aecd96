"""Observers that go when they should: of one node at a time, and those between the form and a parameter node."""

from __future__ import annotations


class Watch:
    """Calls a function, without arguments, whenever the node that it follows is modified.

    What the form shows may change without a word of the parameter node.

    Args:
        onModified: the function.
        events: VTK events to listen to.
    """

    def __init__(self, onModified, events):
        self._onModified = onModified
        self._events = events
        self._tags = []
        self.node = None

    def follow(self, node) -> None:
        """Observe this node, or none, instead of the one before."""
        if node is self.node:
            return
        for tag in self._tags:
            self.node.RemoveObserver(tag)
        self.node = node
        self._tags = [] if node is None else [node.AddObserver(event, self._onEvent) for event in self._events]

    def _onEvent(self, _caller, _event) -> None:
        self._onModified()


class GuiConnection:
    """Connects widgets and parameters both ways until ``end`` is called.

    Args:
        parameterNode: instance of a class made by parameterNodeWrapper.
        ui: the named widgets of the form.
    """

    def __init__(self, parameterNode, ui):
        self._parameterNode = parameterNode
        self._tags = []
        # In Slicer 5.10 disconnectGui leaves the observer that connectGui added on the node, where it keeps the wrapper
        # alive and writes into widgets that are gone. Removing it again, after a newer Slicer did, does no harm.
        parameterNode.AddObserver = self._addObserver
        try:
            self._guiTag = parameterNode.connectGui(ui)
        finally:
            del parameterNode.AddObserver

    def end(self) -> None:
        """Widgets and parameters go their own ways."""
        self._parameterNode.disconnectGui(self._guiTag)
        for tag in self._tags:
            self._parameterNode.RemoveObserver(tag)

    def _addObserver(self, *arguments) -> int:
        self._tags.append(self._parameterNode.parameterNode.AddObserver(*arguments))
        return self._tags[-1]
