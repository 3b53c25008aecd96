"""A catalog and an engine that need neither models nor torch."""

from __future__ import annotations

import types

import numpy as np

from SuperResolutionLib.errors import Cancelled, ModelError
from SuperResolutionLib.upscaler import UpscaleResult
from SuperResolutionLib.volume import Volume


def card(family: str, scale: int, channels: int = 1):
    """A model card with what the panel reads from it."""
    return types.SimpleNamespace(
        id=f"{family}-x{scale}",
        family=family,
        scale=scale,
        channels=channels,
        title=f"{family} times {scale}",
        description="Made for tests.",
        license="Apache-2.0",
        baseline=False,
        weights_available=True,
    )


class FakeCatalog:
    """Two grey families, of which one has two scales, and a color one."""

    def __init__(self):
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


class FakeEngine:
    """Repeats voxels; calls ``onStep(step)`` at each of its steps and raises ``error`` at the end, if there is one."""

    def __init__(self, steps: int = 4):
        self.steps = steps
        self.calls = []
        self.error = None
        self.onStep = lambda step: None

    def __call__(self, volume, model, options, progress=None, cancelled=None):
        self.calls.append((volume, model, options))
        for step in range(self.steps):
            self.onStep(step)
            if cancelled is not None and cancelled():
                raise Cancelled("The run was cancelled.")
            if progress is not None:
                progress(step / self.steps, f"slice {step + 1} of {self.steps}", float(self.steps - step))
        if self.error is not None:
            raise self.error
        finer = np.diag((1 / model.scale, 1 / model.scale, 1.0, 1.0))
        finer[:2, 3] = (1 / model.scale - 1) / 2
        array = volume.array.repeat(model.scale, axis=1).repeat(model.scale, axis=2)
        output = Volume(array, volume.ijk_to_ras @ finer)
        bicubic = output if options.bicubic else None
        return UpscaleResult(output, bicubic, {"Model": model.id})
