"""Which small parts of a test image become pictures, by rules that look at the images alone; the same every time.

Sizes are pixels of the reference. Places are multiples of ``GRID``, so that a part shows whole pixels of the input at
every scale, and what the reference decides is decided alike at every scale.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from SuperResolutionLib.compare import channels_last
from SuperResolutionLib.plan import slice_planes
from SuperResolutionLib.resampling import bicubic_downsample, bicubic_upsample

from ..candidates import MODEL
from ..masks import FOREGROUND_COLOR, fine_structure, foreground, regions
from ..scoring import Scorer

GRID = 16

#: Side of a part as a share of the shorter side of the slice, and its limits.
SHARE, SMALLEST, LARGEST = 0.125, 64, 112

#: A part counts if this share of it lies in the region that it is looked for in.
INSIDE = 0.97

#: The scale that fine structure and anatomy refer to where the reference alone decides.
FINE_SCALE = 4

#: Shares of the width, see ``RULES``: the outline left out; the radius of the optic disc, and the two smoothings that
#: find it; squares that thin vessels, all vessels, and bright spots are narrower than.
OUTLINE, DISC, DISC_SMOOTHING = 0.05, 0.09, (0.02, 0.08)
THIN, WIDE, SPOT = 0.007, 0.025, 0.05

#: Of 255: how much darker than its surroundings a large vessel is, and how much brighter a spot.
VESSEL, LESION = 12, 12

#: The rules in words.
RULES = {
    "detail": "in the middle slice of the first test image, the square in the anatomy with the most fine structure",
    "vessels": "the square with the most thin dark lines: the green channel, smoothed with sigma = 1 pixel, is "
    "subtracted from its closing by a square of 0.7 % of the width; large vessels, which such a closing leaves, count "
    "as nothing; the optic disc (where smoothing with 2 % of the width exceeds smoothing with 8 % the most) and the "
    "outline of the field of view are left out",
    "lesions": "the square with the most bright spots: from the green channel without its vessels (closing by 2.5 % of "
    "the width) its opening by 5 % is subtracted, and what exceeds 12 of 255 counts; disc and outline are left out. "
    "The rule does not tell exudates from drusen or scars",
    "failure": "over all test images and slices, the square in the anatomy in which the model's squared error exceeds "
    "that of bicubic made consistent the most",
    "invented": "of the squares in the anatomy in which the reference has less fine structure than in half of the "
    "others of its slice, the one in which the result has the most more than the reference, over all test images",
}


@dataclass(frozen=True)
class Patch:
    """A square part of a slice.

    Attributes:
        value: how much of what the rule seeks is there.
        index, top, left, side: slice, and place in it. shape: of the slice. peak: the data range.
        crops: ``low``, ``reference`` and methods, stored values (h, w) or (h, w, 3); ``area``, which of the pixels lie
            in the anatomy; ``overview``, the whole slice of the reference with every n-th pixel.
    """

    value: float
    index: int
    top: int
    left: int
    side: int
    shape: tuple[int, int]
    peak: float = 1.0
    crops: dict[str, np.ndarray] = field(default_factory=dict, compare=False)


def reference_patches(planes: np.ndarray, peak: float) -> dict[str, Patch]:
    """What the reference alone decides: ``vessels`` and ``lesions`` of a fundus photograph, ``detail`` of the others.

    Args:
        planes: (n, h, w), or (n, h, w, 3) uint8. peak: data range.
    """
    height, width = (length // GRID * GRID for length in planes.shape[1:3])
    planes = planes[:, :height, :width]  # as many pixels at every scale
    index, floor = len(planes) // 2, float(np.percentile(planes, 0.1))
    plane = planes[index]
    if plane.ndim == 3:
        return {name: patch for name, patch in _retina(index, plane, floor).items() if patch}
    area = regions(plane, _bicubic(plane), FINE_SCALE, peak, floor).get("anatomy")
    patch = None if area is None else _most(index, fine_structure(plane, FINE_SCALE), area)
    return {"detail": patch} if patch else {}


def _bicubic(plane: np.ndarray) -> np.ndarray:
    import torch

    image = torch.from_numpy(plane.astype(np.float64))[None, None]
    return bicubic_upsample(bicubic_downsample(image, FINE_SCALE), FINE_SCALE)[0, 0].numpy()


def _retina(index: int, plane: np.ndarray, floor: float) -> dict[str, Patch | None]:
    from scipy import ndimage

    height, width = plane.shape[:2]
    area = np.pad(foreground(plane.max(axis=2), floor + FOREGROUND_COLOR * 255), 1)
    area = ndimage.distance_transform_edt(area)[1:-1, 1:-1] > OUTLINE * width
    green = ndimage.gaussian_filter(plane[..., 1].astype(np.float64), 1)
    without_thin, without_vessels = (ndimage.grey_closing(green, _odd(share * width)) for share in (THIN, WIDE))
    narrow, broad = (ndimage.gaussian_filter(without_vessels, share * width) for share in DISC_SMOOTHING)
    y, x = np.unravel_index(np.where(area, narrow - broad, -np.inf).argmax(), area.shape)
    rows, columns = np.ogrid[:height, :width]
    area &= (rows - y) ** 2 + (columns - x) ** 2 > (DISC * width) ** 2
    large = ndimage.maximum_filter(without_vessels - without_thin > VESSEL, _odd(THIN * width))
    spots = without_vessels - ndimage.grey_opening(without_vessels, _odd(SPOT * width))
    return {
        "vessels": _most(index, np.where(large, 0, without_thin - green), area),
        "lesions": _most(index, np.where(spots > LESION, spots, 0), area),
    }


def result_patches(scorer: Scorer, images: dict[str, np.ndarray]) -> dict[str, Patch]:
    """Where a result is worst: ``failure``, and ``invented``; only what is there.

    Args:
        scorer: of the case. images: method -> planes (n, c, h, w).
    """
    model, other = (channels_last(images[name]) for name in (MODEL, "bicubic consistent"))
    best: dict[str, Patch] = {}
    for index in scorer.chosen:
        area, reference, peak = scorer.areas[index].get("anatomy"), scorer.planes[index], scorer.case.peak
        if area is None:
            continue
        more = (_error(model[index], reference) - _error(other[index], reference)) / peak**2
        found = {
            "failure": _most(index, more, area),
            "invented": _invented(index, model[index] / peak, reference / peak, area, scorer.scale),
        }
        for name, patch in found.items():
            if patch and patch.value > (best[name].value if name in best else 0):
                best[name] = patch
    return best


def _invented(index: int, image: np.ndarray, reference: np.ndarray, area: np.ndarray, scale: int) -> Patch | None:
    side = side_of(area.shape)
    true = fine_structure(reference, scale)
    more, plain = window_means(fine_structure(image, scale) - true, side), window_means(true, side)
    fits = window_means(area, side) >= INSIDE
    if not fits.any():
        return None
    fits &= plain <= np.median(plain[fits])
    return _at(index, np.where(fits, more, -np.inf), side, area.shape)


def _error(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    error = (image.astype(np.float64) - reference) ** 2
    return error.mean(axis=2) if error.ndim == 3 else error


def side_of(shape: tuple[int, ...]) -> int:
    """The side of parts of a slice: a multiple of ``GRID``."""
    side = min(max(SHARE * min(shape[:2]), SMALLEST), LARGEST, min(shape[:2]))
    return max(GRID, int(side) // GRID * GRID)


def window_means(values: np.ndarray, side: int) -> np.ndarray:
    """Means of (h, w) over the squares whose corners are multiples of ``GRID``."""
    table = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    table[1:, 1:] = values.cumsum(0, dtype=np.float64).cumsum(1)
    sums = table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]
    return sums[::GRID, ::GRID] / side**2


def _odd(length: float) -> int:
    return 2 * round(length / 2) + 1


def _most(index: int, strength: np.ndarray, area: np.ndarray) -> Patch | None:
    """The square inside ``area`` with the largest mean of ``strength`` over the area's pixels."""
    side = side_of(area.shape)
    share = window_means(area, side)
    if not (share >= INSIDE).any():
        return None
    means = window_means(np.where(area, strength, 0), side) / np.maximum(share, INSIDE)
    return _at(index, np.where(share >= INSIDE, means, -np.inf), side, area.shape)


def _at(index: int, means: np.ndarray, side: int, shape: tuple[int, ...]) -> Patch:
    row, column = np.unravel_index(means.argmax(), means.shape)
    return Patch(float(means.max()), int(index), int(row) * GRID, int(column) * GRID, side, tuple(shape[:2]))


def filled(patch: Patch, scorer: Scorer, images: dict[str, np.ndarray]) -> Patch:
    """The patch with its crops."""
    case, scale, plane = scorer.case, scorer.scale, scorer.planes[patch.index]
    bottom, right = patch.top + patch.side, patch.left + patch.side
    low = channels_last(slice_planes(case.low.array, "ijk".index(case.axis)))[patch.index]
    rows, columns = slice(patch.top, bottom), slice(patch.left, right)
    crops = {"low": low[patch.top // scale : bottom // scale, patch.left // scale : right // scale]}
    for name in ("bicubic", "bicubic consistent", MODEL):
        crops[name] = channels_last(images[name][patch.index : patch.index + 1])[0][rows, columns]
    every = max(1, min(plane.shape[:2]) // 200)
    area = scorer.areas[patch.index].get("anatomy") if patch.index in scorer.areas else None
    crops["area"] = np.ones((patch.side, patch.side), bool) if area is None else area[rows, columns]
    crops |= {"reference": plane[rows, columns], "overview": plane[::every, ::every]}
    return replace(patch, shape=plane.shape[:2], peak=case.peak, crops=crops)
