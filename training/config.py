"""What a training run is made of: a YAML file with exactly these fields."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Config:
    """A PSNR-oriented run.

    Attributes:
        id: id of the model, ``<architecture>-<domain>-x<scale>-psnr``.
        architecture, network: what ``SuperResolutionLib.networks.create`` takes, ``network`` with ``scale``.
        sets: packed set -> share of the patches.
        steps, batch, patch: optimiser steps, patches a step, side of a low-resolution patch in pixels.
        learning_rate: of Adam, at the start of a cosine that ends at a hundredth of it.
        warmup: steps over which the learning rate rises from zero.
        mse: weight of the squared error beside the absolute error, whose weight is 1.
        hard: part of the patches drawn in proportion to bicubic's error, 0 to 1.
        ema: decay of the averaged weights, which are the ones exported.
        clip: largest norm of the gradient.
        seed: of the initial weights and the patches.
        card: what ``export`` writes into the model card: title, description, domain, intensity, spacing_mm (of the
            low-resolution inputs), license, hardware, data.
    """

    id: str
    architecture: str
    network: dict
    sets: dict
    steps: int
    batch: int = 8
    patch: int = 40
    learning_rate: float = 5e-4
    warmup: int = 100
    mse: float = 0.0
    hard: float = 0.5
    ema: float = 0.999
    clip: float = 1.0
    seed: int = 0
    card: dict = field(default_factory=dict)


def load_config(path: Path) -> Config:
    """Read a YAML configuration.

    Raises:
        ValueError: for an unknown, missing or wrongly typed field, naming it.
    """
    values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{path}: a configuration is a mapping of fields to values")
    known = {entry.name: entry for entry in fields(Config)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{path}: unknown field(s) {', '.join(unknown)}; known are {', '.join(known)}")
    types = {"str": str, "int": int, "float": (int, float), "dict": dict}
    for name, value in values.items():
        if not isinstance(value, types[known[name].type]) or isinstance(value, bool):
            raise ValueError(f"{path}: {name} should be {known[name].type}, not {value!r}")
    try:
        return Config(**values)
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from error
