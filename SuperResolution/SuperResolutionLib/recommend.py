"""Which model a volume is offered first: one for its kind of image, fidelity before texture, then what was measured.

The panel's list and ``superres upscale`` without ``--model`` follow this order. It is read from the models' cards
alone; a card that lacks something, as a user's own may, counts as saying nothing about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite

from .catalog import ModelCard
from .errors import ModelError

DEFAULT_SCALE = 4

# DICOM's modalities, and the words of a card's domain or of a test set's name that speak of them.
_RADIOGRAPH = {"xray", "radiograph", "radiography", "cxr"}
MODALITY_WORDS = {
    "MR": {"mr", "mri"},
    "CT": {"ct"},
    "CR": _RADIOGRAPH,
    "DX": _RADIOGRAPH,
    "MG": {"mammogram", "mammography"},
    "US": {"ultrasound", "sonography"},
    "PT": {"pet"},
    "OP": {"fundus", "retina", "ophthalmology"},
    "OPT": {"oct"},
    "ES": {"endoscopy"},
    "SM": {"histology", "pathology", "microscopy"},
}

Sets = dict[str, dict]


@dataclass(frozen=True)
class Recommendation:
    """A model, and one sentence that says why it is the first choice."""

    card: ModelCard
    reason: str


def recommend(
    families: dict[str, list[ModelCard]], channels: int, modality: str = "", scale: int | None = None
) -> Recommendation:
    """The model for a volume of which no one has said which to take: the first of ``ranked`` that can run.

    Args:
        families: as ``ModelCatalog.families``.
        channels: components of a voxel.
        modality: DICOM's name for the kind of image, for example "MR"; empty if it is not known.
        scale: the scale that was asked for; None prefers ``DEFAULT_SCALE``.

    Raises:
        ModelError: if no model can run, or none has that scale. Baselines are for comparison and do not count.
    """
    offered = (card_at(cards, scale or DEFAULT_SCALE) for cards in families.values())
    fitting = [
        card
        for card in offered
        if scale in (None, card.scale) and can_take(card, channels) and card.weights_available and not card.baseline
    ]
    if not fitting:
        kind = "color" if channels >= 3 else "scalar"
        wish = "" if scale is None else f" at x{scale}"
        raise ModelError(
            f"No installed model is recommended for a {kind} image{wish}; 'superres models' lists what there is, "
            "--model chooses one."
        )
    first = ranked(fitting, channels, modality, scale)[0]
    return Recommendation(first, _reason(first, modality))


def ranked(cards: Iterable[ModelCard], channels: int, modality: str = "", scale: int | None = None) -> list[ModelCard]:
    """Models, best first, for a volume.

    Models that cannot run are last, before them baselines, models for grey images where the image has color, models
    made for other modalities, and those of another scale. Of the rest a model that was measured to lose to bicubic
    made consistent comes after the others, a GAN after models trained for fidelity, and then a larger measured gain
    over bicubic made consistent counts, in the anatomy where that was measured. It is taken on the test sets of this
    modality, and where models have some of them in common on those. Models of equal gain, or without any, go from the
    specialized to the general. Where the modality is not known the order is the other way round, and all test sets
    count.

    Args:
        channels, modality: see ``recommend``. scale: the wanted scale; None prefers ``DEFAULT_SCALE``.
    """
    groups: dict[tuple, list[ModelCard]] = {}
    for card in cards:
        groups.setdefault(_standing(card, channels, modality, scale or DEFAULT_SCALE), []).append(card)
    return [card for standing in sorted(groups) for card in _by_merit(groups[standing], modality)]


def card_at(cards: list[ModelCard], scale: int) -> ModelCard:
    """The model of a family at a scale; where it has none, at the default one; else its first."""
    scales = {card.scale: card for card in cards}
    return scales.get(scale) or scales.get(DEFAULT_SCALE) or cards[0]


def can_take(card: ModelCard, channels: int) -> bool:
    """Whether a model can take a volume; a grey one works on each channel of color, a color one not on grey."""
    return channels >= card.channels


def modality_in_name(name: str) -> str:
    """ "MR" or "CT" for names that begin so, as those of Slicer's samples (MRHead, CTChest); else empty."""
    named = re.match(r"(MR|CT)(?=[A-Z_\W\d]|$)", name)
    return named[1] if named else ""


def _standing(card: ModelCard, channels: int, modality: str, scale: int) -> tuple:
    gain = _mean_gain(_sets_of(card, modality))
    return (
        not can_take(card, channels),
        not card.weights_available,
        card.baseline,
        card.channels != min(channels, 3),
        _strangeness(card, modality),
        card.scale != scale,
        gain is not None and gain < 0,
        card.family.endswith("-gan"),
    )


def _by_merit(cards: list[ModelCard], modality: str) -> list[ModelCard]:
    measured = {card.id: _sets_of(card, modality) for card in cards}
    counting = [sets for sets in measured.values() if sets]
    shared = set.intersection(*map(set, counting)) if counting else set()
    if shared:
        measured = {name: {key: sets[key] for key in shared if key in sets} for name, sets in measured.items()}
    region = _region([entry for sets in measured.values() for entry in sets.values()])

    def order(card: ModelCard) -> tuple:
        gain, overall = _mean_gain(measured[card.id], region), _mean_gain(_sets_of(card, ""))
        return gain is None, -(gain or 0.0), _generality(card, modality), -(overall or 0.0), card.family

    return sorted(cards, key=order)


def _strangeness(card: ModelCard, modality: str) -> int:
    """0 for a model that may be taken for this modality, more for one that was made for others."""
    if modality not in MODALITY_WORDS:
        return 0 if _is_general(card) else 2 if _spoken(card.domain) else 1
    return 2 if _spoken(card.domain) and modality not in _spoken(card.domain) and not _is_general(card) else 0


def _is_general(card: ModelCard) -> bool:
    return "general" in _words(card.domain)


def _generality(card: ModelCard, modality: str) -> int:
    """0 for a model made for this modality alone, 1 for a general one that names it, 2 for any other."""
    return 2 if modality not in _spoken(card.domain) else 1 if _is_general(card) else 0


def _spoken(text: str) -> set[str]:
    """The modalities that a text speaks of."""
    words = _words(text)
    return {modality for modality, wanted in MODALITY_WORDS.items() if words & wanted}


def _words(text: str) -> set[str]:
    words = re.findall(r"[a-z]+", re.sub("x[- ]ray", "xray", text.lower()))
    return {form for word in words for form in (word, word.removesuffix("s"))}


def _sets_of(card: ModelCard, modality: str) -> Sets:
    """The test sets of a card that show this modality and whose gain is known, by name; all for an unknown one.

    A name that speaks of no modality belongs to that of a specialized model.
    """
    known = {entry["set"]: entry for entry in card.measured if _gain_on(entry, "whole") is not None}
    if modality not in MODALITY_WORDS:
        return known
    own = {modality} if _generality(card, modality) == 0 else set()
    return {name: entry for name, entry in known.items() if modality in (_spoken(name) or own)}


def _mean_gain(sets: Sets, region: str = "") -> float | None:
    """Mean gain over bicubic made consistent in dB; None without any set."""
    gains = [_gain_on(entry, region or _region(sets.values())) for entry in sets.values()]
    return sum(gains) / len(gains) if gains else None


def _region(entries: Iterable[dict]) -> str:
    """Where these test sets can all be judged: the anatomy, else the whole image."""
    return "anatomy" if all(_gain_on(entry, "anatomy") is not None for entry in entries) else "whole"


def _gain_on(entry: dict, region: str) -> float | None:
    """PSNR of the model above that of bicubic made consistent on one test set, in dB; None if it is not known."""
    methods = entry["methods"] if region == "whole" else _within(entry, "regions", region)
    model, bicubic = (_within(methods, name, "psnr") for name in ("model", "bicubic consistent"))
    known = all(type(value) in (int, float) and isfinite(value) for value in (model, bicubic))
    return model - bicubic if known else None


def _within(data, *keys: str):
    """What nested dictionaries hold; None where they end earlier."""
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _reason(card: ModelCard, modality: str) -> str:
    what = f"for {modality}" if modality in MODALITY_WORDS else "where the kind of image is not known"
    sets = _sets_of(card, modality)
    gain = _mean_gain(sets)
    if gain is None:
        return f"{card.id} is the first choice {what}, although it was not measured on such images."
    where = " in the anatomy" if _region(sets.values()) == "anatomy" else ""
    return (
        f"{card.id} is the first choice {what}: {gain:+.2f} dB over bicubic made consistent{where} ({', '.join(sets)})."
    )
