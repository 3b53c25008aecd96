"""What can be read off a generator's layers: its convolutions, how far they reach, how large its maps grow."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from torch import nn

from .blocks import CBAM, BicubicUpsample, Generator, ImprovedSE
from .span import Conv3XC

#: Half-width of the bicubic kernel in input pixels.
BICUBIC_REACH = 2


def convolutions(module: nn.Module) -> list[nn.Module]:
    """The layers inside a module that convolve over a map; pointwise ones, such as those of gates, are left out."""
    factored = [layer for layer in module.modules() if isinstance(layer, Conv3XC)]
    factors = {id(part) for layer in factored for part in layer.children()}  # multiplied out, never called
    return factored + [layer for layer in module.modules() if _full(layer) and id(layer) not in factors]


def has_global_gates(net: nn.Module) -> bool:
    """Whether means over the whole map, as gates take them, make every output pixel depend on every input pixel."""
    return any(isinstance(layer, (ImprovedSE, CBAM)) for layer in net.modules())


def reach(net: Generator) -> int:
    """Pixels of the input on each side that an output pixel depends on, gates' global means left out."""
    total, scale = 0.0, 1
    for stage in net.stages:
        longest = sum(map(_reach, convolutions(stage.trunk))) + _tail_reach(stage.tail)
        total += max(longest, BICUBIC_REACH if stage.bicubic_skip else 0) / scale
        scale *= stage.scale
    return _whole(total)


def tail_halo(tail: nn.Module) -> int:
    """Rows of context that a strip of the tail's input needs on each side."""
    return _whole(_tail_reach(tail))


def last_convolution(tail: nn.Module) -> nn.Module:
    """The convolution that a tail ends with, pointwise or not."""
    return [layer for layer in tail.modules() if isinstance(layer, nn.Conv2d)][-1]


def widest_map(tail: nn.Module) -> int:
    """Values in the tail's largest map for one pixel of its input."""
    return max((layer.out_channels * scale**2 for layer, scale in _walk(tail) if _full(layer)), default=1)


def widest_features(trunk: nn.Module) -> int:
    """Channels of the trunk's largest map; 1 for an empty trunk."""
    return max((layer.out_channels for layer in convolutions(trunk)), default=1)


def _tail_reach(tail: nn.Module) -> float:
    """In pixels of the tail's input."""
    total = 0.0
    for layer, scale in _walk(tail):
        if isinstance(layer, nn.Conv2d):
            total += _reach(layer) / scale
        elif isinstance(layer, BicubicUpsample):
            total += BICUBIC_REACH / scale
    return total


def _whole(reach: float) -> int:
    return ceil(round(reach, 6))  # thirds of a pixel do not add up exactly


def _reach(layer: nn.Module) -> float:
    """Pixels on each side that a convolution sees."""
    return 1 if isinstance(layer, Conv3XC) else layer.dilation[0] * (layer.kernel_size[0] - 1) / 2


def _full(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)


def _walk(tail: nn.Module) -> Iterator[tuple[nn.Module, int]]:
    """The tail's layers in their order, each with the enlargement reached before it."""
    scale = 1
    for layer in tail.modules():
        yield layer, scale
        if isinstance(layer, nn.PixelShuffle):
            scale *= layer.upscale_factor
        elif isinstance(layer, nn.Upsample):
            scale *= int(layer.scale_factor)
        elif isinstance(layer, BicubicUpsample):
            scale *= layer.scale
