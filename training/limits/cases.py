"""The test images of the page on limits, and what each method makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SuperResolutionLib.compare import channels_last
from SuperResolutionLib.errors import UsageError
from SuperResolutionLib.geometry import slice_axis
from SuperResolutionLib.metrics import psnr as psnr_of
from SuperResolutionLib.plan import slice_planes
from SuperResolutionLib.volume import Volume

from ..candidates import MODEL, Candidate
from ..masks import regions
from ..protocols import Case, our_case
from ..resized import check_size, resize_slices, split_size
from ..scoring import LARGEST_PSNR
from ..sources import Source
from ..splits import files_of, locate, read_splits

#: Of a volume so many slices are taken, evenly spaced.
SLICES = 16

#: What is compared, in the order of the tables: the fair baseline, and the models' parts on the page.
BICUBIC, PSNR, GAN = "bicubic consistent", "psnr", "gan"

Models = dict[str, Candidate]
Planes = dict[str, np.ndarray]


@dataclass(frozen=True)
class Image:
    """One test image at work.

    Attributes:
        name: of its file. volume: the reference, grey, at most ``SLICES`` slices.
        case: the low-resolution volume and the baselines.
        planes: method -> (n, h, w) in the stored type.
        areas: for each slice the regions of ``masks.RULES``.
    """

    name: str
    volume: Volume
    case: Case
    planes: Planes
    areas: list[dict[str, np.ndarray]]

    @property
    def reference(self) -> np.ndarray:
        """(n, h, w), stored type."""
        return channels_last(self.case.reference)

    def score(self, method: str, region: str) -> float | None:
        """Mean PSNR over the slices that have this region, in dB; None if none has."""
        return mean_psnr(self.reference, self.planes[method], self.case.peak, self.areas, region)


def check_models(models: Models) -> int:
    """The models' common scale.

    Raises:
        UsageError: if they have several, or one of them is not for grey images.
    """
    scales = {candidate.card.scale for candidate in models.values()}
    if len(scales) > 1:
        named = ", ".join(f"{candidate.name} (x{candidate.card.scale})" for candidate in models.values())
        raise UsageError(f"The models need one scale to be compared: {named}.")
    for candidate in models.values():
        if candidate.card.channels != 1:
            raise UsageError(f"{candidate.name} is a color model, and the page is made on grey images; name another.")
    return scales.pop()


def read_images(
    data: Path, name: str, split: str, lists: Path, models: Models, count: int | None, log: Callable = print
) -> Iterator[Image]:
    """The first ``count`` images of a set's split, all if None, enlarged by every model.

    Args:
        name: of the set, as for ``evaluate``.

    Raises:
        SuperResolutionError: if there is no such set or split, or an image cannot be read or enlarged.
        UsageError: if an image has color.
    """
    joined, size = split_size(name)
    check_size(name, models[PSNR].card.scale)
    files = [(part, file) for part in joined.split("+") for file in files_of(read_splits(lists), part, split, lists)]
    for part, file in files[:count]:
        volume = Source.listed(locate(data, part), file).read()
        if volume.channels != 1:
            raise UsageError(f"{file} of {name} has color, and the page is made on grey images; name another set.")
        axis = slice_axis(volume.size, volume.spacing)
        volume = few_slices(volume, axis)
        image = make_image(file, resize_slices(volume, axis, size) if size else volume, models, "ijk"[axis])
        log(f"{name}/{file}: {', '.join(models)}")
        yield image


def make_image(file: str, volume: Volume, models: Models, axis: str | None = None) -> Image:
    """Degrade a volume and enlarge it by every model; ``axis`` "i", "j" or "k", what its slices are stacked along."""
    case = our_case(volume, models[PSNR].card, axis)
    reference, bicubic = (channels_last(planes) for planes in (case.reference, case.images["bicubic"]))
    scale = models[PSNR].card.scale
    areas = [regions(plane, cubic, scale, case.peak, case.floor) for plane, cubic in zip(reference, bicubic)]
    return Image(file, volume, case, enlarge(case, models), areas)


def enlarge(case: Case, models: Models) -> Planes:
    """Method -> (n, h, w): bicubic and every model's result, made consistent with the input as users get it."""
    along = "ijk".index(case.axis)
    results = {name: candidate.run(case.low, case.axis)[MODEL] for name, candidate in models.items()}
    planes = {BICUBIC: case.images[BICUBIC]}
    planes |= {name: slice_planes(array, along) for name, array in results.items()}
    return {name: stack[:, 0] for name, stack in planes.items()}


def mean_psnr(reference: np.ndarray, image: np.ndarray, peak: float, areas: list[dict], region: str) -> float | None:
    """Mean over the slices that have a region of the PSNR in it, at most ``LARGEST_PSNR``; None if none has it."""
    scores = [
        min(psnr_of(plane, other, peak, area[region]), LARGEST_PSNR)
        for plane, other, area in zip(reference, image, areas)
        if region in area
    ]
    return float(np.mean(scores)) if scores else None


def few_slices(volume: Volume, axis: int) -> Volume:
    """At most ``SLICES`` of its slices along an axis (0, 1, 2 for i, j, k), from the middle of as many equal parts."""
    length = volume.size[axis]
    count = min(SLICES, length)
    chosen = ((np.arange(count) + 0.5) * length / count).astype(int)
    return volume.with_array(np.ascontiguousarray(volume.array.take(chosen, axis=2 - axis)))
