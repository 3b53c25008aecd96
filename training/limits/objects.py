"""Small things of known size, in test images and on a chart, to see how much of them comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from SuperResolutionLib.plan import slice_planes
from SuperResolutionLib.volume import Volume

from ..masks import MARK
from .cases import Image, Models, Planes, make_image

#: Diameters of discs, widths of lines and periods of line pairs, in pixels of the input.
DISCS, LINES, PERIODS = (0.5, 1.0, 2.0, 4.0), (0.5, 1.0, 2.0), (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)

#: Sizes of the letters on the chart, in pixels of the input.
LETTERS = (8, 6, 5, 4, 3)

#: Contrast of what is put into images, as a share of the data range; length of a line, and the distance between two
#: things, in pixels of the input.
CONTRAST, LENGTH, APART = 0.1, 6.0, 12

#: Degrees that line pairs are turned by, so that they do not lie on the grid of pixels.
SLANT = 7.0


@dataclass(frozen=True)
class Kind:
    """A disc or a straight line. ``size``: diameter or width in pixels of the input."""

    shape: str
    size: float

    @property
    def name(self) -> str:
        return f"{self.shape}, {self.size:g} pixel{'s' * (self.size > 1)}"


KINDS = (*(Kind("disc", size) for size in DISCS), *(Kind("line", size) for size in LINES))


def coverage(kind: Kind, side: int, scale: int, shift: tuple[float, float], turn: float) -> np.ndarray:
    """How much of each pixel of a (side, side) square one thing in its middle covers, 0 to 1.

    Args:
        scale: pixels of the square to a pixel of the input.
        shift: of its centre from the middle, in pixels of the square. turn: of a line, in radians.
    """
    y, x = (np.indices((side, side)) - (side - 1) / 2).astype(np.float64)
    y, x = y - shift[0], x - shift[1]
    radius = kind.size * scale / 2
    if kind.shape == "disc":
        return np.clip(radius + 0.5 - np.hypot(y, x), 0, 1)
    along, across = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    ends = np.clip(LENGTH * scale / 2 + 0.5 - np.abs(along), 0, 1)
    return ends * np.clip(radius + 0.5 - np.abs(across), 0, min(1.0, 2 * radius))


def recovered(
    images: Sequence[Image], models: Models, scale: int
) -> tuple[dict[Kind, dict[str, float]], dict[Kind, int]]:
    """Kind -> method -> how much of its contrast comes back, mean over all places; and kind -> number of places.

    Every image is enlarged with and without the things, and what they change is compared with what they were: 1 where
    the result shows them as they are. They are brighter than where they lie where that is dark, else darker.
    """
    sums: dict[Kind, dict[str, list[float]]] = {kind: {} for kind in KINDS}
    for image in images:
        placed = list(_places(image, scale))
        changed = image.reference.astype(np.float64)
        for index, rows, columns, _, pattern in placed:
            changed[index, rows, columns] += CONTRAST * image.case.peak * pattern
        after = make_image(image.name, _as_volume(image, changed), models, image.case.axis).planes
        for index, rows, columns, kind, pattern in placed:
            for method in after:
                change = (
                    after[method][index, rows, columns].astype(np.float64) - image.planes[method][index, rows, columns]
                )
                share = (change * pattern).sum() / (CONTRAST * image.case.peak * (pattern**2).sum())
                sums[kind].setdefault(method, []).append(float(share))
    means = {kind: {method: float(np.mean(values)) for method, values in found.items()} for kind, found in sums.items()}
    return means, {kind: len(next(iter(found.values()), [])) for kind, found in sums.items()}


def _places(image: Image, scale: int) -> Iterator[tuple[int, slice, slice, Kind, np.ndarray]]:
    """Slice, rows, columns, kind and signed pattern: the kinds in turn, wherever there is room inside the mask."""
    side, number = APART * scale, 0
    for index, (plane, area) in enumerate(zip(image.reference, image.areas)):
        mask = area.get("mask", np.zeros(plane.shape, bool))
        for top in range(0, plane.shape[0] - side + 1, side):
            for left in range(0, plane.shape[1] - side + 1, side):
                rows, columns = slice(top, top + side), slice(left, left + side)
                here = plane[rows, columns]
                if not mask[rows, columns].all() or (plane.dtype == np.uint8 and here.max() >= MARK):
                    continue
                kind = KINDS[number % len(KINDS)]
                turn, shift = number * np.pi / 7, ((number % 5) / 5 * scale, (number % 3) / 3 * scale)
                number += 1
                sign = 1.0 if here.mean() < image.case.floor + image.case.peak / 2 else -1.0
                yield index, rows, columns, kind, sign * coverage(kind, side, scale, shift, turn)


def _as_volume(image: Image, planes: np.ndarray) -> Volume:
    """The image's volume with other slices (n, h, w); its remainder beyond a multiple of the scale is left as it is."""
    array = image.volume.array.copy()
    target = slice_planes(array, "ijk".index(image.case.axis))[:, 0, : planes.shape[1], : planes.shape[2]]
    whole = array.dtype.kind != "f"
    target[...] = np.clip(np.rint(planes), *_limits(array.dtype)) if whole else planes
    return image.volume.with_array(array)


def _limits(dtype: np.dtype) -> tuple[int, int]:
    return np.iinfo(dtype).min, np.iinfo(dtype).max


def line_pairs(period: float, side: int, scale: int) -> np.ndarray:
    """Line pairs with smooth edges (a sine), (side, side), values -1 to 1; ``period`` in pixels of the input."""
    y, x = np.indices((side, side))
    turn = np.deg2rad(SLANT)
    return np.sin(2 * np.pi * (np.cos(turn) * x + np.sin(turn) * y) / (period * scale))


def bars_recovered(enlarge: Callable[[np.ndarray], Planes], scale: int) -> dict[float, dict[str, tuple[float, float]]]:
    """Period -> method -> how much of the line pairs comes back, and how strong what is false is, shares of the truth.

    Args:
        enlarge: 8-bit picture (h, w) -> method -> its result after it was degraded.
    """
    side, margin = 24 * scale, 4 * scale
    found: dict[float, dict[str, tuple[float, float]]] = {}
    for period in PERIODS:
        pattern = line_pairs(period, side, scale)
        inner = np.s_[margin:-margin, margin:-margin]
        truth = pattern[inner] - pattern[inner].mean()
        for method, result in enlarge(np.rint(128 + 80 * pattern).astype(np.uint8)).items():
            seen = result[inner].astype(np.float64)
            seen = (seen - seen.mean()) / 80
            share = (seen * truth).sum() / (truth**2).sum()
            false = np.sqrt(((seen - share * truth) ** 2).sum() / (truth**2).sum())
            found.setdefault(period, {})[method] = (float(share), float(false))
    return found


def chart(scale: int) -> np.ndarray:
    """A picture of line pairs, letters and discs of known size, 8-bit (h, w)."""
    from PIL import Image as Picture
    from PIL import ImageDraw, ImageFont

    bars = np.concatenate([128 + 80 * line_pairs(period, 14 * scale, scale) for period in PERIODS], axis=1)
    below = Picture.new("L", (bars.shape[1], 33 * scale), 40)
    draw, top = ImageDraw.Draw(below), scale
    for size in LETTERS:
        draw.text((scale, top), "R 38 B6 S5 LEFT 12.5", fill=220, font=ImageFont.load_default(size=size * scale))
        top += (size + 1) * scale
    letters, side = np.asarray(below).astype(np.float64), 8 * scale
    for index, size in enumerate(DISCS):
        disc = coverage(Kind("disc", size), side, scale, (0.0, 0.0), 0.0)
        letters[index * side : (index + 1) * side, -side:] += 180 * disc
    return np.rint(np.concatenate([bars, letters])).astype(np.uint8)
