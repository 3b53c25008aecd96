"""The Compare section of the panel: buttons, key and choices, and the views of the running Slicer behind them."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from SuperResolutionLib import mrml_compare, mrml_views
from SuperResolutionLib.errors import SuperResolutionError
from SuperResolutionLib.mrml_difference import differenceObstacle
from SuperResolutionLib.mrml_layout import SR_VIEW
from SuperResolutionPanel.target import inputOf

FLICKER_KEY = "K"  # no key of Slicer's slice views
#: The view whose slice is meant if others lie in the plane of the input's slices as well.
MAIN_VIEW = "Red"


class CompareView:
    """Shows and hides the comparison of the volumes that a parameter node names.

    Args:
        ui: the form's widgets by name.
    """

    def __init__(self, ui):
        self._ui = ui
        self._parameterNode = None
        self._comparison = None
        self._shortcut = None
        self._ready = ui.compareButton.toolTip
        self._catchUpTimer = qt.QTimer()  # out of observers, where a result may be half in the scene
        self._catchUpTimer.setSingleShot(True)
        self._catchUpTimer.setInterval(0)
        self._catchUpTimer.timeout.connect(self._onCatchUp)
        for orientation, text in orientationItems():
            ui.orientationComboBox.addItem(text, orientation)
        ui.compareButton.clicked.connect(self._onCompareClicked)
        ui.flickerButton.clicked.connect(self._onFlicker)
        ui.orientationComboBox.currentIndexChanged.connect(self._onOrientationChosen)
        self._updateWidgets()

    @property
    def shown(self) -> bool:
        return self._comparison is not None and self._comparison.shown

    def update(self, parameterNode) -> None:
        """Follow a parameter node; None while there is none, which ends a comparison."""
        self._parameterNode = parameterNode
        if parameterNode is not None and self._prepare():
            self._comparison.adoptDifference(parameterNode.srVolume, parameterNode.bicubicVolume)
        if self.shown:
            if self._canCompare():
                self._show()
            else:
                self.hide()
        self._updateWidgets()

    def show(self) -> None:
        """Show the comparison in place of the current layout; what is wrong is shown, not raised."""
        if not self.shown and self._canCompare():
            self._show(center=self._centerOfView())
            if self.shown:
                self._addShortcut()
        self._updateWidgets()

    def hide(self) -> None:
        """End the comparison and bring the previous layout back; harmless if none is shown."""
        if self.shown:
            self._comparison.hide()
        self._onEnded()

    def close(self) -> None:
        """Hide, and watch the scene no more: the panel goes."""
        self.hide()
        self._parameterNode = None
        self._catchUpTimer.stop()
        if self._comparison is not None:
            self._comparison.close()
            self._comparison = None

    def sliceNode(self):
        """The slice view that "current slice" means: the comparison's, else the one to scroll the input's slices with.

        None without a layout manager.
        """
        sliceWidget = self._sliceWidget()
        return sliceWidget.mrmlSliceNode() if sliceWidget is not None else None

    def _sliceWidget(self):
        manager = slicer.app.layoutManager()
        if manager is None:
            return None
        if self.shown:
            return manager.sliceWidget(SR_VIEW)
        widgets = [manager.sliceWidget(name) for name in (MAIN_VIEW, *manager.sliceViewNames())]
        widgets = [each for each in widgets if each is not None]
        shown = [each for each in widgets if each.mrmlSliceNode().IsMappedInLayout()] or widgets
        node = self._parameterNode.inputVolume if self._parameterNode is not None else None
        if node is None or node.GetImageData() is None:
            return next(iter(shown), None)
        # Rounded, so that the first of equals is taken.
        return max(shown, key=lambda each: round(mrml_views.matchOf(each.mrmlSliceNode(), node), 3), default=None)

    def _inputVolume(self):
        """The input of the result that is chosen, which need not be the input that is chosen next."""
        return inputOf(self._parameterNode.srVolume, self._parameterNode.inputVolume)

    def _centerOfView(self):
        """RAS of the middle of the slice that the user looks at; None if nothing is shown there."""
        sliceWidget = self._sliceWidget()
        if sliceWidget is None or sliceWidget.mrmlSliceCompositeNode().GetBackgroundVolumeID() is None:
            return None
        return mrml_views.centerOf(sliceWidget.sliceLogic())

    def _prepare(self) -> bool:
        """Whether there are views to compare in."""
        manager = slicer.app.layoutManager()
        if manager is not None and self._comparison is None:
            labels = {"sr": _("SR"), "bicubic": _("Bicubic"), "input": _("Input"), "difference": _("SR - bicubic")}
            self._comparison = mrml_compare.Comparison(
                _sliceLogic,
                manager.layoutLogic().GetLayoutNode(),
                slicer.app.processEvents,
                self._onEnded,
                labels,
                later=self._catchUpTimer.start,
            )
        return manager is not None

    def _canCompare(self) -> bool:
        chosen = self._parameterNode
        if chosen is None or not self._prepare():
            return False
        return not mrml_compare.compareObstacle(self._inputVolume(), chosen.srVolume, chosen.bicubicVolume)

    def _show(self, center=None) -> None:
        chosen = self._parameterNode
        try:
            self._comparison.show(
                self._inputVolume(),
                chosen.srVolume,
                chosen.bicubicVolume,
                original=chosen.showOriginal,
                difference=chosen.showDifference,
                orientation=chosen.orientation,
                voxels=chosen.showVoxels,
                center=center,
            )
        except SuperResolutionError as error:
            self.hide()
            slicer.util.errorDisplay(str(error))

    def _updateWidgets(self) -> None:
        chosen, canCompare = self._parameterNode, self._canCompare()
        self._ui.compareButton.enabled = canCompare
        self._ui.compareButton.checked = self.shown
        noResult = _("Upscale a volume first, or choose its super-resolved and bicubic volumes under Outputs.")
        self._ui.compareButton.toolTip = self._ready if canCompare else noResult
        self._ui.flickerButton.enabled = self.shown
        hasTwins = canCompare and chosen.bicubicVolume is not None
        self._ui.originalCheckBox.enabled = hasTwins and self._inputVolume() is not None
        canSubtract = hasTwins and not differenceObstacle(chosen.srVolume, chosen.bicubicVolume)
        self._ui.differenceCheckBox.enabled = canSubtract
        for widget in (self._ui.showVoxelsCheckBox, self._ui.orientationComboBox):
            widget.enabled = canCompare
        if chosen is not None:
            box = self._ui.orientationComboBox
            wasBlocked = box.blockSignals(True)
            box.currentIndex = box.findData(chosen.orientation)
            box.blockSignals(wasBlocked)

    def _addShortcut(self) -> None:
        window = slicer.util.mainWindow()
        if window is not None and self._shortcut is None:
            self._shortcut = qt.QShortcut(qt.QKeySequence(FLICKER_KEY), window)
            self._shortcut.activated.connect(self._onFlicker)

    def _onEnded(self) -> None:
        """No comparison is shown any more, whoever ended it."""
        if self._shortcut is not None:
            self._shortcut.enabled = False
            self._shortcut.deleteLater()
            self._shortcut = None
        self._updateWidgets()

    def _onCatchUp(self) -> None:
        if self._comparison is not None:
            self._comparison.catchUp()

    def _onCompareClicked(self, checked=False) -> None:
        if checked:
            self.show()
        else:
            self.hide()

    def _onFlicker(self, *_arguments) -> None:
        if self.shown:
            self._comparison.flicker()

    def _onOrientationChosen(self, _index=0) -> None:
        if self._parameterNode is not None:
            self._parameterNode.orientation = self._ui.orientationComboBox.currentData


def orientationItems() -> list[tuple[str, str]]:
    """(value of the parameter, text) of the orientations on offer."""
    return [
        ("volume", _("Slices of the volume")),
        ("Axial", _("Axial")),
        ("Sagittal", _("Sagittal")),
        ("Coronal", _("Coronal")),
    ]


def _sliceLogic(viewName: str):
    """The slice logic of a view of the running Slicer, or None."""
    manager = slicer.app.layoutManager()
    sliceWidget = manager.sliceWidget(viewName) if manager is not None else None
    return sliceWidget.sliceLogic() if sliceWidget is not None else None
