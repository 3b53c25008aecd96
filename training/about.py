"""What a model card says of the training: from the configuration, the checkpoint and the run's own tables."""

from __future__ import annotations

import csv
import os
import platform
from pathlib import Path

import torch

from SuperResolutionLib.errors import SuperResolutionError

from .degradations import Degradation

#: The table of steps that a run writes beside its checkpoint, and its column of seconds.
STEPS, SECONDS = "steps.csv", "seconds"


def training_entry(config, state: dict, run: Path) -> dict:
    """The card's ``loss`` and ``training``.

    Args:
        config: what was trained.
        state: the checkpoint; ``step``, and if they are there ``hardware``, ``notes``, ``before`` (what was trained
            before the run that this one started from) and ``losses``, which says for each phase what was really used.
        run: folder with the run's tables.
    """
    losses, phases = _phases(config, state)
    files = {entry["file"]: entry for _, entries in losses for entry in entries}
    hours = training_hours(run, state["step"])
    training = {
        "data": config.card["data"],
        "steps": int(state["step"]),
        "batch": config.data.batch,
        "patch": config.data.patch,
        "hardware": state.get("hardware") or config.card.get("hardware") or describe_hardware(),
        "effort": config.effort,
        "phases": phases,
        "degradation": Degradation(config.data.degradation).describe(),
        "features": list(files.values()),
        "start": config.start,
    }
    training |= {"before": state["before"]} if state.get("before") else {}
    training |= {"notes": list(state["notes"])} if state.get("notes") else {}
    training |= {"hours": round(hours, 2)} if hours is not None else {}
    return {"loss": "; then ".join(dict.fromkeys(text for text, _ in losses)), "training": training}


def earlier_entry(config, state: dict) -> dict:
    """What a card says of a run whose weights another one started from: its own ``training`` in short."""
    entry = {"id": config.id, "steps": int(state["step"]), "batch": config.data.batch, "patch": config.data.patch}
    entry |= {"hardware": state["hardware"]} if state.get("hardware") else {}
    entry |= {"phases": _phases(config, state)[1]}
    return entry | ({"notes": list(state["notes"])} if state.get("notes") else {})


def _phases(config, state: dict) -> tuple[list[tuple], list[dict]]:
    """Of each phase the losses that were used, with their files, and what the card says of it."""
    used = state.get("losses", {})
    losses = [used.get(i) or describe_losses(p.losses, config.channels) for i, p in enumerate(config.phases)]
    return losses, [_phase(phase, text) for phase, (text, _) in zip(config.phases, losses)]


def _phase(phase, losses: str) -> dict:
    entry = {"name": phase.name, "steps": phase.steps, "losses": losses, "learning_rate": phase.learning_rate}
    entry |= {"schedule": phase.schedule, "optimizer": phase.optimizer}
    limits = ["biases only"] if phase.parameters == "biases" else []
    limits += [f"{', '.join(phase.freeze)} frozen"] if phase.freeze else []
    entry |= {"trained": "; ".join(limits)} if limits else {}
    if phase.discriminator:
        options = ", ".join(f"{key} {value}" for key, value in phase.discriminator.items() if key != "name")
        entry["discriminator"] = phase.discriminator["name"] + (f" ({options})" if options else "")
    return entry


def describe_losses(spec: dict, channels: int) -> tuple[str, list[dict]]:
    """Losses in words, and the files of weights that gave features: ``file``, ``sha256``, ``backbone``, ``layers``.

    Where those files are not at hand the words are the configuration's own.
    """
    from .losses import GeneratorLosses

    try:
        return used_losses(GeneratorLosses(spec, channels))
    except SuperResolutionError:
        return " + ".join(f"{name} {value}" for name, value in spec.items()), []


def used_losses(losses) -> tuple[str, list[dict]]:
    """As ``describe_losses``, of losses at work."""
    keys = ("file", "sha256", "backbone", "layers")
    return losses.describe(), [{key: about[key] for key in keys} for about in losses.used_features]


def training_hours(run: Path, step: int) -> float | None:
    """Hours of computing up to a step, from the run's table of steps; None where there is none."""
    try:
        with (run / STEPS).open(newline="", encoding="utf-8") as file:
            return sum(float(row[SECONDS]) for row in csv.DictReader(file) if int(row["step"]) <= step) / 3600
    except (OSError, KeyError, ValueError):
        return None


def describe_hardware() -> str:
    """This machine in a few words."""
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return f"{count} x {torch.cuda.get_device_name()}" if count > 1 else torch.cuda.get_device_name()
    return f"{os.cpu_count()} CPU cores ({platform.machine()})"
