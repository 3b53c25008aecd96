"""Constant parts of an image, such as air that was masked, are not enlarged again and again; exactly.

Outside the box of what is not constant, and farther from it than the network sees, an output pixel depends on constant
input alone: it is that of a constant slice. Such a slice goes through the network once for each value. A network with
global gates looks at all of a slice, so for it only slices that are constant throughout are known already.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from .missing import Gaps
from .plan import Window

#: The box of a slice that is constant throughout.
NOTHING: Window = ((0, 0), (0, 0))

#: Values whose constant slices are kept, each as large as an output slice.
KEPT = 4

#: Sides of boxes are moved out to multiples of this, so that there are fewer sizes to get ready for.
GRID = 8


def find_boxes(
    slices: np.ndarray,
    seen: Window,
    reach: int,
    local: bool = True,
    gaps: Gaps | None = None,
    check: Callable[[], None] = lambda: None,
) -> list[Window]:
    """The part of each slice that has to be enlarged, in pixels of what is seen; ``NOTHING`` of a constant one.

    All of a slice has to be where less would not be worth the constant slice that the rest is taken from, and where its
    corner is missing: what the network gets in its place is not the same everywhere.

    Args:
        slices: (n, c, h, w), stored values. seen: what of them goes through the network.
        reach: pixels that the network sees on each side. local: whether it looks at nothing else.
        gaps: which voxels are missing; None means those that are not finite. check: called for each slice; may raise.
    """
    (top, bottom), (left, right) = seen
    shape = bottom - top, right - left
    everything, area, gaps = whole(shape), shape[0] * shape[1], gaps or Gaps()
    boxes, alike = [], defaultdict(list)
    for number, plane in enumerate(slices[:, :, top:bottom, left:right]):
        check()
        box = everything if gaps.mask(plane[:, 0, 0]).any() else _box(plane, reach)
        boxes.append(box if local or box == NOTHING else everything)
        alike[plane[:, 0, 0].tobytes()].append(number)
    saved = {value: sum(area - _area(boxes[number]) for number in numbers) for value, numbers in alike.items()}
    worth = sorted((value for value in saved if saved[value] > area), key=saved.get, reverse=True)[:KEPT]
    for value in alike.keys() - set(worth):
        for number in alike[value]:
            boxes[number] = everything
    return boxes


def whole(shape: tuple[int, int]) -> Window:
    """The window that is all of a plane."""
    return (0, shape[0]), (0, shape[1])


class Skipping:
    """Enlarges planes as ``enlarge`` does, and what is constant only once.

    Args:
        enlarge: planes (n, c, h, w) in network range to (n, c, h * scale, w * scale).
        scale: of the enlargement. boxes: see ``find_boxes``; None leaves it all to ``enlarge``.
        reach: pixels that the network sees on each side.
        one_size: give ``enlarge`` the same part of all slices, where it would have to get ready for each size.

    Attributes:
        pixels: input pixels that have gone through the network.
    """

    def __init__(
        self,
        enlarge: Callable[[np.ndarray], np.ndarray],
        scale: int,
        boxes: Sequence[Window] | None,
        reach: int,
        one_size: bool = False,
    ):
        self._enlarge, self._scale, self._boxes, self._reach = enlarge, scale, boxes, reach
        self._common = _union(boxes) if boxes and one_size else None
        self._constant: dict[tuple, np.ndarray] = {}
        self.pixels = 0

    def __call__(self, planes: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
        """(n, c, h, w) to (n, c, h * scale, w * scale); planes of the slices with these numbers, as many of each."""
        if self.needs_all(planes, numbers):
            return self._count_and_enlarge(planes)
        n, c, h, w = planes.shape
        boxes = np.repeat(np.array([self._boxes[number] for number in numbers]), n // len(numbers), axis=0)
        varied = boxes.any(axis=(1, 2))
        made = np.empty((n, c, h * self._scale, w * self._scale), np.float32)
        for index in np.flatnonzero(~varied):
            made[index] = self._background(planes[index])
        if varied.any():
            window = self._common or _moved_out(_union(boxes[varied].tolist()), (h, w))
            made[varied] = self._inside(planes[varied], window)
        return made

    def needs_all(self, planes: np.ndarray, numbers: Sequence[int]) -> bool:
        """Whether nothing of these slices is skipped."""
        return self._boxes is None or all(self._boxes[number] == whole(planes.shape[2:]) for number in numbers)

    def count(self, planes: np.ndarray) -> None:
        """These planes go through the network."""
        self.pixels += planes.shape[0] * planes.shape[2] * planes.shape[3]

    def _inside(self, planes: np.ndarray, window: Window) -> np.ndarray:
        if window == whole(planes.shape[2:]):
            return self._count_and_enlarge(planes)
        made, s = np.stack([self._background(plane) for plane in planes]), self._scale
        (top, bottom), (left, right) = window
        enlarged = self._count_and_enlarge(planes[:, :, top:bottom, left:right])
        (y0, y1), (x0, x1) = self._exact(window, planes.shape[2:])
        part = enlarged[..., (y0 - top) * s : (y1 - top) * s, (x0 - left) * s : (x1 - left) * s]
        made[..., y0 * s : y1 * s, x0 * s : x1 * s] = part
        return made

    def _exact(self, window: Window, shape: tuple[int, int]) -> Window:
        """Where the enlargement of a window is that of the whole slice.

        Near a cut side, which the true border is not, the network has looked at zeros that are not there.
        """
        return tuple(
            (start + self._reach if start > 0 else 0, stop - self._reach if stop < length else length)
            for (start, stop), length in zip(window, shape)
        )

    def _background(self, plane: np.ndarray) -> np.ndarray:
        """The enlargement of a slice that has the value of this one's corner throughout, (c, H, W)."""
        values = tuple(plane[:, 0, 0].tolist())
        if values not in self._constant:
            flat = np.ascontiguousarray(np.broadcast_to(plane[:, :1, :1], plane.shape))
            self._constant[values] = self._count_and_enlarge(flat[None])[0]
        return self._constant[values]

    def _count_and_enlarge(self, planes: np.ndarray) -> np.ndarray:
        self.count(planes)
        return self._enlarge(planes)


def _box(plane: np.ndarray, reach: int) -> Window:
    """What is not constant in (c, h, w), with twice the reach around it."""
    differs = (plane != plane[:, :1, :1]).any(axis=0)
    if not differs.any():
        return NOTHING
    lines = differs.any(axis=1), differs.any(axis=0)
    return tuple(_grown(np.flatnonzero(line), 2 * reach, len(line)) for line in lines)


def _grown(marked: np.ndarray, by: int, length: int) -> tuple[int, int]:
    return max(0, int(marked[0]) - by), min(length, int(marked[-1]) + 1 + by)


def _union(boxes: Sequence[Window]) -> Window:
    """The smallest window that holds them all; ``NOTHING`` of none."""
    sides = [list(zip(*side)) for side in zip(*(box for box in boxes if box != NOTHING))]
    return tuple((min(starts), max(stops)) for starts, stops in sides) or NOTHING


def _moved_out(window: Window, shape: tuple[int, int]) -> Window:
    return tuple(
        (start // GRID * GRID, min(length, -(-stop // GRID) * GRID)) for (start, stop), length in zip(window, shape)
    )


def _area(window: Window) -> int:
    (top, bottom), (left, right) = window
    return (bottom - top) * (right - left)
