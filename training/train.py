"""The loop: phases one after another, checkpoints and exact resume, rolling back, and stopping in time."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from math import ceil
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from SuperResolutionLib.errors import ResourceError, UsageError

from .config import Config
from .dataset import PackedSet, PatchSampler
from .degradations import Degradation
from .display import Display
from .distributed import Group, connect
from .optional import installed
from .phases import check_phases
from .reached import phase_file
from .record import Recorder, not_finite
from .resident import ResidentSets, fits
from .samples import ROWS, draw_samples
from .state import State, read_checkpoint, write_checkpoint

CHECKPOINT, STATUS = "checkpoint.pt", "status.json"

#: Held by the process that trains in a run's folder, also while it is suspended; the system lets go of a dead one's.
LOCK = "lock"

#: Where in the folder of packed sets a bundle puts the feature networks' weights.
FEATURES = "features"


def train(
    config: Config,
    packed: Path,
    run: Path,
    log=None,
    minutes: float | None = None,
    device: str = "auto",
    features: Path | None = None,
) -> Path:
    """Train, resuming from ``run/checkpoint.pt`` if it is there; SIGTERM and SIGINT save and return.

    Args:
        packed: folder that ``prepare`` wrote.
        run: folder for checkpoint.pt, steps.csv, epochs.csv, samples, a checkpoint at the end of every phase, and
            status.json, which says whether the run is ``finished``, and whether a signal ``interrupted`` it.
        log: takes lines; None shows progress on standard output.
        minutes: save and return after so long.
        device: see ``distributed.connect``.
        features: folder of the feature networks' weights; by default ``features`` in ``packed`` if it is there.

    Returns:
        Path of the checkpoint.

    Raises:
        DivergedError: if losses do not stay finite.
        UsageError: if another process trains in ``run``.
        ResourceError: if memory does not suffice, or the disk is full.
        SuperResolutionError: if the configuration, the data or a checkpoint cannot be used: before the first step as
            far as it can be seen then. Whatever is raised later on, the last good state is saved first.
    """
    if run.exists() and not run.is_dir():
        raise UsageError(f"{run} is a file; name a folder for the run.")
    if features is None and (packed / FEATURES).is_dir():
        features = packed / FEATURES
    group = connect(device)
    try:
        sampler = make_sampler(config, packed, group)
        try:
            return train_on(sampler, config, run, group, log, minutes, features)
        finally:
            sampler.close()
    finally:
        group.close()


def train_on(sampler, config: Config, run: Path, group: Group, log=None, minutes=None, features=None) -> Path:
    """``train`` on patches from any object with ``batch``, ``state`` and ``load``, as ``PatchSampler`` has them."""
    if group.device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    loop = _Loop(config, sampler, group, run, log, minutes, features)
    with loop.display, _signals(loop):
        try:
            loop.run()
        except Exception as error:
            with suppress(OSError):  # on a full disk the checkpoint from before stays
                loop.write(loop.good)
            words = _shortage(error, config, run)
            if words:
                raise ResourceError(words) from error
            raise
        finally:
            loop.close()
    return run / CHECKPOINT


def make_sampler(config: Config, packed: Path, group: Group) -> PatchSampler:
    """The sampler of this process.

    Raises:
        UsageError: if the batch cannot be shared out or the packed sets do not fit the configuration.
    """
    data = config.data
    if data.batch % group.world:
        raise UsageError(f"data.batch is {data.batch}, which {group.world} processes cannot share; make it a multiple.")
    try:
        sets = {name: (PackedSet(packed, name, config.intensity), share) for name, share in data.sets.items()}
        colors = {name: packed_set.channels for name, (packed_set, _) in sets.items()}
        if set(colors.values()) != {config.channels}:
            raise ValueError(f"network.channels is {config.channels}, and the packed sets have {colors}.")
        if data.burnt_in and not installed("PIL"):
            raise ValueError("burnt_in needs the package pillow; install it, or leave burnt_in out.")
        degrade = Degradation(data.degradation) if data.degradation else None
        packed_sets = [packed_set for packed_set, _ in sets.values()]
        resident = degrade is None and not data.drawings and fits(packed_sets, group.device)
        return PatchSampler(
            sets,
            config.scale,
            data.patch,
            data.hard,
            config.seed,
            background=data.background,
            augment=data.augment,
            degrade=degrade,
            rank=group.rank,
            world=group.world,
            workers=data.workers,
            drawings=data.drawings,
            cut=ResidentSets(packed_sets, config.scale, data.patch, group.device) if resident else None,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _shortage(error: Exception, config: Config, run: Path) -> str | None:
    """What to do about an error that says that memory or disk does not suffice; None for any other."""
    memory = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
    if memory:
        data = config.data
        return (
            f"There is too little memory for data.batch {data.batch} and data.patch {data.patch}; make one of them "
            "smaller. The same command goes on from the last good step."
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk of {run} is full; make room there. The same command goes on from the last checkpoint."
    return None


class _Loop:
    """One start of a run."""

    def __init__(self, config: Config, sampler, group: Group, run: Path, log, minutes: float | None, features):
        self.config, self.sampler, self.group, self.folder = config, sampler, group, run
        path = run / CHECKPOINT
        saved = read_checkpoint(path, config) if path.exists() else None
        self.fixed = self._fixed_batch() if config.sample_steps else None
        self.state = State(config, sampler, group, run.parent, saved, features)
        scales = [stage.scale for stage in self.state.net.stages]
        check_phases(config, self.state.phase.index, scales, features, group.world)
        _make_folder(run, group)  # not before all that may be refused
        self.lock = _lock(run) if group.leads else None
        self.recorder = Recorder(run, config, epoch_steps(config, sampler), group)
        steps = [phase.steps for phase in config.phases]
        self.display = Display(log if group.leads else (lambda text: None), steps, self.state.step)
        self.told = len(saved["notes"]) if saved and saved["step"] else 0
        if saved:
            self.recorder.load(saved["recorder"], self.state.step)
        else:
            self.recorder.begin()
        self.good = self._capture()
        self.stopped, self.deadline = False, time.monotonic() + 60 * minutes if minutes is not None else None
        self.saved_at = time.monotonic()

    def run(self) -> None:
        state = self.state
        for note in state.notes[self.told :]:
            self.display.line(note)
        while not state.finished:
            if state.phase_done:
                self._next_phase()
            late = self.deadline is not None and time.monotonic() > self.deadline
            due = time.monotonic() - self.saved_at > 60 * self.config.checkpoint_minutes
            stop, save = self.group.any(self.stopped or late, due)
            if stop:
                break
            if save:
                self._save()
            self._step()
            if state.phase_step % self.config.log_steps == 0 or state.phase_done:
                self._check()
            every = self.config.sample_steps
            if every and self.group.leads and state.step % every == 0:
                draw_samples(state.average, *self.fixed, self.folder / "samples" / f"{state.step:07}.png")
        self._save()
        if not state.finished:
            self.display.line(f"stopped at step {state.step} of {self.config.steps}; the same command goes on")

    def close(self) -> None:
        """Let go of the run's folder."""
        self.recorder.close()
        if self.lock is not None:
            self.lock.release()

    def write(self, captured: dict) -> None:
        """Make a captured state the checkpoint."""
        if not self.group.leads:
            return
        write_checkpoint(self.folder / CHECKPOINT, captured)
        status = {"id": self.config.id, "effort": self.config.effort, "step": captured["step"]}
        status |= {"steps": self.config.steps, "finished": captured["step"] >= self.config.steps}
        status |= {"interrupted": self.stopped}
        status |= {"phase": self.config.phases[captured["phase"]].name, "precision": captured["precision"]}
        status |= {"hours": round(captured["recorder"]["seconds"] / 3600, 4), "notes": captured["notes"]}
        temporary = self.folder / f"{STATUS}.part"
        temporary.write_text(json.dumps(status, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, self.folder / STATUS)

    def _step(self) -> None:
        began, waited = time.perf_counter(), 0.0

        def batch():
            nonlocal waited
            asked = time.perf_counter()
            pair = self.sampler.batch(self.config.data.batch // self.group.world)
            waited += time.perf_counter() - asked
            return pair

        phase = self.state.phase
        values = self.state.advance(batch)
        about = {"step": self.state.step, "phase": phase.plan.name, "learning_rate": phase.rate}
        about |= {"waiting": waited, "seconds": time.perf_counter() - began}
        self.recorder.add(about, phase.columns, values)
        self.display.step(self.state.step, phase.plan.name)

    def _check(self) -> bool:
        """Look at the numbers of the last steps; write them, or roll back. Returns whether they were good."""
        phase, pending = self.state.phase, self.recorder.collect()
        bad = not_finite(pending, self._watched())
        if bad:
            self.display.line(self.state.roll_back(self.good, bad))
            self.recorder.load(self.good["recorder"], self.state.step)
            return False
        if pending:
            self.recorder.write(pending)
            self.display.rows(pending, phase.columns)
            verdict = phase.watch and phase.watch.observe([row["d_real"] - row["d_fake"] for row in pending])
            if verdict:
                self.state.notes.append(f"step {self.state.step}: {verdict}")
                self.display.line(self.state.notes[-1])
        self.good = self._capture()
        return True

    def _save(self) -> None:
        """Write a checkpoint, of a good state in any case."""
        captured = self._capture()
        rows = [dict(zip(names, values)) for _, names, values in captured["recorder"]["pending"]]
        [bad] = self.group.any(bool(not_finite(rows, self._watched())))
        if bad:  # in any process, whose numbers are its own part's; the check is one that all of them take
            self._check()
            captured = self._capture()
        self.write(captured)
        self.good = captured
        self.saved_at = time.monotonic()

    def _watched(self) -> list[str]:
        """The columns that have to be finite. In float16 a gradient may overflow: its step is then left out."""
        return [name for name in self.state.phase.columns if self.state.precision != "float16" or "norm" not in name]

    def _next_phase(self) -> None:
        """Keep what the phase ended with, which is a model of its own, and go on."""
        phase = self.state.phase
        if self.group.leads:
            write_checkpoint(self.folder / phase_file(phase.index, phase.plan), self._capture())
        self.state.next_phase()
        self.good = self._capture()

    def _capture(self) -> dict:
        return self.state.capture() | {"recorder": self.recorder.state()}

    def _fixed_batch(self):
        """The first patches of the run, for the sample pictures."""
        before = self.sampler.state()
        low, high = self.sampler.batch(ROWS)
        self.sampler.load(before)
        return low.to(self.group.device), high.to(self.group.device)


def _make_folder(run: Path, group: Group) -> None:
    if not group.leads:
        return
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The run's folder {run} cannot be made: {error.strerror}.") from error


def _lock(run: Path) -> FileLock:
    """The lock of a run's folder, taken.

    Raises:
        UsageError: if another process holds it.
    """
    lock = FileLock(run / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"Another process trains in {run}; stop that one first, or name another folder.") from error
    return lock


def epoch_steps(config: Config, sampler) -> int:
    """Steps that draw as many pixels as the sets hold; see ``record``."""
    pixels = sum(h * w for packed in sampler.packed for h, w in map(packed.shape, range(len(packed))))
    return max(1, ceil(pixels / (config.data.batch * (config.data.patch * config.scale) ** 2)))


@contextmanager
def _signals(loop: _Loop):
    """SIGTERM and SIGINT stop the loop after the step at work."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kinds = (signal.SIGTERM, signal.SIGINT)
    before = {kind: signal.signal(kind, lambda *_: setattr(loop, "stopped", True)) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
