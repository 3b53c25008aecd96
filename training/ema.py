"""Averaged weights, which are the ones sampled and exported."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def blend(average: nn.Module, net: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the network; early steps count more, so that it forgets the initial weights.

    Buffers are copied: batch normalisation averages its own.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), weight)
    for mean, value in zip(average.buffers(), net.buffers()):
        mean.copy_(value)
