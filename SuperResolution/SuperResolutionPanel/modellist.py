"""Which models a volume is offered, in which order, and how they are named in the list."""

from __future__ import annotations

import re
from collections import Counter

from slicer.i18n import tr as _

from SuperResolutionLib import mrml
from SuperResolutionPanel.modeltip import familyTitle, modelTip

# DICOM's modalities, and the words of a model card's domain that speak of them.
MODALITY_WORDS = {
    "MR": {"mr", "mri"},
    "CT": {"ct"},
    "CR": {"xray", "radiograph", "radiography"},
    "DX": {"xray", "radiograph", "radiography"},
    "MG": {"mammogram", "mammography"},
    "US": {"ultrasound", "sonography"},
    "PT": {"pet"},
    "OP": {"fundus", "retina", "ophthalmology"},
    "OPT": {"oct"},
    "ES": {"endoscopy"},
    "SM": {"histology", "pathology", "microscopy"},
}


def familyItems(families: dict, channels: int, modality: str) -> list[tuple]:
    """(text, family, tool tip) of each family, those first that fit a volume best; those that cannot run last.

    Args:
        families: {family: [ModelCard, ...] sorted by scale}.
        channels: components of a voxel of the volume.
        modality: DICOM's name for the kind of image, for example "MR"; empty if it is not known.
    """
    best = sorted(families.items(), key=lambda item: (_misfit(item[1][0], channels, modality), item[0]))
    titles = Counter(familyTitle(cards) for cards in families.values())
    return [(_text(family, cards, titles), family, modelTip(cards)) for family, cards in best]


def canUse(card, channels: int) -> bool:
    """Whether a model can run; a grey one works on each channel of a color volume, a color one not on grey."""
    return channels >= card.channels


def modalityOf(volumeNode) -> str:
    """DICOM's modality of a volume, or what its name begins with as in Slicer's samples (MRHead, CTChest), or ""."""
    if volumeNode is None:
        return ""
    named = re.match(r"(MR|CT)(?=[A-Z_\W\d]|$)", volumeNode.GetName() or "")
    return mrml.sourceOf(volumeNode).get("Modality") or (named.group(1) if named else "")


def _misfit(card, channels: int, modality: str) -> tuple:
    return (
        not canUse(card, channels),
        card.baseline,
        card.channels != min(channels, 3),
        _strange(card, modality),
        card.family.endswith("-gan"),  # fidelity before texture
    )


def _strange(card, modality: str) -> int:
    """0 for a model made for this modality, 1 for a general or unknown one, 2 for one made for others."""
    words = set(re.findall(r"[a-z]+", card.domain.lower().replace("x-ray", "xray")))
    spoken = {name for name, wanted in MODALITY_WORDS.items() if words & wanted}
    if modality not in MODALITY_WORDS or "general" in words or not spoken:
        return 1
    return 0 if modality in spoken else 2


def _text(family: str, cards, titles: Counter) -> str:
    title = familyTitle(cards)
    name = title if titles[title] == 1 else f"{title} ({family})"
    return name if cards[0].channels == 1 else _("{name} (color)").format(name=name)
