"""Observes one node at a time: what the form shows may change without a word of the parameter node."""

from __future__ import annotations


class Watch:
    """Calls a function, without arguments, whenever the node that it follows is modified.

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
