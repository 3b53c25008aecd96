"""Score any number of models on the test split of some sets, through the engine, exactly as a user would run them."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from SuperResolutionLib.compare import channels_last
from SuperResolutionLib.errors import ModelError, SuperResolutionError
from SuperResolutionLib.geometry import slice_axis
from SuperResolutionLib.metrics import EMPTY_SPAN, ssim_map, ssim_margin
from SuperResolutionLib.metrics import psnr as psnr_of
from SuperResolutionLib.plan import slice_planes

from .candidates import Candidate, find_candidate
from .masks import regions
from .protocols import CASES, EIGHT_BITS, Case, card_key
from .resized import check_size, resize_slices, split_size
from .sources import Source
from .splits import FILE, files_of, locate, read_splits

#: PSNR of a region without any error, so that means stay finite.
LARGEST_PSNR = 100.0

#: Regions for which distances between features are measured, and how many slices of a volume at most.
DISTANCE_REGIONS = ("full", "anatomy", "fine")
DISTANCE_SLICES = 16

FIELDS = ("set", "image", "model", "scale", "protocol", "method", "region", "psnr", "ssim", "distance", "slices")


def evaluate(
    candidates: Sequence[Candidate],
    data: Path,
    sets: Sequence[str],
    split: str = "test",
    lists: Path | None = None,
    protocols: Sequence[str] = ("ours",),
    ensemble: bool = False,
    features=None,
    on_case=None,
    log=print,
) -> list[dict]:
    """Scores of every model on every image; an image counts once, whatever its slices.

    Args:
        candidates: the models.
        data: folder with one subfolder a set, as ``prepare`` takes it.
        sets: names of the sets; ``a+b`` joins two, ``a/pattern`` takes some files, and of ``a@N`` or ``a+b@N``
            every slice is resized to N x N before anything else, see ``resized.py``.
        split: which split. lists: list of splits; ``data/splits.json`` if None.
        protocols: see ``protocols.RULES``.
        ensemble: also run every model on the eight flips and turns.
        features: from ``features.distance_features``, or None to leave distances out.
        on_case: called with set, image, model, case and the planes of all methods, to draw them.
        log: called with a line an image and model.

    Returns:
        One dictionary with ``FIELDS`` a set, image, model, protocol, method and region.

    Raises:
        SuperResolutionError: if an image cannot be read or enlarged.
    """
    where = lists or data / FILE
    splits = read_splits(where)
    rows = []
    for name, candidate in product(sets, candidates):
        check_size(name, candidate.card.scale)
    for name in sets:
        joined, size = split_size(name)
        files = [(part, file) for part in joined.split("+") for file in files_of(splits, part, split, where)]
        for part, file in files:
            volume = Source.listed(locate(data, part), file).read()
            axis = slice_axis(volume.size, volume.spacing)
            volume = resize_slices(volume, axis, size) if size else volume
            for protocol in protocols:
                cases: dict[tuple, Case] = {}
                for candidate in candidates:
                    key = card_key(candidate)
                    if key not in cases:
                        cases[key] = CASES[protocol](volume, candidate.card_for(volume.channels), "ijk"[axis])
                    images = all_images(candidate, cases[key], ensemble, protocol)
                    scores = score(cases[key], images, candidate.card.scale, features, protocol)
                    about = {"set": f"{name} {split}", "image": file, "model": candidate.name}
                    about |= {"scale": candidate.card.scale, "protocol": protocol}
                    rows += [about | entry for entry in scores]
                    if on_case and protocol == "ours":
                        on_case(about["set"], file, candidate, cases[key], images)
                    log(_line(about, scores))
    return rows


def all_images(candidate: Candidate, case: Case, ensemble: bool, protocol: str) -> dict[str, np.ndarray]:
    """Method -> planes (n, c, h, w): the baselines and the model's."""
    ours = protocol == "ours"
    results = candidate.run(case.low, case.axis, ensemble, consistent=ours, intensity=None if ours else EIGHT_BITS)
    along = "ijk".index(case.axis)
    return case.images | {name: slice_planes(array, along) for name, array in results.items()}


def score(case: Case, images: dict[str, np.ndarray], scale: int, features=None, protocol: str = "ours") -> list[dict]:
    """PSNR, SSIM and distance of every method in every region: means over the slices that show something."""
    planes = channels_last(case.reference)
    spans = np.array([float(plane.max()) - float(plane.min()) for plane in planes])
    full = np.flatnonzero(spans > EMPTY_SPAN * case.peak)
    chosen = full if len(full) else np.arange(len(planes))
    for_distance = set(chosen[np.unique(np.linspace(0, len(chosen) - 1, DISTANCE_SLICES).round().astype(int))])
    found: dict[tuple, list] = {}
    for index in chosen:
        bicubic = channels_last(images["bicubic"][index : index + 1])[0]
        areas = regions(planes[index], bicubic, scale, case.peak, case.floor)
        if protocol != "ours":
            areas = {"whole": areas["whole"]}
        judge = _Judge(case, planes[index], features) if features is not None and index in for_distance else None
        for method, stack in images.items():
            image = channels_last(stack[index : index + 1])[0]
            similarity = ssim_map(planes[index], image, case.peak)
            for region, area in areas.items():
                entry = _score_region(planes[index], image, similarity, area, region, scale, case.peak)
                if judge is not None and region in DISTANCE_REGIONS:
                    entry["distance"] = judge.distance(image, area)
                found.setdefault((method, region), []).append(entry)
    return [_mean(method, region, entries) for (method, region), entries in found.items()]


def _score_region(reference, image, similarity, area, region: str, scale: int, peak: float) -> dict:
    """A region's scores on one slice. SSIM counts where its window lies inside the slice or the cropped slice."""
    margin = ssim_margin(reference.shape) + (0 if region == "whole" else scale)
    inner = np.zeros(area.shape, bool)
    inner[margin : area.shape[0] - margin, margin : area.shape[1] - margin] = True
    inner &= area
    error = psnr_of(reference, image, peak, area)
    mean = float(similarity[inner].mean()) if inner.any() else float(similarity[area].mean())
    return {"psnr": min(error, LARGEST_PSNR), "ssim": mean}


class _Judge:
    """Distances between features from one slice, whose own features are computed once."""

    def __init__(self, case: Case, reference: np.ndarray, features):
        self.case, self.reference, self.features, self.depths = case, reference, features, features.depths
        self._tensor = self._network_range(reference)
        self._maps = features(self._tensor)

    def __call__(self, image):
        """What ``perceptual_distance`` calls."""
        return self._maps if image is self._tensor else self.features(image)

    def distance(self, image: np.ndarray, area: np.ndarray) -> float:
        """Of the reference with a region taken from the image, so that only the region counts."""
        from .features import perceptual_distance

        where = area if image.ndim == 2 else area[..., None]
        mixed = self._network_range(np.where(where, image, self.reference))
        return float(perceptual_distance(mixed, self._tensor, self))

    def _network_range(self, plane: np.ndarray):
        import torch

        array = np.moveaxis(np.atleast_3d(self.case.intensity.to_network(plane)), -1, 0)
        return torch.from_numpy(np.ascontiguousarray(array))[None]


def _mean(method: str, region: str, entries: list[dict]) -> dict:
    distances = [entry["distance"] for entry in entries if "distance" in entry]
    return {
        "method": method,
        "region": region,
        "psnr": float(np.mean([entry["psnr"] for entry in entries])),
        "ssim": float(np.mean([entry["ssim"] for entry in entries])),
        "distance": float(np.mean(distances)) if distances else None,
        "slices": len(entries),
    }


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
    rows = evaluate(candidates, *chosen, protocols, options.ensemble, features, panels.add)
    pictures = panels.draw()
    summary = summarize(rows)
    write_csv(options.out / "images.csv", rows)
    (options.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    pictures += plot_gains(rows, options.out)
    text = markdown(summary, pictures=[path.relative_to(options.out) for path in pictures])
    (options.out / "report.md").write_text(text, encoding="utf-8")
    print(text)
    if options.write:
        write_cards(candidates, card_entries(summary))


def write_csv(path: Path, rows: list[dict]) -> None:
    """One line a set, image, model, protocol, method and region."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)


def write_cards(candidates: Sequence[Candidate], entries: dict[str, list[dict]]) -> None:
    """Put results into the cards of our own models, whose files are checked against the cards when they are loaded.

    Raises:
        ModelError: for another project's checkpoint, which has no card.
    """
    from .export import write_card

    for candidate in candidates:
        if not candidate.card.card:
            raise ModelError(f"{candidate.name} has no model card to write to; leave out --write.")
        write_card(candidate.card.weights.parent, candidate.card.card | {"measured": entries[candidate.name]})


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
