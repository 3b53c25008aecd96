"""Stored values to the network's range and back: one affine map per volume, inverted exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .errors import DataError, ModelError
from .missing import OUT_OF_REACH, Gaps, find_padding

if TYPE_CHECKING:
    from torch import Tensor

#: Percentiles are taken from at most this many voxels, evenly spaced through the volume.
PERCENTILE_VOXELS = 4_000_000

#: Percentiles that lie closer together than this share of their own size are apart by rounding alone.
NEARLY_CONSTANT = 1e-6

#: The width of a floating image that is zero throughout.
LEAST_WIDTH = 1e-30

#: Pixels whose float64 values ``store`` has at once: on a CPU they stay in the cache, on a graphics card they are worth
#: a launch and do not fill its memory.
STORED_PIXELS, STORED_PIXELS_GPU = 2**17, 2**22


@dataclass(frozen=True)
class IntensityMap:
    """network = (stored - offset) / width; width > 0, both in the stored unit."""

    offset: float
    width: float

    def to_network(self, stored: np.ndarray) -> np.ndarray:
        """Stored values of any type to float32, nominally 0 to 1, never clipped."""
        return ((stored.astype(np.float64) - self.offset) / self.width).astype(np.float32)


def choose_map(array: np.ndarray, intensity: dict, stated: Sequence[float] = ()) -> IntensityMap:
    """The map of a whole volume under a model card's ``intensity`` entry.

    Args:
        array: all voxels of the volume, any shape, any real type.
        stated: values that the file says are padding. What counts as padding has no part in percentiles.
        intensity: ``{"mapping": "fixed", "low": a, "high": b}`` maps a..b to 0..1 whatever the data;
            ``{"mapping": "percentile", "low": p, "high": q}`` maps those percentiles of the finite voxels to 0..1;
            ``{"mapping": "auto"}`` maps uint8 from 0..255 and every other type from its percentiles 0.1 and 99.9.

    Raises:
        DataError: if no voxel is finite.
        ModelError: for an unknown mapping.
    """
    mapping = intensity.get("mapping")
    if mapping == "fixed":
        return _between(intensity["low"], intensity["high"])
    if mapping == "auto" and array.dtype == np.uint8:
        return _between(0.0, 255.0)
    if mapping in ("auto", "percentile"):
        return _between(
            *_percentiles(array, intensity.get("low", 0.1), intensity.get("high", 99.9), stated),
            floating=array.dtype.kind == "f",
        )
    raise ModelError(f"The model's card asks for the unknown intensity mapping '{mapping}'; use a newer version.")


def find_gaps(array: np.ndarray, mapping: IntensityMap, stated: Sequence[float] = ()) -> Gaps:
    """Which voxels of a volume hold no measurement.

    Args:
        array: all voxels. mapping: theirs. stated: values that the file says are padding.
    """
    finite = finite_sample(array)
    padding = find_padding(finite, stated=stated) if finite.size else ()
    if array.dtype.kind != "f":
        return Gaps(padding)
    reach = OUT_OF_REACH * mapping.width
    return Gaps(padding, mapping.offset - reach, mapping.offset + mapping.width + reach)


def _percentiles(array: np.ndarray, low: float, high: float, stated: Sequence[float]) -> tuple[float, float]:
    finite = finite_sample(array)
    if finite.size == 0:
        raise DataError("The image holds no finite voxel: every value is NaN or infinite.")
    padding = find_padding(finite, low, high, stated)
    finite = finite[~Gaps(padding).mask(finite)] if padding else finite
    bottom, top = np.percentile(finite.astype(np.float64), [low, high])
    # A single voxel may have any value, so the whole span says nothing about the contrast of the others.
    if top - bottom <= NEARLY_CONSTANT * max(abs(top), abs(bottom)):  # all but a few voxels are alike
        return float(finite.min()), float(finite.max())
    return bottom, top


def finite_sample(array: np.ndarray) -> np.ndarray:
    """Evenly spaced finite values of a volume, all where they are few; none if it has none."""
    values = _sample(array)
    finite = values[np.isfinite(values)]
    return finite if finite.size else array[np.isfinite(array)]


def _sample(array: np.ndarray) -> np.ndarray:
    """Evenly spaced voxels, with all their components; the step shares no factor with the length of a row."""
    pixels = array.reshape(-1, array.shape[3] if array.ndim == 4 else 1)
    step = max(1, array.size // PERCENTILE_VOXELS)
    while step > 1 and math.gcd(step, array.shape[-2] if array.ndim == 4 else array.shape[-1]) > 1:
        step += 1
    return pixels[::step].reshape(-1)


def _between(low: float, high: float, floating: bool = False) -> IntensityMap:
    if high > low:
        return IntensityMap(float(low), float(high) - float(low))
    # A network answers a constant image with noise of a small share of the width.
    return IntensityMap(float(low), max(NEARLY_CONSTANT * abs(float(low)), LEAST_WIDTH) if floating else 1.0)


def limits(dtype: np.dtype) -> tuple[float, float]:
    """Smallest and largest value that a stored type can hold and float64 can name; infinite for floating types."""
    if dtype.kind == "f":
        return -np.inf, np.inf
    info = np.iinfo(dtype)
    low, high = float(info.min), float(info.max)
    # The limits of 64-bit integers round outwards in float64.
    return (float(np.nextafter(low, 0)), float(np.nextafter(high, 0))) if dtype.itemsize == 8 else (low, high)


def round_to(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """float64 values in a stored type: rounded and saturated for integers."""
    if dtype.kind == "f":
        return values.astype(dtype)
    return np.clip(np.rint(values), *limits(dtype)).astype(dtype)


def store(network: np.ndarray, intensity: IntensityMap, dtype: np.dtype) -> np.ndarray:
    """Network values (..., h, w) back in the stored unit, as ``round_to`` gives them; on all cores."""
    import torch

    return store_tensor(torch.from_numpy(np.ascontiguousarray(network)), intensity, dtype).numpy()


def store_tensor(network: Tensor, intensity: IntensityMap, dtype: np.dtype) -> Tensor:
    """``store`` for a contiguous tensor, on its device."""
    import torch

    stored = torch.empty_like(network, dtype=torch.from_numpy(np.empty(0, dtype)).dtype)
    step = max(1, (STORED_PIXELS_GPU if network.is_cuda else STORED_PIXELS) // network.shape[-1])
    for part, place in zip(network.split(step, dim=-2), stored.split(step, dim=-2)):
        values = part.double().mul_(intensity.width).add_(intensity.offset)
        if dtype.kind != "f":
            values.round_().clamp_(*limits(dtype))
        place.copy_(values)
    return stored
