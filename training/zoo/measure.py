"""Every model on every set that it is judged on, through ``evaluate``; nothing is measured twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from SuperResolutionLib.catalog import BUNDLED, ModelCard, ModelCatalog, load_card, model_folders

from ..candidates import ENSEMBLE, Candidate, find_candidate
from ..evaluate import evaluate
from ..report import summarize
from .domains import DOMAINS, Domain, TestSet, domain_of, is_judged_on, set_label
from .store import Store
from .targets import home_sets, index


@dataclass
class Zoo:
    """What a report is made of.

    Attributes:
        cards: of all models, in the order of tables: what ships, baselines among it last, then the others.
        bundled: ids of those that ship. candidates: id -> the loaded model, of those measured for this report.
        store: parts for pictures, residuals. rows: of ``evaluate``. found: of ``targets.index``.
    """

    cards: list[ModelCard]
    bundled: set[str]
    candidates: dict[str, Candidate]
    store: Store
    rows: list[dict]
    found: dict[tuple, dict]

    def add(self, card: ModelCard, entries: Sequence[dict]) -> None:
        """Add a model that does not ship with the entries of ``summarize`` of an earlier report."""
        self.cards = in_order([*self.cards, card], self.bundled)
        self.found |= index(entries)

    @cached_property
    def bases(self) -> dict[str, str]:
        """Set -> what measurements on it depend on besides the model; see ``Store.basis``."""
        images: dict[str, set] = {}
        for row in self.rows:
            images.setdefault(row["set"], set()).add(row["image"])
        return {label: self.store.basis(label, names) for label, names in images.items()}

    def judged(self, domain: Domain, test_set: TestSet, scale: int | None = None) -> list[ModelCard]:
        """The cards of the models that are judged on a set, at a scale if one is given."""
        fits = [card for card in self.cards if is_judged_on(card, domain, test_set)]
        return [card for card in fits if scale in (None, card.scale)]

    def shipped(self, cards: Sequence[ModelCard]) -> list[ModelCard]:
        """Those of the cards whose models ship and are no baselines."""
        return [card for card in cards if card.id in self.bundled and not card.baseline]

    def entry(self, card: ModelCard, test_set: TestSet, protocol: str = "ours") -> dict | None:
        """A model's entry of ``summarize`` on a set; None if it was not measured."""
        return self.found.get((card.id, set_label(test_set), protocol))

    def about(self, card: ModelCard, test_set: TestSet) -> list[dict]:
        """How the store knows a model's images of a set, in our protocol, in their order."""
        same = {"set": set_label(test_set), "model": card.id, "scale": card.scale, "protocol": "ours"}
        return [same | {"image": image} for image in self._images.get((card.id, same["set"]), ())]

    @cached_property
    def _images(self) -> dict[tuple, dict[str, None]]:
        """Model and set -> names of the images, in our protocol."""
        found: dict[tuple, dict[str, None]] = {}
        for row in (row for row in self.rows if row["protocol"] == "ours"):
            found.setdefault((row["model"], row["set"]), {})[row["image"]] = None
        return found

    def records(self, card: ModelCard, test_set: TestSet) -> list[dict]:
        """What the store holds of a model's images of a set."""
        records = [self.store.record(about, self.candidates[card.id]) for about in self.about(card, test_set)]
        return [record for record in records if record]


def find_cards(models: Path | None, log=print) -> tuple[list[ModelCard], set[str]]:
    """The cards of the bundled models and those in a folder, and the ids of the bundled ones.

    Models of no domain of ``DOMAINS`` are left out, with a line that says so.

    Raises:
        ModelError: for a bundled model that is damaged.
    """
    bundled = {card.id for card in map(load_card, model_folders(BUNDLED))}
    catalog = ModelCatalog([BUNDLED, *([models] if models else [])])
    for problem in catalog.problems:
        log(problem)
    cards = [card for card in catalog.cards if home_sets(card)]
    for card in catalog.cards:
        if card not in cards:
            log(f"{card.id} is left out: there are no test sets for '{domain_of(card)}'.")
    return in_order(cards, bundled), bundled


def in_order(cards: Sequence[ModelCard], bundled: set[str]) -> list[ModelCard]:
    """As tables have them: what ships, baselines among it last, then the others."""
    return sorted(cards, key=lambda card: (card.id not in bundled, card.baseline, card.family, card.scale))


def measure(
    cards: Sequence[ModelCard],
    bundled: set[str],
    data: Path,
    store: Store,
    ensemble: bool = False,
    device: str = "auto",
    log=print,
) -> Zoo:
    """Measure what is not in the store; by the protocol ``uint8`` only models that ship.

    Args:
        cards, bundled: of ``find_cards``. data: folder of the test images.
        ensemble: also the self-ensemble, of models that ship, baselines aside, on the images that they are made for.

    Raises:
        SuperResolutionError: as ``evaluate``.
    """
    candidates = {card.id: find_candidate(str(card.weights.parent), device) for card in cards}
    zoo = Zoo(list(cards), bundled, candidates, store, [], {})
    for domain in DOMAINS:
        for test_set in (*domain.sets, *domain.examples):
            for protocol, chosen in _wanted(zoo, domain, test_set).items():
                turned = [card.id for card in zoo.shipped(chosen) if ensemble and test_set in home_sets(card)]
                options = {"protocols": (protocol,), "ensemble": turned, "features": store.features}
                models = [candidates[card.id] for card in chosen]
                options |= {"known": store, "log": log}
                zoo.rows += evaluate(models, data, [test_set.name], test_set.split, **options)
    zoo.rows = _complete(zoo.rows)
    zoo.found = index(summarize(zoo.rows))
    return zoo


def _wanted(zoo: Zoo, domain: Domain, test_set: TestSet) -> dict[str, list[ModelCard]]:
    """Protocol -> the models that are measured on a set by it; none where there are no models."""
    judged = zoo.judged(domain, test_set)
    wanted = {"ours": zoo.shipped(judged) if test_set in domain.examples else judged}
    wanted["uint8"] = [card for card in judged if card.id in zoo.bundled and test_set.uint8]
    return {protocol: chosen for protocol, chosen in wanted.items() if chosen}


def _complete(rows: list[dict]) -> list[dict]:
    """Without self-ensembles that an earlier time measured on some of a set's images only."""
    images: dict[tuple, dict[bool, set]] = {}
    for row in rows:
        if row["protocol"] == "ours":
            both = images.setdefault((row["model"], row["set"]), {True: set(), False: set()})
            both[row["method"] == ENSEMBLE].add(row["image"])
    partial = {key for key, both in images.items() if both[True] != both[False]}
    return [row for row in rows if row["method"] != ENSEMBLE or (row["model"], row["set"]) not in partial]
