"""Packed slices on disk, and random pairs of low- and high-resolution patches from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from SuperResolutionLib.resampling import bicubic_downsample, bicubic_upsample

#: A patch whose values span less than this share of the range is background.
BACKGROUND_SPAN = 0.02

#: Both images of a pair are multiplied by the same factor from this range.
CONTRAST = (0.6, 1.2)

#: What ``PatchSampler`` does to every pair, for the model card.
AUGMENTATIONS = ("flips", "quarter turns", f"contrast x{CONTRAST[0]} to x{CONTRAST[1]}")


class PackedSet:
    """One set of one split: 2D slices in the network's range, memory-mapped.

    ``pack`` writes ``<name>.npy`` (float16, all slices end to end) and ``<name>.json`` (their shapes).
    """

    def __init__(self, folder: Path, name: str):
        self.name = name
        self.shapes = json.loads((folder / f"{name}.json").read_text())["shapes"]
        self.flat = np.load(folder / f"{name}.npy", mmap_mode="r")
        self.starts = np.concatenate([[0], np.cumsum([h * w for h, w in self.shapes])])

    def __len__(self) -> int:
        return len(self.shapes)

    def slice(self, index: int) -> np.ndarray:
        """Slice ``index`` as (h, w) float16, a view of the file."""
        return self.flat[self.starts[index] : self.starts[index + 1]].reshape(self.shapes[index])


def pack(folder: Path, name: str, slices: list[np.ndarray]) -> None:
    """Write slices (h, w), float in the network's range, as one packed set."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}.npy", np.concatenate([s.astype(np.float16).reshape(-1) for s in slices]))
    (folder / f"{name}.json").write_text(json.dumps({"shapes": [list(s.shape) for s in slices]}))


class PatchSampler:
    """Random pairs from several sets: first a set by its share, then a patch, then an augmentation.

    A part ``hard`` of the patches is drawn in proportion to bicubic's error on them, the rest evenly from what is not
    background. Low resolution is made from whole slices, so that a patch sees what lies beyond its border.

    Raises:
        ValueError: for a set whose slices are all smaller than a patch, or empty.
    """

    def __init__(self, sets: dict[str, tuple[PackedSet, float]], scale: int, patch: int, hard: float, seed: int):
        self.scale, self.patch, self.hard = scale, patch, hard
        self.random = np.random.default_rng(seed)
        self.sources = [self._source(packed) for packed, _ in sets.values()]
        self.shares = np.array([share for _, share in sets.values()], dtype=float)
        self.shares /= self.shares.sum()

    def _source(self, packed: PackedSet) -> dict:
        """Low-resolution slices and, for every patch position on a grid, its two chances of being drawn."""
        low, places, errors, spans = [], [], [], []
        for index in range(len(packed)):
            high = torch.from_numpy(packed.slice(index).astype(np.float32))[None, None]
            lr = bicubic_downsample(high, self.scale)
            low.append(lr[0, 0].numpy())
            if min(lr.shape[-2:]) < self.patch:
                continue
            error = (bicubic_upsample(lr, self.scale) - high) ** 2
            window, stride = self.patch * self.scale, self.patch * self.scale // 2
            pooled = torch.nn.functional.avg_pool2d(error, window, stride)[0, 0].sqrt()
            top = torch.nn.functional.max_pool2d(high, window, stride)[0, 0]
            bottom = -torch.nn.functional.max_pool2d(-high, window, stride)[0, 0]
            for row, column in np.ndindex(*pooled.shape):
                places.append((index, row, column))
                errors.append(float(pooled[row, column]))
                spans.append(float(top[row, column] - bottom[row, column]))
        errors, even = np.array(errors), (np.array(spans) > BACKGROUND_SPAN).astype(float)
        if not even.any():
            side = self.patch * self.scale
            raise ValueError(f"The set {packed.name} has no patch of {side} x {side} pixels that holds anything.")
        chance = self.hard * errors / errors.sum() + (1 - self.hard) * even / even.sum()
        return {"packed": packed, "low": low, "places": np.array(places), "chances": np.cumsum(chance)}

    def batch(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """``size`` pairs: (size, 1, patch, patch) and (size, 1, patch * scale, patch * scale), float32."""
        pairs = [self._pair() for _ in range(size)]
        low, high = (torch.from_numpy(np.stack(column))[:, None] for column in zip(*pairs))
        return low, high

    def _pair(self) -> tuple[np.ndarray, np.ndarray]:
        source = self.sources[self.random.choice(len(self.sources), p=self.shares)]
        chosen = np.searchsorted(source["chances"], self.random.random() * source["chances"][-1])
        index, row, column = source["places"][min(chosen, len(source["places"]) - 1)]
        low, s, p = source["low"][index], self.scale, self.patch
        half = p // 2
        y, x = (self._jitter(at * half, length) for at, length in zip((row, column), low.shape))
        high = source["packed"].slice(index)[y * s : (y + p) * s, x * s : (x + p) * s].astype(np.float32)
        return self._augment(low[y : y + p, x : x + p], high)

    def _jitter(self, start: int, length: int) -> int:
        """Grid positions are half a patch apart; move by up to a quarter so that all phases are seen."""
        quarter = self.patch // 4
        return int(np.clip(start + self.random.integers(-quarter, quarter + 1), 0, length - self.patch))

    def _augment(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flips, quarter turns, and a change of contrast of both by the same factor."""
        turns, flip, gain = self.random.integers(4), self.random.integers(2), self.random.uniform(*CONTRAST)
        pair = []
        for image in (low, high):
            image = np.rot90(image, turns)
            pair.append(np.ascontiguousarray(image[:, ::-1] if flip else image) * np.float32(gain))
        return pair[0], pair[1]
