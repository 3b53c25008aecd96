"""What was measured of models that do not ship, kept beside the page: the next report may be made without them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from SuperResolutionLib.catalog import ModelCard, load_card, model_folders
from SuperResolutionLib.errors import DataError

from ..export import replace_file, write_card
from .facts import Facts
from .measure import Zoo

SCORES = "scores.json"

#: Digits behind the point that are kept.
DIGITS = 6


@dataclass(frozen=True)
class Kept:
    """A model of an earlier report: its card, whose weights are not at hand, its facts, and its entries of scores."""

    card: ModelCard
    facts: Facts
    entries: list[dict]


def keep(zoo: Zoo, facts: dict[str, Facts], folder: Path) -> None:
    """Write the card and the scores of every measured model that does not ship; forget those that ship by now."""
    for card in (card for card in zoo.cards if card.id in zoo.candidates):
        place = folder / card.id
        if card.id in zoo.bundled:
            shutil.rmtree(place, ignore_errors=True)
            continue
        entries = [entry for (model, *_), entry in zoo.found.items() if model == card.id]
        basis = {label: zoo.bases[label] for label in sorted({entry["set"] for entry in entries})}
        text = json.dumps(_rounded({"facts": facts[card.id]._asdict(), "basis": basis, "entries": entries})) + "\n"
        place.mkdir(parents=True, exist_ok=True)
        write_card(place, card.card | {"measured": []})
        replace_file(place / SCORES, lambda name, text=text: Path(name).write_text(text, encoding="utf-8"))


def read_kept(zoo: Zoo, folder: Path, log=print) -> list[Kept]:
    """The models of earlier reports but those that were measured for this one.

    What was measured on other images or by other rules is left out, with a line that says so.

    Raises:
        ModelError, DataError: for a card or scores that cannot be read.
    """
    return [_read(place, zoo, log) for place in model_folders(folder) if place.name not in zoo.candidates]


def _read(place: Path, zoo: Zoo, log) -> Kept:
    try:
        content = json.loads((place / SCORES).read_text(encoding="utf-8"))
        good = {label: basis == zoo.bases.get(label) for label, basis in content["basis"].items()}
        for label in (label for label, is_good in good.items() if not is_good):
            log(f"What was measured of {place.name} on {label} is left out: its images or the rules have changed.")
        entries = [entry for entry in content["entries"] if good[entry["set"]]]
        return Kept(load_card(place), Facts(**content["facts"]), entries)
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise DataError(f"{place / SCORES} cannot be read; remove the folder, and its model is left out.") from error


def _rounded(value):
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value
