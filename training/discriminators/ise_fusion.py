"""The discriminator of EDSR-GAN for retinal images: improved SE in every block, the last three maps fused.

After Bing et al., IEEE Access 2019 (doi 10.1109/ACCESS.2019.2944862), who leave details open. Here: SRGAN's channels
and strides; no batch normalisation unless asked for, with He's initialisation in its place; the last three maps
averaged down to the smallest one's size, concatenated and mixed point by point *before* the mean over the image. (The
mean of an aligned map is the mean of the map: with the mean first, aligning would have no effect.) The output is a
raw logit, which the relativistic loss needs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from SuperResolutionLib.networks.blocks import ImprovedSE

from .frame import SLOPE, Discriminator, pooled, vgg_plan

#: How many of the last maps are fused.
FUSED = 3


class FusingDiscriminator(Discriminator):
    """A discriminator whose head sees the last three maps, aligned and concatenated."""

    def judge(self, maps: list[Tensor]) -> Tensor:
        """Raw logits (n, 1) from what ``features`` returned."""
        size = maps[-1].shape[-2:]
        return self.head(torch.cat([adaptive_avg_pool2d(entry, size) for entry in maps[-FUSED:]], dim=1))


def ise_fusion(
    channels: int,
    features: int = 64,
    reduction: int = 16,
    batch_norm: bool = False,
    pooling: str = "average",
    image_size: int = 96,
) -> Discriminator:
    """Build it (6.1 M parameters); ``image_size`` counts for ``pooling="flatten"`` only."""
    blocks, inputs = [], channels
    for outputs, stride in vgg_plan(features):
        layers = [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.LeakyReLU(SLOPE)]
        if blocks:
            layers.append(ImprovedSE(outputs, reduction))
        if blocks and batch_norm:
            layers.insert(1, nn.BatchNorm2d(outputs))
        blocks.append(nn.Sequential(*layers))
        nn.init.kaiming_normal_(layers[0].weight, SLOPE)
        nn.init.zeros_(layers[0].bias)
        inputs = outputs
    fused, mixed = sum(outputs for outputs, _ in vgg_plan(features)[-FUSED:]), 16 * features
    pool, length = pooled(mixed, pooling, image_size // 16)
    head = nn.Sequential(nn.Conv2d(fused, mixed, 1), nn.LeakyReLU(SLOPE), pool, nn.Linear(length, 1))
    return FusingDiscriminator(blocks, head)
