"""EDSR: deep residual network without normalisation.

Lim et al., CVPR workshops 2017. ``baseline`` is 64 channels and 16 blocks; ``full`` is 256 channels, 32 blocks and a
residual factor of 0.1. The published per-colour mean shift is data-dependent and left to the intensity mapping.
"""

from __future__ import annotations

from torch import nn

from .blocks import Generator, Residual, Shuffle, Stage, conv, factors


def edsr(
    scale: int = 4,
    channels: int = 3,
    features: int = 64,
    blocks: int = 16,
    residual_factor: float = 1.0,
    bicubic_skip: bool = False,
) -> Generator:
    """Build EDSR; (features, blocks, residual_factor) = (64, 16, 1) is the baseline, (256, 32, 0.1) the full one."""

    def block() -> Residual:
        return Residual(conv(features, features), nn.ReLU(), conv(features, features), factor=residual_factor)

    body = Residual(*[block() for _ in range(blocks)], conv(features, features))
    trunk = nn.Sequential(conv(channels, features), body)
    steps = [Shuffle(conv(features, features * step**2), step) for step in factors(scale)]
    tail = nn.Sequential(*steps, conv(features, channels))
    return Generator([Stage(trunk, tail, scale, bicubic_skip)], channels)
