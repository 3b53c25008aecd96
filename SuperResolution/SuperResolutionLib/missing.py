"""NaN and infinite voxels: bridged for the network, put back after it."""

from __future__ import annotations

import numpy as np


def fill_missing(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Replace NaN and infinite values of a plane (c, h, w) so that a network can take it.

    Each becomes the mean of its finite neighbours among the eight around it, otherwise the plane's finite median,
    otherwise 0.

    Returns:
        The plane without them, and the mask (c, h, w) of where they were.
    """
    missing = ~np.isfinite(plane) if plane.dtype.kind == "f" else np.zeros(plane.shape, bool)
    if not missing.any():
        return plane, missing
    known = np.where(missing, 0, plane).astype(np.float64)
    height, width = plane.shape[1:]
    around = [(y, x) for y in range(3) for x in range(3)]
    values, counts = (np.pad(part, ((0, 0), (1, 1), (1, 1))) for part in (known, (~missing).astype(np.float64)))
    total = sum(values[:, y : y + height, x : x + width] for y, x in around)
    count = sum(counts[:, y : y + height, x : x + width] for y, x in around)
    fallback = np.median(plane[~missing]) if not missing.all() else 0.0
    mean = np.where(count > 0, total / np.maximum(count, 1), fallback)
    return np.where(missing, mean, plane).astype(plane.dtype), missing


def put_missing_back(enlarged: np.ndarray, plane: np.ndarray, missing: np.ndarray, scale: int) -> np.ndarray:
    """Every voxel made from a missing one becomes that NaN or infinity again (nearest neighbour)."""
    if not missing.any():
        return enlarged
    block = np.ones((1, scale, scale), bool)
    return np.where(np.kron(missing, block), plane.repeat(scale, axis=1).repeat(scale, axis=2), enlarged)
