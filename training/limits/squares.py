"""Where pictures of the page on limits are taken: squares found by rules, never by eye."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from SuperResolutionLib.fidelity import local_strength
from SuperResolutionLib.plan import slice_planes

from ..masks import fine_structure
from .cases import GAN, PSNR, Image
from .measures import disagree, residual

#: Side of a square, in pixels of the input.
SIDE = 24

#: The share of a square that has to be anatomy: not letters, frame, or devices.
INSIDE = 0.97


@dataclass(frozen=True)
class Square:
    """A square of one slice; ``top``, ``left`` and ``side`` in pixels of the result, multiples of the scale."""

    image: Image
    index: int
    top: int
    left: int
    side: int

    def cut(self, plane: np.ndarray) -> np.ndarray:
        """What lies in it of a slice (h, w)."""
        return plane[self.top : self.top + self.side, self.left : self.left + self.side]

    def of(self, method: str) -> np.ndarray:
        """What lies in it of a method's result."""
        return self.cut(self.image.planes[method][self.index])

    @property
    def reference(self) -> np.ndarray:
        return self.cut(self.image.reference[self.index])

    def input(self, scale: int) -> np.ndarray:
        """The same square of the input."""
        return self.of_input(_low(self.image, self.index), scale)

    def of_input(self, plane: np.ndarray, scale: int) -> np.ndarray:
        """What lies in it of a plane of the input's size."""
        top, left, side = (length // scale for length in (self.top, self.left, self.side))
        return plane[top : top + side, left : left + side]


def busiest_square(images: Sequence[Image], scale: int) -> Square:
    """Where the first image's middle slice has most fine structure in its anatomy."""
    image = images[0]
    index = len(image.reference) // 2
    return _strongest(image, index, fine_structure(image.reference[index], scale), scale)[1]


def worst_squares(images: Sequence[Image], scale: int) -> list[Square]:
    """Where in each image's anatomy the GAN's squared error exceeds the PSNR model's most, the worst image first."""
    worst = []
    for image in images:
        found = []
        for index, plane in enumerate(image.reference.astype(np.float64)):
            fidelity, gan = ((image.planes[name][index] - plane) ** 2 for name in (PSNR, GAN))
            found.append(_strongest(image, index, (gan - fidelity) / image.case.peak**2, scale))
        worst.append(max(found, key=lambda pair: pair[0]))
    return [square for _, square in sorted(worst, key=lambda pair: -pair[0])]


def numbers_of(square: Square, scale: int) -> dict[str, float]:
    """What a square comes to, in the input's units: root mean square errors of both models and of their difference
    (``difference``), the ``share`` of the square where they are contested, the largest ``residual`` of the GAN's result
    there when it is shrunk, and ``top``, the brightest value of the maps in a picture.
    """
    found = disagree(square.image, scale)
    low = _low(square.image, square.index)
    errors = {name: square.of(name).astype(np.float64) - square.reference for name in (PSNR, GAN)}
    rms = {name: float(np.sqrt(np.mean(error**2))) for name, error in errors.items()}
    return {
        **rms,
        "difference": float(np.sqrt(np.mean((errors[GAN] - errors[PSNR]) ** 2))),
        "share": float(square.cut(found.contested[square.index]).mean()),
        "top": brightest(maps_of(square, scale)),
        "residual": float(square.of_input(residual(square.image.planes[GAN][square.index], low, scale), scale).max()),
    }


def maps_of(square: Square, scale: int) -> dict[str, np.ndarray]:
    """``disagreement`` of the two models and each one's error in a square, as local strengths in the input's units."""
    image, index = square.image, square.index
    reference = image.reference[index].astype(np.float64)
    errors = {name: local_strength((image.planes[name][index] - reference)[None], scale) for name in (PSNR, GAN)}
    maps = {"disagreement": disagree(image, scale).map.array[index]} | errors
    return {name: square.cut(plane) for name, plane in maps.items()}


def brightest(maps: dict[str, np.ndarray]) -> float:
    """The value up to which maps are shown: all but half a percent of them lies below."""
    return float(np.percentile(np.stack(list(maps.values())), 99.5))


def _low(image: Image, index: int) -> np.ndarray:
    return slice_planes(image.case.low.array, "ijk".index(image.case.axis))[index, 0]


def _strongest(image: Image, index: int, values: np.ndarray, scale: int) -> tuple[float, Square]:
    """Sum and place of the square whose pixels in the anatomy sum to most, on the grid of the input's pixels.

    Squares that hold less than ``INSIDE`` of anatomy count only where there are no others.
    """
    area = image.areas[index].get("anatomy", image.areas[index]["whole"])
    side = min(SIDE, *(length // scale for length in values.shape)) * scale
    sums = _sums(np.where(area, values, 0), side, scale)
    inside = _sums(area, side, scale) >= INSIDE * side**2
    sums = np.where(inside, sums, -np.inf) if inside.any() else sums
    top, left = np.unravel_index(sums.argmax(), sums.shape)
    return float(sums[top, left]), Square(image, index, int(top) * scale, int(left) * scale, side)


def _sums(values: np.ndarray, side: int, step: int) -> np.ndarray:
    """Sums of all squares of (h, w) whose corners lie on a grid of ``step`` pixels."""
    table = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    table[1:, 1:] = values.cumsum(0).cumsum(1)
    return (table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side])[::step, ::step]
