"""Which models exist, where their weights are, and whether they are intact."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from .errors import ModelError
from .networks import ARCHITECTURES

BUNDLED = Path(__file__).parent / "models"
CARD = "card.json"
WEIGHTS = "weights.safetensors"

_ID = re.compile(r"^(?P<stem>[a-z0-9]+(?:-[a-z0-9]+)*)-x(?P<scale>[0-9]+)-(?P<kind>psnr|gan)$")
_MAPPINGS = ("auto", "fixed", "percentile")
_TEXTS = ("id", "title", "description", "architecture", "domain", "license", "sha256")
_REQUIRED = ("id", "title", "architecture", "config", "domain", "intensity", "spacing_mm", "license", "sha256")


@dataclass(frozen=True)
class ModelCard:
    """What is known of one model: one architecture with its weights at one scale.

    Attributes:
        id: ``<architecture>-<domain>-x<scale>-<psnr|gan>``.
        family: the id without its scale.
        title, description: for a person.
        architecture, config: what ``networks.create`` takes.
        scale: enlargement per in-plane axis. channels: 1 (grey) or 3 (color).
        domain: what images it was trained on.
        intensity: see ``intensity.choose_map``.
        spacing_range: smallest and largest in-plane spacing of the inputs seen in training, millimetres, or None where
            the training images carry no spacing.
        license: SPDX identifier of the weights.
        measured: results of ``training evaluate`` on the file that ships, a list of entries, one a test set.
        baseline: shown for comparison, not recommended.
        weights: path of the safetensors file. sha256: what it must hash to.
        card: the whole card as it was read.
    """

    id: str
    family: str
    title: str
    description: str
    architecture: str
    config: dict
    scale: int
    channels: int
    domain: str
    intensity: dict
    spacing_range: tuple[float, float] | None
    license: str
    measured: list
    baseline: bool
    weights: Path
    sha256: str
    card: dict = field(repr=False, compare=False)

    @property
    def weights_available(self) -> bool:
        """Whether the weights' file is there; ``verify`` says whether it is intact."""
        return self.weights.is_file()

    def verify(self) -> None:
        """Check the weights' file against the card.

        Raises:
            ModelError: if it is missing or its SHA-256 differs.
        """
        if not self.weights_available:
            raise ModelError(f"The weights of {self.id} are missing: {self.weights} does not exist; install it again.")
        try:
            found = file_sha256(self.weights)
        except OSError as error:
            raise ModelError(f"The weights of {self.id} cannot be read: {self.weights}: {error.strerror}.") from error
        if found != self.sha256:
            raise ModelError(
                f"The weights of {self.id} are damaged: {self.weights} does not match its card's SHA-256; "
                "install it again."
            )


def split_id(model_id: str) -> tuple[str, int]:
    """Family and scale of a model id.

    Raises:
        ModelError: if it does not read ``<architecture>-<domain>-x<scale>-<psnr|gan>``.
    """
    match = _ID.match(model_id)
    if not match:
        raise ModelError(f"'{model_id}' is no model id; ids read <architecture>-<domain>-x<scale>-<psnr|gan>.")
    return f"{match['stem']}-{match['kind']}", int(match["scale"])


def load_card(folder: Path) -> ModelCard:
    """Read ``card.json`` of a model folder; the weights' file is not opened.

    Raises:
        ModelError: if the card cannot be read, lacks a field, or contradicts its own id.
    """
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        missing = [name for name in _REQUIRED if name not in card]
        if missing:
            raise ModelError(f"The model card {folder / CARD} lacks {', '.join(missing)}.")
        _check_fields(card, folder / CARD)
        _check_intensity(card["intensity"], folder / CARD)
        family, scale = split_id(card["id"])
        config, spacing = dict(card["config"]), card["spacing_mm"]
        if config.get("scale") != scale or config.get("channels") not in (1, 3):
            raise ModelError(f"The model card {folder / CARD} contradicts its id: config must give scale and channels.")
        return ModelCard(
            id=card["id"],
            family=family,
            title=card["title"],
            description=card.get("description", ""),
            architecture=card["architecture"],
            config=config,
            scale=scale,
            channels=config["channels"],
            domain=card["domain"],
            intensity=dict(card["intensity"]),
            spacing_range=(float(spacing[0]), float(spacing[1])) if spacing else None,
            license=card["license"],
            measured=list(card.get("measured", [])),
            baseline=card.get("baseline", False),
            weights=folder / WEIGHTS,
            sha256=card["sha256"],
            card=card,
        )
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise ModelError(f"The model card {folder / CARD} cannot be read: {error}.") from error


def _check_fields(card: dict, path: Path) -> None:
    """Check what the doors read of a card; ``schema.json`` says more, but only a package could check it."""
    for name in _TEXTS:
        if not _is_text(card.get(name, "")):
            raise ModelError(f"The model card {path} needs a text as its {name}.")
    if card["architecture"] not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(f"The model card {path} names the architecture '{card['architecture']}'; known are {known}.")
    config, spacing = card["config"], card["spacing_mm"]
    counts = {"scale": 2, "channels": 1, "blocks": 1, "layers": 1}  # what a forecast counts with, and the least of each
    if not isinstance(config, dict) or not all(
        type(config[name]) is int and config[name] >= least for name, least in counts.items() if name in config
    ):
        raise ModelError(f"The model card {path} needs whole numbers as {', '.join(counts)} of its config.")
    is_range = isinstance(spacing, list) and len(spacing) == 2 and all(map(_is_number, spacing))
    if spacing is not None and not (is_range and 0 < spacing[0] <= spacing[1]):
        raise ModelError(f"The model card {path} needs null or two lengths, the smaller first, as spacing_mm.")
    if not isinstance(card.get("baseline", False), bool):
        raise ModelError(f"The model card {path} needs true or false as baseline.")
    measured = card.get("measured", [])
    if not isinstance(measured, list) or not all(_is_measurement(entry) for entry in measured):
        raise ModelError(f"The model card {path} needs a list of sets, with images and methods, as measured.")


def _is_measurement(entry) -> bool:
    """Whether it reads {"set": text, "images": n, "methods": {name: {"psnr": number, "ssim": number}}}."""
    if not isinstance(entry, dict) or not _is_text(entry.get("set")) or type(entry.get("images")) is not int:
        return False
    methods = entry.get("methods")
    return isinstance(methods, dict) and all(
        isinstance(scores, dict) and all(_is_number(scores.get(key)) for key in ("psnr", "ssim"))
        for scores in methods.values()
    )


def _is_text(value) -> bool:
    """Whether it can be shown and written: JSON can name half a character, which no encoding has."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_number(value) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # an integer may be any size


def _check_intensity(intensity: dict, path: Path) -> None:
    if not isinstance(intensity, dict) or intensity.get("mapping") not in _MAPPINGS:
        raise ModelError(f"The model card {path} needs one of {', '.join(_MAPPINGS)} as its intensity mapping.")
    bounds = [intensity[name] for name in ("low", "high") if name in intensity]
    if not bounds and intensity["mapping"] != "fixed":
        return
    if not (len(bounds) == 2 and all(map(_is_number, bounds)) and bounds[0] < bounds[1]):
        raise ModelError(f"The model card {path} needs low < high, two numbers, in its intensity mapping.")
    if intensity["mapping"] != "fixed" and not (0 <= bounds[0] and bounds[1] <= 100):
        raise ModelError(f"The model card {path} needs percentiles from 0 to 100 in its intensity mapping.")


class ModelCatalog:
    """The models of some folders, each model a subfolder; of two with one id the earlier folder's counts.

    Attributes:
        cards: all usable models, sorted by id.
        problems: one sentence for every model folder that was left out.
    """

    def __init__(self, folders: Iterable[Path]):
        self.problems: list[str] = []
        found: dict[str, ModelCard] = {}
        for folder in (place for root in self._readable(folders) for place in root):
            try:
                card = load_card(folder)
            except ModelError as error:
                self.problems.append(str(error))
                continue
            if card.id in found:
                self.problems.append(f"{folder} is left out: {card.id} is already in {found[card.id].weights.parent}.")
            found.setdefault(card.id, card)
        self.cards = [found[key] for key in sorted(found)]

    @classmethod
    def default(cls, own_folder: Path | None = None) -> ModelCatalog:
        """Bundled models, then the folders in ``SUPERRESOLUTION_MODELS``, then the user's own folder.

        Args:
            own_folder: the user's own folder, where it is not ``user_folder()``.
        """
        folders = [Path(part) for part in os.environ.get("SUPERRESOLUTION_MODELS", "").split(os.pathsep) if part]
        with suppress(RuntimeError):  # whoever has no home has no folder there
            folders.append(own_folder or user_folder())
        return cls([BUNDLED, *folders])

    def _readable(self, folders: Iterable[Path]) -> list[list[Path]]:
        """The model folders in each folder, which counts once: a model is not left out in favor of itself."""
        places: dict[Path, list[Path]] = {}
        for folder in map(Path, folders):
            try:
                key = folder.resolve()
                if key not in places:
                    places[key] = model_folders(folder)
            except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a null character
                reason = getattr(error, "strerror", None) or error
                name = str(folder).replace("\0", "\N{REPLACEMENT CHARACTER}")  # what no window and no terminal shows
                self.problems.append(f"The model folder {name} cannot be read ({reason}); choose another one.")
        return list(places.values())

    def families(self) -> dict[str, list[ModelCard]]:
        """Family to its models, sorted by scale."""
        families: dict[str, list[ModelCard]] = {}
        for card in sorted(self.cards, key=lambda card: (card.family, card.scale)):
            families.setdefault(card.family, []).append(card)
        return families

    def find(self, model: str, scale: int | None = None) -> ModelCard:
        """The model of an id or a family; ``scale`` chooses within a family.

        Raises:
            ModelError: if it does not exist, or not at that scale, or the family leaves a choice; says what exists.
        """
        families = self.families()
        by_id = {card.id: card for card in self.cards}
        if model in by_id:
            card = by_id[model]
            if scale in (None, card.scale):
                return card
            raise ModelError(f"{model} enlarges x{card.scale}, not x{scale}; {_scales(card.family, families)}.")
        if model not in families:
            match = _ID.match(model)
            family = f"{match['stem']}-{match['kind']}" if match else None
            known = ", ".join(by_id) or "none: no model is installed"
            there = _scales(family, families) if family in families else f"installed are {known}"
            raise ModelError(f"There is no model '{model}'; {there}.")
        members = {card.scale: card for card in families[model]}
        if scale is None and len(members) == 1:
            return next(iter(members.values()))
        if scale not in members:
            wish = "Choose a scale" if scale is None else f"There is no x{scale}"
            raise ModelError(f"{wish}: {_scales(model, families)}.")
        return members[scale]


def _scales(family: str, families: dict[str, list[ModelCard]]) -> str:
    scales = ", ".join(f"x{card.scale}" for card in families[family])
    return f"the family {family} has {scales}"


def user_folder() -> Path:
    """Where a user's own models are kept; it need not exist.

    Raises:
        RuntimeError: if the user has no home.
    """
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library/Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    return base / "SuperResolution" / "models"


def model_folders(folder: Path) -> list[Path]:
    """The subfolders that hold a model card, sorted; none if the folder does not exist.

    Raises:
        OSError, RuntimeError, ValueError: if it cannot be read.
    """
    try:
        os.listdir(folder)  # glob passes over a folder that may not be read
    except FileNotFoundError:
        return []
    return [path.parent for path in sorted(folder.glob(f"*/{CARD}"))]


def is_own(card: ModelCard, folder: Path) -> bool:
    """Whether a model lies in a user's own folder; a bundled one never does, wherever that folder is."""
    place = card.weights.parent.parent.resolve()
    try:
        return place == folder.resolve() and place != BUNDLED.resolve()
    except (OSError, RuntimeError, ValueError):
        return False


def remove_model(card: ModelCard, folder: Path) -> None:
    """Delete a model from the user's own folder: its card and weights, and its folder if nothing else is in it.

    Raises:
        ModelError: if it is not a model of that folder, or it cannot be deleted.
    """
    if not is_own(card, folder):
        raise ModelError(f"{card.id} cannot be deleted: it is not in the folder with your own models, {folder}.")
    place = card.weights.parent
    try:
        # The card first: without it there is no model, whatever happens next.
        (place / CARD).unlink(missing_ok=True)
        card.weights.unlink(missing_ok=True)
        if not any(place.iterdir()):
            place.rmdir()
    except OSError as error:
        raise ModelError(f"{card.id} cannot be deleted: {error.filename or place}: {error.strerror}.") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits; remembered until the file changes."""
    status = os.stat(path)
    return _sha256(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _sha256(path: str, modified: int, size: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
