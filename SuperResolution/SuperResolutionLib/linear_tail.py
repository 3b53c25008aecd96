"""A tail without nonlinearities, run as one small convolution.

What EDSR and EDSR-ISE do after their trunk is linear for each image (``networks.composition``): at x4 the one kernel
takes a thirtieth of the work of the layers and no map of theirs is ever made. Two things are not a convolution. A gate
needs the channel means of a map that is not computed; they follow, exactly, from the sum of the map before it and from
its border lines. And the layers see zeros beyond the border of each map, where the one convolution goes on: near the
border the result is that of the layers themselves, run on thin slabs.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .networks.blocks import Shuffle

#: Pixels of the tail's input that a slab along the border is deep: as many as the kernel sees, and as many again.
DEPTH = 4

#: How often ``run`` polls for a convolution of the tail, one for each slab; and once for the kernel.
SLABS = 4


def is_worthwhile(height: int, width: int) -> bool:
    """Whether the slabs are less than half of the map; on thinner maps the layers themselves are as quick."""
    return 2 * DEPTH * (height + width) < height * width


def run(tail: nn.Sequential, steps: list[Shuffle], features: Tensor, poll: Callable[..., None]) -> Tensor:
    """``tail(features)`` of a tail that ``composition.linear_steps`` takes for linear, in float32.

    Args:
        tail, steps: the tail and its steps. features: (n, c, h, w), for which ``is_worthwhile`` holds.
        poll: called before the kernel is used; the layers' own hooks poll besides.
    """
    import torch
    import torch.nn.functional as F

    from .networks.composition import REACH

    *_, last = tail
    with torch.autocast("cuda" if features.is_cuda else "cpu", enabled=False):
        wide = features.float()
        gates, borders = _walk(steps, wide)
        poll()
        kernel, bias = _kernel(steps, gates, last)
        scale = round((kernel.shape[-4] // last.out_channels) ** 0.5)
        image = F.pixel_shuffle(_convolve(wide, kernel, bias), scale)
        edge = REACH * scale
        top, bottom, left, right = (last(slab) for slab in borders.slabs())
    image[..., :edge], image[..., -edge:] = left[..., :edge], right[..., -edge:]
    image[..., :edge, :], image[..., -edge:, :] = top[..., :edge, :], bottom[..., -edge:, :]
    return image


class _Borders:
    """Thin slabs along the top, bottom, left and right of a map, carried through the tail's steps.

    A slab is exact at the true border and wrong within the layers' reach of its cut side.
    """

    def __init__(self, features: Tensor):
        self.top, self.bottom = features[..., :DEPTH, :], features[..., -DEPTH:, :]
        self.left, self.right = features[..., :DEPTH], features[..., -DEPTH:]

    def slabs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.top, self.bottom, self.left, self.right

    def advance(self, step: Shuffle, gate: Tensor | None, depth: int) -> None:
        """Put every slab through a step, with its gate (n, c) if it has one, and cut it to a depth."""
        maps = [step.shuffle(step.conv(slab)) for slab in self.slabs()]
        if gate is not None:
            maps = [slab * gate[..., None, None] for slab in maps]
        top, bottom, left, right = maps
        self.top, self.bottom = top[..., :depth, :], bottom[..., -depth:, :]
        self.left, self.right = left[..., :depth], right[..., -depth:]

    def lines(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The outermost lines, (n, c, length): first row, last row, first column, last column."""
        return self.top[..., 0, :], self.bottom[..., -1, :], self.left[..., 0], self.right[..., -1]


def _walk(steps: list[Shuffle], features: Tensor) -> tuple[list[Tensor | None], _Borders]:
    """Each step's gate (n, c), None where it has none, and the slabs after the last step."""
    import torch

    from .networks.blocks import ImprovedSE

    gates, borders = [], _Borders(features)
    factors = [step.shuffle.upscale_factor for step in steps]
    total, pixels = features.sum(3).sum(2, dtype=torch.float64), features.shape[-2] * features.shape[-1]
    for number, step in enumerate(steps):
        sums = _convolved_sum(step.conv, total, borders.lines(), pixels)
        factor = step.shuffle.upscale_factor
        total = sums.reshape(sums.shape[0], -1, factor**2).sum(dim=2)
        pixels *= factor**2
        gate = None
        if isinstance(step.after, ImprovedSE):
            gate = step.after.gate((total / pixels).float()[..., None, None])[..., 0, 0]
            total = total * gate.double()
        gates.append(gate)
        borders.advance(step, gate, _depth(factors, number + 1))
    return gates, borders


def _depth(factors: list[int], done: int) -> int:
    """How deep slabs have to be after ``done`` steps: what is wanted of them, and what the layers to come spoil."""
    scale, spoiled = prod(factors[:done]), 0.0
    for number in range(done, len(factors) + 1):
        spoiled += 1 / prod(factors[:number])
    return ceil(round((DEPTH / 2 + spoiled) * scale, 6))


def _kernel(steps: list[Shuffle], gates: list[Tensor | None], last: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Kernel ([n,] o, c, 5, 5) and bias ([n,] o) of the whole tail."""
    from .networks.composition import compose

    kernel, bias = last.weight, last.bias
    for step, gate in zip(reversed(steps), reversed(gates)):
        kernel, bias = compose(step.conv, step.shuffle.upscale_factor, gate, kernel, bias, last.out_channels)
    return kernel, bias


def _convolve(features: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """A convolution with one kernel for all images, or one for each."""
    import torch
    import torch.nn.functional as F

    if kernel.dim() == 4:
        return F.conv2d(features, kernel, bias, padding=2)
    images = zip(features.split(1), kernel, bias)
    return torch.cat([F.conv2d(image, own, shift, padding=2) for image, own, shift in images])


def _convolved_sum(layer: nn.Conv2d, total: Tensor, lines: tuple[Tensor, ...], pixels: int) -> Tensor:
    """Sum over all pixels of a zero-padded 3x3 convolution's output, (n, outputs) float64, without convolving.

    A kernel element sees the whole input but for one border row and one border column, so its share is its weight
    times (total - row - column + corner).

    Args:
        layer: the convolution.
        total: sum of its input, (n, inputs).
        lines: its input's border lines, as ``_Borders.lines`` gives them.
        pixels: number of its output's pixels.
    """
    first_row, last_row, first_column, last_column = (line.double() for line in lines)
    # Index 0 of a kernel's axis looks one pixel back and never sees the last line; index 2 never sees the first.
    unseen_row = {0: last_row, 2: first_row}
    unseen_column = {0: (last_column, -1), 2: (first_column, 0)}
    weight = layer.weight.double()
    result = layer.bias.double() * pixels
    for y in range(3):
        for x in range(3):
            seen = total
            if y in unseen_row:
                seen = seen - unseen_row[y].sum(-1)
            if x in unseen_column:
                line, end = unseen_column[x]
                seen = seen - line.sum(-1)
                if y in unseen_row:
                    seen = seen + unseen_row[y][..., end]
            result = result + seen @ weight[:, :, y, x].T
    return result
