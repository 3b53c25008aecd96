"""Swift-SRGAN: SRResNet of depthwise separable convolutions.

Krishnan and Krishnan, arXiv 2111.14320. The enlargement takes log2(scale) steps of 2, so that x8 is x8. Without a
bicubic skip the output is squashed to 0..1 as published; with the skip the network predicts an unbounded difference.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import Generator, Residual, Shuffle, Stage, batch_norm, conv, factors


class HalfTanh(nn.Module):
    """(tanh(x) + 1) / 2: the real line to 0..1."""

    def forward(self, x: Tensor) -> Tensor:
        return (torch.tanh(x) + 1) / 2


def separable(inputs: int, outputs: int, kernel: int = 3, bias: tuple[bool, bool] = (True, True)) -> nn.Sequential:
    """Depthwise convolution of the given kernel, then a pointwise one; ``bias`` says which of them has one."""
    depthwise = conv(inputs, inputs, kernel, groups=inputs, bias=bias[0])
    return nn.Sequential(depthwise, conv(inputs, outputs, 1, bias=bias[1]))


def swift_srgan(
    scale: int = 4,
    channels: int = 3,
    features: int = 64,
    blocks: int = 16,
    bicubic_skip: bool = False,
    fused: bool = False,
) -> Generator:
    """Build Swift-SRGAN for a scale of 2, 3, 4, 8 or 16; ``fused`` is for inference, without batch normalisation."""

    def normalised() -> list[nn.Module]:
        return [separable(features, features, bias=(False, fused)), batch_norm(features, fused)]

    def block() -> Residual:
        return Residual(*normalised(), nn.PReLU(features), *normalised())

    body = Residual(*[block() for _ in range(blocks)], *normalised())
    trunk = nn.Sequential(separable(channels, features, 9), nn.PReLU(features), body)
    steps = [Shuffle(separable(features, features * step**2), step, nn.PReLU(features)) for step in factors(scale)]
    squash = [] if bicubic_skip else [HalfTanh()]
    tail = nn.Sequential(*steps, separable(features, channels, 9), *squash)
    return Generator([Stage(trunk, tail, scale, bicubic_skip)], channels)
