"""What part of the volume is upscaled: all of it, a region of interest, or the slice that is shown."""

from __future__ import annotations

import slicer
import vtk
from slicer.i18n import tr as _

from SuperResolutionLib import mrml_region
from SuperResolutionPanel.lists import fill
from SuperResolutionPanel.watch import Watch


class Extent:
    """The choice of the extent and, for a region, its selector with a button that shows the region.

    Args:
        ui: the named widgets of SuperResolution.ui.
        onChanged: called when the region of interest was moved, resized, shown or hidden.
    """

    def __init__(self, ui, onChanged):
        self._ui = ui
        self._onChanged = onChanged
        self._parameterNode = None
        self._hasRegion = self._hasTimePoints = False
        roiClass = slicer.vtkMRMLMarkupsROINode
        events = (roiClass.PointModifiedEvent, roiClass.DisplayModifiedEvent, roiClass.TransformModifiedEvent)
        self._roi = Watch(self._onRegionModified, (*events, vtk.vtkCommand.ModifiedEvent))
        self._ui.inputsCollapsibleButton.contentsCollapsed.connect(self._showRows)
        self._ui.extentComboBox.currentIndexChanged.connect(self._onExtentChosen)
        self._ui.roiSelector.nodeAddedByUser.connect(self._onRegionAdded)
        self._ui.roiVisibilityButton.toggled.connect(self._onVisibilityToggled)

    def update(self, parameterNode, timePoints: int) -> None:
        """Follow a parameter node, or none; ``timePoints`` is the length of the sequence that the input shows, or 1."""
        self._parameterNode = parameterNode
        extent = parameterNode.extent if parameterNode is not None else "volume"
        fill(self._ui.extentComboBox, extentItems(), extent)
        self._hasRegion, self._hasTimePoints = extent == "roi", timePoints > 1
        self._showRows(self._ui.inputsCollapsibleButton.collapsed)
        self._roi.follow(parameterNode.roi if parameterNode is not None else None)
        self._showVisibility()

    def _showRows(self, isCollapsed: bool) -> None:
        # A section that opens shows its rows again, also those that were hidden while it was closed.
        if not isCollapsed:
            self._ui.roiLabel.visible = self._hasRegion
            self._ui.roiWidget.visible = self._hasRegion
            self._ui.allTimePointsCheckBox.visible = self._hasTimePoints

    def _onExtentChosen(self, _index=0) -> None:
        chosen = self._parameterNode
        if chosen is None:
            return
        extent = self._ui.extentComboBox.currentData
        if extent == "roi" and chosen.roi is None and _hasVoxels(chosen.inputVolume):
            chosen.roi = mrml_region.createROI(chosen.inputVolume)
        chosen.extent = extent

    def _onRegionAdded(self, node) -> None:
        """A region that was created in the selector starts where ``createROI`` would put it."""
        if self._parameterNode is None or not _hasVoxels(self._parameterNode.inputVolume):
            return
        pattern = mrml_region.createROI(self._parameterNode.inputVolume)
        node.CopyContent(pattern)
        node.SetAndObserveTransformNodeID(pattern.GetTransformNodeID())
        node.CreateDefaultDisplayNodes()
        for each in (pattern.GetDisplayNode(), pattern):
            slicer.mrmlScene.RemoveNode(each)

    def _onVisibilityToggled(self, checked: bool) -> None:
        if self._roi.node is not None:
            self._roi.node.CreateDefaultDisplayNodes()
            self._roi.node.SetDisplayVisibility(checked)

    def _onRegionModified(self) -> None:
        self._showVisibility()
        self._onChanged()

    def _showVisibility(self) -> None:
        button = self._ui.roiVisibilityButton
        roi = self._roi.node
        button.enabled = roi is not None
        wasBlocked = button.blockSignals(True)
        button.checked = roi is not None and bool(roi.GetDisplayVisibility())
        button.blockSignals(wasBlocked)


def extentItems() -> list[tuple]:
    """(text, value of the parameter, tool tip) of each extent."""
    return [
        (_("Whole volume"), "volume", _("Every slice, in full.")),
        (_("Region of interest"), "roi", _("The voxels that a box encloses; a new box is shown around the middle.")),
        (
            _("Current slice"),
            "slice",
            _("Only the slice shown in the view that lies in the plane of the volume's slices."),
        ),
    ]


def _hasVoxels(volumeNode) -> bool:
    return volumeNode is not None and volumeNode.GetImageData() is not None
