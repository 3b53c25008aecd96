"""SRCNN: three convolutions on the bicubic enlargement (9-1-5, 64 and 32 features).

Dong et al., ECCV 2014.
"""

from __future__ import annotations

from torch import nn

from .blocks import BicubicUpsample, Generator, Stage, conv


def srcnn(scale: int = 4, channels: int = 1, bicubic_skip: bool = False) -> Generator:
    """Build SRCNN for any integer scale of 2 or more."""
    tail = nn.Sequential(
        BicubicUpsample(scale),
        conv(channels, 64, 9),
        nn.ReLU(),
        conv(64, 32, 1),
        nn.ReLU(),
        conv(32, channels, 5),
    )
    return Generator([Stage(nn.Identity(), tail, scale, bicubic_skip)], channels)
