"""VDSR: twenty convolutions on the bicubic enlargement that predict what it lacks.

Kim et al., CVPR 2016. The skip over the whole network is part of the method, hence on by default.
"""

from __future__ import annotations

from torch import nn

from .blocks import BicubicUpsample, Generator, Stage, conv


def vdsr(
    scale: int = 4, channels: int = 1, features: int = 64, layers: int = 20, bicubic_skip: bool = True
) -> Generator:
    """Build VDSR for any integer scale of 2 or more."""
    inner = [module for _ in range(layers - 2) for module in (conv(features, features), nn.ReLU())]
    tail = nn.Sequential(BicubicUpsample(scale), conv(channels, features), nn.ReLU(), *inner, conv(features, channels))
    for layer in tail:  # He's initialisation, as published; under the default one twenty layers learn nothing
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return Generator([Stage(nn.Identity(), tail, scale, bicubic_skip)], channels)
