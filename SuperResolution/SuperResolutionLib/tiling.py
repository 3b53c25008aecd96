"""How a generator runs on a slice that is too large at once, exactly.

Trunks run whole: their maps are small, and gates inside them need the whole slice. Tails, whose maps are scale^2 times
larger, run in strips of rows with a halo as wide as their receptive field. A gate inside a tail needs one mean per
channel over the whole slice. Nothing nonlinear stands between the convolution and that gate, so the mean follows
exactly, in float64, from the sum of the convolution's input and from its border lines.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING

from .resampling import bicubic_upsample

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .networks.blocks import Generator, Shuffle, Stage


def run(net: Generator, image: Tensor, strip_rows: int, poll: Callable[[], None]) -> Tensor:
    """Enlarge (n, c, h, w) to (n, c, h * scale, w * scale), equal to ``net(image)`` to 1e-5 of the range.

    Args:
        net: a generator in evaluation mode.
        image: network range, on the network's device.
        strip_rows: rows of a stage's input that are enlarged at once; 0 means all.
        poll: called between layers; may raise to stop the run.
    """
    from .networks.layout import convolutions

    hooks = [layer.register_forward_pre_hook(lambda *_: poll()) for layer in convolutions(net)]
    try:
        for stage in net.stages:
            image = _run_stage(stage, image, strip_rows)
    finally:
        for hook in hooks:
            hook.remove()
    return image


def count_polls(net: Generator, height: int, strip_rows: int) -> int:
    """How often ``run`` polls for an image of this height, not counting the border slabs of gated tails."""
    from .networks.layout import convolutions

    total = 0
    for stage in net.stages:
        trunk, tail = len(convolutions(stage.trunk)), len(convolutions(stage.tail))
        strips = ceil(height / strip_rows) if 0 < strip_rows < height else 1
        total, height = total + trunk + strips * tail, height * stage.scale
    return total


def _run_stage(stage: Stage, image: Tensor, strip_rows: int) -> Tensor:
    features = stage.trunk(image)
    height = features.shape[-2]
    if strip_rows <= 0 or strip_rows >= height:
        detail = stage.tail(features)
    else:
        detail = _run_tail(stage.tail, features, stage.scale, strip_rows)
    if not stage.bicubic_skip:
        return detail
    return bicubic_upsample(image.float(), stage.scale) + detail.float()


def _run_tail(tail: nn.Module, features: Tensor, scale: int, strip_rows: int) -> Tensor:
    from .networks.layout import gated_steps

    gated = gated_steps(tail)
    try:
        _fix_gates(gated, features, tail)
        return _strips(tail, features, scale, strip_rows)
    finally:  # also when the run is stopped in between: the network may be used again
        for step in gated:
            step.after.fixed = None


def _strips(tail: nn.Module, features: Tensor, scale: int, strip_rows: int) -> Tensor:
    from .networks.layout import tail_halo

    height, halo = features.shape[-2], tail_halo(tail)
    output = None
    for start in range(0, height, strip_rows):
        stop = min(start + strip_rows, height)
        # The halo is clipped at the true border, where the network's own zero padding is right.
        top, bottom = max(0, start - halo), min(height, stop + halo)
        strip = tail(features[..., top:bottom, :])
        strip = strip[..., (start - top) * scale : (stop - top) * scale, :]
        if output is None:
            output = strip.new_empty(*strip.shape[:2], height * scale, strip.shape[-1])
        output[..., start * scale : stop * scale, :] = strip
    return output


def _fix_gates(gated: list[Shuffle], features: Tensor, tail: nn.Module) -> None:
    """Compute the gates of a tail's steps from the whole features and hold each in its ``fixed``.

    Works through the steps with the maps' sum and their borders, from which the next step's sums follow.
    """
    import torch

    from .networks.layout import tail_halo

    borders = _Borders(features, tail_halo(tail) + 1)
    total, pixels = features.sum(dim=(2, 3), dtype=torch.float64), features.shape[-2] * features.shape[-1]
    for step in gated:
        sums = _convolved_sum(step.conv, total, borders.lines(), pixels)
        factor = step.shuffle.upscale_factor
        total = sums.reshape(sums.shape[0], -1, factor**2).sum(dim=2)
        pixels *= factor**2
        mean = (total / pixels).float()[..., None, None]
        step.after.fixed = step.after.gate(mean)
        total = total * step.after.fixed[..., 0, 0].double()
        borders.advance(step)


class _Borders:
    """Thin slabs along the top, bottom, left and right of a map, carried through the tail's steps.

    A slab is exact at the true border and wrong within the layers' reach of its cut side; it starts ``depth`` wide,
    which is more than that reach.
    """

    def __init__(self, features: Tensor, depth: int):
        self.top, self.bottom = features[..., :depth, :], features[..., -depth:, :]
        self.left, self.right = features[..., :depth], features[..., -depth:]

    def advance(self, step: nn.Module) -> None:
        """Put every slab through a step."""
        self.top, self.bottom, self.left, self.right = map(step, (self.top, self.bottom, self.left, self.right))

    def lines(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The outermost lines, (n, c, length): first row, last row, first column, last column."""
        return self.top[..., 0, :], self.bottom[..., -1, :], self.left[..., 0], self.right[..., -1]


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
