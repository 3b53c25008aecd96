"""EDSR with improved squeeze-and-excitation, the generator of EDSR-GAN for retinal images.

Bing et al., IEEE Access 2019 (doi 10.1109/ACCESS.2019.2944862). The paper leaves the reduction and the place of the
gates open: here the reduction is 16, gates stand before the residual addition, after the first convolution and after
each pixel shuffle, and the convolution that closes EDSR's body is kept.
"""

from __future__ import annotations

from torch import nn

from .blocks import Generator, ImprovedSE, Residual, Shuffle, Stage, conv, factors


def edsr_ise(
    scale: int = 4,
    channels: int = 3,
    features: int = 64,
    blocks: int = 16,
    reduction: int = 16,
    residual_factor: float = 1.0,
    bicubic_skip: bool = False,
) -> Generator:
    """Build EDSR-ISE for a scale of 2, 3, 4, 8 or 16."""

    def gate() -> ImprovedSE:
        return ImprovedSE(features, reduction)

    def block() -> Residual:
        layers = [conv(features, features), nn.ReLU(), conv(features, features), gate()]
        return Residual(*layers, factor=residual_factor)

    body = Residual(*[block() for _ in range(blocks)], conv(features, features))
    trunk = nn.Sequential(conv(channels, features), gate(), body)
    steps = [Shuffle(conv(features, features * step**2), step, gate()) for step in factors(scale)]
    tail = nn.Sequential(*steps, conv(features, channels))
    return Generator([Stage(trunk, tail, scale, bicubic_skip)], channels)
