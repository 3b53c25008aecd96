"""What the discriminators share: blocks in sequence, whose last maps a head turns into one raw logit an image."""

from __future__ import annotations

from torch import Tensor, nn

#: Negative slope of every activation, as in all the papers.
SLOPE = 0.2

POOLINGS = ("average", "flatten")


class Discriminator(nn.Module):
    """Blocks in sequence, then a head on the last map. Neither contains a sigmoid."""

    def __init__(self, blocks: list[nn.Module], head: nn.Module):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.head = head

    def features(self, x: Tensor) -> list[Tensor]:
        """The output of every block, each (n, c, h', w')."""
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return maps

    def judge(self, maps: list[Tensor]) -> Tensor:
        """Raw logits from what ``features`` returned."""
        return self.head(maps[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.judge(self.features(x))


def pooled(channels: int, pooling: str, size: int) -> tuple[nn.Module, int]:
    """The layer that makes a vector of a map (n, channels, h, w), and the vector's length.

    ``average`` takes one mean a channel, for images of any size. ``flatten`` keeps a grid of ``size`` x ``size``: where
    the map has exactly that size, which it has for the published patches, nothing is averaged at all.

    Raises:
        ValueError: for an unknown pooling or an image too small for it.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is {' or '.join(POOLINGS)}, not {pooling!r}")
    if size < 1:
        raise ValueError("image_size is smaller than what one pixel of the last map stands for")
    grid = size if pooling == "flatten" else 1
    return nn.Sequential(nn.AdaptiveAvgPool2d(grid), nn.Flatten()), channels * grid**2


def dense_head(channels: int, hidden: int, pooling: str, size: int) -> nn.Sequential:
    """Pooling, a hidden layer and the logit."""
    pool, length = pooled(channels, pooling, size)
    return nn.Sequential(pool, nn.Linear(length, hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, 1))


def vgg_plan(features: int) -> list[tuple[int, int]]:
    """(channels, stride) of SRGAN's eight convolutions, which three architectures share."""
    return [(features * factor, stride) for factor in (1, 2, 4, 8) for stride in (1, 2)]
