"""Real-ESRGAN's discriminator: a U-Net with spectral normalisation that judges every pixel.

Wang et al., ICCV workshops 2021 (arXiv 2107.10833). 4.4 M parameters for three channels; no batch normalisation.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu
from torch.nn.utils.parametrizations import spectral_norm

from .frame import SLOPE


class UNetDiscriminator(nn.Module):
    """Three halvings, three doublings with skips, three closing convolutions; images of any size from 8 x 8 up."""

    def __init__(self, channels: int, features: int):
        super().__init__()
        widths = [features * factor for factor in (1, 2, 4, 8)]
        self.first = nn.Conv2d(channels, features, 3, padding=1)
        self.down = nn.ModuleList([_normed(i, o, kernel=4, stride=2) for i, o in zip(widths, widths[1:])])
        self.up = nn.ModuleList([_normed(i, o) for i, o in zip(widths[:0:-1], widths[-2::-1])])
        self.close = nn.ModuleList([_normed(features, features) for _ in range(2)])
        self.last = nn.Conv2d(features, 1, 3, padding=1)

    def features(self, x: Tensor) -> list[Tensor]:
        """The maps after every activation, those of the way up with their skips added; the last has x's size."""
        maps = [leaky_relu(self.first(x), SLOPE)]
        for layer in self.down:
            maps.append(leaky_relu(layer(maps[-1]), SLOPE))
        skips = maps[:-1]
        for layer, skip in zip(self.up, reversed(skips)):
            enlarged = interpolate(maps[-1], size=skip.shape[-2:], mode="bilinear", align_corners=False)
            maps.append(leaky_relu(layer(enlarged), SLOPE) + skip)
        for layer in self.close:
            maps.append(leaky_relu(layer(maps[-1]), SLOPE))
        return maps

    def judge(self, maps: list[Tensor]) -> Tensor:
        """Raw logits (n, 1, h, w) from what ``features`` returned."""
        return self.last(maps[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.judge(self.features(x))


def unet_sn(channels: int, features: int = 64) -> UNetDiscriminator:
    """Build it; it has no pooling, hence no ``image_size``."""
    return UNetDiscriminator(channels, features)


def _normed(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    return spectral_norm(nn.Conv2d(inputs, outputs, kernel, stride, 1, bias=False))
