"""Slices through the network and on into the sinks; while one thread writes slices, the network works on the next.

On a graphics card that thread also waits for the network and does what follows it, so that the next slices are queued
meanwhile. On a CPU it would take the cores from the network's threads, all of which wait for the slowest.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from .clock import Clock
from .fidelity import ConsistencyResidual
from .intensity import limits, store
from .missing import fill_missing, put_missing_back
from .plan import Job, Window
from .sinks import Open
from .skipping import Skipping, find_boxes

if TYPE_CHECKING:
    from .backends.torch_backend import Wait

#: Pixels of the input that go through the network at once, in slices that are smaller than that. On a CPU their maps
#: should stay in the cache, on a graphics card they should be worth a launch.
BATCH_PIXELS, BATCH_PIXELS_GPU = 2**16, 2**20

#: Batches that may wait to be finished.
WAITING = 2

#: Number of a slice, mask of its missing voxels, super-resolved and bicubic slice, the latter None if not asked for.
Finished = tuple[int, np.ndarray, np.ndarray, "np.ndarray | None"]


class Pipeline:
    """One run.

    Args:
        job: what is to be done. model: see ``backends.torch_backend.TorchModel``.
        channels: of the images that the network takes; a grey one gets each channel of a colour slice as an image.
        batches: whether the model takes several planes at once.
        skip_constant, consistent, bicubic: see ``upscaler.Options``.
        seen, place: see ``Layout.surroundings``. rows: of a strip.
        open_sink: makes the sinks. provenance: of what is put into each. clock: for progress.

    Attributes:
        sr, bicubic: sinks, the latter None if not asked for. residual: of the consistency.
        network_seconds: what the network took. pixels: that went through it.
    """

    def __init__(
        self,
        job: Job,
        model,
        channels: int,
        batches: bool,
        skip_constant: bool,
        consistent: bool,
        bicubic: bool,
        seen: Window,
        place: Window,
        rows: int,
        open_sink: Open,
        provenance: dict[str, dict[str, str]],
        clock: Clock,
    ):
        self._job, self._model, self._channels, self._batches = job, model, channels, batches
        self._consistent, self._clock = consistent, clock
        self._seen, self._place, self._rows = seen, place, rows
        self.sr = open_sink("sr", job, provenance["sr"])
        self.bicubic = open_sink("bicubic", job, provenance["bicubic"]) if bicubic else None
        self.residual = ConsistencyResidual()
        self.network_seconds, self.pixels = 0.0, 0
        self._detail = consistent and batches and model.adds_bicubic
        skips = skip_constant and batches
        boxes = find_boxes(job.slices, seen, model.reach, local=not model.global_gates) if skips else None
        one_size = getattr(model, "backend", "torch") != "torch"
        self._skipping = Skipping(self._through_network, model.scale, boxes, model.reach, one_size)

    @property
    def slice_pixels(self) -> int:
        """Input pixels of a slice, each channel that goes through the network by itself counted."""
        (top, bottom), (left, right) = self._seen
        return (bottom - top) * (right - left) * (self._job.layout.channels // self._channels)

    def run(self) -> None:
        count = len(self._job.slices)
        at_once = self._slices_at_once()
        pending: deque = deque()
        try:
            with ThreadPoolExecutor(1) as thread:
                try:
                    for first in range(0, count, at_once):
                        numbers = range(first, min(first + at_once, count))
                        lows, wait = self._enlarge(numbers)
                        while len(pending) >= WAITING:
                            pending.popleft().result()
                        if self._model.device == "cpu":
                            pending.append(thread.submit(self._put, self._finished(numbers, lows, wait)))
                        else:
                            pending.append(thread.submit(self._finish, numbers, lows, wait))
                        del wait  # it holds the enlargements
                    while pending:
                        pending.popleft().result()
                finally:
                    for left in pending:
                        left.cancel()
        finally:
            for sink in filter(None, (self.sr, self.bicubic)):
                sink.close()
            self.pixels = self._skipping.pixels
            self._skipping = None  # it refers to this object: with it the outputs would wait for the garbage collection
        self._clock.finish()

    def _enlarge(self, numbers: range) -> tuple[list, Wait]:
        """What ``_prepare`` gives of some slices, and what waits for their enlargements as the network gives them."""
        lows, images = self._prepare(numbers)
        self._clock.start_slices(numbers[0], len(numbers), self._polls(len(images)))
        if self._batches and self._model.device != "cpu" and self._skipping.needs_all(images, numbers):
            self._skipping.count(images)
            return lows, self._model.begin(images, self._rows, self._clock.poll, self._detail)
        began = time.perf_counter()
        enlarged = self._skipping(images, numbers)
        seconds = time.perf_counter() - began
        return lows, lambda: (enlarged, seconds)

    def _slices_at_once(self) -> int:
        if not self._batches:
            return 1
        (top, bottom), (left, right) = self._seen
        most = BATCH_PIXELS if self._model.device == "cpu" else BATCH_PIXELS_GPU
        return max(1, min(len(self._job.slices), most // ((bottom - top) * (right - left) * self._job.layout.channels)))

    def _polls(self, planes: int) -> int:
        """How often the network polls for so many planes."""
        polls = self._model.polls(self._seen[0][1] - self._seen[0][0], self._rows)
        return polls if self._batches else polls * planes

    def _prepare(self, numbers: range) -> tuple[list, np.ndarray]:
        """For each slice what is seen of it, finite and in network range, and the mask of what was missing; and all
        planes as the network takes them."""
        lows = []
        for number in numbers:
            finite, missing = bridge(self._job.slices[number], self._seen)
            lows.append((self._job.intensity.to_network(finite), finite, missing))
        return lows, as_images(np.stack([low for low, _, _ in lows]), self._channels)

    def _through_network(self, planes: np.ndarray) -> np.ndarray:
        if self._batches:
            return self._model.enlarge(planes, self._rows, self._clock.poll, self._detail)
        return np.stack([self._model.enlarge(plane, self._rows, self._clock.poll) for plane in planes])

    def _finish(self, numbers: range, lows: list, wait: Wait) -> None:
        self._put(self._finished(numbers, lows, wait))

    def _finished(self, numbers: range, lows: list, wait: Wait) -> list[Finished]:
        """What follows the network, in stored values."""
        finished = []
        enlarged, seconds = wait()
        self.network_seconds += seconds
        enlarged = enlarged.reshape(len(numbers), self._job.layout.channels, *enlarged.shape[2:])
        for number, (low, finite, missing), image in zip(numbers, lows, enlarged):
            self._clock.check()
            stored = _to_stored(self._model, image, low, self._job, self._consistent, self._clock.check)
            exact = np.float32 if stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2 else np.float64
            self.residual.add(_cut(self._model.shrink(stored.astype(exact)) - finite, self._place))
            self._clock.check()
            cubic = None
            if self.bicubic is not None:
                cubic = store(self._model.bicubic(low), self._job.intensity, self._job.dtype)
            finished.append((number, missing, stored, cubic))
        return finished

    def _put(self, finished: list[Finished]) -> None:
        """Into the sinks, in a thread of its own."""
        job, scale = self._job, self._job.scale
        for number, missing, *outputs in finished:
            self._clock.check()
            plane, missing = job.planes[number], _cut(missing, self._place)
            for sink, stored in zip((self.sr, self.bicubic), outputs):
                if sink is not None:
                    sink.put(number, put_missing_back(_cut(stored, self._place, scale), plane, missing, scale))
            job.missing += int(missing.sum())


def as_images(low: np.ndarray, channels: int) -> np.ndarray:
    """Planes (..., c, h, w) as images (n, channels, h, w): a grey model gets each channel of a colour slice."""
    return low.reshape(-1, channels, *low.shape[-2:])


def _cut(planes: np.ndarray, window: Window, scale: int = 1) -> np.ndarray:
    """A window of planes (..., h, w), given in pixels of the input; a view."""
    (top, bottom), (left, right) = window
    return planes[..., top * scale : bottom * scale, left * scale : right * scale]


def bridge(whole: np.ndarray, seen: Window) -> tuple[np.ndarray, np.ndarray]:
    """What is seen of a slice (c, h, w), with finite values where some were missing; and the mask of those."""
    plane = _cut(whole, seen)
    if plane.dtype.kind != "f" or np.isfinite(plane).all():
        return plane, np.zeros(plane.shape, bool)
    finite, missing = fill_missing(whole)  # the median of the whole slice is among the values that bridge
    return _cut(finite, seen), _cut(missing, seen)


def _to_stored(model, enlarged: np.ndarray, low: np.ndarray, job: Job, consistent: bool, check) -> np.ndarray:
    """Network range to stored values of the input's type, made consistent with the input if asked.

    Clipping at the type's limits breaks the consistency, so both are repeated up to three times.
    """
    if consistent:
        bottom, top = (job.intensity.to_network(np.array(limit, np.float64)) for limit in limits(job.dtype))
        for _ in range(3):
            check()
            enlarged = model.consistent(enlarged, low)
            if enlarged.min() >= bottom and enlarged.max() <= top:
                break
            enlarged = np.clip(enlarged, bottom, top)
    return store(enlarged, job.intensity, job.dtype)
