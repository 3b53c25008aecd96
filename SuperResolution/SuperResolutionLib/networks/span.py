"""SPAN: swift parameter-free attention network, the fast model.

Wan et al., CVPR workshops 2024 (arXiv 2311.12770). Six attention blocks of three re-parametrised convolutions, 48
channels. No mean shift. ``fused`` builds the same network with plain 3x3 convolutions for inference.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Generator, Shuffle, Stage, conv


class Conv3XC(nn.Module):
    """1x1, 3x3 and 1x1 convolutions plus a 1x1 shortcut, all linear, hence one 3x3 convolution.

    The factors exist for training only: the forward pass multiplies them out and convolves once, which is exact at the
    border too, because the zero padding stands before the first bias.
    """

    def __init__(self, inputs: int, outputs: int, gain: int = 2):
        super().__init__()
        self.out_channels = outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1)
        self.expand = nn.Conv2d(inputs, inputs * gain, 1)
        self.middle = nn.Conv2d(inputs * gain, outputs * gain, 3)
        self.reduce = nn.Conv2d(outputs * gain, outputs, 1)

    def kernel(self) -> tuple[Tensor, Tensor]:
        """The equivalent 3x3 weight (outputs, inputs, 3, 3) and bias (outputs,), multiplied out in float32."""
        with torch.autocast(self.middle.weight.device.type, enabled=False):
            expand, middle, reduce = (layer.weight.float() for layer in (self.expand, self.middle, self.reduce))
            weight = torch.einsum("om,mnhw,ni->oihw", reduce[:, :, 0, 0], middle, expand[:, :, 0, 0])
            weight = weight + F.pad(self.shortcut.weight.float(), (1, 1, 1, 1))
            bias = torch.einsum("mnhw,n->m", middle, self.expand.bias.float()) + self.middle.bias.float()
            bias = reduce[:, :, 0, 0] @ bias + self.reduce.bias.float() + self.shortcut.bias.float()
        return weight, bias

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.kernel()
        return F.conv2d(x, weight.to(self.middle.weight.dtype), bias.to(self.middle.weight.dtype), padding=1)


class SPAB(nn.Module):
    """Three convolutions whose last output gates the block without parameters: (x + o) * (sigmoid(o) - 1/2).

    Returns the block's output and the activated output of its first convolution.
    """

    def __init__(self, features: int, layer):
        super().__init__()
        self.first = layer(features, features)
        self.second = layer(features, features)
        self.third = layer(features, features)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        early = F.silu(self.first(x))
        out = self.third(F.silu(self.second(early)))
        return (x + out) * (torch.sigmoid(out) - 0.5), early


class Trunk(nn.Module):
    """First convolution, the attention blocks, and the fusion of four of their maps."""

    def __init__(self, channels: int, features: int, blocks: int, input_gain: float, layer):
        super().__init__()
        self.input_gain = input_gain
        self.first = layer(channels, features)
        self.blocks = nn.ModuleList([SPAB(features, layer) for _ in range(blocks)])
        self.last = layer(features, features)
        self.fuse = conv(4 * features, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        shallow = x = self.first(x * self.input_gain)
        first = None
        for block in self.blocks:
            x, early = block(x)
            first = x if first is None else first
        return self.fuse(torch.cat([shallow, self.last(x), first, early], dim=1))


def span(
    scale: int = 4,
    channels: int = 3,
    features: int = 48,
    blocks: int = 6,
    input_gain: float = 255.0,
    fused: bool = False,
    bicubic_skip: bool = False,
) -> Generator:
    """Build SPAN for any integer scale of 2 or more; ``input_gain`` is the published image range of 255."""
    layer = conv if fused else Conv3XC
    trunk = Trunk(channels, features, blocks, input_gain, layer)
    tail = nn.Sequential(Shuffle(conv(features, channels * scale**2), scale))
    return Generator([Stage(trunk, tail, scale, bicubic_skip)], channels)


def fuse(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of the ``fused`` network that equals a trained one: each Conv3XC becomes one 3x3 convolution."""
    fused = {}
    for key, value in state.items():
        prefix, _, layer = key.removesuffix(".weight").removesuffix(".bias").rpartition(".")
        if layer == "middle" and key.endswith(".weight"):
            triple = Conv3XC(state[f"{prefix}.expand.weight"].shape[1], state[f"{prefix}.reduce.weight"].shape[0])
            triple.load_state_dict({k[len(prefix) + 1 :]: v for k, v in state.items() if k.startswith(prefix + ".")})
            with torch.no_grad():
                fused[f"{prefix}.weight"], fused[f"{prefix}.bias"] = triple.kernel()
        elif layer not in ("shortcut", "expand", "middle", "reduce"):
            fused[key] = value
    return fused
