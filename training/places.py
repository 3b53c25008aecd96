"""Where in a packed set patches may lie, and the chance of each place: hard ones more often, background less."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .packed import PackedSet

#: A patch whose values span less than this share of the range is background.
BACKGROUND_SPAN = 0.02


@dataclass(frozen=True)
class Places:
    """Patch positions of one set: slice, row and column of the low-resolution patch's corner, one line a place.

    ``errors`` is bicubic's root mean squared error there, ``background`` says whether nothing is to be seen there.
    """

    corners: np.ndarray
    errors: np.ndarray
    background: np.ndarray

    def chances(self, hard: float, background: float) -> np.ndarray:
        """Cumulative chance of each place, ending at 1.

        Args:
            hard: share of the patches drawn in proportion to bicubic's error, 0 to 1.
            background: share of the other patches that may be background, 0 to 1.
        """
        even = ~self.background / (~self.background).sum()
        if self.background.any():
            even = (1 - background) * even + background * self.background / self.background.sum()
        total = self.errors.sum()
        chance = hard * self.errors / total + (1 - hard) * even if total > 0 else even
        cumulative = np.cumsum(chance)
        return cumulative / cumulative[-1]


def find_places(packed: PackedSet, scale: int, patch: int) -> Places:
    """All places of a set on a grid of half a patch, with those that touch the slices' far edges.

    The result is kept beside the set (``<set>.x<scale>-p<patch>.npz``) and read again while the set stays the same.

    Raises:
        ValueError: if no slice holds a patch, or every patch is background.
    """
    path = packed.folder / f"{packed.stem}.x{scale}-p{patch}.npz"
    key = hashlib.sha256(json.dumps([packed.about, scale, patch, BACKGROUND_SPAN]).encode()).hexdigest()
    places = _remembered(path, key) or _measure(packed, scale, patch)
    if not len(places.corners) or places.background.all():
        side = patch * scale
        raise ValueError(f"The set {packed.name} has no patch of {side} x {side} pixels that holds anything.")
    if not path.exists():
        _remember(path, key, places)
    return places


def _measure(packed: PackedSet, scale: int, patch: int) -> Places:
    corners, errors, background = [], [], []
    for index in range(len(packed)):
        height, width = (length // scale for length in packed.shape(index))
        if min(height, width) < patch:
            continue
        high = packed.window(index, slice(0, height * scale), slice(0, width * scale))
        rows, columns = (_starts(length, patch) for length in (height, width))
        error, span = _windows(high, rows * scale, columns * scale, patch * scale, scale)
        at = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
        corners.append(np.concatenate([np.full((len(at), 1), index), at], axis=1))
        errors.append(error.reshape(-1))
        background.append(span.reshape(-1) <= BACKGROUND_SPAN)
    if not corners:
        return Places(np.zeros((0, 3), np.int32), np.zeros(0), np.zeros(0, bool))
    return Places(np.concatenate(corners).astype(np.int32), np.concatenate(errors), np.concatenate(background))


def _starts(length: int, patch: int) -> np.ndarray:
    """Half a patch apart, and the last place that fits, so that both edges are on the grid."""
    return np.unique(np.append(np.arange(0, length - patch + 1, max(patch // 2, 1)), length - patch))


def _windows(high: np.ndarray, rows: np.ndarray, columns: np.ndarray, side: int, scale: int):
    """Bicubic's error and the span of values in every window: two arrays (rows, columns)."""
    import torch

    from SuperResolutionLib.resampling import bicubic_downsample, bicubic_upsample

    image = torch.from_numpy(high).permute(2, 0, 1)[None]
    error = bicubic_upsample(bicubic_downsample(image, scale), scale) - image
    table = np.zeros((high.shape[0] + 1, high.shape[1] + 1))
    table[1:, 1:] = error.double().square().mean(dim=(0, 1)).numpy().cumsum(0).cumsum(1)
    top, left = np.ix_(rows, columns)
    total = table[top + side, left + side] - table[top, left + side] - table[top + side, left] + table[top, left]
    span = np.empty((len(rows), len(columns)))
    for y, row in enumerate(rows):
        band = high[row : row + side]
        most, least = band.max(axis=(0, 2)), band.min(axis=(0, 2))
        for x, column in enumerate(columns):
            span[y, x] = most[column : column + side].max() - least[column : column + side].min()
    return np.sqrt(np.maximum(total, 0) / side**2), span


def _remembered(path: Path, key: str) -> Places | None:
    try:
        with np.load(path) as kept:
            if str(kept["key"]) == key:
                return Places(kept["corners"], kept["errors"], kept["background"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        pass
    path.unlink(missing_ok=True)  # of another packing, or damaged
    return None


def _remember(path: Path, key: str, places: Places) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            np.savez(file, key=key, corners=places.corners, errors=places.errors, background=places.background)
        os.replace(temporary, path)
    except OSError:  # a folder that cannot be written to only costs the time to measure again
        temporary.unlink(missing_ok=True)
