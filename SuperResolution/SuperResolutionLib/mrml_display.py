"""How compared volumes are shown, while they are: one window and level for all, and voxels as they are by choice."""

from __future__ import annotations

import slicer
from slicer.util import NodeModify, VTKObservationMixin

#: Attribute of a display node while it is held: Slicer announces no saving, so a saved scene carries it, too.
INTERPOLATED_BEFORE = "SuperResolution.interpolatedBefore"


class SharedDisplay(VTKObservationMixin):
    """Keeps window, level and color table of some volume nodes equal, and their interpolation as wanted."""

    def __init__(self):
        VTKObservationMixin.__init__(self)
        self._alike = []
        self._held = set()  # ids of display nodes
        self._copying = False

    def hold(self, alike, others=(), interpolate: bool = True) -> None:
        """Show these volumes alike from now on; each call replaces the last.

        Args:
            alike: volume nodes that get the window and level of the first, and follow each other.
            others: volume nodes that keep their own.
            interpolate: False shows voxels as squares.
        """
        self.removeObservers()
        displays = {}
        for node in (*alike, *others):
            if node.GetDisplayNode() is None:
                node.CreateDefaultDisplayNodes()
            displays[node.GetDisplayNode().GetID()] = node.GetDisplayNode()
        self._letGo(self._held - set(displays))
        self._held = set(displays)
        for display in displays.values():
            if display.GetAttribute(INTERPOLATED_BEFORE) is None:
                display.SetAttribute(INTERPOLATED_BEFORE, str(display.GetInterpolate()))
            display.SetInterpolate(interpolate)
        self._alike = list(alike)
        for node in self._alike:
            self.addObserver(node, slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent, self._onDisplayModified)
        self._copyFrom(self._alike[0])

    def release(self) -> None:
        """Let the volumes go their ways, with the interpolation that they had; window and level stay."""
        self.removeObservers()
        self._alike = []
        self._letGo(self._held)
        self._held = set()

    def restoreLoaded(self) -> None:
        """Give volumes the interpolation back that they had, if they were saved while they were compared."""
        displays = slicer.util.getNodesByClass("vtkMRMLVolumeDisplayNode")
        self._letGo({display.GetID() for display in displays} - self._held)

    @staticmethod
    def _letGo(displayIDs) -> None:
        for display in [slicer.mrmlScene.GetNodeByID(each) for each in displayIDs]:
            before = display.GetAttribute(INTERPOLATED_BEFORE) if display is not None else None
            if before is not None:
                display.SetInterpolate(int(before))
                display.RemoveAttribute(INTERPOLATED_BEFORE)

    def _onDisplayModified(self, caller, _event) -> None:
        if not self._copying:
            self._copyFrom(caller)

    def _copyFrom(self, node) -> None:
        source = node.GetDisplayNode()
        if source is None:
            return
        window, level, color = source.GetWindow(), source.GetLevel(), source.GetColorNodeID()
        self._copying = True
        try:
            for display in [each.GetDisplayNode() for each in self._alike if each is not node]:
                if display is not None:
                    _setLevels(display, window, level, color)
        finally:
            self._copying = False


def _setLevels(display, window: float, level: float, colorNodeID: str | None) -> None:
    with NodeModify(display):
        # Automatic levels would be computed anew from each volume's own values.
        display.AutoWindowLevelOff()
        display.SetWindowLevel(window, level)
        if display.GetColorNodeID() != colorNodeID:
            display.SetAndObserveColorNodeID(colorNodeID or "")
