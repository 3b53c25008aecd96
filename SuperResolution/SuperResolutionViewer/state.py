"""What the page knows when it opens: the names that ``page.py``, ``control.py`` and ``static/page.js`` share."""

from __future__ import annotations

from SuperResolutionLib.recommend import DEFAULT_SCALE, can_take, card_at, modality_in_name, ranked

from .slices import VIEWS
from .work import Work


def family_items(work: Work) -> list[dict]:
    """The models that can take the opened image, those first that suit it best, as items of the page's list."""
    volume, families = work.volume, work.catalog.families()
    channels, modality = 3, ""
    if volume is not None:
        channels = volume.channels
        modality = volume.source.get("Modality") or modality_in_name(volume.name)
    cards = ranked([card_at(cards, DEFAULT_SCALE) for cards in families.values()], channels, modality)
    return [{"title": card.title, "value": card.family} for card in cards if can_take(card, channels)]


def initial_state(work: Work) -> dict:
    """The state before an image is open."""
    families = family_items(work)
    texts = ("image_text", "model_text", "reference_text", "outlook", "status", "error")
    return {
        **dict.fromkeys(texts, ""),
        "trame__title": "SuperResolution",
        "families": families,
        "family": families[0]["value"] if families else "",
        "shown": [],
        "labels": dict.fromkeys(VIEWS, ""),
        "scores": [],
        "running": False,
        "has_result": False,
        "percent": 0,
        "revision": 0,
        "upload_percent": 0,
        "scale": DEFAULT_SCALE,
        "scales": [],
        "extent": "volume",
        **{f"region_{axis}": [0, 1] for axis in "ijk"},
        **{f"length_{axis}": 1 for axis in "ijk"},
        "consistent": True,
        "tool": "window",
        "orientation": "volume",
        "arrangement": "side",
        "interpolate": False,
        "difference": False,
        "magnifier": False,
    }
