"""Swift-SRGAN's discriminator: SRGAN's of depthwise separable convolutions.

Krishnan and Krishnan, arXiv 2111.14320. Published with a grid of 6 x 6 means of the last map (19.4 M parameters, nearly
all in the first dense layer); with one mean a channel it has 1.1 M.
"""

from __future__ import annotations

from torch import nn

from .frame import SLOPE, Discriminator, dense_head, vgg_plan


def swift(channels: int, features: int = 64, pooling: str = "average", image_size: int = 96) -> Discriminator:
    """Build it; the grid of ``pooling="flatten"`` has ``image_size / 16`` points a side, 6 as published."""
    blocks, inputs = [], channels
    for outputs, stride in vgg_plan(features):
        norm = [nn.BatchNorm2d(outputs)] if blocks else []
        conv = separable(inputs, outputs, stride, bias=not norm)
        blocks.append(nn.Sequential(conv, *norm, nn.LeakyReLU(SLOPE)))
        inputs = outputs
    return Discriminator(blocks, dense_head(inputs, 16 * features, pooling, image_size // 16))


def separable(inputs: int, outputs: int, stride: int, bias: bool) -> nn.Sequential:
    """Depthwise 3x3 convolution with the stride, then a pointwise one."""
    depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=bias)
    return nn.Sequential(depthwise, nn.Conv2d(inputs, outputs, 1, bias=bias))
