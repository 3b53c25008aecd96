"""Grids in space: refine by a scale per axis, crop, bounds, and the axis that slices are stacked along.

Everything is RAS in millimetres and takes a (4, 4) IJK-to-RAS matrix whose integer indices are voxel centres.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .errors import UsageError

#: An axis is the slice axis if its spacing is larger than both others by more than this factor.
ANISOTROPIC = 1.05

AXES = ("i", "j", "k")

Region = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def refine(ijk_to_ras: np.ndarray, scale: tuple[float, float, float]) -> np.ndarray:
    """The matrix of the grid with ``scale`` times as many voxels along (i, j, k), covering the same space.

    Pixel-area convention: voxels are boxes, the outer faces of the volume stay where they are, and every voxel centre
    moves by (1 / s - 1) / 2 of an input voxel.
    """
    step = np.diag([*(1.0 / np.asarray(scale, dtype=float)), 1.0])
    step[:3, 3] = (1.0 / np.asarray(scale, dtype=float) - 1.0) / 2.0
    return np.asarray(ijk_to_ras, dtype=float) @ step


def shift(ijk_to_ras: np.ndarray, start: Sequence[int]) -> np.ndarray:
    """The matrix of a sub-volume whose first voxel is the input's voxel ``start`` (i, j, k)."""
    moved = np.array(ijk_to_ras, dtype=float)
    moved[:3, 3] += moved[:3, :3] @ np.asarray(start, dtype=float)
    return moved


def bounds(ijk_to_ras: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """RAS bounding box of the voxel boxes, (3, 2) in millimetres: minimum and maximum of R, A and S."""
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in size])).reshape(3, -1)
    points = ijk_to_ras[:3, :3] @ corners + ijk_to_ras[:3, 3:4]
    return np.stack([points.min(axis=1), points.max(axis=1)], axis=1)


def slice_axis(size: tuple[int, int, int], spacing: tuple[float, float, float], choice: str | None = None) -> int:
    """Which axis (0 = i, 1 = j, 2 = k) the slices are stacked along.

    The choice if there is one; else an axis of length 1; else the axis whose spacing exceeds both others by more than
    5 %; else k.

    Raises:
        UsageError: if ``choice`` is not i, j or k.
    """
    if choice is not None:
        if choice not in AXES:
            raise UsageError(f"The slice axis is i, j or k, not '{choice}'.")
        return AXES.index(choice)
    single = [axis for axis in (2, 1, 0) if size[axis] == 1]
    if single:
        return single[0]
    widest = int(np.argmax(spacing))
    others = [spacing[axis] for axis in range(3) if axis != widest]
    return widest if spacing[widest] > ANISOTROPIC * max(others) else 2


def check_region(region: Region, size: tuple[int, int, int]) -> Region:
    """The region, if it lies in a volume of this size.

    Raises:
        UsageError: if a range is empty or leaves the volume; says the allowed range.
    """
    for name, (start, stop), length in zip(AXES, region, size):
        if not 0 <= start < stop <= length:
            raise UsageError(
                f"The region {name} = {start}:{stop} is empty or leaves the image, which has {name} = 0:{length}."
            )
    return region
