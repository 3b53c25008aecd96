"""Which models a volume is offered, in the engine's order, and how they are named in the list."""

from __future__ import annotations

from collections import Counter

from slicer.i18n import tr as _

from SuperResolutionLib import mrml
from SuperResolutionLib.recommend import card_at, modality_in_name, ranked
from SuperResolutionPanel.modeltip import familyTitle, modelTip


def familyItems(families: dict, channels: int, modality: str, scale: int) -> list[tuple]:
    """(text, family, tool tip) of each family, those first that suit a volume best; those that cannot run last.

    Args:
        families: {family: [ModelCard, ...] sorted by scale}.
        channels: components of a voxel of the volume.
        modality: DICOM's name for the kind of image, for example "MR"; empty if it is not known.
        scale: the chosen scale, at which families are judged that offer it.
    """
    offered = [card_at(cards, scale) for cards in families.values()]
    names = [card.family for card in ranked(offered, channels, modality, scale)]
    titles = Counter(familyTitle(cards) for cards in families.values())
    return [(_text(name, families[name], titles), name, modelTip(families[name])) for name in names]


def modalityOf(volumeNode) -> str:
    """DICOM's modality of a volume, or what its name begins with as in Slicer's samples (MRHead, CTChest), or ""."""
    if volumeNode is None:
        return ""
    return mrml.sourceOf(volumeNode).get("Modality") or modality_in_name(volumeNode.GetName() or "")


def _text(family: str, cards, titles: Counter) -> str:
    title = familyTitle(cards)
    name = title if titles[title] == 1 else f"{title} ({family})"
    return name if cards[0].channels == 1 else _("{name} (color)").format(name=name)
