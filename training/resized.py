"""Sets whose slices are brought to one size: ``set@N`` is the set with every slice as N x N pixels.

Models for small pictures are published on such sets: of every slice what shows something is cut out, made square and
resized. The name of a set, with its suffix, stays the name of what is packed from it and of what is reported on it.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from SuperResolutionLib.errors import UsageError
from SuperResolutionLib.intensity import choose_map, round_to
from SuperResolutionLib.missing import fill_missing
from SuperResolutionLib.plan import SHORTEST_SIDE, slice_planes
from SuperResolutionLib.volume import Volume

from .masks import FOREGROUND, FOREGROUND_COLOR, SMALLEST

#: A volume's background, and its brightest values, as percentiles.
PERCENTILES = {"mapping": "percentile", "low": 0.1, "high": 99.9}


def split_size(name: str) -> tuple[str, int | None]:
    """The name of a set without its suffix ``@N``, and N; None where there is no suffix.

    In ``a+b@N`` the one suffix at the end holds for both.

    Raises:
        UsageError: for a suffix that is no whole number above 0, and for an ``@`` anywhere but before the suffix.
    """
    match = re.fullmatch(r"([^@]+)(?:@([1-9][0-9]*))?", name)
    if not match:
        raise UsageError(
            f"The set '{name}' asks for no usable size; write @N once, at the end, with a whole number of pixels above "
            "0, for example brain@128 or brain+knee@128."
        )
    return match[1], int(match[2]) if match[2] else None


def check_size(name: str, scale: int) -> None:
    """Whether the slices of a set can be reduced by ``scale``, as far as its name says how large they are.

    Raises:
        UsageError: if N of ``set@N`` is unusable, no multiple of the scale, or leaves fewer than 4 pixels.
    """
    size = split_size(name)[1]
    if size is not None and (size % scale or size < SHORTEST_SIDE * scale):
        raise UsageError(
            f"The set '{name}' has slices of {size} pixels, which x{scale} cannot use; take a multiple of {scale} that "
            f"is at least {SHORTEST_SIDE * scale}."
        )


def resize_slices(volume: Volume, axis: int, size: int) -> Volume:
    """A volume whose slices along ``axis`` are cropped to their content, padded to squares, and resized.

    Content are the patches above the volume's 0.1th percentile by more than 5 % (color: the brightest channel by more
    than 15 %) of the span to its 99.9th; those of fewer than 64 pixels are specks. A slice without content stays
    whole. What is padded gets the 0.1th percentile. Enlarged and shrunk is by the engine's antialiased bicubic, from
    the original pixels straight to the size; pixels count as square, whatever the spacing.

    Args:
        volume: array (k, j, i) or (k, j, i, c). axis: 0, 1, 2 for i, j, k: what the slices are stacked along.
        size: rows and columns of the result's slices.

    Returns:
        The volume in the same type, rounded and saturated for integers, missing values bridged. Its spacing in plane is
        the median of the slices with content, its first voxel the original's; slices no longer lie on one another.
    """
    planes = slice_planes(volume.array, axis)
    span = choose_map(volume.array[..., :3] if volume.array.ndim == 4 else volume.array, PERCENTILES)
    level = span.offset + span.width * (FOREGROUND if planes.shape[1] == 1 else FOREGROUND_COLOR)
    background = round_to(np.float64(span.offset), planes.dtype)
    result, sides = np.empty((*planes.shape[:2], size, size), planes.dtype), []
    for index, plane in enumerate(planes):
        filled = fill_missing(plane)[0] if planes.dtype.kind == "f" else plane
        rows, columns, found = content(filled[:3].max(axis=0), level)
        result[index] = _resized(_square(filled[:, rows, columns], background), size, planes.dtype)
        sides.append((found, max(rows.stop - rows.start, columns.stop - columns.start)))
    kept = [side for found, side in sides if found] or [side for _, side in sides]
    stacked = np.moveaxis(result, 1, -1) if volume.array.ndim == 4 else result[:, 0]
    array = np.ascontiguousarray(np.moveaxis(stacked, 0, 2 - axis))
    matrix = np.array(volume.ijk_to_ras)
    for other in {0, 1, 2} - {axis}:
        matrix[:3, other] *= np.median(kept) / size
    return replace(volume, array=array, ijk_to_ras=matrix)


def content(plane: np.ndarray, level: float) -> tuple[slice, slice, bool]:
    """Rows and columns of (h, w) that hold its patches above ``level``; all of them, and False, if there are none."""
    from scipy import ndimage

    labels, _ = ndimage.label(plane > level)
    large = np.bincount(labels.reshape(-1)) >= SMALLEST
    large[0] = False
    shown = large[labels]
    if not shown.any():
        return slice(0, plane.shape[0]), slice(0, plane.shape[1]), False
    rows, columns = (np.flatnonzero(shown.any(axis=along)) for along in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1), True


def _square(plane: np.ndarray, background) -> np.ndarray:
    """(c, h, w) in the middle of a square; where it cannot be in the middle, the pixel more is below or right."""
    missing = [max(plane.shape[1:]) - length for length in plane.shape[1:]]
    around = [(0, 0), *((count // 2, count - count // 2) for count in missing)]
    return np.pad(plane, around, constant_values=background)


def _resized(plane: np.ndarray, size: int, dtype: np.dtype) -> np.ndarray:
    import torch

    from SuperResolutionLib.resampling import resize

    image = torch.from_numpy(plane.astype(np.float64))[None]
    return round_to(resize(image, (size, size))[0].numpy(), dtype)
