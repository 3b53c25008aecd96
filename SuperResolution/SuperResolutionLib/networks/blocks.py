"""What the generators share: the stage frame, gates, residual blocks and upsamplers.

A generator is a list of stages. A stage has a *trunk*, which works at its input's size, and a *tail*, which enlarges:
``tail(trunk(x))``, plus a bicubic enlargement of ``x`` where the configuration asks for the global skip. The split is
what makes large slices fit: trunks run whole, tails are cut into strips (see ``tiling.py``).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..resampling import bicubic_upsample


class Stage(nn.Module):
    """One enlargement: ``tail(trunk(x))``, plus bicubic(x) in float32 if ``bicubic_skip``.

    Takes (n, c, h, w) and returns (n, c, h * scale, w * scale), in the model's range (nominally 0 to 1).
    """

    def __init__(self, trunk: nn.Module, tail: nn.Module, scale: int, bicubic_skip: bool):
        super().__init__()
        self.trunk = trunk
        self.tail = tail
        self.scale = scale
        self.bicubic_skip = bicubic_skip

    def forward(self, x: Tensor) -> Tensor:
        detail = self.tail(self.trunk(x))
        if not self.bicubic_skip:
            return detail
        return bicubic_upsample(x.float(), self.scale) + detail.float()


class Generator(nn.Module):
    """Stages in sequence. ``scale`` is the product of the stages' scales; ``channels`` is 1 or 3."""

    def __init__(self, stages: list[Stage], channels: int):
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels = channels
        self.scale = math.prod(stage.scale for stage in stages)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return x


class Residual(nn.Module):
    """``x + factor * body(x)``."""

    def __init__(self, *body: nn.Module, factor: float = 1.0):
        super().__init__()
        self.body = nn.Sequential(*body)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) * self.factor if self.factor != 1.0 else x + self.body(x)


class ImprovedSE(nn.Module):
    """Improved squeeze-and-excitation: x * 2 * [0.8 * sigmoid(W2 relu(W1 y)) + 0.2 * sigmoid(y)], y = mean of x.

    After Bing et al., IEEE Access 2019 (doi 10.1109/ACCESS.2019.2944862). The gate lies in (0, 2). W2 starts at zero,
    so that the gate is 1 where y is 0 and training starts from the network without gates. The means are taken in
    float32.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, max(channels // reduction, 1), 1)
        self.excite = nn.Conv2d(max(channels // reduction, 1), channels, 1)
        nn.init.zeros_(self.excite.weight)
        nn.init.zeros_(self.excite.bias)

    def gate(self, mean: Tensor) -> Tensor:
        """Gate of shape (n, c, 1, 1) from the channel means of shape (n, c, 1, 1)."""
        weight = self.squeeze.weight.dtype
        learned = self.excite(torch.relu(self.squeeze(mean.to(weight))))
        return 2.0 * (0.8 * torch.sigmoid(learned) + 0.2 * torch.sigmoid(mean.to(weight)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean(dim=(2, 3), keepdim=True, dtype=torch.float32)).to(x.dtype)


class CBAM(nn.Module):
    """Convolutional block attention: channel gate (shared MLP on mean and max), then a 7x7 spatial gate.

    Woo et al., ECCV 2018. Both gates lie in (0, 1).
    """

    def __init__(self, channels: int, reduction: int = 16, kernel: int = 7):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, channels // reduction, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(channels // reduction, channels, 1, bias=False),
        )
        self.spatial = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(2, 3), keepdim=True, dtype=torch.float32).to(x.dtype)
        x = x * torch.sigmoid(self.mlp(mean) + self.mlp(x.amax(dim=(2, 3), keepdim=True)))
        summary = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.spatial(summary))


class BicubicUpsample(nn.Module):
    """The engine's bicubic enlargement as a layer, for networks that work on the enlarged image."""

    def __init__(self, scale: int):
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return bicubic_upsample(x.float(), self.scale).to(x.dtype)


class Shuffle(nn.Module):
    """One enlargement inside a tail: convolution, pixel shuffle, then either a gate or an activation or nothing.

    Shi et al., CVPR 2016 (sub-pixel convolution). ``after`` is applied at the enlarged size.
    """

    def __init__(self, conv: nn.Module, scale: int, after: nn.Module | None = None):
        super().__init__()
        self.conv = conv
        self.shuffle = nn.PixelShuffle(scale)
        self.after = after if after is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.shuffle(self.conv(x)))


def batch_norm(features: int, fused: bool = False) -> nn.Module:
    """Batch normalisation, or nothing in a ``fused`` network, where the convolution before it does its work."""
    return nn.Identity() if fused else nn.BatchNorm2d(features)


def fold_batch_norm(net: nn.Module) -> dict[str, Tensor]:
    """The state of the ``fused`` network that equals a trained one in evaluation mode.

    Every batch normalisation is multiplied into the last convolution of the layer before it, which gets a bias; the
    zero padding stands before that convolution, so the border is exact too.
    """
    state = dict(net.state_dict())
    for prefix, sequence in net.named_modules():
        children = list(sequence.named_children()) if isinstance(sequence, nn.Sequential) else []
        for (before, layer), (after, norm) in zip(children, children[1:]):
            if isinstance(norm, nn.BatchNorm2d):
                inner, last = [found for found in layer.named_modules() if isinstance(found[1], nn.Conv2d)][-1]
                key = ".".join(part for part in (prefix, before, inner) if part)
                factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
                bias = last.bias.double() if last.bias is not None else 0.0
                weight = last.weight.double() * factor[:, None, None, None]
                state[f"{key}.weight"] = weight.float()
                state[f"{key}.bias"] = ((bias - norm.running_mean.double()) * factor + norm.bias.double()).float()
                state = {name: value for name, value in state.items() if not name.startswith(f"{prefix}.{after}.")}
    return {name: value.detach() for name, value in state.items()}


def conv(inputs: int, outputs: int, kernel: int = 3, **options) -> nn.Conv2d:
    """A convolution that keeps the size: zero padding of half the kernel."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **options)


def factors(scale: int) -> list[int]:
    """The enlargements that make up a scale: a power of two is log2(scale) steps of 2; 3 is one step.

    Raises:
        ValueError: for any other scale.
    """
    if scale == 3:
        return [3]
    steps = scale.bit_length() - 1
    if scale < 2 or 2**steps != scale:
        raise ValueError(f"scale {scale} is neither 3 nor a power of two")
    return [2] * steps
