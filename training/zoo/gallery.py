"""Which pictures the report has: parts of every domain, and where the models that ship fail."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from SuperResolutionLib.catalog import ModelCard

from .curves import draw_curve
from .domains import Domain, TestSet
from .measure import Zoo
from .patches import RULES, Patch
from .pictures import Row, decibel, draw_rows, save_drawing, save_photo
from .targets import home_sets

#: The most models beside each other.
COLUMNS = 4

#: What parts are, in captions.
TITLES = {
    "detail": "a detail",
    "vessels": "thin vessels",
    "lesions": "bright spots",
    "failure": "where a model loses most against bicubic made consistent",
    "invented": "where a result shows structure that the reference has not",
}


@dataclass(frozen=True)
class Picture:
    """A picture: its file, and its caption with the rule and the credit."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Failure:
    """The worst part of a model's results on its domain: where, and PSNR there of the model and of the baseline."""

    model: str
    test_set: TestSet
    image: str
    patch: Patch

    @property
    def place(self) -> str:
        """Slice, row and column in words; a picture has only one slice."""
        corner = f"row {self.patch.top}, column {self.patch.left}, {self.patch.side} pixels"
        return f"{self.image}, slice {self.patch.index}, {corner}" if self.patch.index else f"{self.image}, {corner}"


def draw_domain(zoo: Zoo, domain: Domain, folder: Path) -> list[Picture]:
    """Draw the pictures of a domain: parts that the reference decides, failures, and invented structure of GANs."""
    pictures = []
    for test_set in (*domain.sets, *domain.examples):
        for part in test_set.parts:
            rows = _part_rows(zoo, domain, test_set, part)
            path = folder / f"{domain.key}-{part}-{test_set.name.replace('@', '-')}.webp"
            pictures += _draw(path, rows, f"{test_set.title}, {TITLES[part]}: {RULES[part]}. {test_set.credit}.")
    for name in ("failure", "invented"):
        found = [failure for failure in failures(zoo, domain, name) if failure.test_set.parts]
        rows = [Row(f"{one.model}: {one.place}", {one.model: one.patch}, "bicubic consistent") for one in found]
        credit = "; ".join(dict.fromkeys(one.test_set.credit for one in found))
        pictures += _draw(folder / f"{domain.key}-{name}.webp", rows, f"{TITLES[name]}: {RULES[name]}. {credit}.")
    return pictures


def _draw(path: Path, rows: list[Row], caption: str) -> list[Picture]:
    if not rows:
        return []
    save_photo(draw_rows(rows), path)
    return [Picture(path, caption[0].upper() + caption[1:])]


def _part_rows(zoo: Zoo, domain: Domain, test_set: TestSet, part: str) -> list[Row]:
    """A row a scale; the image is the first one, or of a part that is sought the one that has most of it."""
    cards = zoo.shipped(zoo.judged(domain, test_set))
    rows = []
    for scale in sorted({card.scale for card in cards}):
        chosen = [card for card in cards if card.scale == scale][:COLUMNS]
        images = [(about["image"], _patch(zoo, about, chosen[0], part)) for about in zoo.about(chosen[0], test_set)]
        images = [(image, patch) for image, patch in images if patch]
        if images:
            first = images[0] if part == "detail" else max(images, key=lambda pair: pair[1].value)
            about = {card.id: next(a for a in zoo.about(card, test_set) if a["image"] == first[0]) for card in chosen}
            patches = {card.id: _patch(zoo, about[card.id], card, part) for card in chosen}
            rows.append(Row(f"x{scale}: {first[0]}", patches))
    return rows


def _patch(zoo: Zoo, about: dict, card: ModelCard, name: str) -> Patch | None:
    return zoo.store.patch(about, zoo.candidates[card.id], name)


def failures(zoo: Zoo, domain: Domain, name: str) -> list[Failure]:
    """The worst part of every model that ships and is made for a domain; ``invented`` for GAN models only.

    Sets are looked at that may be shown; all of the domain's where none of them may.
    """
    result = []
    for card in zoo.shipped(zoo.cards):
        homes = [one for one in home_sets(card) if one in domain.sets]
        homes = [one for one in homes if one.parts] or homes
        if name == "invented" and not card.id.endswith("-gan"):
            continue
        found = [(one, about, _patch(zoo, about, card, name)) for one in homes for about in zoo.about(card, one)]
        found = [(one, about, patch) for one, about, patch in found if patch]
        if found:
            one, about, patch = max(found, key=lambda entry: entry[2].value)
            result.append(Failure(card.id, one, about["image"], patch))
    return result


def failure_lines(zoo: Zoo, domain: Domain) -> list[str]:
    """A table of where models fail; a line if there is no such place."""
    found = failures(zoo, domain, "failure")
    if not found:
        return ["No model that ships is worse than bicubic made consistent anywhere in the anatomy.", ""]
    lines = ["| model | where | model (dB) | bicubic made consistent (dB) |", "|---|---|---:|---:|"]
    for one in found:
        both = (f"{decibel(one.patch, name):.1f}" for name in ("model", "bicubic consistent"))
        lines.append(f"| `{one.model}` | {one.place} | " + " | ".join(both) + " |")
    return [*lines, ""]


def draw_curves(curves: Path, folder: Path) -> list[Picture]:
    """Draw all curves that are kept."""
    pictures = []
    for table in sorted(curves.glob("*.csv")):
        path = folder / f"curve-{table.stem}.png"
        save_drawing(draw_curve(table, table.stem), path)
        pictures.append(Picture(path, table.stem))
    return pictures


def remove_others(folder: Path, pictures: list[Picture]) -> None:
    """Delete pictures of an earlier report that this one does not have."""
    kept = {picture.path.name for picture in pictures}
    for path in folder.iterdir():
        if path.suffix in (".jpg", ".png", ".webp") and path.name not in kept:
            path.unlink()
