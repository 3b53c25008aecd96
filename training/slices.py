"""The slices that a volume gives to train on: in which channels, along which axes, and as what they are stored."""

from __future__ import annotations

import numpy as np

from SuperResolutionLib.errors import UsageError
from SuperResolutionLib.intensity import choose_map, find_gaps, round_to
from SuperResolutionLib.missing import fill_missing
from SuperResolutionLib.volume import Volume

from .resized import resize_slices

#: Axes whose spacings differ by less than this factor all give slices; otherwise only the finest plane does.
ISOTROPIC = 1.3

#: A slice whose values span less than this share of the range shows nothing and is left out.
EMPTY_SPAN = 0.1

#: Weights of red, green and blue in grey (ITU-R BT.601).
LUMINANCE = (0.299, 0.587, 0.114)


def fit_channels(array: np.ndarray, channels: int) -> tuple[np.ndarray, bool]:
    """A volume (k, j, i) or (k, j, i, c) as a network of ``channels`` takes it, and whether color was given up.

    Raises:
        UsageError: for a grey image where color is asked for.
    """
    if array.ndim == 3:
        if channels == 3:
            raise UsageError("it is grey, and the network is for color images; take a network with 1 channel.")
        return array, False
    if channels == 3:
        return array[..., :3], False
    if (array[..., 0] == array[..., 1]).all() and (array[..., 0] == array[..., 2]).all():
        return array[..., 0], False
    return round_to(array[..., :3].astype(np.float64) @ np.array(LUMINANCE), array.dtype), True


def stacks(volume: Volume, size: int | None) -> list[tuple[Volume, tuple[int, ...]]]:
    """What slices are cut from, and along which of the array's axes; resized slices are a stack an axis."""
    axes = slice_axes(volume.array, volume.spacing)
    return [(resize_slices(volume, 2 - axis, size), (axis,)) for axis in axes] if size else [(volume, axes)]


def slice_axes(array: np.ndarray, spacing: tuple[float, float, float]) -> tuple[int, ...]:
    """The array's axes along which a volume is cut.

    Args:
        array: (k, j, i) or (k, j, i, c). spacing: along (i, j, k), millimetres; a volume whose spacings are alike gives
            slices along all three axes, another one only those of its finest plane.
    """
    if min(array.shape[:3]) > 1 and max(spacing) < ISOTROPIC * min(spacing):
        return (0, 1, 2)
    return (int(np.argmax(spacing[::-1])) if array.shape[0] > 1 else 0,)


def cut_slices(array: np.ndarray, axes: tuple[int, ...], intensity: dict):
    """Slices of a volume as they are stored: a list of (plane, gain, offset), network = plane * gain + offset.

    Args:
        array: (k, j, i) or (k, j, i, c). axes: of the array, along which it is cut.
        intensity: as in a model card; chosen from the whole volume.
    """
    mapping = choose_map(array, intensity)
    gaps = find_gaps(array, mapping)
    gain, offset = 1.0 / mapping.width, -mapping.offset / mapping.width
    least = int(array.min()) if array.dtype.kind in "iu" else 0
    result = []
    for plane in (plane for axis in axes for plane in np.moveaxis(array, axis, 0)):
        if array.dtype.kind == "f":
            filled = fill_missing(np.moveaxis(np.atleast_3d(plane), -1, 0), gaps)[0]
            stored = (mapping.to_network(np.moveaxis(filled, 0, -1)), 1.0, 0.0)
        elif array.dtype == np.uint8:
            stored = (plane, gain, offset)
        elif int(array.max()) - least < 2**16:
            stored = ((plane.astype(np.int64) - least).astype(np.uint16), gain, offset + least * gain)
        else:
            stored = (mapping.to_network(plane), 1.0, 0.0)
        if float(np.ptp(stored[0].astype(np.float32))) * stored[1] > EMPTY_SPAN:
            result.append(stored)
    return result
