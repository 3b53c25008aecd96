"""What is to be computed: an input checked against a model and laid out in slices, before any network is loaded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .catalog import ModelCard
from .errors import DataError, ModelError
from .geometry import Region, check_region, refine, shift, slice_axis
from .intensity import IntensityMap, choose_map
from .volume import Volume

#: The shortest in-plane side that can be enlarged, in voxels.
SHORTEST_SIDE = 4


@dataclass
class Job:
    """What is to be computed, before any network is loaded.

    Attributes:
        source: the input volume, cropped to the region.
        planes: (n, c, h, w) view of the input's voxels, n slices.
        axis: 0, 1, 2 for i, j, k: what ``planes`` are stacked along.
        intensity: the whole volume's map.
        notices: sentences for the user.
        missing: number of NaN or infinite voxels met so far.
    """

    source: Volume
    planes: np.ndarray
    axis: int
    intensity: IntensityMap
    scale: int
    notices: list[str]
    missing: int = 0

    @property
    def dtype(self) -> np.dtype:
        return self.planes.dtype

    @property
    def height(self) -> int:
        return self.planes.shape[2]

    @property
    def width(self) -> int:
        return self.planes.shape[3]

    @property
    def output_bytes(self) -> int:
        """Bytes of one output volume."""
        return self.planes.size * self.scale**2 * self.dtype.itemsize

    @property
    def scale_per_axis(self) -> tuple[int, int, int]:
        """Enlargement along i, j, k."""
        return tuple(1 if axis == self.axis else self.scale for axis in range(3))

    def empty(self) -> np.ndarray:
        """An output array (n, c, h * scale, w * scale) of the input's type."""
        n, c, h, w = self.planes.shape
        return np.empty((n, c, h * self.scale, w * self.scale), self.dtype)

    def as_volume(self, planes: np.ndarray, name: str, scale: tuple[float, float, float] | None = None) -> Volume:
        """Planes (n, c, h, w) as a volume that covers the source's space on a grid ``scale`` times as fine."""
        stacked = np.moveaxis(planes, 1, -1)
        array = np.moveaxis(stacked, 0, 2 - self.axis)
        if self.source.array.ndim == 3:
            array = array[..., 0]
        matrix = refine(self.source.ijk_to_ras, scale or self.scale_per_axis)
        return Volume(np.ascontiguousarray(array), matrix, name, dict(self.source.source))


def plan(volume: Volume, card: ModelCard, region: Region | None = None, axis: str | None = None) -> Job:
    """Check an input against a model and lay out the work; needs no torch.

    Raises:
        DataError, UsageError, ModelError: see ``upscale``.
    """
    array, notices = _real_colour(volume, card)
    if array.dtype.kind == "f" and array.dtype.itemsize < 4 or array.dtype.kind not in "iuf":
        raise DataError(f"Voxels of type {array.dtype} cannot be enlarged; convert the image to integer or float32.")
    intensity = choose_map(array, card.intensity)
    along = slice_axis(volume.size, volume.spacing, axis)  # of the whole volume: a thin region must not turn it
    if volume.source.get("Spacing") != "unknown":
        notices += _unusual_spacing(volume.spacing, along, card)
    volume = volume.with_array(array)
    if region is not None:
        volume = _crop(volume, region)
    planes = slice_planes(volume.array, along)
    if min(planes.shape[2:]) < SHORTEST_SIDE:
        height, width = planes.shape[2:]
        raise DataError(
            f"The slices are {width} x {height} voxels; super-resolution needs at least "
            f"{SHORTEST_SIDE} x {SHORTEST_SIDE}: choose another image, region or slice axis."
        )
    return Job(volume, planes, along, intensity, card.scale, notices)


def slice_planes(array: np.ndarray, axis: int) -> np.ndarray:
    """A (k, j, i) or (k, j, i, c) array as slices (n, c, h, w) stacked along axis 0 = i, 1 = j or 2 = k; a view."""
    colour = array if array.ndim == 4 else array[..., None]
    return np.moveaxis(np.moveaxis(colour, 2 - axis, 0), -1, 1)


def _real_colour(volume: Volume, card: ModelCard) -> tuple[np.ndarray, list[str]]:
    array, notices = volume.array, [volume.source["Notice"]] if "Notice" in volume.source else []
    if array.ndim == 4 and array.shape[3] == 4:
        array = array[..., :3]
        notices.append("The alpha channel (transparency) was dropped.")
    components = array.shape[3] if array.ndim == 4 else 1
    if components not in (1, 3):
        raise DataError(f"The image has {components} components; super-resolution takes scalar or RGB images.")
    if components == 1 and card.channels == 3:
        raise ModelError(f"{card.id} is a color model and the image is scalar; choose a model with 1 channel.")
    if components == 3 and card.channels == 1:
        notices.append("A grey model ran on each color channel by itself; colors may shift at edges.")
    return array, notices


def _unusual_spacing(spacing: tuple[float, float, float], axis: int, card: ModelCard) -> list[str]:
    """A notice if the in-plane spacing lies outside what the model was trained on."""
    if card.spacing_range is None:
        return []
    low, high = card.spacing_range
    if all(low <= length <= high for index, length in enumerate(spacing) if index != axis):
        return []
    return [f"The pixel spacing is outside {low:g} to {high:g} mm, on which {card.id} was trained; expect less of it."]


def _crop(volume: Volume, region: Region) -> Volume:
    (i0, i1), (j0, j1), (k0, k1) = check_region(region, volume.size)
    matrix = shift(volume.ijk_to_ras, (i0, j0, k0))
    return Volume(volume.array[k0:k1, j0:j1, i0:i1], matrix, volume.name, volume.source)
