"""What can be said about a result: whether it gives the input back when it is shrunk, and where another one differs.

The first is necessary and not sufficient. Shrinking D forgets whatever lies in its null space, and that is all that
super-resolution adds: two results that both give the input back differ by something that D turns into nothing, so that
the input speaks for neither. ``disagreement`` says where and how much, in the input's units. It compares a result that
was trained for fidelity with one that was trained against a discriminator; where the second is stronger or other than
the first, it was filled in from what such images look like.

The split of an image into what the measurement determines and what it does not, and maps of the second part, are those
of Bhadra et al., *On Hallucinations in Tomographic Image Reconstruction*, IEEE TMI 40(11), 2021; that networks trained
to match a distribution invent features is shown by Cohen et al., *Distribution Matching Losses Can Hallucinate Features
in Medical Image Translation*, MICCAI 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import DataError
from .geometry import shift
from .intensity import choose_map
from .missing import Gaps, fill_missing, stated_padding
from .plan import Window, slice_planes
from .volume import Volume

#: A difference counts above this share of the image's contrast, the distance between its percentiles 0.1 and 99.9.
VISIBLE = 0.01

#: How far into a gap, in voxels of the input, means of its surroundings are taken.
BRIDGED = 16


class ConsistencyResidual:
    """Collects |D(result) - input| slice by slice, in the input's units, in the same memory however many there are."""

    def __init__(self):
        # Counted by the leading bits of the float32: sign, exponent and ten bits, so to a thousandth.
        self._counts = np.zeros(2**18, np.int64)
        self._largest, self._above, self._number = 0.0, 0, 0

    def add(self, residual: np.ndarray) -> None:
        """Residuals of one slice, any shape; one that is no number counts as infinite."""
        values = np.abs(residual).reshape(-1)
        values[np.isnan(values)] = np.inf
        with np.errstate(over="ignore"):
            counted = values.astype(np.float32)
        self._counts += np.bincount(counted.view(np.uint32) >> 13, minlength=self._counts.size)
        self._largest = max(self._largest, float(values.max()))
        self._above += int(np.count_nonzero(values > 1.0))
        self._number += values.size

    def summary(self) -> dict[str, float]:
        """Largest residual, 99.9th percentile, and the share of input voxels that are off by more than one unit."""
        bin_of = int(np.searchsorted(np.cumsum(self._counts), 0.999 * self._number))
        return {
            "max": self._largest,
            "p99_9": float(np.array([bin_of << 13], np.uint32).view(np.float32)[0]),
            "share_above_one_unit": self._above / self._number,
        }


@dataclass(frozen=True)
class Disagreement:
    """Where two results of one input differ.

    Attributes:
        map: float32 volume of the results' size, in the input's units: the root mean square of the difference (over
            color components, too) in the square of 2 * scale + 1 voxels around each voxel, two input voxels wide; NaN
            where a result is not finite.
        contested: (k, j, i) boolean, where that exceeds the threshold and the detail that both results share.
        summary: ``mean``, ``p99`` and ``max`` of the map; ``max_voxel``, the largest difference of two voxels;
            ``threshold``, all in the input's units; ``share_above_threshold`` and ``share_contested`` of the voxels,
            0 to 1; ``max_shrunk``, the largest difference that is left when both results are shrunk. That part the
            input could have settled: it is rounding where both were made consistent.
    """

    map: Volume
    contested: np.ndarray
    summary: dict[str, float]


def disagreement(
    fidelity: Volume,
    gan: Volume,
    scale: int,
    axis: int,
    threshold: float | None = None,
    gaps: Gaps | None = None,
    place: Window | None = None,
) -> Disagreement:
    """Where a result trained for fidelity and one trained against a discriminator differ beyond what they share.

    The detail of a result is what is left without the bicubic enlargement, made consistent, of the result shrunk: its
    part in the null space of D. The detail that two results share is the mean of theirs. If they differ by more, their
    details are hardly correlated there, or one is much stronger: at equal strength the threshold is a correlation of
    0.6. Any two results of the same input may be compared. Agreement proves nothing: networks that learned from the
    same images may invent the same. Nor is the map one of errors: where both are wrong in the same way it is dark.

    Args:
        fidelity, gan: results of one input, region and scale, of any type; alpha is not expected.
        scale: enlargement in plane.
        axis: 0, 1, 2 for i, j, k: what the slices are stacked along.
        threshold: in the input's units; None means ``visible_difference`` of ``fidelity``. Of a region give that of the
            whole input, so that a region says the same as the volume.
        gaps: which voxels of the input hold no measurement; None means those that are not finite.
        place: rows and columns, in pixels of the input, that the answer is about; None means all. At a cut side, where
            no image ends, shrinking lacks what lies beyond: there the results should reach farther.

    Raises:
        DataError: if the volumes differ in size or place, do not have the size of results at that scale, or have no
            finite voxel in common.
    """
    _check_pair(fidelity, gan, scale, axis)
    if threshold is None:
        threshold = visible_difference(fidelity.array, stated_padding(fidelity.source))
    planes = [slice_planes(volume.array, axis) for volume in (fidelity, gan)]
    height, width = planes[0].shape[2:]
    (top, bottom), (left, right) = place or ((0, height // scale), (0, width // scale))
    low = np.s_[..., top:bottom, left:right]
    high = np.s_[..., top * scale : bottom * scale, left * scale : right * scale]
    strength = np.empty((len(planes[0]), (bottom - top) * scale, (right - left) * scale), np.float32)
    contested = np.empty(strength.shape, bool)
    largest = shrunk = 0.0
    for index, pair in enumerate(zip(*planes)):
        missing = np.logical_or(*((gaps or Gaps()).mask(plane) for plane in pair))
        filled = [_bridge_blocks(plane, missing, scale) for plane in pair]
        difference, shared, rest = compare_details(*filled, scale)
        strength[index] = local_strength(difference, scale, missing)[high]
        bar = np.maximum(threshold, local_strength(shared, scale, missing)[high])
        contested[index] = strength[index] > bar
        largest = max(largest, float(np.where(missing, 0, np.abs(difference))[high].max()))
        shrunk = max(shrunk, float(np.abs(rest[low]).max()))
        strength[index][missing.any(axis=0)[high]] = np.nan
    contested &= np.isfinite(strength)
    known = strength[np.isfinite(strength)]
    if known.size == 0:
        raise DataError("The two results cannot be compared: no voxel is finite in both.")
    summary = {
        "mean": float(known.mean(dtype=np.float64)),
        "p99": float(np.percentile(known, 99)),
        "max": float(known.max()),
        "max_voxel": largest,
        "threshold": float(threshold),
        "share_above_threshold": float(np.mean(known > threshold)),
        "share_contested": float(contested.sum() / known.size),
        "max_shrunk": shrunk,
    }
    array = np.ascontiguousarray(np.moveaxis(strength, 0, 2 - axis))
    start = [left * scale, top * scale]  # the columns of a slice come first among i, j, k
    start.insert(axis, 0)
    volume = Volume(array, shift(gan.ijk_to_ras, start), "disagreement", dict(gan.source))
    return Disagreement(volume, np.moveaxis(contested, 0, 2 - axis), summary)


def visible_difference(array: np.ndarray, stated: Sequence[float] = ()) -> float:
    """``VISIBLE`` of an image's contrast, in its units; in integer images at least one unit.

    ``stated`` is what the file says is padding.

    Raises:
        DataError: if no voxel is finite.
    """
    visible = VISIBLE * choose_map(array, {"mapping": "percentile"}, stated).width
    return visible if array.dtype.kind == "f" else max(visible, 1.0)


def compare_details(first: np.ndarray, second: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two slices (c, h, w) of results in any unit, in float64.

    Returns:
        Second minus first (c, h, w); the detail that both share (c, h, w), which is zero when it is shrunk; and what
        the difference shrinks to (c, h / scale, w / scale).
    """
    import torch

    from .resampling import bicubic_downsample, make_consistent

    pair = torch.from_numpy(np.stack([first, second]).astype(np.float64))
    low = bicubic_downsample(pair, scale)
    details = make_consistent(pair, torch.zeros_like(low))
    return (pair[1] - pair[0]).numpy(), details.mean(dim=0).numpy(), (low[1] - low[0]).numpy()


def local_strength(values: np.ndarray, scale: int, missing: np.ndarray | None = None) -> np.ndarray:
    """Root mean square of (c, h, w) over components and the square of 2 * scale + 1 pixels around each pixel, (h, w).

    The mean is over what there is: nothing beyond the border, nor where ``missing`` (c, h, w) says so; 0 of nothing.
    """
    import torch
    import torch.nn.functional as F

    known = np.ones(values.shape, bool) if missing is None else ~missing
    both = np.stack([np.where(known, np.square(values, dtype=np.float64), 0).sum(axis=0), known.sum(axis=0)])
    power, count = F.avg_pool2d(torch.from_numpy(both.astype(np.float64))[None], 2 * scale + 1, 1, scale)[0]
    return (power / count.clamp(min=1e-12)).sqrt().numpy()


def _bridge_blocks(plane: np.ndarray, missing: np.ndarray, scale: int) -> np.ndarray:
    """A slice (c, h, w) of a result whose missing voxels, each a block in it, add no detail of their own, float64.

    They become the bicubic enlargement of means around them, so that the neighbours of a gap say what they would say
    without it.
    """
    import torch

    from .resampling import bicubic_upsample

    values = plane.astype(np.float64)
    if not missing.any():
        return values
    channels, height, width = plane.shape
    blocks = channels, height // scale, scale, width // scale, scale
    count = (~missing).reshape(blocks).sum(axis=(2, 4))
    total = np.where(missing, 0, values).reshape(blocks).sum(axis=(2, 4))
    small, _ = fill_missing(np.where(count > 0, total / np.maximum(count, 1), np.nan), far=BRIDGED)
    return np.where(missing, bicubic_upsample(torch.from_numpy(small)[None], scale)[0].numpy(), values)


def _check_pair(fidelity: Volume, gan: Volume, scale: int, axis: int) -> None:
    if fidelity.array.shape != gan.array.shape or not np.allclose(fidelity.ijk_to_ras, gan.ijk_to_ras, atol=1e-6):
        raise DataError("The two results differ in size or place; compare results of the same input, region and scale.")
    lengths = [length for index, length in enumerate(fidelity.size) if index != axis]
    if any(length % scale for length in lengths):
        size = " x ".join(map(str, lengths))
        raise DataError(f"Slices of {size} voxels are no results at x{scale}; name the scale that was used.")
