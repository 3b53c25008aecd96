"""SRGAN's discriminator: eight convolutions, every second with stride 2, batch normalisation on all but the first.

Ledig et al., CVPR 2017. Published with flattened maps of 96 x 96 patches (23.6 M parameters); with averaged maps it
takes any size (5.2 M).
"""

from __future__ import annotations

from torch import nn

from .frame import SLOPE, Discriminator, dense_head, vgg_plan


def srgan(channels: int, features: int = 64, pooling: str = "average", image_size: int = 96) -> Discriminator:
    """Build it; ``image_size`` is the side of the patches in pixels and counts for ``pooling="flatten"`` only."""
    blocks, inputs = [], channels
    for outputs, stride in vgg_plan(features):
        norm = [nn.BatchNorm2d(outputs)] if blocks else []
        blocks.append(nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), *norm, nn.LeakyReLU(SLOPE)))
        inputs = outputs
    return Discriminator(blocks, dense_head(inputs, 16 * features, pooling, image_size // 16))
