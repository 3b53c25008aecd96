"""Score any number of models on the test split of some sets, through the engine, exactly as a user would run them."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Sequence
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np

from SuperResolutionLib.catalog import load_card
from SuperResolutionLib.errors import ModelError, SuperResolutionError, UsageError
from SuperResolutionLib.geometry import slice_axis
from SuperResolutionLib.plan import slice_planes
from SuperResolutionLib.volume import Volume

from .candidates import Candidate, find_candidate
from .protocols import CASES, EIGHT_BITS, Case, card_key
from .resized import check_size, resize_slices, split_size
from .scoring import Scorer
from .sources import Source
from .splits import FILE, files_of, locate, read_splits, set_folder

FIELDS = ("set", "image", "model", "scale", "protocol", "method", "region", "psnr", "ssim", "distance", "slices")


def evaluate(
    candidates: Sequence[Candidate],
    data: Path,
    sets: Sequence[str],
    split: str = "test",
    lists: Path | None = None,
    protocols: Sequence[str] = ("ours",),
    ensemble: Collection[str] = (),
    features=None,
    on_case=None,
    log=print,
    known=None,
) -> list[dict]:
    """Scores of every model on every image; an image counts once, whatever its slices.

    Args:
        candidates: the models.
        data: folder with one subfolder a set, as ``prepare`` takes it.
        sets: names of the sets; ``a+b`` joins two, ``a/pattern`` takes some files, and of ``a@N`` or ``a+b@N``
            every slice is resized to N x N before anything else, see ``resized.py``.
        split: which split. lists: list of splits; ``data/splits.json`` if None.
        protocols: see ``protocols.RULES``.
        ensemble: names of the models that are also run on the eight flips and turns, in our protocol.
        features: from ``features.distance_features``, or None to leave distances out.
        on_case: called with set, image, model, case and the planes of all methods, to draw them.
        log: called with a line an image and model.
        known: results of earlier times: ``read(about, candidate, ensemble)`` gives a model's scores of an image, or
            None if it has to be measured; ``write(about, candidate, scores, scorer, images)`` takes them.

    Returns:
        One dictionary with ``FIELDS`` a set, image, model, protocol, method and region; ``image`` is the file, of
        joined sets with its folder before it.

    Raises:
        SuperResolutionError: if an image cannot be read or enlarged.
    """
    names = [candidate.name for candidate in candidates]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"Two models are called {twice[0]}; measure them one after the other, or rename one.")
    where = lists or data / FILE
    splits = read_splits(where)
    rows = []
    for name, candidate in product(sets, candidates):
        check_size(name, candidate.card.scale)
    for name in sets:
        joined, size = split_size(name)
        parts = joined.split("+")
        files = [(part, file) for part in parts for file in files_of(splits, part, split, where)]
        for part, file in files:
            image = _TestImage(Source.listed(locate(data, part), file), size, features)
            # two parts may have files of the same name
            image_name = f"{set_folder(part)}/{file}" if len(parts) > 1 else file
            for protocol, candidate in product(protocols, candidates):
                about = {"set": f"{name} {split}", "image": image_name, "model": candidate.name}
                about |= {"scale": candidate.card.scale, "protocol": protocol}
                turned = candidate.name in ensemble and protocol == "ours"
                scores = known.read(about, candidate, turned) if known else None
                if scores is None:
                    case, scorer = image.at(candidate, protocol)
                    images = all_images(candidate, case, turned, protocol)
                    scores = scorer.scores(images)
                    if known:
                        known.write(about, candidate, scores, scorer, images)
                    if on_case and protocol == "ours":
                        on_case(about["set"], image_name, candidate, case, images)
                    log(_line(about, scores))
                rows += [about | entry for entry in scores]
    return rows


class _TestImage:
    """One test image: read when it is first needed, and degraded once for all models that see it alike."""

    def __init__(self, source: Source, size: int | None, features):
        self.source, self.size, self.features = source, size, features
        self._cases: dict[tuple, tuple[Case, Scorer]] = {}

    @cached_property
    def _volume(self) -> tuple[Volume, int]:
        volume = self.source.read()
        axis = slice_axis(volume.size, volume.spacing)
        return (resize_slices(volume, axis, self.size) if self.size else volume), axis

    def at(self, candidate: Candidate, protocol: str) -> tuple[Case, Scorer]:
        """The case that a model gets, and what scores it."""
        key = (protocol, *card_key(candidate))
        if key not in self._cases:
            volume, axis = self._volume
            case = CASES[protocol](volume, candidate.card_for(volume.channels), "ijk"[axis])
            self._cases[key] = case, Scorer(case, candidate.card.scale, self.features, protocol)
        return self._cases[key]


def all_images(candidate: Candidate, case: Case, ensemble: bool, protocol: str) -> dict[str, np.ndarray]:
    """Method -> planes (n, c, h, w): the baselines and the model's."""
    ours = protocol == "ours"
    intensity = None if ours else EIGHT_BITS
    results = candidate.run(case.low, case.axis, ensemble, consistent=ours, intensity=intensity)
    along = "ijk".index(case.axis)
    return case.images | {name: slice_planes(array, along) for name, array in results.items()}


def _line(about: dict, scores: list[dict]) -> str:
    whole = [entry for entry in scores if entry["region"] == "whole"]
    values = ", ".join(f"{entry['method']} {entry['psnr']:.2f}" for entry in whole)
    return f"{about['image']} x{about['scale']} {about['model']} ({about['protocol']}): {values}"


def add_parser(commands) -> None:
    """The sub-command ``evaluate``."""
    parser = commands.add_parser("evaluate", help="score models on the test split of a data folder")
    parser.add_argument("models", nargs="+", help="ids, families, model folders, or other projects' checkpoints")
    parser.add_argument("data", type=Path, help="folder with one subfolder a set, and splits.json")
    parser.add_argument(
        "--sets", nargs="+", required=True, help="names; a+b joins two, a/*.png takes some, a@N resizes slices"
    )
    parser.add_argument("--split", default="test")
    parser.add_argument("--splits", type=Path, metavar="FILE", help="list of splits, instead of DATA/splits.json")
    parser.add_argument("--out", type=Path, default=Path("evaluation"), help="folder for tables and pictures")
    parser.add_argument("--uint8", action="store_true", help="also by the older tables' protocol")
    parser.add_argument("--ensemble", action="store_true", help="also as self-ensemble, in a column of its own")
    parser.add_argument("--features", type=Path, metavar="FOLDER", help="where SqueezeNet's weights are")
    parser.add_argument("--no-distance", action="store_true", help="leave the distance between features out")
    parser.add_argument("--panels", type=int, default=2, metavar="N", help="picture panels of the first N images a set")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--write", action="store_true", help="put the results into the cards of the models")
    parser.set_defaults(run=_run)


def _run(options) -> None:
    from .plots import Panels, plot_gains
    from .report import card_entries, markdown, summarize

    candidates = [find_candidate(name, options.device) for name in options.models]
    features = None if options.no_distance else _features(options.features)
    panels = Panels(options.out / "panels", options.panels)
    protocols = ("ours", "uint8") if options.uint8 else ("ours",)
    chosen = (options.data, options.sets, options.split, options.splits)
    ensemble = [candidate.name for candidate in candidates] if options.ensemble else ()
    rows = evaluate(candidates, *chosen, protocols, ensemble, features, panels.add)
    pictures = panels.draw()
    summary = summarize(rows)
    write_csv(options.out / "images.csv", rows)
    (options.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    pictures += plot_gains(rows, options.out)
    text = markdown(summary, pictures=[path.relative_to(options.out) for path in pictures])
    (options.out / "report.md").write_text(text, encoding="utf-8")
    print(text)
    if options.write:
        write_cards(candidates, card_entries(summary), keep=True)


def write_csv(path: Path, rows: list[dict]) -> None:
    """One line a set, image, model, protocol, method and region."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)


def write_cards(candidates: Sequence[Candidate], entries: dict[str, list[dict]], keep: bool = False) -> None:
    """Put results into the cards of our own models, whose files are checked against the cards when they are loaded.

    Args:
        entries: model -> its entries, one a set.
        keep: what the cards say of other sets.

    Raises:
        ModelError: for another project's checkpoint, which has no card, and for a model that is no longer the one that
            was measured.
    """
    from .export import write_card

    for candidate in candidates:
        if not candidate.card.card:
            raise ModelError(f"{candidate.name} has no model card to write to; leave out --write.")
        folder = candidate.card.weights.parent
        now = load_card(folder)
        if now.sha256 != candidate.card.sha256:
            raise ModelError(f"{candidate.name} has other weights than when it was loaded; measure it again.")
        measured = {entry["set"]: entry for entry in (*(now.measured if keep else ()), *entries[candidate.name])}
        write_card(folder, now.card | {"measured": list(measured.values())})


def _features(folder: Path | None):
    """SqueezeNet's features, or None with a line that says why there are none."""
    from .features import distance_features

    try:
        return distance_features(folder)
    except SuperResolutionError as error:
        if folder is not None:
            raise
        print(f"Without distances between features: {error}")
        return None
