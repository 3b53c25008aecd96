"""What a configuration says for its model card, and whether the catalog would take it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from .schema import STRICT, Range, check

Length = Annotated[float, Range(above=0)]


@dataclass(frozen=True)
class Intensity:
    """How stored values become the network's range; see ``choose_map`` in the engine's ``intensity.py``."""

    __pydantic_config__ = STRICT

    mapping: Literal["auto", "fixed", "percentile"]
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Images:
    """One source of training images: its name and license, and in words how many images of what it gave."""

    __pydantic_config__ = STRICT

    name: str
    license: str
    images: str


@dataclass(frozen=True)
class Card:
    """The fields of ``card``.

    Attributes:
        title, description: for a person.
        domain: what images it is for.
        spacing_mm: smallest and largest spacing in plane of the low-resolution inputs; null where they have none.
        license: SPDX identifier of the weights.
        data: what it was trained on, one entry or more.
        hardware: where a checkpoint of the first version was trained, which does not say it.
        baseline: shown for comparison, not recommended.
    """

    __pydantic_config__ = STRICT

    title: str
    description: str
    domain: str
    intensity: Intensity
    spacing_mm: tuple[Length, Length] | None
    license: str
    data: tuple[Images, ...]
    hardware: str | None = None
    baseline: bool = False


def card_faults(card: dict) -> Iterator[str]:
    """What the catalog would refuse in a model with this card."""
    problems = check(Card, card, plain=True)[1]
    if problems:
        yield from map(str, problems)
        return
    yield from (f"{name} is empty" for name in ("title", "description", "domain", "license") if not card[name].strip())
    bounds = [card["intensity"][name] for name in ("low", "high") if name in card["intensity"]]
    wanted = 2 if bounds or card["intensity"]["mapping"] == "fixed" else 0
    if len(bounds) != wanted or None in bounds or bounds != sorted(set(bounds)):
        yield "intensity needs low and high, two numbers, low the smaller"
    elif card["intensity"]["mapping"] == "percentile" and bounds and not 0 <= bounds[0] < bounds[1] <= 100:
        yield f"intensity needs percentiles from 0 to 100, not {bounds}"
    if card["spacing_mm"] and card["spacing_mm"] != sorted(card["spacing_mm"]):
        yield f"spacing_mm should have the smaller length first, not {card['spacing_mm']}"
    if not card["data"]:
        yield "data is empty"
