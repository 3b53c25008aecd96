"""What the page knows when it opens: the names that ``page.py``, ``control.py`` and ``static/page.js`` share."""

from __future__ import annotations

from .slices import VIEWS
from .work import Work


def family_items(work: Work, channels: int) -> list[dict]:
    """The models that can take so many channels: baselines last, fidelity before texture."""
    families = [(name, cards[0]) for name, cards in work.catalog.families().items() if channels >= cards[0].channels]
    families.sort(key=lambda item: (item[1].baseline, item[0].endswith("-gan"), item[0]))
    return [{"title": card.title, "value": name} for name, card in families]


def initial_state(work: Work) -> dict:
    """The state before an image is open."""
    families = family_items(work, 3)
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
        "scale": 4,
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
