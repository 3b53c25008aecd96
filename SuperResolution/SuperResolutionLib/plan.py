"""What is to be computed: an input checked against a model and laid out in slices, before any network is loaded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .catalog import ModelCard
from .errors import DataError, ModelError
from .geometry import Region, check_region, refine, shift, slice_axis
from .intensity import IntensityMap, choose_map, find_gaps
from .missing import Gaps, stated_padding
from .volume import Volume

#: The shortest in-plane side that can be enlarged, in voxels.
SHORTEST_SIDE = 4

#: Pixels around a region, besides the network's reach, that the consistency with the input needs. What a pixel changes
#: in the correction of another fades by a factor of 3 a pixel: at 14, 2 less for the residual, 2e-8 of it are left.
CONSISTENCY_REACH = 16

#: Rows and columns of a slice: ((top, bottom), (left, right)), half-open.
Window = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Layout:
    """How a volume is cut into slices; needs its size, not its voxels.

    Attributes:
        region: the voxels to enlarge, of the whole volume if none was asked for.
        axis: 0, 1, 2 for i, j, k: what the slices are stacked along.
        slice_shape: rows and columns of a whole slice.
        channels: colour components that are enlarged, 1 or 3. itemsize: bytes of each.
        scale: enlargement in plane.
        notices: sentences for the user.
    """

    region: Region
    axis: int
    slice_shape: tuple[int, int]
    channels: int
    itemsize: int
    scale: int
    notices: list[str]

    @property
    def window(self) -> Window:
        """The region's place in each slice."""
        rows, columns = (self.region[axis] for axis in (2, 1, 0) if axis != self.axis)
        return rows, columns

    def with_window(self, window: Window) -> Region:
        """The region with other rows and columns of each slice."""
        spans = [window[1], window[0]]  # the columns come first among i, j, k
        spans.insert(self.axis, self.region[self.axis])
        return tuple(spans)

    def surroundings(self, reach: int) -> tuple[Window, Window]:
        """The region with ``reach`` pixels around it, as far as the slices go; and the region's place in that."""
        seen, place = [], []
        for (start, stop), length in zip(self.window, self.slice_shape):
            first, last = max(0, start - reach), min(length, stop + reach)
            seen.append((first, last))
            place.append((start - first, stop - first))
        return tuple(seen), tuple(place)

    @property
    def scale_per_axis(self) -> tuple[int, int, int]:
        """Enlargement along i, j, k."""
        return tuple(1 if axis == self.axis else self.scale for axis in range(3))

    @property
    def output_size(self) -> tuple[int, int, int]:
        """Voxels of the output along i, j, k."""
        return tuple((stop - start) * scale for (start, stop), scale in zip(self.region, self.scale_per_axis))

    @property
    def output_bytes(self) -> int:
        """Bytes of one output volume."""
        i, j, k = self.output_size
        return i * j * k * self.channels * self.itemsize


@dataclass
class Job:
    """What is to be computed, before any network is loaded.

    Attributes:
        source: the input volume, cropped to the region.
        planes: (n, c, h, w) view of the region's voxels, n slices.
        slices: (n, c, H, W) view of the same slices, whole.
        layout: how the volume is cut into them.
        intensity: the whole volume's map.
        gaps: which voxels hold no measurement. missing: number of those met so far.
    """

    source: Volume
    planes: np.ndarray
    slices: np.ndarray
    layout: Layout
    intensity: IntensityMap
    gaps: Gaps
    missing: int = 0

    @property
    def axis(self) -> int:
        return self.layout.axis

    @property
    def scale(self) -> int:
        return self.layout.scale

    @property
    def notices(self) -> list[str]:
        return self.layout.notices

    @property
    def dtype(self) -> np.dtype:
        """Of the output: the input's, in this machine's order of bytes."""
        return self.planes.dtype.newbyteorder("=")

    @property
    def height(self) -> int:
        return self.planes.shape[2]

    @property
    def width(self) -> int:
        return self.planes.shape[3]

    @property
    def scale_per_axis(self) -> tuple[int, int, int]:
        """Enlargement along i, j, k."""
        return self.layout.scale_per_axis

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of an output array, (k, j, i) or (k, j, i, c)."""
        colour = () if self.source.array.ndim == 3 else (self.layout.channels,)
        return self.layout.output_size[::-1] + colour

    @property
    def output_ijk_to_ras(self) -> np.ndarray:
        """The output's matrix."""
        return refine(self.source.ijk_to_ras, self.scale_per_axis)

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
    known = volume.source.get("Spacing") != "unknown"
    layout = lay_out(volume.size, volume.spacing, volume.channels, volume.array.dtype, card, region, axis, known)
    array = volume.array[..., :3] if volume.channels == 4 else volume.array
    stated = stated_padding(volume.source)
    intensity = choose_map(array, card.intensity, stated)
    gaps = find_gaps(array, intensity, stated)
    if "Notice" in volume.source:
        layout.notices.insert(0, volume.source["Notice"])
    region_only = _crop(volume.with_array(array), layout.region)
    first, last = layout.region[layout.axis]
    slices = slice_planes(array, layout.axis)[first:last]
    return Job(region_only, slice_planes(region_only.array, layout.axis), slices, layout, intensity, gaps)


def lay_out(
    size: tuple[int, int, int],
    spacing: tuple[float, float, float],
    channels: int,
    dtype: np.dtype,
    card: ModelCard,
    region: Region | None = None,
    axis: str | None = None,
    spacing_known: bool = True,
) -> Layout:
    """What the slices of a volume are, and whether a model can work on them.

    Args:
        size, spacing: voxels and millimetres along i, j, k. channels: components of a voxel, alpha included.

    Raises:
        DataError, UsageError, ModelError: see ``upscale``.
    """
    dtype = np.dtype(dtype)
    components, notices = _real_colour(channels, card)
    if dtype.kind == "f" and dtype.itemsize < 4 or dtype.kind not in "iuf":
        raise DataError(f"Voxels of type {dtype} cannot be enlarged; convert the image to integer or float32.")
    along = slice_axis(size, spacing, axis)  # of the whole volume: a thin region must not turn it
    if spacing_known:
        notices += _unusual_spacing(spacing, along, card)
    height, width = (size[index] for index in (2, 1, 0) if index != along)
    if min(height, width) < SHORTEST_SIDE:
        raise DataError(
            f"The slices are {width} x {height} voxels; super-resolution needs at least "
            f"{SHORTEST_SIDE} x {SHORTEST_SIDE}: choose another image or slice axis."
        )
    region = check_region(region or tuple((0, length) for length in size), size)
    return Layout(region, along, (height, width), components, dtype.itemsize, card.scale, notices)


def slice_planes(array: np.ndarray, axis: int) -> np.ndarray:
    """A (k, j, i) or (k, j, i, c) array as slices (n, c, h, w) stacked along axis 0 = i, 1 = j or 2 = k; a view."""
    colour = array if array.ndim == 4 else array[..., None]
    return np.moveaxis(np.moveaxis(colour, 2 - axis, 0), -1, 1)


def _real_colour(channels: int, card: ModelCard) -> tuple[int, list[str]]:
    notices = []
    if channels == 4:
        channels = 3
        notices.append("The alpha channel (transparency) is dropped.")
    if channels not in (1, 3):
        raise DataError(f"The image has {channels} components; super-resolution takes scalar or RGB images.")
    if channels == 1 and card.channels == 3:
        raise ModelError(f"{card.id} is a color model and the image is scalar; choose a model with 1 channel.")
    if channels == 3 and card.channels == 1:
        notices.append("A grey model runs on each color channel by itself; colors may shift at edges.")
    return channels, notices


def _unusual_spacing(spacing: tuple[float, float, float], axis: int, card: ModelCard) -> list[str]:
    """A notice if the in-plane spacing lies outside what the model was trained on."""
    if card.spacing_range is None:
        return []
    low, high = card.spacing_range
    lengths = [length for index, length in enumerate(spacing) if index != axis]
    if all(low <= length <= high for length in lengths):
        return []
    here = " x ".join(f"{length:.3g}" for length in lengths)
    return [f"The pixels measure {here} mm, and {card.id} was trained on {low:g} to {high:g} mm; expect less of it."]


def _crop(volume: Volume, region: Region) -> Volume:
    (i0, i1), (j0, j1), (k0, k1) = region
    matrix = shift(volume.ijk_to_ras, (i0, j0, k0))
    return Volume(volume.array[k0:k1, j0:j1, i0:i1], matrix, volume.name, volume.source)
