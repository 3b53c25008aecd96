"""Constant parts of an image, such as air that was masked, are not enlarged again and again; exactly.

Outside the box of what is not constant, and farther from it than the network sees, an output pixel depends on constant
input alone: it is that of a constant slice. Such a slice goes through the network once for each value. A network with
global gates looks at all of a slice, so for it only slices that are constant throughout are known already.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .plan import Window

#: A box must leave out this share of the slice to be worth the constant slice that it needs.
WORTH = 0.2

#: Constant slices that are kept, each as large as an output slice.
KEPT = 4


def find_window(slices: np.ndarray, seen: Window, reach: int) -> Window | None:
    """The part of every slice that has to be enlarged, in pixels of what is seen; None if that is (almost) all.

    Args:
        slices: (n, c, h, w), stored values. seen: what of them goes through the network.
        reach: pixels that the network sees on each side.
    """
    (top, bottom), (left, right) = seen
    rows, columns = np.zeros(bottom - top, bool), np.zeros(right - left, bool)
    for whole in slices:
        plane = whole[:, top:bottom, left:right]
        differs = (plane != plane[:, :1, :1]).any(axis=0)
        rows |= differs.any(axis=1)
        columns |= differs.any(axis=0)
        if rows[0] and rows[-1] and columns[0] and columns[-1]:
            return None
    if not rows.any():
        return None  # every slice is constant
    window = tuple(_grown(np.flatnonzero(line), 2 * reach, len(line)) for line in (rows, columns))
    (y0, y1), (x0, x1) = window
    return window if (y1 - y0) * (x1 - x0) <= (1 - WORTH) * len(rows) * len(columns) else None


def _grown(marked: np.ndarray, by: int, length: int) -> tuple[int, int]:
    return max(0, int(marked[0]) - by), min(length, int(marked[-1]) + 1 + by)


class Skipping:
    """Enlarges planes as ``enlarge`` does, and what is constant only once.

    Args:
        enlarge: planes (n, c, h, w) in network range to (n, c, h * scale, w * scale).
        scale: of the enlargement. window: see ``find_window``. reach: pixels that the network sees on each side.
        wanted: False leaves it all to ``enlarge``.

    Attributes:
        pixels: input pixels that have gone through the network.
    """

    def __init__(
        self,
        enlarge: Callable[[np.ndarray], np.ndarray],
        scale: int,
        window: Window | None,
        reach: int,
        wanted: bool = True,
    ):
        self._enlarge, self._scale, self._window, self._reach, self._wanted = enlarge, scale, window, reach, wanted
        self._constant: dict[tuple, np.ndarray] = {}
        self.pixels = 0

    def __call__(self, planes: np.ndarray) -> np.ndarray:
        """(n, c, h, w) to (n, c, h * scale, w * scale)."""
        if self.needs_all(planes):
            return self._count_and_enlarge(planes)
        constant = _constant(planes)
        n, c, h, w = planes.shape
        made = np.empty((n, c, h * self._scale, w * self._scale), np.float32)
        for index in np.flatnonzero(constant):
            made[index] = self._background(planes[index])
        others = np.flatnonzero(~constant)
        if len(others):
            made[others] = self._inside(planes[others])
        return made

    def needs_all(self, planes: np.ndarray) -> bool:
        """Whether nothing of these planes is skipped."""
        return not self._wanted or (self._window is None and not _constant(planes).any())

    def count(self, planes: np.ndarray) -> None:
        """These planes go through the network."""
        self.pixels += planes.shape[0] * planes.shape[2] * planes.shape[3]

    def _inside(self, planes: np.ndarray) -> np.ndarray:
        if self._window is None:
            return self._count_and_enlarge(planes)
        backgrounds = [self._background(plane) for plane in planes]
        (top, bottom), (left, right) = self._window
        enlarged = self._count_and_enlarge(planes[:, :, top:bottom, left:right])
        made, s = np.stack(backgrounds), self._scale
        # Near a cut side, which the true border is not, the network has looked at zeros that are not there.
        (y0, y1), (x0, x1) = self._exact(planes.shape[2:])
        part = enlarged[..., (y0 - top) * s : (y1 - top) * s, (x0 - left) * s : (x1 - left) * s]
        made[..., y0 * s : y1 * s, x0 * s : x1 * s] = part
        return made

    def _exact(self, shape: tuple[int, int]) -> Window:
        """Where the enlargement of the window is that of the whole slice."""
        return tuple(
            (start + self._reach if start > 0 else 0, stop - self._reach if stop < length else length)
            for (start, stop), length in zip(self._window, shape)
        )

    def _background(self, plane: np.ndarray) -> np.ndarray:
        """The enlargement of a slice that has the value of this one's corner throughout, (c, H, W)."""
        values = tuple(plane[:, 0, 0].tolist())
        if values not in self._constant:
            while len(self._constant) >= KEPT:
                self._constant.pop(next(iter(self._constant)))
            flat = np.ascontiguousarray(np.broadcast_to(plane[:, :1, :1], plane.shape))
            self._constant[values] = self._count_and_enlarge(flat[None])[0]
        return self._constant[values]

    def _count_and_enlarge(self, planes: np.ndarray) -> np.ndarray:
        self.count(planes)
        return self._enlarge(planes)


def _constant(planes: np.ndarray) -> np.ndarray:
    """Which of the planes have one value throughout."""
    return (planes == planes[:, :, :1, :1]).all(axis=(1, 2, 3))
