"""Lists whose entries are not known when the form is designed; plain ones follow their parameter by themselves."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _


def fill(comboBox, items: list[tuple], chosen) -> None:
    """Show (text, data, tool tip) items without telling anyone; the same ones are not shown anew."""
    shown = [(comboBox.itemText(index), comboBox.itemData(index)) for index in range(comboBox.count)]
    wasBlocked = comboBox.blockSignals(True)
    if shown != [(text, data) for text, data, _toolTip in items]:
        comboBox.clear()
        for text, data, _toolTip in items:
            comboBox.addItem(text, data)
    for index, (_text, _data, toolTip) in enumerate(items):
        comboBox.setItemData(index, toolTip, qt.Qt.ToolTipRole)
    comboBox.currentIndex = comboBox.findData(chosen)
    comboBox.blockSignals(wasBlocked)


def deviceItems(devices, chosen: str) -> list[tuple]:
    """Automatic, CPU and the graphics cards by name.

    Args:
        devices: [("cpu", name), ("cuda:0", name), ...], or None while they are not known.
        chosen: a device of a saved scene, which is listed even if this computer may not have it.
    """
    cards = [(device, name) for device, name in devices or [] if device != "cpu"]
    names = [name for _device, name in cards]
    items = [
        (_("Automatic"), "auto", _("A graphics card if there is one that can be used, otherwise the CPU.")),
        (_("CPU"), "cpu", ""),
    ]
    for device, name in cards:
        text = name if names.count(name) == 1 else f"{name} ({device})"
        items.append((text, device, ""))
    if chosen not in [device for _text, device, _toolTip in items]:
        known = devices is not None
        items.append((chosen, chosen, _("This computer has no such device.") if known else ""))
    return items


def precisionItems() -> list[tuple]:
    return [
        (_("Automatic"), "auto", _("The fastest of which a trial on this very volume shows no difference.")),
        (_("float32 (exact)"), "float32", _("Full precision, the same on every computer.")),
        (_("bfloat16"), "bfloat16", _("Faster on recent graphics cards; differs slightly from float32.")),
        (_("float16"), "float16", _("Faster on most graphics cards; differs slightly from float32.")),
    ]
