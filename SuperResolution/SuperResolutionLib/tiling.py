"""How a generator runs on a slice that is too large at once, exactly.

Trunks run whole: their maps are small, and gates inside them need the whole slice. Tails, whose maps are scale^2 times
larger, run in strips of rows with a halo as wide as their receptive field, or, where they are linear, as one small
convolution (``linear_tail``).
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING

from . import linear_tail
from .resampling import bicubic_upsample

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .networks.blocks import Generator, Stage

#: How a part of a network is executed: a trunk, a tail, or, where no strips are needed, a stage, which stands for both
#: in turn, without the bicubic skip. Given are the part, its input, and ``poll`` for whoever does not call the layers.
Execute = Callable[["nn.Module", "Tensor", Callable[..., None]], "Tensor"]


def run(
    net: Generator,
    image: Tensor,
    strip_rows: int,
    poll: Callable[..., None],
    execute: Execute | None = None,
    detail: bool = False,
) -> Tensor:
    """Enlarge (n, c, h, w) to (n, c, h * scale, w * scale), equal to ``net(image)`` to 1e-5 of the range.

    Args:
        net: a generator in evaluation mode.
        image: network range, on the network's device.
        strip_rows: rows of a stage's input that are enlarged at once; 0 means all.
        poll: called between layers; may raise to stop the run.
        execute: how parts are executed; None calls trunks and tails.
        detail: leave out the last stage's bicubic skip, if it has one.
    """
    from .networks.layout import convolutions

    hooks = [layer.register_forward_pre_hook(lambda *_: poll()) for layer in convolutions(net)]
    try:
        for stage in net.stages:
            made = _detail(stage, image, strip_rows, poll, execute)
            if stage.bicubic_skip and not (detail and stage is net.stages[-1]):
                made = bicubic_upsample(image.float(), stage.scale).add_(made)
            image = made
    finally:
        for hook in hooks:
            hook.remove()
    return image


def count_polls(net: Generator, height: int, width: int, strip_rows: int) -> int:
    """How often ``run`` polls for an image of this size."""
    from .networks.composition import linear_steps
    from .networks.layout import convolutions

    total = 0
    for stage in net.stages:
        trunk, tail = len(convolutions(stage.trunk)), len(convolutions(stage.tail))
        if linear_steps(stage.tail) and linear_tail.is_worthwhile(height, width):
            tail = linear_tail.SLABS * tail + 1
        elif 0 < strip_rows < height and not linear_steps(stage.tail):
            tail *= ceil(height / strip_rows)
        total, height, width = total + trunk + tail, height * stage.scale, width * stage.scale
    return total


def _call(module: nn.Module, x: Tensor, _poll: Callable[..., None]) -> Tensor:
    return module(x)


def _detail(stage: Stage, image: Tensor, strip_rows: int, poll: Callable[..., None], execute: Execute | None) -> Tensor:
    """What trunk and tail make of an image."""
    from .networks.composition import linear_steps

    steps, in_strips = linear_steps(stage.tail), 0 < strip_rows < image.shape[-2]
    if execute is not None and not steps and not in_strips:
        return execute(stage, image, poll)
    execute = execute or _call
    features = execute(stage.trunk, image, poll)
    if steps and linear_tail.is_worthwhile(*features.shape[-2:]):
        return linear_tail.run(stage.tail, steps, features, poll)
    if steps or not in_strips:  # the gates of a linear tail need the whole map, which is small here
        return stage.tail(features)
    return _strips(stage.tail, features, stage.scale, strip_rows, lambda strip: execute(stage.tail, strip, poll))


def _strips(tail: nn.Module, features: Tensor, scale: int, strip_rows: int, enlarge) -> Tensor:
    from .networks.layout import tail_halo

    height, halo = features.shape[-2], tail_halo(tail)
    output = None
    for start in range(0, height, strip_rows):
        stop = min(start + strip_rows, height)
        # The halo is clipped at the true border, where the network's own zero padding is right.
        top, bottom = max(0, start - halo), min(height, stop + halo)
        strip = enlarge(features[..., top:bottom, :])
        strip = strip[..., (start - top) * scale : (stop - top) * scale, :]
        if output is None:
            output = strip.new_empty(*strip.shape[:2], height * scale, strip.shape[-1])
        output[..., start * scale : stop * scale, :] = strip
    return output
