"""The learning rate of a step."""

from __future__ import annotations

import math

from .config import Phase

#: Where a cosine ends, as a share of where it starts.
FLOOR = 0.01


def factor(phase: Phase, step: int) -> float:
    """What the learning rates are multiplied by at a step of a phase, from 0: above 0, at most 1."""
    if step < phase.warmup:
        return (step + 1) / phase.warmup
    if phase.schedule == "cosine":
        done = (step - phase.warmup) / max(1, phase.steps - phase.warmup)
        return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return 0.5 ** sum(step >= milestone for milestone in phase.milestones)
