"""ESRGAN's discriminator: VGG style for 128 x 128 patches, five halvings by 4x4 convolutions, batch normalisation.

Wang et al., ECCV workshops 2018. Published with flattened maps (14.5 M parameters for three channels).
"""

from __future__ import annotations

from torch import nn

from .frame import SLOPE, Discriminator, dense_head


def esrgan(channels: int, features: int = 64, pooling: str = "average", image_size: int = 128) -> Discriminator:
    """Build it; ``image_size`` is the side of the patches in pixels and counts for ``pooling="flatten"`` only."""
    blocks, inputs = [], channels
    for factor in (1, 2, 4, 8, 8):
        outputs = features * factor
        first = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=not blocks)]
        first += [nn.BatchNorm2d(outputs)] if blocks else []
        halve = [nn.Conv2d(outputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs)]
        blocks.append(nn.Sequential(*first, nn.LeakyReLU(SLOPE)))
        blocks.append(nn.Sequential(*halve, nn.LeakyReLU(SLOPE)))
        inputs = outputs
    return Discriminator(blocks, dense_head(inputs, 100, pooling, image_size // 32))
