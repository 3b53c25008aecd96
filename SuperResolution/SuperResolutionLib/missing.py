"""Voxels without a measurement (NaN, infinite, padding): found, bridged for the network, and put back after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Padding lies farther from all other values than this many times their span. In images without padding the largest
#: distance that was seen is a quarter of it; a masked organ lies within a few.
FAR = 10.0

#: The same for a value that the file itself names as padding.
FAR_IF_STATED = 0.25

#: Values that padding may have: scanners and resampling leave one each.
MOST_PADDING = 2

#: A floating value this many times the contrast away from all that counts is a fill value, and one is enough to ruin
#: float32 arithmetic around it.
OUT_OF_REACH = 1e4


@dataclass(frozen=True)
class Gaps:
    """Which voxels hold no measurement, beside those that are not finite.

    Attributes:
        padding: values that stand for none. low, high: what a floating voxel lies within if it is one.
    """

    padding: tuple[float, ...] = ()
    low: float = -np.inf
    high: float = np.inf

    def mask(self, voxels: np.ndarray) -> np.ndarray:
        """Where voxels of any shape and type hold none; boolean."""
        if voxels.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                missing = ~((voxels >= self.low) & (voxels <= self.high) & np.isfinite(voxels))
        else:
            missing = np.zeros(voxels.shape, bool)
        for value in self.padding:
            missing |= voxels == value
        return missing

    def told(self) -> str:
        """What they are, in words."""
        kinds = ["padding of " + " and ".join(f"{value:g}" for value in self.padding)] if self.padding else []
        # Only floating types have limits.
        kinds += ["NaN, infinite or out of all reach"] if np.isfinite(self.low) or not kinds else []
        return "; or ".join(kinds)


def stated_padding(source: dict[str, str]) -> list[float]:
    """The values that a volume's ``source`` names as padding."""
    return [float(value) for value in source.get("Padding", "").split()]


def find_padding(
    values: np.ndarray, low: float = 0.1, high: float = 99.9, stated: Sequence[float] = ()
) -> tuple[float, ...]:
    """Values that stand for no measurement: at an end, shared by many voxels, and far from all others.

    Args:
        values: finite voxels, any shape; 8-bit images have no room for padding, for them there is none.
        low, high: percentiles between which the others span their contrast; padding is rarer than neither.
        stated: what the file says is padding.
    """
    if values.dtype == np.uint8:
        return ()
    found, rest = [], values.reshape(-1)
    while len(found) < MOST_PADDING:
        ends = _far_ends(rest, low, high, stated)
        if not ends:
            break
        found += ends
        rest = rest[~np.isin(rest, ends)]
    return tuple(float(value) for value in found)


def _far_ends(values: np.ndarray, low: float, high: float, stated: Sequence[float]) -> list:
    """The least value, the largest or both, if they are padding; empty if they are not."""
    least, most = values.min(), values.max()
    shares = {end: np.count_nonzero(values == end) / values.size for end in (least, most)}
    common = [end for end, share in shares.items() if share > min(low, 100 - high) / 100]
    for ends in [[end] for end in common] + [common] * (len(common) == 2):
        others = values[~np.isin(values, ends)]
        if others.size == 0:
            continue
        bottom, top = np.percentile(others.astype(np.float64), [low, high])
        distances = [max(bottom - float(end), float(end) - top) for end in ends]
        needed = [(FAR_IF_STATED if float(end) in stated else FAR) * (top - bottom) for end in ends]
        if top > bottom and all(np.greater(distances, needed)):
            return ends
    return []


def fill_missing(plane: np.ndarray, gaps: Gaps | None = None, far: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Replace the voxels of a plane (c, h, w) that hold no measurement so that a network can take it.

    Each becomes the mean of those among the eight around it that hold one, otherwise the plane's median, otherwise 0.

    Args:
        gaps: which they are; None means those that are not finite.
        far: how many voxels from the others means are taken, each ring of those of the ring before.

    Returns:
        The plane without them, and the mask (c, h, w) of where they were.
    """
    missing = (gaps or Gaps()).mask(plane)
    if not missing.any():
        return plane, missing
    fallback = np.median(plane[~missing]) if not missing.all() else 0.0
    filled, left = np.where(missing, 0, plane).astype(np.float64), missing
    for _ in range(far):
        total, count = _around(filled), _around((~left).astype(np.float64))
        ring = left & (count > 0)
        filled[ring], left = total[ring] / count[ring], left & ~ring
    filled[left] = fallback
    if plane.dtype.kind != "f":
        filled = np.rint(filled)
    return np.where(missing, filled, plane).astype(plane.dtype), missing


def _around(planes: np.ndarray) -> np.ndarray:
    """The sum over the three by three voxels around each; beyond the border there is nothing."""
    height, width = planes.shape[1:]
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)))
    return sum(padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3))


def put_missing_back(enlarged: np.ndarray, plane: np.ndarray, missing: np.ndarray, scale: int) -> np.ndarray:
    """Every voxel made from a missing one has that one's value again (nearest neighbour)."""
    if not missing.any():
        return enlarged
    block = np.ones((1, scale, scale), bool)
    return np.where(np.kron(missing, block), plane.repeat(scale, axis=1).repeat(scale, axis=2), enlarged)
