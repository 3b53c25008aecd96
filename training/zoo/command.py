"""What ``zoo-report`` does: measure, draw, write the page, the list in the README and, if asked, the cards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from SuperResolutionLib.catalog import BUNDLED, load_card, model_folders
from SuperResolutionLib.errors import DataError, UsageError

from ..evaluate import write_cards
from ..export import replace_file
from ..features import distance_features
from ..report import card_entries, summarize
from .curves import keep_curves
from .domains import DOMAINS, set_label
from .facts import find_facts
from .gallery import Picture, draw_curves, draw_domain, remove_others
from .kept import keep, read_kept
from .measure import Zoo, find_cards, measure
from .page import page, with_list
from .store import Store
from .targets import home_sets

#: All pictures together, bytes.
LARGEST = 3 * 10**6

PAGE, PICTURES = "MODELS.md", "models"

#: In the folder of the pictures: what was measured of models that do not ship.
OTHERS = "others"


def run(options) -> None:
    """Measure, draw and write everything; ``options`` are the subcommand's.

    Raises:
        UsageError, DataError: without a folder of test images. SuperResolutionError: as ``measure`` and ``draw``.
    """
    named = options.data or os.environ.get("SUPERRESOLUTION_DATA")
    if not named:
        raise UsageError("Say where the test images are: zoo-report FOLDER, or set SUPERRESOLUTION_DATA.")
    data = Path(named)
    if not data.is_dir():
        raise DataError(f"There is no folder {data}; check the name.")
    features = None if options.no_distance else distance_features(options.features or data / "weights")
    shown = [set_label(one) for domain in DOMAINS for one in (*domain.sets, *domain.examples) if one.parts]
    readme = with_list(options.readme, [load_card(folder) for folder in model_folders(BUNDLED)])
    cards, bundled = find_cards(options.models)
    store = Store(options.cache, data, features, shown)
    zoo = measure(cards, bundled, data, store, options.ensemble, options.device)
    measured = list(zoo.candidates.values())
    facts = find_facts(measured, options.cache)
    if options.write:
        write_cards(measured, home_entries(zoo))
    others = options.docs / PICTURES / OTHERS
    keep(zoo, facts, others)
    for one in read_kept(zoo, others):
        zoo.add(one.card, one.entries)
        facts[one.card.id] = one.facts
    pictures = draw(zoo, options.docs, options.runs)
    text = page(zoo, facts, pictures, options.docs)
    replace_file(options.docs / PAGE, lambda place: Path(place).write_text(text, encoding="utf-8"))
    replace_file(options.readme, lambda place: Path(place).write_text(readme, encoding="utf-8"))
    print(options.docs / PAGE)


def home_entries(zoo: Zoo) -> dict[str, list[dict]]:
    """What goes into the cards: the sets of the images that a model was made for."""
    homes = {card.id: {set_label(one) for one in home_sets(card)} for card in zoo.cards}
    entries = card_entries(summarize(zoo.rows))
    return {name: [one for one in found if one["set"] in homes[name]] for name, found in entries.items()}


def draw(zoo: Zoo, docs: Path, runs: Sequence[Path]) -> dict[str, list[Picture]]:
    """Draw all pictures into ``docs/models``: key of a domain, or ``curves``, to its pictures.

    Raises:
        DataError: if they take more than ``LARGEST`` bytes.
    """
    folder = docs / PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    if runs:
        kept = keep_curves(runs, [card.id for card in zoo.cards], folder / "curves")
        print(f"Curves of {', '.join(kept) or 'no model'} are kept in {folder / 'curves'}.")
    pictures = {domain.key: draw_domain(zoo, domain, folder) for domain in DOMAINS}
    pictures["curves"] = draw_curves(folder / "curves", folder)
    drawn = [picture for found in pictures.values() for picture in found]
    remove_others(folder, drawn)
    size = sum(picture.path.stat().st_size for picture in drawn)
    print(f"{len(drawn)} pictures, {size / 1e6:.2f} MB")
    if size > LARGEST:
        raise DataError(
            f"The pictures take {size / 1e6:.1f} MB; {LARGEST / 1e6:.0f} MB are allowed. Lower their quality."
        )
    return pictures
