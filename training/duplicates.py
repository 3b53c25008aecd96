"""Images that occur twice: exactly, by a hash of their pixels, and nearly, by the distance of their thumbnails."""

from __future__ import annotations

import hashlib

import numpy as np

#: Thumbnails (unit length) closer than this are near duplicates: a correlation above 0.998.
NEAR = 0.05

#: Side of the coarse picture that rules most pairs out.
COARSE = 8

_BLOCK = 1024


def thumbnail(array: np.ndarray, side: int = 32) -> np.ndarray:
    """A picture of ``side * side`` values, of length 1 and mean 0, that is the same for images that look the same.

    Args:
        array: (k, j, i) or (k, j, i, c); of a volume the middle slice along k counts. A constant one gives zeros.
    """
    plane = array[array.shape[0] // 2].astype(np.float64)
    plane = np.nan_to_num(plane.mean(axis=-1) if plane.ndim == 3 else plane, posinf=0.0, neginf=0.0)
    plane = _averaged(_averaged(plane, side).T, side).T
    flat = plane.reshape(-1) - plane.mean()
    length = np.linalg.norm(flat)
    return (flat / length if length > 1e-9 else np.zeros_like(flat)).astype(np.float32)


def _averaged(plane: np.ndarray, side: int) -> np.ndarray:
    """Rows of a plane to ``side`` rows by area, so that an enlarged copy gives the same."""
    sums = np.concatenate([np.zeros((1, plane.shape[1])), np.cumsum(plane, axis=0)])
    edges = np.linspace(0, plane.shape[0], side + 1)
    below = np.minimum(edges.astype(int), plane.shape[0] - 1)
    at_edges = sums[below] + (edges - below)[:, None] * plane[below]
    return np.diff(at_edges, axis=0) * side / plane.shape[0]


def pixel_hash(array: np.ndarray) -> str:
    """A hash of shape, type and values, whatever file they came in."""
    about = f"{array.shape} {array.dtype.str}".encode()
    return hashlib.sha256(about + np.ascontiguousarray(array).tobytes()).hexdigest()


def exact_pairs(hashes: list[str]) -> list[tuple[int, int]]:
    """Pairs (first, repeated) of equal hashes, each repetition with the first of its kind."""
    first: dict[str, int] = {}
    return [(first[key], index) for index, key in enumerate(hashes) if first.setdefault(key, index) != index]


def near_pairs(thumbnails: np.ndarray, limit: float = NEAR) -> list[tuple[int, int, float]]:
    """Pairs (i, j, distance), i < j, of thumbnails (n, values) that are closer than ``limit``.

    Averaging a picture over blocks cannot increase distances, so an 8 x 8 picture rules pairs out first, and sorting
    by one direction of it leaves few of those. Empty thumbnails are near to nothing.
    """
    used = np.flatnonzero(np.abs(thumbnails).max(axis=1) > 0)
    if len(used) < 2:
        return []
    fine = thumbnails[used].astype(np.float64)
    step = round(thumbnails.shape[1] ** 0.5) // COARSE
    coarse = fine.reshape(-1, COARSE, step, COARSE, step).mean(axis=(2, 4)).reshape(len(used), -1) * step
    axis = np.linalg.svd(coarse - coarse.mean(axis=0), full_matrices=False)[2][0]
    order = np.argsort(coarse @ axis, kind="stable")
    line = (coarse @ axis)[order]
    squares = (coarse**2).sum(axis=1)
    found = []
    for start in range(0, len(order), _BLOCK):
        rows = order[start : start + _BLOCK]
        last = np.searchsorted(line, line[min(start + _BLOCK, len(order)) - 1] + limit, "right")
        columns = order[start:last]
        gaps = squares[rows][:, None] + squares[columns] - 2 * coarse[rows] @ coarse[columns].T
        for a, b in np.argwhere(gaps < limit**2 + 1e-9):
            if b > a:
                distance = float(np.linalg.norm(fine[rows[a]] - fine[columns[b]]))
                if distance < limit:
                    found.append((*sorted((int(used[rows[a]]), int(used[columns[b]]))), distance))
    return sorted(found)
