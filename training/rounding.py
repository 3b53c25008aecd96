"""Training for weights in few bits: the network computes with rounded weights, the optimiser moves the ones behind.

The gradient passes the rounding as if it were not there (straight-through estimator, Bengio et al. 2013), so that small
steps add up until a weight is rounded to the next number.
"""

from __future__ import annotations

import torch
from torch import nn

from SuperResolutionLib.backends.torch_weights import is_rounded, rounded


class Rounding:
    """A context, forwards and backwards, in which a network computes with rounded weights."""

    def __init__(self, net: nn.Module, bits: int):
        self.bits = bits
        self.weights = [parameter for parameter in net.parameters() if is_rounded(parameter)]
        self.behind: list[torch.Tensor] = []

    def __enter__(self) -> None:
        self.behind = [weight.detach().clone() for weight in self.weights]
        for weight in self.weights:
            # Unseen by autograd, which refuses weights that changed meanwhile.
            weight.data.copy_(rounded(weight, self.bits))

    def __exit__(self, *_) -> None:
        for weight, behind in zip(self.weights, self.behind):
            weight.data.copy_(behind)
        self.behind = []


@torch.no_grad()
def round_weights(net: nn.Module, bits: int) -> nn.Module:
    """Round a network's kernels for good."""
    for parameter in filter(is_rounded, net.parameters()):
        parameter.copy_(rounded(parameter, bits))
    return net
