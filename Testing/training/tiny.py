"""Small configurations and patches for the tests of the loop."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch

from SuperResolutionLib.resampling import bicubic_downsample
from training.config import Config, make_config
from training.distributed import Group

CPU = Group(torch.device("cpu"))

RELATIVISTIC = {"l1": 1.0, "mse": 0.5, "adversarial": {"weight": 0.005, "kind": "relativistic"}}


def fields(**changes) -> dict:
    """A PSNR run of twelve steps as plain values; ``gan=n`` appends a GAN phase of n steps."""
    gan = changes.pop("gan", 0)
    phase = {"name": "psnr", "steps": 12, "learning_rate": 1e-3, "warmup": 2, **changes.pop("phase", {})}
    values = {
        "id": f"edsr-ise-test-x2-{'gan' if gan else 'psnr'}",
        "effort": "small",
        "network": {"architecture": "edsr_ise", "scale": 2, "channels": 1, "features": 8, "blocks": 1},
        "data": {"sets": {"s": 1.0}, "batch": 2, "patch": 12, "workers": 0},
        "phases": [phase],
        "precision": "float32",  # auto is a matter of timing on some processors: two runs might differ
        "log_steps": 5,
        "sample_steps": 0,
    }
    values["network"]["bicubic_skip"] = True
    if gan:
        discriminator = {"name": "ise_fusion", "features": 4}
        fooling = {"name": "gan", "steps": gan, "learning_rate": 1e-3, "losses": RELATIVISTIC}
        values["phases"].append({**fooling, "discriminator": discriminator, **changes.pop("gan_phase", {})})
    return deepcopy({**values, **changes})


def tiny(**changes) -> Config:
    """The configuration of ``fields``."""
    return make_config(fields(**changes))


def stripes(height: int = 64, width: int = 64, phase: float = 0.0) -> np.ndarray:
    """A picture with edges, which bicubic blurs and a network can learn to sharpen."""
    y, x = np.mgrid[:height, :width]
    return ((np.sin((x + 2 * y) / 5 + phase) > 0) * 0.8 + 0.1).astype(np.float32)


class Patches:
    """Stands in for ``PatchSampler``: pairs of stripes, number k always the same. ``spoil`` makes some of them NaN.

    Args:
        scale, patch: as in the configuration.
        distinct: how many different pairs there are; 0 for no end.
        spoil: numbers of pairs.
    """

    def __init__(self, scale: int = 2, patch: int = 12, distinct: int = 0, spoil=(), rank: int = 0, world: int = 1):
        self.scale, self.patch, self.distinct, self.spoil = scale, patch, distinct, set(spoil)
        self.rank, self.world, self.drawn, self.after = rank, world, 0, None
        self.packed = []

    def batch(self, size: int):
        first = self.drawn + self.rank * size
        pairs = [self._high(number) for number in range(first, first + size)]
        self.drawn += size * self.world
        if self.after:
            self.after(self.drawn)
        high = torch.stack(pairs)[:, None]
        return bicubic_downsample(high, self.scale), high

    def _high(self, number: int) -> torch.Tensor:
        side, which = self.patch * self.scale, number % self.distinct if self.distinct else number
        image = torch.from_numpy(stripes(side, side, which * 0.7))
        return image * float("nan") if number in self.spoil else image

    def state(self) -> dict:
        return {"drawn": self.drawn}

    def load(self, state: dict) -> None:
        self.drawn = state["drawn"]

    def close(self) -> None:
        pass
