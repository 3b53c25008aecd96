"""Slices through the network and on into the sinks; while one thread writes slices, the network works on the next.

Of a graphics card that thread also waits for the network and asks for what follows it, so that the next slices are
queued meanwhile. On a CPU that would take the cores from the network's threads, all of which wait for the slowest.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .clock import Clock
from .fidelity import ConsistencyResidual
from .missing import Gaps, fill_missing, put_missing_back
from .plan import Job, Window
from .sinks import Open
from .skipping import Skipping, find_boxes

if TYPE_CHECKING:
    from torch import Tensor

    from .backends.torch_backend import Wait, WaitForSlice

#: Pixels of the input that go through the network at once, in slices that are smaller than that, at x4 and less; at
#: more those that become as many pixels. On a CPU their maps should stay in the cache, on a graphics card they should
#: be worth a launch.
BATCH_PIXELS, BATCH_PIXELS_GPU = 2**16, 2**20

#: Batches that may wait to be finished.
WAITING = 2

#: Number of a slice, mask of its missing voxels, super-resolved and bicubic slice, the latter None if not asked for.
Finished = tuple[int, np.ndarray, np.ndarray, "np.ndarray | None"]


@dataclass(frozen=True)
class Batch:
    """How much goes through the network at once: ``slices``, and of their images (a grey network takes the components
    of a color slice one by one) so many ``planes``."""

    slices: int
    planes: int


def batch_of(job: Job, model, channels: int, batches: bool, seen: Window) -> Batch:
    """The batch of a run; the arguments are those of ``Pipeline``."""
    components = job.layout.channels
    if not batches:
        return Batch(1, components // channels)
    (top, bottom), (left, right) = seen
    pixels = (bottom - top) * (right - left)
    most = (BATCH_PIXELS if model.device == "cpu" else BATCH_PIXELS_GPU) * 16 // max(16, job.scale**2)
    slices = max(1, min(len(job.slices), most // (pixels * components)))
    return Batch(slices, min(slices * components // channels, max(1, most // pixels)))


def working_bytes(job: Job, model, batch: Batch, seen: Window, rows: int) -> int:
    """Rough upper estimate of the computer's memory that a run takes beside its outputs.

    A graphics card has memory of its own, and where that runs out it takes less at once: what may happen is that the
    CPU takes over, slice by slice.
    """
    if model.device != "cpu":
        batch = Batch(1, 1)
    height, width = (stop - start for start, stop in seen)
    voxels = height * width * job.scale**2 * job.layout.channels
    # In float32, of a slice what it is finished with, and of a batch the enlargements; in the type of the output the
    # finished slices of this batch and of those that wait, bicubic ones as well.
    after = 6 * 4 + batch.slices * (4 + 2 * job.dtype.itemsize * (1 + WAITING))
    return model.working_bytes(batch.planes, height, width, rows) + voxels * after


class Pipeline:
    """One run.

    Args:
        job: what is to be done. model: see ``backends.torch_backend.TorchModel``.
        channels: of the images that the network takes; a grey one gets each channel of a color slice as an image.
        batches: whether the model takes several planes at once. batch: see ``batch_of``.
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
        batch: Batch,
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
        self._job, self._model, self._channels = job, model, channels
        self._batches, self._batch = batches, batch
        self._consistent, self._bicubic, self._clock = consistent, bicubic, clock
        self._seen, self._place, self._rows = seen, place, rows
        self.sr = open_sink("sr", job, provenance["sr"])
        try:
            self.bicubic = open_sink("bicubic", job, provenance["bicubic"]) if bicubic else None
        except BaseException:
            self.sr.close()  # an open file could not be deleted everywhere
            raise
        self.residual = ConsistencyResidual()
        self.network_seconds, self.pixels = 0.0, 0
        self._detail = consistent and batches and model.adds_bicubic
        skips = skip_constant and batches
        boxes = (
            find_boxes(job.slices, seen, model.reach, not model.global_gates, job.gaps, clock.check) if skips else None
        )
        one_size = getattr(model, "backend", "torch") != "torch"
        self._skipping = Skipping(self._through_network, model.scale, boxes, model.reach, one_size)

    @property
    def slice_pixels(self) -> int:
        """Input pixels of a slice, each channel that goes through the network by itself counted."""
        (top, bottom), (left, right) = self._seen
        return (bottom - top) * (right - left) * (self._job.layout.channels // self._channels)

    def run(self) -> None:
        count = len(self._job.slices)
        at_once, on_cpu = self._batch.slices, self._model.device == "cpu"
        pending: deque = deque()
        try:
            with ThreadPoolExecutor(1) as thread:
                try:
                    for first in range(0, count, at_once):
                        numbers = range(first, min(first + at_once, count))
                        lows, wait = self._enlarge(numbers)
                        while len(pending) >= WAITING:
                            pending.popleft().result()
                        finished = self._finished(numbers, lows, wait)
                        pending.append(thread.submit(self._put, list(finished) if on_cpu else finished))
                        del wait, finished  # they hold the enlargements
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

    def _polls(self, planes: int) -> int:
        """How often the network polls for so many planes."""
        polls = self._model.polls(self._seen[0][1] - self._seen[0][0], self._rows)
        return polls * (-(-planes // self._batch.planes) if self._batches else planes)

    def _prepare(self, numbers: range) -> tuple[list, np.ndarray]:
        """For each slice what is seen of it, finite and in network range, and the mask of what was missing; and all
        planes as the network takes them."""
        lows = []
        for number in numbers:
            finite, missing = bridge(self._job.slices[number], self._seen, self._job.gaps)
            lows.append((self._job.intensity.to_network(finite), finite, missing))
        return lows, as_images(np.stack([low for low, _, _ in lows]), self._channels)

    def _through_network(self, planes: np.ndarray) -> np.ndarray:
        if self._batches:
            # The color components of a large slice one by one, as memory was planned for.
            parts = np.split(planes, range(self._batch.planes, len(planes), self._batch.planes))
            made = [self._model.enlarge(part, self._rows, self._clock.poll, self._detail) for part in parts]
            return made[0] if len(made) == 1 else np.concatenate(made)
        return np.stack([self._model.enlarge(plane, self._rows, self._clock.poll) for plane in planes])

    def _finished(self, numbers: range, lows: list, wait: Wait) -> Iterator[Finished]:
        """What follows the network, in stored values. While a slice is put away, a graphics card is at the next."""
        begun: deque = deque()
        enlarged, seconds = wait()
        self.network_seconds += seconds
        enlarged = enlarged.reshape(len(numbers), self._job.layout.channels, *enlarged.shape[2:])
        for number, (low, finite, missing), image in zip(numbers, lows, enlarged):
            begun.append((number, finite, missing, self._begin_finish(image, low)))
            if len(begun) > 1:
                yield self._end(*begun.popleft())
        yield self._end(*begun.popleft())

    def _begin_finish(self, image: Tensor | np.ndarray, low: np.ndarray) -> WaitForSlice:
        check = self._clock.check
        check()
        return self._model.finish(image, low, self._job, self._consistent, self._bicubic, check)

    def _end(self, number: int, finite: np.ndarray, missing: np.ndarray, wait: WaitForSlice) -> Finished:
        stored, shrunk, cubic = wait()
        self.residual.add(_cut(shrunk - finite, self._place))
        return number, missing, stored, cubic

    def _put(self, finished: Iterable[Finished]) -> None:
        """Into the sinks, in a thread of its own."""
        job, scale = self._job, self._job.scale
        for number, missing, *outputs in finished:
            self._clock.check()
            plane, missing = job.planes[number], _cut(missing, self._place)
            for sink, stored in zip((self.sr, self.bicubic), outputs):
                if sink is not None:
                    sink.put(number, put_missing_back(_cut(stored, self._place, scale), plane, missing, scale))
            job.missing += int(missing.any(axis=0).sum())


def as_images(low: np.ndarray, channels: int) -> np.ndarray:
    """Planes (..., c, h, w) as images (n, channels, h, w): a grey model gets each channel of a color slice."""
    return low.reshape(-1, channels, *low.shape[-2:])


def _cut(planes: np.ndarray, window: Window, scale: int = 1) -> np.ndarray:
    """A window of planes (..., h, w), given in pixels of the input; a view."""
    (top, bottom), (left, right) = window
    return planes[..., top * scale : bottom * scale, left * scale : right * scale]


def bridge(whole: np.ndarray, seen: Window, gaps: Gaps) -> tuple[np.ndarray, np.ndarray]:
    """What is seen of a slice (c, h, w), with values where some were missing; and the mask of those."""
    plane = _cut(whole, seen)
    missing = gaps.mask(plane)
    if not missing.any():
        return plane, missing
    finite, missing = fill_missing(whole, gaps)  # the median of the whole slice is among the values that bridge
    return _cut(finite, seen), _cut(missing, seen)
