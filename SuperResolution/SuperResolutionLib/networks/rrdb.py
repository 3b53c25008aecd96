"""RRDBNet, the generator of ESRGAN: residual-in-residual dense blocks, nearest-neighbour enlargement.

Wang et al., ECCV workshops 2018. 23 blocks as published; any number works.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import Generator, Residual, Stage, conv, factors


class DenseBlock(nn.Module):
    """Five convolutions, each fed with all maps before it; the last one's output scaled by 0.2 is added to x."""

    def __init__(self, features: int, growth: int):
        super().__init__()
        inputs = [features + index * growth for index in range(5)]
        outputs = [growth] * 4 + [features]
        self.convs = nn.ModuleList([conv(i, o) for i, o in zip(inputs, outputs)])
        for layer in self.convs:  # a tenth of He's initialisation, as published, keeps 23 blocks stable
            nn.init.kaiming_normal_(layer.weight)
            layer.weight.data.mul_(0.1)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.convs[:-1]:
            maps.append(nn.functional.leaky_relu(layer(torch.cat(maps, dim=1)), 0.2))
        return x + 0.2 * self.convs[-1](torch.cat(maps, dim=1))


def rrdb(
    scale: int = 4,
    channels: int = 3,
    features: int = 64,
    growth: int = 32,
    blocks: int = 23,
    bicubic_skip: bool = False,
) -> Generator:
    """Build RRDBNet for a scale of 2, 3, 4, 8 or 16."""

    def block() -> Residual:
        return Residual(*[DenseBlock(features, growth) for _ in range(3)], factor=0.2)

    trunk = nn.Sequential(
        conv(channels, features), Residual(*[block() for _ in range(blocks)], conv(features, features))
    )
    enlarge = []
    for step in factors(scale):
        enlarge += [nn.Upsample(scale_factor=step, mode="nearest"), conv(features, features), nn.LeakyReLU(0.2)]
    tail = nn.Sequential(*enlarge, conv(features, features), nn.LeakyReLU(0.2), conv(features, channels))
    return Generator([Stage(trunk, tail, scale, bicubic_skip)], channels)
