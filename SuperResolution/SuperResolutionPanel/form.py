"""The lists of the form that come from the catalog and the machine, and what the form says while it waits or works.

Plain widgets follow the parameter node through ``SlicerParameterName``. The lists of models, scales and devices
cannot: their entries are not known when the parameter node class is written. They are kept by hand here.
"""

from __future__ import annotations

import sys

import qt
from slicer.i18n import tr as _

DEFAULT_SCALE = 4


class Form:
    """Fills the lists from the catalog, writes choices to the parameter node, shows states.

    Args:
        ui: the named widgets of SuperResolution.ui.
        families: function that returns {family: [ModelCard, ...] sorted by scale}.
    """

    def __init__(self, ui, families):
        self._ui = ui
        self._families = families
        self._parameterNode = None
        self._outputsFor = None
        self._defaultFamily = None
        self._ui.modelFamilyComboBox.currentIndexChanged.connect(self._onFamilyChosen)
        self._ui.scaleComboBox.currentIndexChanged.connect(self._onScaleChosen)
        self._ui.deviceComboBox.currentIndexChanged.connect(self._onDeviceChosen)

    def update(self, parameterNode, channels: int) -> None:
        """Make the lists fit the parameter node and an input volume with so many channels.

        A choice that is empty or no longer offered is replaced in the parameter node by the first that fits.
        """
        self._parameterNode = parameterNode
        families = self._families()
        self._updateFamilies(families, channels)
        self._updateScales(families)
        self._updateDevices()
        self._updateOutputs()

    def forget(self) -> None:
        """Write to no parameter node from now on: the scene is closing."""
        self._parameterNode = None
        self._outputsFor = None

    def obstacle(self, channels: int) -> str:
        """One sentence that says why Upscale cannot be clicked; empty if it can."""
        if self._parameterNode is None or self._parameterNode.inputVolume is None:
            return _("Choose an input volume first.")
        cards = self._families().get(self._parameterNode.modelFamily)
        if not cards:
            return _("No model is installed.")
        if not _canUse(cards, channels):
            return _("This model needs a color volume; choose another model.")
        return ""

    def showReady(self, obstacle: str) -> None:
        """The button starts a run, or says on hover why it cannot."""
        self._setSectionsEnabled(True)
        self._ui.progressBar.visible = False
        self._ui.applyButton.text = _("Upscale")
        self._ui.applyButton.enabled = not obstacle
        self._ui.applyButton.toolTip = obstacle or _("Create the super-resolved volume.")

    def showRunning(self) -> None:
        """The button cancels; nothing else can be changed meanwhile."""
        self._setSectionsEnabled(False)
        self._ui.progressBar.value = 0
        self._ui.progressBar.visible = True
        self._ui.applyButton.text = _("Cancel")
        self._ui.applyButton.enabled = True
        self._ui.applyButton.toolTip = _("Stop upscaling; nothing is added to the scene.")

    def showProgress(self, fraction: float, stage: str, secondsLeft: float | None) -> None:
        """Progress of the run: fraction 0 to 1, what is being done, seconds left if that is known."""
        self._ui.progressBar.value = round(100 * fraction)
        stage = stage[:1].upper() + stage[1:]
        if secondsLeft is None:
            self.showStatus(stage)
        else:
            self.showStatus(_("{stage}, about {seconds} s left").format(stage=stage, seconds=round(secondsLeft)))

    def showStatus(self, text: str) -> None:
        self._ui.statusLabel.text = text

    def _updateFamilies(self, families, channels: int) -> None:
        bestFirst = sorted(families.items(), key=lambda item: (_misfit(item[1], channels), item[0]))
        chosen = self._parameterNode.modelFamily
        if bestFirst and (chosen not in families or chosen == self._defaultFamily):
            # Until the user chooses, the model follows the kind of the volume.
            chosen = self._defaultFamily = bestFirst[0][0]
            self._parameterNode.modelFamily = chosen
        items = [(_familyText(family, cards), family, _familyToolTip(cards)) for family, cards in bestFirst]
        _fill(self._ui.modelFamilyComboBox, items, chosen)

    def _updateScales(self, families) -> None:
        scales = [card.scale for card in families.get(self._parameterNode.modelFamily, [])]
        chosen = self._parameterNode.scale
        if chosen not in scales and scales:
            chosen = self._parameterNode.scale = DEFAULT_SCALE if DEFAULT_SCALE in scales else scales[0]
        _fill(self._ui.scaleComboBox, [(f"x{scale}", scale, "") for scale in scales], chosen)

    def _updateDevices(self) -> None:
        items = [(_("Automatic"), "auto", ""), (_("CPU"), "cpu", ""), *_graphicsCards()]
        chosen = self._parameterNode.device
        if chosen not in [device for _text, device, _toolTip in items]:
            items.append((chosen, chosen, ""))  # from a saved scene; whether it exists here shows when torch is loaded
        _fill(self._ui.deviceComboBox, items, chosen)

    def _updateOutputs(self) -> None:
        node = self._parameterNode.inputVolume
        wanted = (node, self._parameterNode.modelFamily, self._parameterNode.scale)
        before, self._outputsFor = self._outputsFor, wanted
        if before is not None and before[0] is not None and before != wanted:
            # The volumes chosen so far hold another result, which would be lost.
            self._parameterNode.srVolume = None
            self._parameterNode.bicubicVolume = None
        name = node.GetName() if node is not None else _("Volume")
        self._ui.srVolumeSelector.baseName = f"{name} SR x{self._parameterNode.scale}"
        self._ui.bicubicVolumeSelector.baseName = f"{name} bicubic x{self._parameterNode.scale}"
        self._ui.bicubicVolumeSelector.enabled = self._parameterNode.makeBicubic

    def _onFamilyChosen(self, _index=0) -> None:
        if self._parameterNode is not None:
            self._defaultFamily = None
            self._parameterNode.modelFamily = self._ui.modelFamilyComboBox.currentData

    def _onScaleChosen(self, _index=0) -> None:
        if self._parameterNode is not None:
            self._parameterNode.scale = self._ui.scaleComboBox.currentData

    def _onDeviceChosen(self, _index=0) -> None:
        if self._parameterNode is not None:
            self._parameterNode.device = self._ui.deviceComboBox.currentData

    def _setSectionsEnabled(self, enabled: bool) -> None:
        for section in ("inputs", "outputs", "advanced"):
            getattr(self._ui, section + "CollapsibleButton").enabled = enabled


def _fill(comboBox, items: list[tuple], chosen) -> None:
    """Show (text, data, tool tip) items without telling anyone; nothing happens if they are shown already."""
    shown = [(comboBox.itemText(index), comboBox.itemData(index)) for index in range(comboBox.count)]
    wasBlocked = comboBox.blockSignals(True)
    if shown != [(text, data) for text, data, _toolTip in items]:
        comboBox.clear()
        for index, (text, data, toolTip) in enumerate(items):
            comboBox.addItem(text, data)
            comboBox.setItemData(index, toolTip, qt.Qt.ToolTipRole)
    comboBox.currentIndex = comboBox.findData(chosen)
    comboBox.blockSignals(wasBlocked)


def _canUse(cards, channels: int) -> bool:
    # A grey model works on each channel of a color volume; a color model cannot work on a scalar one.
    return channels >= cards[0].channels


def _misfit(cards, channels: int) -> int:
    """0 for models made for such volumes, 1 for those only for comparison or other channels, 2 for unusable ones."""
    if not _canUse(cards, channels):
        return 2
    return 0 if cards[0].channels == min(channels, 3) and not cards[0].baseline else 1


def _familyText(family: str, cards) -> str:
    if cards[0].channels == 1:
        return family
    return _("{family} (color)").format(family=family)


def _familyToolTip(cards) -> str:
    terms = _("License: {license}").format(license=cards[0].license)
    return "\n".join(text for text in (cards[0].title, cards[0].description, terms) if text)


def _graphicsCards() -> list[tuple]:
    """Graphics cards by name, once torch is loaded: importing it only to fill a list would make the panel wait."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [(torch.cuda.get_device_name(index), f"cuda:{index}", "") for index in range(torch.cuda.device_count())]
