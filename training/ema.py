"""Averaged weights, which are the ones sampled and exported."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def blend(average: nn.Module, net: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the network; early steps count more, so that it forgets the initial weights.

    Floating buffers, as batch normalisation's running statistics, are averaged with the same weight, so that they
    suit the averaged weights; integer ones are copied.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), weight)
    pairs = list(zip(average.buffers(), net.buffers()))
    moving = [pair for pair in pairs if pair[0].is_floating_point()]
    if moving:
        torch._foreach_lerp_(*map(list, zip(*moving)), weight)
    for mean, value in pairs:
        if not mean.is_floating_point():
            mean.copy_(value)
