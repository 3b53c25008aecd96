"""Random pairs of low- and high-resolution patches from packed sets, the same whoever draws them and how often.

Pair number k of a run depends on the seed and on k alone. So the state of a sampler is one number, a run resumes
exactly, batches can be made ahead of time in the background, and several processes share one stream: each makes its
own part of what a single process would make.

High resolution is turned, flipped and multiplied first and degraded then, so that noise, JPEG and a slice profile are
as strong, and along the axis, as they are configured. Where a slice was stored in 8 bits, low resolution ends where
these do, at 0 and 1 times the contrast's factor, as that of tests and of users does; it is not rounded to levels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from .burnt_in import burn_in
from .degradations import shrink
from .image_edges import blend_edges, choose_edges
from .packed import PackedSet, pack
from .places import find_places

__all__ = ["AUGMENTATIONS", "PackedSet", "PatchSampler", "describe_augmentations", "pack"]

#: Both images of a pair are multiplied by the same factor from this range.
CONTRAST = (0.6, 1.2)

#: The augmentations by the name that a configuration uses, and in words for a model card.
AUGMENTATIONS = {
    "flips": "flips",
    "quarter_turns": "quarter turns",
    "contrast": f"contrast x{CONTRAST[0]} to x{CONTRAST[1]}",
}

#: What is drawn on patches by the name that a configuration uses, and in words for a model card.
DRAWINGS = {
    "burnt_in": "letters and frames drawn on",
    "edges": "an image's edge drawn on",
}

#: Low-resolution pixels around a patch that are degraded with it, so that it sees what lies beyond its border; more
#: where a degradation looks farther.
MARGIN = 4

#: Batches that wait ready.
AHEAD = 3

Degrade = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


class Draw(NamedTuple):
    """A pair before it is cut: set, slice, low-resolution corner, and the augmentation of both images."""

    which: int
    index: int
    y: int
    x: int
    turns: int
    flip: int
    gain: float


Cut = Callable[[Sequence[Draw]], tuple[torch.Tensor, torch.Tensor]]


class PatchSampler:
    """Random pairs from several sets: first a set by its share, then a place, then an augmentation.

    Args:
        sets: name -> (packed set, share); all with the same number of channels.
        scale, patch: enlargement, and side of a low-resolution patch in pixels.
        hard: share of the patches drawn in proportion to bicubic's error on them, 0 to 1.
        seed: of the stream of pairs.
        background: share of the other patches that may be background, 0 to 1.
        augment: names from ``AUGMENTATIONS``.
        degrade: makes low resolution from (h, w, c) float32, a scale and a generator; None is the engine's bicubic.
        rank, world: this process and how many there are. Side by side, the batches of all ranks are the batch of one
            process: rank r of a batch of n each holds pairs r * n to (r + 1) * n of n * world.
        workers: how many batches are made in the background at a time; 0 makes them when they are asked for.
        drawings: kind of drawing from ``DRAWINGS`` -> name of a set -> share of its patches, see ``burnt_in.py`` and
            ``image_edges.py``.
        cut: makes a batch of the engine's bicubic from what was drawn, in place of the cutting here; ``degrade`` is
            not asked then, and nothing is drawn on them. See ``resident.ResidentSets``.

    Raises:
        ValueError: for a set without a place for a patch, an unknown augmentation, sets that do not fit together, or
            drawings for a set that is not there.
    """

    def __init__(
        self,
        sets: dict[str, tuple[PackedSet, float]],
        scale: int,
        patch: int,
        hard: float,
        seed: int,
        background: float = 0.0,
        augment: Sequence[str] = tuple(AUGMENTATIONS),
        degrade: Degrade | None = None,
        rank: int = 0,
        world: int = 1,
        workers: int = 1,
        drawings: dict[str, dict[str, float]] | None = None,
        cut: Cut | None = None,
    ):
        unknown = sorted(set(augment) - set(AUGMENTATIONS))
        if unknown:
            raise ValueError(f"There is no augmentation {', '.join(unknown)}; known are {', '.join(AUGMENTATIONS)}.")
        if not sets or len({packed.channels for packed, _ in sets.values()}) > 1:
            raise ValueError("A sampler needs at least one set, and sets with the same number of channels.")
        for kind, shares in (drawings or {}).items():
            strange = sorted(set(shares) - set(sets))
            if strange:
                raise ValueError(f"{kind} names {', '.join(strange)}, and the sets are {', '.join(sets)}.")
        self.scale, self.patch, self.seed, self.rank, self.world = scale, patch, seed, rank, world
        self.augment, self.degrade, self.cut = frozenset(augment), degrade, cut
        self.margin = max(MARGIN, getattr(degrade, "reach", 0))
        self.packed = [packed for packed, _ in sets.values()]
        self.drawn_on = [{kind: (drawings or {}).get(kind, {}).get(name, 0.0) for kind in DRAWINGS} for name in sets]
        self.places = [find_places(packed, scale, patch) for packed in self.packed]
        self.chances = [places.chances(hard, background) for places in self.places]
        shares = np.array([share for _, share in sets.values()], dtype=float)
        self.shares = np.cumsum(shares / shares.sum())
        self.drawn = self._ordered = 0
        self._size = 0
        self._ready: deque[Future] = deque()
        self._pool = ThreadPoolExecutor(workers, "patches") if workers else None

    def batch(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """``size`` pairs for this rank, float32: (size, c, p, p) and (size, c, p * scale, p * scale), p the patch."""
        if size != self._size:
            self._forget()
            self._size = size
        if self._pool is None:
            low, high = self._make(self.drawn, size)
        else:
            self._order()
            low, high = self._ready.popleft().result()
            self._order()
        self.drawn += size * self.world
        return low, high

    def state(self) -> dict[str, int]:
        """What ``load`` needs to go on with the next pair: plain numbers."""
        return {"seed": self.seed, "drawn": self.drawn}

    def load(self, state: dict[str, int]) -> None:
        """Go on where ``state`` was taken; what was made ahead is dropped.

        Raises:
            ValueError: for the state of another seed.
        """
        if state["seed"] != self.seed:
            raise ValueError(f"The run was started with seed {state['seed']}, not {self.seed}; start it anew.")
        self.drawn = int(state["drawn"])
        self._forget()

    def close(self) -> None:
        """End the background threads; the sampler still works, and makes its batches when they are asked for."""
        if self._pool is not None:
            self._forget()
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _order(self) -> None:
        """Have the next batches made in the background."""
        while len(self._ready) < AHEAD:
            self._ready.append(self._pool.submit(self._make, self._ordered, self._size))
            self._ordered += self._size * self.world

    def _forget(self) -> None:
        for future in self._ready:
            future.cancel()
        self._ready.clear()
        self._ordered = self.drawn

    def _make(self, first: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        numbers = range(first + self.rank * size, first + (self.rank + 1) * size)
        if self.cut is not None:
            return self.cut([self._draw(np.random.default_rng([self.seed, number])) for number in numbers])
        pairs = [self._pair(np.random.default_rng([self.seed, number])) for number in numbers]
        low, high = (np.stack([np.moveaxis(image, -1, 0) for image in column]) for column in zip(*pairs))
        return torch.from_numpy(np.ascontiguousarray(low)), torch.from_numpy(np.ascontiguousarray(high))

    def _pair(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A pair of the stream: (patch, patch, c) and (patch * scale, patch * scale, c)."""
        s, p = self.scale, self.patch
        which, index, *place = self._place(random)
        wide, place = self._cut(random, which, index, place)
        turns, flip, gain = self._change(random)
        top, left = turn_corner(place, [length // s for length in wide.shape[:2]], p, turns, flip)
        wide = np.ascontiguousarray(np.rot90(wide, turns)[:, :: -1 if flip else 1] * np.float32(gain))
        if getattr(self.degrade, "saturates", False):
            wide = wide.clip(0, 1)
        low = shrink(wide, s) if self.degrade is None else self.degrade(wide, s, random)
        low = low.clip(*(np.float32(limit * gain) for limit in self.packed[which].limits(index)))
        return low[top : top + p, left : left + p], wide[top * s : (top + p) * s, left * s : (left + p) * s]

    def _draw(self, random: np.random.Generator) -> Draw:
        return Draw(*self._place(random), *self._change(random))

    def _place(self, random: np.random.Generator) -> tuple[int, int, int, int]:
        """Set, slice, and the low-resolution row and column of the patch's corner."""
        which = min(int(np.searchsorted(self.shares, random.random(), "right")), len(self.packed) - 1)
        places, chances = self.places[which], self.chances[which]
        chosen = min(int(np.searchsorted(chances, random.random(), "right")), len(chances) - 1)
        index, *corner = (int(value) for value in places.corners[chosen])
        lengths = [length // self.scale for length in self.packed[which].shape(index)]
        y, x = (self._jitter(random, start, length) for start, length in zip(corner, lengths))
        return which, index, y, x

    def _jitter(self, random: np.random.Generator, start: int, length: int) -> int:
        """Grid positions are half a patch apart; move by up to a quarter so that all phases are seen."""
        quarter = self.patch // 4
        return int(np.clip(start + random.integers(-quarter, quarter + 1), 0, length - self.patch))

    def _cut(self, random, which: int, index: int, corner) -> tuple[np.ndarray, list[int]]:
        """The patch with its margin, clipped at the slice's true edges, and its low-resolution corner in there."""
        s, p, packed = self.scale, self.patch, self.packed[which]
        kinds = {kind for kind, share in self.drawn_on[which].items() if share and random.random() < share}
        edges = choose_edges(random) if "edges" in kinds else []
        margins = [[0 if (axis, last) in edges else self.margin for axis in (0, 1)] for last in (0, 1)]
        starts = [max(0, at - margin) for at, margin in zip(corner, margins[0])]
        ends = zip(corner, margins[1], packed.shape(index))
        stops = [min(length // s, at + p + margin) for at, margin, length in ends]
        wide = packed.window(index, *(slice(a * s, b * s) for a, b in zip(starts, stops)))
        if "burnt_in" in kinds:
            wide = burn_in(wide, random)
        if edges:
            wide = blend_edges(wide, edges, random)
        return wide, [at - start for at, start in zip(corner, starts)]

    def _change(self, random: np.random.Generator) -> tuple[int, int, float]:
        """Quarter turns, whether to flip, and a factor; the stream is the same whichever are wanted."""
        turns, flip, gain = random.integers(4), random.integers(2), random.uniform(*CONTRAST)
        return (
            int(turns) if "quarter_turns" in self.augment else 0,
            int(flip) if "flips" in self.augment else 0,
            gain if "contrast" in self.augment else 1.0,
        )


def turn_corner(corner, shape, side: int, turns: int, flip: int) -> tuple[int, int]:
    """Row and column of a square's first corner, once its image of ``shape`` is turned and then flipped."""
    (y, x), (height, width) = corner, shape
    for _ in range(turns):
        y, x, height, width = width - side - x, y, width, height
    return (y, width - side - x) if flip else (y, x)


def describe_augmentations(names: Sequence[str], drawings: dict[str, dict[str, float]] | None = None) -> list[str]:
    """Augmentations in words, for a model card."""
    shares = [(kind, *item) for kind, sets in (drawings or {}).items() for item in sets.items()]
    return [AUGMENTATIONS[name] for name in names] + [
        f"{DRAWINGS[kind]} {100 * share:g} % of the patches of {name}" for kind, name, share in shares
    ]
