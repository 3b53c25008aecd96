"""The form: it makes the lists fit the choices, says what Upscale would give, and shows the state of a run.

Plain widgets follow the parameter node through ``SlicerParameterName``. The lists of extents, models, scales, devices
and precisions cannot: their entries depend on the catalog and the computer, and their texts are not the parameters'
values. They are kept by hand here.
"""

from __future__ import annotations

import re

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import NodeModify

from SuperResolutionLib import mrml
from SuperResolutionLib.errors import SuperResolutionError
from SuperResolutionLib.recommend import can_take, card_at
from SuperResolutionPanel.choices import outputObstacle, regionOf, timePointsOf
from SuperResolutionPanel.extent import Extent
from SuperResolutionPanel.lists import deviceItems, fill, precisionItems
from SuperResolutionPanel.modelfolder import ModelFolder
from SuperResolutionPanel.modellist import familyItems, modalityOf
from SuperResolutionPanel.outlook import Outlook, breakable, durationText, literal, outlook
from SuperResolutionPanel.upscaling import ADDING
from SuperResolutionPanel.watch import Watch


class Form:
    """Fills the lists, writes choices to the parameter node, shows the outlook and the state.

    Args:
        ui: the named widgets of SuperResolution.ui.
        catalog: function that returns the ModelCatalog; asked at every update.
        sliceNode: function that returns the slice node that the extent "current slice" means, or None.
        onCatalogChanged: function called when the user chose another model folder or deleted a model: what ``catalog``
            returns must be read again (``ModelCatalog.default(modelfolder.chosenFolder())``) and ``update`` called.

    Attributes:
        outlook: Outlook of the present choices; its ``work`` is what ``speed.remember`` wants.
    """

    def __init__(self, ui, catalog, sliceNode=lambda: None, onCatalogChanged=lambda: None):
        self._ui = ui
        self._catalog = catalog
        self._parameterNode = None
        self._channels = 1
        self._timePoints = 1
        self._devices = None
        self._sliceNode = sliceNode
        self._isRunning = False
        self._listed = None
        self._inputKind = None
        self._input = Watch(
            self._onInputModified,
            (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent),
        )
        self.outlook = Outlook()
        self._extent = Extent(ui, self.refresh)
        self._modelFolder = ModelFolder(ui, onCatalogChanged)
        # What appears in these lines later must not push the button away.
        self._ui.outlookLabel.minimumHeight = 2 * self._ui.outlookLabel.fontMetrics().lineSpacing()
        self._ui.modelFamilyComboBox.currentIndexChanged.connect(self._onFamilyChosen)
        self._ui.scaleComboBox.currentIndexChanged.connect(self._onScaleChosen)
        self._ui.deviceComboBox.currentIndexChanged.connect(self._onDeviceChosen)
        self._ui.precisionComboBox.currentIndexChanged.connect(self._onPrecisionChosen)

    def update(self, parameterNode, channels: int, timePoints: int = 1) -> None:
        """Make the form fit the parameter node.

        A choice that is empty or no longer offered is replaced in the parameter node by the first that fits.

        Args:
            channels: components of a voxel of the input volume; 1 if there is none.
            timePoints: time points of the sequence that the input volume shows; 1 if it shows none. The check box
                for all of them is visible only if there are more.
        """
        self._parameterNode, self._channels, self._timePoints = parameterNode, channels, timePoints
        if self._input.node is not None and self._input.node is not parameterNode.inputVolume and not self._isRunning:
            self.showStatus("")  # it spoke of the volume before
        self._input.follow(parameterNode.inputVolume)
        self._inputKind = _kindOf(parameterNode.inputVolume)
        catalog = self._catalog()
        families = catalog.families()
        self._updateFamilies(catalog, families)
        self._updateScales(families)
        self._updateDevices()
        fill(self._ui.precisionComboBox, precisionItems(), parameterNode.precision)
        self._extent.update(parameterNode, timePoints)
        self._modelFolder.update(self._card(), len(catalog.cards), catalog.problems)
        self.refresh()
        self._updateOutputs()

    def forget(self) -> None:
        """Write to no parameter node from now on: the scene is closing."""
        self._parameterNode = None
        self._input.follow(None)
        self._extent.update(None, 1)
        self.refresh()

    def setDevices(self, devices) -> None:
        """List the devices that were found: [("cpu", name), ("cuda:0", name), ...], or None while unknown."""
        self._devices = devices
        if self._parameterNode is not None:
            self._updateDevices()
            self.refresh()

    def refresh(self) -> None:
        """Say anew what Upscale would give: the region moved, the slice changed, a run was measured."""
        self.outlook = self._foresee()
        obstacle = self.obstacle()
        self._ui.outlookLabel.text = breakable(obstacle or self.outlook.line)
        self._ui.warningLabel.text = breakable("\n".join(f"\u26a0 {warning}" for warning in self.outlook.warnings))
        self._ui.warningLabel.visible = bool(self.outlook.warnings)
        if not self._isRunning:
            self._showButton(obstacle)

    def obstacle(self) -> str:
        """One sentence that says why Upscale cannot be clicked; empty if it can."""
        if self._parameterNode is None or self._parameterNode.inputVolume is None:
            return _("Choose an input volume first.")
        card = self._card()
        if card is None:
            return _("No model is installed.")
        if not can_take(card, self._channels):
            return _("This model needs a color volume; choose another model.")
        return self.outlook.refusal or outputObstacle(self._parameterNode, self._sliceNode())

    def showReady(self) -> None:
        """The button starts a run, or says on hover why it cannot."""
        self._isRunning = False
        self._setSectionsEnabled(True)
        self._ui.progressBar.visible = False
        self._showButton(self.obstacle())

    def showRunning(self) -> None:
        """The button cancels; nothing else that the run depends on can be changed meanwhile."""
        self._isRunning = True
        self._setSectionsEnabled(False)
        self._ui.progressBar.value = 0
        self._ui.progressBar.visible = True
        self._ui.applyButton.text = _("Cancel")
        self._ui.applyButton.enabled = True
        self._ui.applyButton.toolTip = _("Stop upscaling; nothing is added to the scene.")

    def showProgress(self, fraction: float, stage: str, secondsLeft: float | None) -> None:
        """Progress of the run: fraction 0 to 1, what is being done, seconds left if that is known."""
        self._ui.progressBar.value = round(100 * fraction)
        self._ui.applyButton.enabled = stage != ADDING  # that is over soon, and cannot be cancelled
        stage = stageText(stage)
        stage = stage[:1].upper() + stage[1:]
        if secondsLeft is None:
            self.showStatus(stage)
        else:
            self.showStatus(_("{stage}, {time} left").format(stage=stage, time=durationText(secondsLeft)))

    def showStatus(self, text: str) -> None:
        # A long name of a volume breaks at its underscores rather than widen the panel.
        self._ui.statusLabel.text = text.replace("_", "_\u200b")
        self._ui.statusLabel.visible = bool(text)

    def _showButton(self, obstacle: str) -> None:
        self._ui.applyButton.text = _("Upscale")
        self._ui.applyButton.enabled = not obstacle
        self._ui.applyButton.toolTip = literal(obstacle) or _("Create the super-resolved volume.")

    def _foresee(self) -> Outlook:
        chosen, card = self._parameterNode, self._card()
        if chosen is None or card is None or not can_take(card, self._channels):
            return Outlook()
        try:
            region = regionOf(chosen, self._sliceNode()) if chosen.inputVolume is not None else None
        except SuperResolutionError as error:
            # Which slice is shown may change without a word; the button must not stay disabled for it.
            passing = chosen.extent == "slice"
            return Outlook(warnings=(str(error),)) if passing else Outlook(refusal=str(error))
        return outlook(
            chosen.inputVolume,
            card,
            region,
            chosen.makeBicubic,
            chosen.device,
            chosen.precision,
            self._timePoints if chosen.allTimePoints else 1,
            self._ui.deviceComboBox.currentText,
        )

    def _card(self):
        """The chosen ModelCard, or None."""
        if self._parameterNode is None:
            return None
        cards = self._catalog().families().get(self._parameterNode.modelFamily, [])
        return next((card for card in cards if card.scale == self._parameterNode.scale), None)

    def _updateFamilies(self, catalog, families) -> None:
        wanted = (catalog, self._channels, modalityOf(self._parameterNode.inputVolume))
        if self._listed is None or self._listed[0] != wanted:
            # Not anew for another scale: a model that has no other one must not take the list of scales with it.
            self._listed = wanted, familyItems(families, *wanted[1:], self._parameterNode.scale)
        items = self._listed[1]
        chosen, automatic = self._parameterNode.modelFamily, self._parameterNode.automaticModelFamily
        if items and (chosen not in families or chosen == automatic):
            # Until the user chooses, the model follows the kind of the volume.
            chosen = items[0][1]
            with NodeModify(self._parameterNode):
                self._parameterNode.modelFamily = self._parameterNode.automaticModelFamily = chosen
        fill(self._ui.modelFamilyComboBox, items, chosen)
        self._ui.modelFamilyComboBox.toolTip = next((tip for _text, family, tip in items if family == chosen), "")

    def _updateScales(self, families) -> None:
        cards = families.get(self._parameterNode.modelFamily, [])
        chosen = self._parameterNode.scale
        if cards and card_at(cards, chosen).scale != chosen:
            chosen = self._parameterNode.scale = card_at(cards, chosen).scale
        fill(self._ui.scaleComboBox, [(f"x{card.scale}", card.scale, "") for card in cards], chosen)

    def _updateDevices(self) -> None:
        chosen = self._parameterNode.device
        fill(self._ui.deviceComboBox, deviceItems(self._devices, chosen), chosen)

    def _updateOutputs(self) -> None:
        chosen = self._parameterNode
        part = {"roi": "region", "slice": "slice"}.get(chosen.extent, "")
        for selector, kind in ((self._ui.srVolumeSelector, "SR"), (self._ui.bicubicVolumeSelector, "bicubic")):
            selector.baseName = mrml.outputName(chosen.inputVolume, kind, chosen.scale, part)
        self._ui.bicubicVolumeSelector.enabled = chosen.makeBicubic

    def _onInputModified(self) -> None:
        """The input got its voxels, other ones or another name; its first change may come after it was chosen."""
        if self._parameterNode is not None and _kindOf(self._input.node) != self._inputKind:
            # Slicer chooses a volume that is to show a sequence before the browser knows of it.
            node = self._input.node
            self.update(self._parameterNode, mrml.channelsOf(node), timePointsOf(node))

    def _onFamilyChosen(self, _index=0) -> None:
        if self._parameterNode is not None:
            with NodeModify(self._parameterNode):
                self._parameterNode.automaticModelFamily = ""
                self._parameterNode.modelFamily = self._ui.modelFamilyComboBox.currentData

    def _onScaleChosen(self, _index=0) -> None:
        if self._parameterNode is not None:
            self._parameterNode.scale = self._ui.scaleComboBox.currentData

    def _onDeviceChosen(self, _index=0) -> None:
        if self._parameterNode is not None:
            self._parameterNode.device = self._ui.deviceComboBox.currentData

    def _onPrecisionChosen(self, _index=0) -> None:
        if self._parameterNode is not None:
            self._parameterNode.precision = self._ui.precisionComboBox.currentData

    def _setSectionsEnabled(self, enabled: bool) -> None:
        for section in ("inputs", "outputs", "advanced"):
            getattr(self._ui, section + "CollapsibleButton").enabled = enabled


def stageText(stage: str) -> str:
    """A stage of a run, which the engine names in English, in the user's language; an unknown one stays as it is."""
    table = {
        "reading the image": _("reading the image"),
        "starting": _("starting"),
        "loading the model": _("loading the model"),
        "choosing how to compute": _("choosing how to compute"),
        r"slice (?P<index>\d+) of (?P<count>\d+)": _("slice {index} of {count}"),
        "handing the result over": _("handing the result over"),
        ADDING: _("adding the result to the scene"),
        r"time point (?P<index>\d+) of (?P<count>\d+): (?P<stage>.*)": _("time point {index} of {count}: {stage}"),
    }
    for pattern, text in table.items():
        match = re.fullmatch(pattern, stage)
        if match:
            parts = match.groupdict()
            return text.format(**{**parts, "stage": stageText(parts.get("stage") or "")})
    return stage


def _kindOf(volumeNode) -> tuple | None:
    """What the form depends on in a volume: not its voxels, which may change many times a second."""
    if volumeNode is None:
        return None
    image = volumeNode.GetImageData()
    kind = volumeNode.GetName(), volumeNode.GetSpacing()
    if image is None:
        return kind
    return (*kind, image.GetDimensions(), image.GetScalarType(), image.GetNumberOfScalarComponents())
