"""A catalog and a worker that need neither models nor torch, and how a test waits for a run."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from SuperResolutionLib.catalog import ModelCard
from SuperResolutionLib.errors import Cancelled, ModelError, UsageError
from SuperResolutionLib.jobs import Worker
from SuperResolutionLib.upscaler import UpscaleResult
from SuperResolutionLib.volume import Volume


def card(family: str, scale: int, channels: int = 1, baseline: bool = False) -> ModelCard:
    """A model card whose weights do not exist."""
    return ModelCard(
        id=f"{family}-x{scale}",
        family=family,
        title=f"{family}, x{scale}",
        description="Made for tests.",
        architecture="edsr",
        config={"scale": scale, "channels": channels},
        scale=scale,
        channels=channels,
        domain="general",
        intensity={"mapping": "auto"},
        spacing_range=(0.2, 1.0),
        license="Apache-2.0",
        measured=[],
        baseline=baseline,
        weights=Path("nowhere") / family / "weights.safetensors",
        sha256="",
        card={},
    )


class FakeCatalog:
    """Two grey families, of which one has two scales, and a color one."""

    def __init__(self):
        self.problems = []
        self.cards = [
            card("color-gan", 4, channels=3),
            card("grey-fast", 4),
            card("grey-good", 2),
            card("grey-good", 8),
        ]

    def families(self):
        names = sorted({each.family for each in self.cards})
        return {name: [each for each in self.cards if each.family == name] for name in names}

    def find(self, model, scale=None):
        for each in self.cards:
            if model in (each.id, each.family) and scale in (None, each.scale):
                return each
        raise ModelError(f"There is no model '{model}' with scale {scale}.")


class FakeFirstUse:
    """Says that nothing is missing; ``ensure`` counts, and raises ``error`` if there is one."""

    def __init__(self):
        self.complete, self.installs, self.asked, self.error = True, False, 0, None

    def isComplete(self) -> bool:
        return self.complete

    def ensure(self) -> bool:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.installs


class FakeWorker:
    """Repeats voxels in a few polls.

    Calls ``onPoll(step)`` at each of them. A run ends with ``error`` if there is one; its report has the ``notices``.
    """

    def __init__(self, polls: int = 4):
        self.polls = polls
        self.calls = []
        self.jobs = []
        self.error = None
        self.notices = []
        self.onPoll = lambda step: None
        self.devices = None
        self.alive = False
        self.closed = 0

    def warm(self):
        self.alive = True

    def poll(self):
        if self.alive:
            self.devices = [("cpu", "CPU"), ("cuda:0", "Fast Card")]

    def start(self, volume, model, options):
        if any(job.state == "running" for job in self.jobs):
            raise UsageError("A run is under way; wait for its end or cancel it.")
        self.warm()
        self.calls.append((volume, model, options))
        self.jobs.append(FakeJob(self, volume, model, options))
        return self.jobs[-1]

    def close(self):
        self.closed += 1
        self.alive = False
        for job in self.jobs:
            job.cancel()


class FakeJob:
    """A run of FakeWorker."""

    def __init__(self, worker, volume, model, options):
        self.state, self.fraction, self.stage, self.seconds_left = "running", 0.0, "starting", None
        self.isReleased = False
        self._worker, self._volume, self._model, self._options = worker, volume, model, options
        self._step = 0

    def poll(self) -> str:
        if self.state == "running":
            step, self._step, polls = self._step, self._step + 1, self._worker.polls
            self.fraction, self.stage = step / polls, f"slice {step + 1} of {polls}"
            self.seconds_left = float(polls - step)
            self._worker.onPoll(step)
            if self.state == "running" and self._step == polls:
                self.state = "done" if self._worker.error is None else "failed"
        return self.state

    def cancel(self) -> None:
        if self.state == "running":
            self.state = "cancelled"
            self._worker.alive = False

    def result(self):
        if self.state == "cancelled":
            raise Cancelled("The run was cancelled.")
        if self.state == "failed":
            raise self._worker.error
        (i0, i1), (j0, j1), (k0, k1) = self._options.region or [(0, length) for length in self._volume.size]
        scale = self._model.scale
        start, finer = np.eye(4), np.diag((1 / scale, 1 / scale, 1.0, 1.0))
        start[:3, 3] = i0, j0, k0
        finer[:2, 3] = (1 / scale - 1) / 2
        array = self._volume.array[k0:k1, j0:j1, i0:i1].repeat(scale, axis=1).repeat(scale, axis=2)
        output = Volume(array, self._volume.ijk_to_ras @ start @ finer)
        bicubic = output if self._options.bicubic else None
        report = {"seconds": 0.5, "device": "cpu", "slice_axis": "k", "notices": list(self._worker.notices)}
        return UpscaleResult(output, bicubic, {"Model": self._model.id}, report)

    def release(self) -> None:
        self.cancel()
        self.isReleased = True


class KeptWorker(Worker):
    """A worker that stays warm when a panel closes; ``end`` closes it."""

    def close(self):
        if self._job is not None:
            self._job.cancel()

    def end(self):
        super().close()


def waitUntil(condition, seconds: float = 60) -> None:
    """Let the event loop run until the condition is true."""
    import slicer

    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        slicer.app.processEvents()
        time.sleep(0.002)


def clickUpscale(widget, seconds: float = 60) -> None:
    """Click Upscale and wait for the end of the run."""
    widget.ui.applyButton.click()
    waitUntil(lambda: not widget._run.running, seconds)


def closePanel(widget) -> None:
    """What Slicer does with a panel before it quits."""
    from Testing.panel_host.widgets import destroy

    widget.cleanup()
    destroy(widget.parent)
