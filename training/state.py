"""All that a step changes, in one place: saving and loading it resumes exactly, and a copy in memory rolls back."""

from __future__ import annotations

import os
from copy import deepcopy
from itertools import accumulate
from pathlib import Path
from pickle import UnpicklingError

import torch

from SuperResolutionLib.errors import DataError
from SuperResolutionLib.networks import create

from .about import describe_hardware, used_losses
from .config import Config
from .distributed import Group
from .ema import blend
from .guard import NanGuard
from .linear_tail import shorten_tails
from .packed import AUTO
from .phases import ActivePhase
from .precision import choose_precision
from .reached import FORMAT
from .start import earlier_training, load_start, start_as_bicubic

#: The rates that a configuration gives a phase.
RATES = ("learning_rate", "discriminator_learning_rate")

#: What of a phase cannot change once it has begun, and what it was where a checkpoint does not say.
KEPT = {"discriminator": None, "stage": None, "freeze": [], "parameters": "all"}


class State:
    """A run between two steps.

    Attributes:
        step: steps of the generator done, over all phases.
        net, average: the generator that is trained, and its averaged weights.
        phase: the phase that is or was last at work.
        sampler: gives ``batch(n)``, ``state()`` and ``load(state)``.
        notes: what happened on the way, sentences.
        losses: of the phases before, by index, what they were trained on: ``about.used_losses``.
        before: how the weights that the run started from came to be: ``start.earlier_training``.

    Args:
        runs: folder of the runs, where ``start`` may name one.
        saved: what ``read_checkpoint`` returned, to go on from; None to begin.
        features: folder of the feature networks' weights, or None.
    """

    def __init__(self, config: Config, sampler, group: Group, runs: Path, saved: dict | None = None, features=None):
        self.config, self.sampler, self.group, self.features = config, sampler, group, features
        self.precision = saved["precision"] if saved else _agreed_precision(config, group)
        self.step, self.notes, self.losses, self.before = 0, [], {}, []
        self.hardware = _also(saved.get("hardware", "") if saved else "", describe_hardware())
        self.ends = list(accumulate(phase.steps for phase in config.phases))
        torch.manual_seed(config.seed)
        net = start_as_bicubic(create(config.architecture, **config.arguments))
        if config.start and not saved:
            self.notes.append(load_start(net, config.start, runs, bool(config.network.get("fused"))))
            self.before = earlier_training(config.start, runs)
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.net = net.to(group.device, memory_format=layout).train()
        self.average = deepcopy(self.net).requires_grad_(False).eval()
        if group.device.type == "cpu":  # a GPU has arithmetic to spare, and would wait for the small kernels
            shorten_tails(self.net)
        self.phase = ActivePhase(config, 0, self.net, group, self.precision, features)
        if saved:
            self.restore(saved)
            self._renew_guard(saved["config"])

    @property
    def finished(self) -> bool:
        """Whether all phases are done."""
        return self.step >= self.ends[-1]

    @property
    def phase_step(self) -> int:
        """Steps done of the phase at work."""
        return self.step - self.ends[self.phase.index] + self.phase.plan.steps

    @property
    def phase_done(self) -> bool:
        """Whether the phase at work has no steps left."""
        return self.step >= self.ends[self.phase.index]

    def next_phase(self) -> None:
        """Go on to the next phase, from the averaged weights."""
        self.losses = self._losses()
        self.net.load_state_dict(self.average.state_dict())
        self._enter(self.phase.index + 1)

    def advance(self, batch) -> torch.Tensor:
        """One step; see ``ActivePhase.step``."""
        values = self.phase.step(self.phase_step, batch)
        self.step += 1
        blend(self.average, self.net, self.config.ema, self.step)
        return values

    def capture(self) -> dict:
        """Everything, as plain data and tensors that later steps leave alone."""
        modules = {name: module.state_dict() for name, module in self.phase.modules().items()}
        watch = self.phase.watch
        return deepcopy(
            {
                "format": FORMAT,
                "step": self.step,
                "phase": self.phase.index,
                "precision": self.precision,
                "net": self.net.state_dict(),
                "average": self.average.state_dict(),
                "modules": modules,
                "guard": self.phase.guard.state(),
                "watch": watch.state() if watch else None,
                "sampler": self.sampler.state(),
                "random": torch.get_rng_state(),
                "notes": self.notes,
                "losses": self._losses(),
                "before": self.before,
                "hardware": self.hardware,
                "config": self.config.plain(),
            }
        )

    def restore(self, state: dict, with_sampler: bool = True) -> None:
        """Go to where ``capture`` was called. Without the sampler the patches to come are others."""
        if state["phase"] != self.phase.index:
            self._enter(state["phase"])
        self.step, self.notes, self.losses = state["step"], list(state["notes"]), dict(state.get("losses", {}))
        self.before = state.get("before", [])
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        for name, module in self.phase.modules().items():
            if name in state["modules"]:  # a bundle leaves some out, which then begin anew
                # An optimiser keeps the tensors that it is given, and its next step would change them in ``state``.
                module.load_state_dict(deepcopy(state["modules"][name]))
        self.phase.guard.load(state["guard"])
        if self.phase.watch:
            self.phase.watch.load(state["watch"])
        if with_sampler:
            self.sampler.load(state["sampler"])
        torch.set_rng_state(state["random"])

    def roll_back(self, state: dict, names: list[str]) -> str:
        """Return to a good state with other patches and lower rates; see ``NanGuard.trip``. The state learns of it."""
        guard = deepcopy(self.phase.guard)
        note = f"step {self.step}: {guard.trip(state['step'], names)}"
        self.restore(state, with_sampler=False)
        self.phase.guard = guard
        self.notes.append(note)
        # The next return, and a checkpoint of this state, would forget the note and the count otherwise.
        state["notes"], state["guard"] = list(self.notes), guard.state()
        return note

    def _renew_guard(self, was: dict) -> None:
        """Count the phase's returns anew if its rates were changed since the checkpoint, as ``DivergedError`` asks."""
        before, now = (config["phases"][self.phase.index] for config in (was, self.config.plain()))
        if self.phase.guard.rollbacks and any(before.get(name) != now[name] for name in RATES):
            self.phase.guard = NanGuard()
            self.notes.append(
                f"step {self.step}: the learning rate of the phase {now['name']} was changed, so its returns to a good "
                "state count from zero and no longer lower it"
            )

    def _losses(self) -> dict:
        return self.losses | {self.phase.index: used_losses(self.phase.losses)}

    def _enter(self, index: int) -> None:
        self.phase = ActivePhase(
            self.config, index, self.net, self.group, self.precision, self.features, before=self.phase
        )


def _agreed_precision(config: Config, group: Group) -> str:
    """The first process's choice: where it is a matter of timing, the others might choose differently."""
    return group.gather(choose_precision(config.precision, group.device))[0]


def write_checkpoint(path: Path, state: dict) -> None:
    """Replace a checkpoint at once."""
    temporary = path.with_suffix(".part")
    try:
        with temporary.open("wb") as file:  # by its path alone, torch would tell of a full disk as of anything else
            torch.save(state, file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_checkpoint(path: Path, config: Config) -> dict:
    """A checkpoint that this configuration can go on from.

    Raises:
        DataError: if it cannot be read, or belongs to another version, network, seed, intensity mapping or order of
            phases, or its phase had another discriminator or trained other layers.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        raise DataError(f"The checkpoint {path} cannot be read; remove it to begin anew.") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise DataError(
            f"{path} was written by another version of the training; to go on from its weights, give another run "
            "folder and name this file as 'start'."
        )
    was, now = state["config"], config.plain()
    compared = [(name, was[name], now[name]) for name in ("id", "network", "seed")]
    for name, one, other in (*compared, ("intensity", was["card"].get("intensity", AUTO), config.intensity)):
        if one != other:
            raise DataError(f"{path} belongs to another {name}, {one} instead of {other}; use another folder.")
    before = [phase["steps"] for phase in was["phases"][: state["phase"]]]
    if state["phase"] >= len(config.phases) or before != [p.steps for p in config.phases[: state["phase"]]]:
        raise DataError(
            f"{path} is in phase {state['phase'] + 1}, and the phases before it differ; use another folder."
        )
    begun, plan = (KEPT | phases[state["phase"]] for phases in (was["phases"], now["phases"]))
    changed = [name for name in KEPT if begun[name] != plan[name]]
    if changed:
        raise DataError(
            f"{path} is in the phase {plan['name']}, whose {changed[0]} was {begun[changed[0]]} and now is "
            f"{plan[changed[0]]}; change it back, or use another folder."
        )
    return state


def _also(before: str, now: str) -> str:
    """One machine after another, each named once."""
    return now if not before else before if now in before.split(", then ") else f"{before}, then {now}"
