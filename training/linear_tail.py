"""The last enlargements of EDSR and EDSR-ISE at a fraction of their cost, for training.

A step there is a convolution to 4 x 64 channels, a pixel shuffle and perhaps a gate, and after the last one a
convolution closes the tail: nothing nonlinear in between. So for each image the last steps are one 5 x 5 convolution,
from 64 channels before them to all the pixels that come of one. Its kernel is multiplied out (``compose``) at every
step of the training from the same parameters: results and gradients are those of the layers themselves, up to
rounding. Two things are not a convolution. A gate needs the channel means of a map that is no longer computed; they
follow from sums of the map before it and from its border (``_Frame``). And the layers see zeros beyond the border of
each map, where the one convolution goes on; what it finds there is subtracted (``_beyond_the_border``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SuperResolutionLib.networks.blocks import ImprovedSE, Shuffle
from SuperResolutionLib.networks.composition import compose, is_linear

#: A kernel is worth multiplying out if a map has this many pixels for each channel of the result at its size.
WORTH = 100


class LinearTail:
    """Takes the place of a tail's ``forward``; the tail keeps its layers, parameters and names."""

    def __init__(self, tail: nn.Sequential):
        *self.layers, self.last = tail.children()

    def __call__(self, x: Tensor) -> Tensor:
        short = self._worthwhile(x) if min(x.shape[-2:]) > 1 else 0
        for layer in self.layers[: len(self.layers) - short]:
            x = layer(x)
        return _enlarge(x, self.layers[len(self.layers) - short :], self.last) if short else self.last(x)

    def _worthwhile(self, x: Tensor) -> int:
        """How many of the last steps are linear and better taken together: one, or two on large patches."""
        linear = 0
        while linear < len(self.layers) and _is_linear(self.layers[-1 - linear]):
            linear += 1
        pixels = x.shape[-2] * x.shape[-1] * 4 ** (len(self.layers) - 2)
        return min(linear, 2 if pixels >= WORTH * 4 * self.last.out_channels else 1)


def shorten_tails(net: nn.Module) -> int:
    """Let every tail of a generator that allows it run in the short form; returns how many there are."""
    tails = [stage.tail for stage in net.stages if _can_be_short(stage.tail)]
    for tail in tails:
        tail.forward = LinearTail(tail)
    return len(tails)


def _can_be_short(tail: nn.Module) -> bool:
    layers = list(tail.children())
    closing = len(layers) > 1 and isinstance(layers[-1], nn.Conv2d) and layers[-1].kernel_size == (3, 3)
    return closing and _is_linear(layers[-2])


def _is_linear(step: nn.Module) -> bool:
    """Whether a layer is an enlargement by 2 without activation."""
    return is_linear(step) and step.shuffle.upscale_factor == 2


@dataclass
class _Frame:
    """What has to be known of a map (n, c, h, w): its sum (n, c) and, two pixels deep, its border."""

    total: Tensor
    top: Tensor
    bottom: Tensor
    left: Tensor
    right: Tensor


class _Edges(torch.autograd.Function):
    """First and last two rows (n, c, 2, w), and columns (n, c, h, 2); backwards in one pass over the map."""

    @staticmethod
    def forward(context, x: Tensor):
        context.save_for_backward(x)
        return tuple(edge.clone() for edge in (x[:, :, :2], x[:, :, -2:], x[..., :2], x[..., -2:]))

    @staticmethod
    def backward(context, top: Tensor, bottom: Tensor, left: Tensor, right: Tensor) -> Tensor:
        gradient = torch.zeros_like(context.saved_tensors[0])
        gradient[:, :, :2] += top
        gradient[:, :, -2:] += bottom
        gradient[..., :2] += left
        gradient[..., -2:] += right
        return gradient


def _enlarge(x: Tensor, steps: list[Shuffle], last: nn.Conv2d) -> Tensor:
    """``last(steps(x))`` for x of shape (n, c, h, w), h and w 2 or more."""
    with torch.autocast(x.device.type, enabled=False):
        wide = x.to(last.weight.dtype)
        frames, gates = [_Frame(wide.sum((2, 3)), *_Edges.apply(wide))], []
        for step in steps:
            frame, gate = _next_frame(frames[-1], step)
            frames.append(frame)
            gates.append(gate)
        kernel, bias, outside = last.weight, last.bias, 0.0
        for number in range(len(steps) - 1, -1, -1):
            conv, gate = steps[number].conv, gates[number]
            beyond = _beyond_the_border(frames[number], conv, gate, kernel)
            outside = outside + F.pixel_shuffle(beyond, 2 ** (len(steps) - 1 - number))
            kernel, bias = compose(conv, 2, gate, kernel, bias, last.out_channels)
    image = F.pixel_shuffle(_convolve(x, kernel, bias, 2), 2 ** len(steps))
    return image - outside.to(image.dtype)


def _convolve(x: Tensor, kernel: Tensor, bias: Tensor | None, padding) -> Tensor:
    """A convolution with one kernel for all images, (o, c, k, k), or one for each, (n, o, c, k, k)."""
    if kernel.dim() == 4:
        return F.conv2d(x, kernel, bias, padding=padding)
    shifts = bias if bias is not None else [None] * len(kernel)
    parts = zip(x.split(1), kernel, shifts)
    return torch.cat([F.conv2d(one, own, shift, padding=padding) for one, own, shift in parts])


def _next_frame(frame: _Frame, step: Shuffle) -> tuple[_Frame, Tensor | None]:
    """The frame of the map that a step makes, and the step's gate (n, m), None without one."""
    conv = step.conv
    pixels = frame.left.shape[2] * frame.top.shape[3]
    means = torch.einsum("ncyx,mcyx->nm", _sums_seen(frame), conv.weight) / pixels + conv.bias
    means = means.unflatten(1, (-1, 4)).mean(2)
    gate = step.after.gate(means[..., None, None]).flatten(1) if isinstance(step.after, ImprovedSE) else None

    def strip(edge: Tensor, pad: tuple, padding: tuple) -> Tensor:
        return _gated(F.pixel_shuffle(F.conv2d(F.pad(edge, pad), conv.weight, conv.bias, padding=padding), 2), gate)

    made = _Frame(
        4 * pixels * (means if gate is None else means * gate),
        strip(frame.top, (0, 0, 1, 0), (0, 1)),
        strip(frame.bottom, (0, 0, 0, 1), (0, 1)),
        strip(frame.left, (1, 0), (1, 0)),
        strip(frame.right, (0, 1), (1, 0)),
    )
    return made, gate


def _sums_seen(frame: _Frame) -> Tensor:
    """What each tap of a 3x3 convolution sees of a map in all, (n, c, 3, 3)."""
    none = torch.zeros_like(frame.total)
    first, final = frame.top[:, :, 0], frame.bottom[:, :, 1]
    # A tap above the centre does not see the last row, one below it not the first; the same for columns.
    rows = [final.sum(2), none, first.sum(2)]
    columns = [frame.right[..., 1].sum(2), none, frame.left[..., 0].sum(2)]
    corners = [[final[..., -1], none, final[..., 0]], [none] * 3, [first[..., -1], none, first[..., 0]]]
    sums = [[frame.total - rows[y] - columns[x] + corners[y][x] for x in range(3)] for y in range(3)]
    return torch.stack([torch.stack(line, dim=2) for line in sums], dim=2)


def _beyond_the_border(frame: _Frame, conv: nn.Conv2d, gate: Tensor | None, kernel: Tensor) -> Tensor:
    """What ``kernel`` would see of a step's map just outside of it, at the size of that map."""
    reach = kernel.shape[-1] // 2
    height, width = 2 * frame.left.shape[2], 2 * frame.top.shape[3]

    def outside(edge: Tensor, taps: Tensor, padding: tuple) -> Tensor:
        """Two rows or columns of the step's map beyond the border; rows hold the corners."""
        return _gated(F.pixel_shuffle(F.conv2d(edge, taps, conv.bias, padding=padding), 2), gate)

    above = outside(frame.top[:, :, :1], conv.weight[:, :, 2:], (0, 2))[:, :, 2 - reach :]
    below = outside(frame.bottom[:, :, 1:], conv.weight[:, :, :1], (0, 2))[:, :, :reach]
    crop = slice(2 - reach, width + 2 + reach)
    above = _convolve(F.pad(above[..., crop], (0, 0, 0, 2 * reach)), kernel, None, 0)
    below = _convolve(F.pad(below[..., crop], (0, 0, 2 * reach, 0)), kernel, None, 0)
    before = outside(frame.left[..., :1], conv.weight[..., 2:], (1, 0))[..., 2 - reach :]
    behind = outside(frame.right[..., 1:], conv.weight[..., :1], (1, 0))[..., :reach]
    before = _convolve(F.pad(before, (0, 2 * reach)), kernel, None, (reach, 0))
    behind = _convolve(F.pad(behind, (2 * reach, 0)), kernel, None, (reach, 0))
    rest = height - reach, width - reach
    image = F.pad(above, (0, 0, 0, rest[0])) + F.pad(below, (0, 0, rest[0], 0))
    return image + F.pad(before, (0, rest[1])) + F.pad(behind, (rest[1], 0))


def _gated(strip: Tensor, gate: Tensor | None) -> Tensor:
    return strip if gate is None else strip * gate[..., None, None]
