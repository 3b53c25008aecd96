"""Polls between layers, turned into progress and cancellation."""

from __future__ import annotations

import time
from collections.abc import Callable

from .errors import Cancelled

Progress = Callable[[float, str, "float | None"], None]


class Clock:
    """Progress through slices that are enlarged some at a time.

    Args:
        slices: how many there are. progress, cancelled: see ``upscaler.upscale``.
    """

    def __init__(self, slices: int, progress: Progress | None, cancelled: Callable[[], bool] | None):
        self._slices, self._progress, self._cancelled = slices, progress, cancelled
        self._first, self._count, self._polls, self._expected = 0, 1, 0, 1
        self._began = time.monotonic()

    def start_slices(self, first: int, count: int, polls: int) -> None:
        """The next ``count`` slices begin, which take so many polls together."""
        self._first, self._count, self._polls, self._expected = first, count, 0, max(1, polls)
        self.poll(0)

    def check(self) -> None:
        """Raises Cancelled if the run is to stop."""
        if self._cancelled is not None and self._cancelled():
            raise Cancelled("The run was cancelled.")

    def poll(self, layers: int = 1) -> None:
        """So many layers have been computed since the last poll."""
        self.check()
        self._polls += layers
        self._tell((self._first + self._count * min(self._polls / self._expected, 1.0)) / self._slices)

    def tell_stage(self, stage: str) -> None:
        """Nothing of the slices is done yet, and this is what happens."""
        self.check()
        if self._progress is not None:
            self._progress(0.0, stage, None)

    def restart(self) -> None:
        """What went before does not count for the estimate of the time that is left."""
        self._began = time.monotonic()

    def finish(self) -> None:
        """All slices are done."""
        self._first, self._count = self._slices - 1, 1
        self._tell(1.0)

    def _tell(self, fraction: float) -> None:
        if self._progress is None:
            return
        elapsed = time.monotonic() - self._began
        left = elapsed / fraction * (1 - fraction) if fraction > 0 else None
        self._progress(fraction, f"slice {min(self._first + 1, self._slices)} of {self._slices}", left)
