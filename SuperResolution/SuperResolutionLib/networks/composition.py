"""The linear part of a tail as one convolution.

A step of EDSR's tail is a convolution to r x r times as many channels, a pixel shuffle and perhaps a gate, and after
the last one a convolution closes the tail: nothing nonlinear in between. So the last steps together are one small
convolution, from the channels before them to all the pixels that come of one. Everything here is differentiable.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import ImprovedSE, Shuffle

#: Pixels on each side that the one convolution sees of the map before the steps, however many they are.
REACH = 2


def is_linear(step: nn.Module) -> bool:
    """Whether a layer is an enlargement by 2 or 3 without activation."""
    if (
        not isinstance(step, Shuffle)
        or step.shuffle.upscale_factor not in (2, 3)
        or not isinstance(step.conv, nn.Conv2d)
    ):
        return False
    plain = step.conv.groups == 1 and step.conv.kernel_size == (3, 3) and step.conv.dilation == (1, 1)
    return plain and isinstance(step.after, nn.Identity | ImprovedSE)


def linear_steps(tail: nn.Module) -> list[Shuffle]:
    """The steps of a tail that is linear throughout; none if it is not, or does not end in a 3 x 3 convolution."""
    *steps, last = tail.children() if isinstance(tail, nn.Sequential) else [None]
    closed = isinstance(last, nn.Conv2d) and last.kernel_size == (3, 3)
    return steps if closed and steps and all(map(is_linear, steps)) else []


def compose(
    conv: nn.Conv2d, factor: int, gate: Tensor | None, kernel: Tensor, bias: Tensor, channels: int
) -> tuple[Tensor, Tensor]:
    """What a step followed by a convolution does, as one convolution before the step.

    Args:
        conv: the step's convolution, 3 x 3. factor: of its pixel shuffle. gate: its gate (n, m), None without one.
        kernel, bias: of what follows, (..., o, m, k, k) and (..., o), k of 3 or 5. The outputs are ``channels`` times
            the pixels that come of one.
        channels: of the image.

    Returns:
        Kernel (..., r r o, c, 5, 5) and bias (..., r r o), with the images of a gate in front if it has any.
    """
    outer = _before_the_shuffle(kernel, channels, factor)
    if gate is not None:
        outer = outer * gate.repeat_interleave(factor**2, dim=1)[:, None, :, None, None]
    flat = outer.flatten(0, -4)
    # Composing convolutions is the convolution of their kernels; conv2d correlates, hence the flip.
    weight, shift = conv.weight.to(flat.dtype), conv.bias.to(flat.dtype)
    made = F.conv2d(weight.transpose(0, 1), flat.flip(2, 3), padding=2).transpose(0, 1)
    shift = (flat.sum((2, 3)) @ shift).unflatten(0, outer.shape[:-3])
    return made.unflatten(0, outer.shape[:-3]), shift + _repeated(bias, channels, factor)


def _repeated(bias: Tensor, channels: int, factor: int) -> Tensor:
    """A bias (..., o) of ``channels`` times s x s pixels for rs x rs: that of the step's outputs alike."""
    side = round((bias.shape[-1] // channels) ** 0.5)
    return bias.unflatten(-1, (channels, side, side)).repeat(*[1] * bias.dim(), factor, factor).flatten(-3)


def _before_the_shuffle(kernel: Tensor, channels: int, factor: int) -> Tensor:
    """A kernel (..., o, m, k, k) after a pixel shuffle as one (..., r r o, r r m, 3, 3) before it; k is 3 or 5.

    Of the outputs o are ``channels`` times s x s pixels, and r r o as many times rs x rs.
    """
    *front, outputs, inputs, size, _ = kernel.shape
    side = round((outputs // channels) ** 0.5)
    moved = kernel.new_zeros(*front, outputs, factor, factor, inputs, factor, factor, 3, 3)
    for i in range(factor):
        for j in range(factor):
            for y in range(size):
                for x in range(size):
                    down, row = divmod(i + y - size // 2, factor)
                    across, column = divmod(j + x - size // 2, factor)
                    moved[..., i, j, :, row, column, down + 1, across + 1] = kernel[..., y, x]
    f = len(front)
    moved = moved.unflatten(f, (channels, side, side))
    moved = moved.permute(*range(f), f, f + 3, f + 1, f + 4, f + 2, *range(f + 5, f + 10))
    return moved.reshape(*front, factor**2 * outputs, factor**2 * inputs, 3, 3)
