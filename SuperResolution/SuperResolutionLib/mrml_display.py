"""How compared volumes are shown, while they are: one window and level for all, and voxels as they are by choice."""

from __future__ import annotations

import slicer
from slicer.util import NodeModify, VTKObservationMixin

#: Attribute of a display node while it is held: Slicer announces no saving, so a saved scene carries it, too.
INTERPOLATED_BEFORE = "SuperResolution.interpolatedBefore"


class SharedDisplay(VTKObservationMixin):
    """Keeps window, level, color table and inversion of some volume nodes equal, their interpolation as wanted."""

    def __init__(self):
        VTKObservationMixin.__init__(self)
        self._alike = []
        self._held = set()  # ids of display nodes
        self._copying = False

    def hold(self, alike, others=(), interpolate: bool = True, like=None) -> None:
        """Show these volumes alike from now on; each call replaces the last.

        Args:
            alike: volume nodes that are shown alike and follow each other. Those that join others look like them.
            others: volume nodes that keep their own window and level.
            interpolate: False shows voxels as squares.
            like: volume node that they all look like at first; None is the first of them.
        """
        self.removeObservers()
        source = next((node for node in alike if node in self._alike), like or alike[0])
        for node in (source, *alike, *others):
            if node.GetDisplayNode() is None:
                node.CreateDefaultDisplayNodes()
        displays = {node.GetDisplayNode().GetID(): node.GetDisplayNode() for node in (*alike, *others)}
        self._letGo(self._held - set(displays))
        self._held = set(displays)
        for display in displays.values():
            if display.GetAttribute(INTERPOLATED_BEFORE) is None:
                display.SetAttribute(INTERPOLATED_BEFORE, str(display.GetInterpolate()))
            display.SetInterpolate(interpolate)
        self._alike = list(alike)
        for node in self._alike:
            self.addObserver(node, slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent, self._onDisplayModified)
        self._copyFrom(source)

    def release(self) -> None:
        """Let the volumes go their ways, with the interpolation that they had; the rest stays."""
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
        self._copying = True
        try:
            for display in [each.GetDisplayNode() for each in self._alike if each is not node]:
                if display is not None:
                    _copyLevels(source, display)
        finally:
            self._copying = False


def _copyLevels(source, display) -> None:
    with NodeModify(display):
        # Automatic levels would be computed anew from each volume's own values.
        display.AutoWindowLevelOff()
        display.SetWindowLevel(source.GetWindow(), source.GetLevel())
        display.SetInvertDisplayScalarRange(source.GetInvertDisplayScalarRange())
        if display.GetColorNodeID() != source.GetColorNodeID():
            display.SetAndObserveColorNodeID(source.GetColorNodeID() or "")
