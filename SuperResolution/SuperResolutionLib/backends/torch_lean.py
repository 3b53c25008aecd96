"""The same network in the form that infers quickest: fewer passes over memory, or a short precision where it is safe.

On a CPU a pass over a map costs a good part of a convolution. An activation overwrites the map that it is given, and a
residual block multiplies its gate and adds its input in one pass. In a short precision only convolutions compute: sums
over blocks, gates, the first convolution and each tail's last one stay in float32. That costs little time and leaves an
eighth of the error that rounding everything has.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks.blocks import CBAM, Generator, ImprovedSE, Residual
from ..networks.composition import linear_steps
from ..networks.layout import convolutions, last_convolution
from ..networks.span import SPAB, Conv3XC, Trunk

#: Activations that may overwrite the output of the convolution before them, which nobody else reads.
_ACTIVATIONS = (nn.ReLU, nn.LeakyReLU)


class LeanResidual(nn.Module):
    """``Residual`` with its gate, if it ends in one, and its sum in one pass over the branch's own memory.

    The sum has its input's type.
    """

    def __init__(self, residual: Residual):
        super().__init__()
        *layers, last = residual.body
        gated = isinstance(last, ImprovedSE)
        self.body = nn.Sequential(*layers) if gated else residual.body
        self.gate = last if gated else None
        self.factor = residual.factor

    def forward(self, x: Tensor) -> Tensor:
        branch = self.body(x).to(x.dtype)
        if self.gate is None:
            return torch.add(x, branch, alpha=self.factor, out=branch)
        weights = self.gate.gate(branch.mean(dim=(2, 3), keepdim=True, dtype=torch.float32)) * self.factor
        return torch.addcmul(x, branch, weights.to(x.dtype), out=branch)


class LeanSPAB(nn.Module):
    """``SPAB`` that overwrites its own maps: four are alive at a time, not seven.

    The block's output has its input's type.
    """

    def __init__(self, block: SPAB):
        super().__init__()
        self.first, self.second, self.third = block.first, block.second, block.third

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        early = F.silu(self.first(x), inplace=True)
        out = self.third(F.silu(self.second(early), inplace=True)).to(x.dtype)
        gate = torch.sigmoid(out).sub_(0.5)
        return out.add_(x).mul_(gate), early


class LeanTrunk(nn.Module):
    """SPAN's ``Trunk`` without the one map of the four that it fuses: 1x1 convolutions of three are added up.

    The fourth is a convolution's, which is linear, so that its own is multiplied out with that.
    """

    def __init__(self, trunk: Trunk):
        super().__init__()
        self.input_gain, self.first, self.blocks = trunk.input_gain, trunk.first, trunk.blocks
        weights = trunk.fuse.weight.split(trunk.first.out_channels, dim=1)
        self.shallow, self.block, self.early = (_pointwise(weights[index]) for index in (0, 2, 3))
        self.last = _after(trunk.last, weights[1], trunk.fuse.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x * self.input_gain)
        sum_of_fused = self.shallow(x)
        for number, block in enumerate(self.blocks):
            x, early = block(x)
            if number == 0:
                sum_of_fused.add_(self.block(x))
        return sum_of_fused.add_(self.last(x)).add_(self.early(early))


def _pointwise(weight: Tensor) -> nn.Conv2d:
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=False).requires_grad_(False)
    layer.weight.copy_(weight)
    return layer.to(weight.device, memory_format=torch.channels_last)


def _after(layer: nn.Conv2d | Conv3XC, pointwise: Tensor, shift: Tensor) -> nn.Conv2d:
    """A convolution and the 1x1 convolution after it, of this weight and bias, as one."""
    made = _multiplied_out(layer) if isinstance(layer, Conv3XC) else copy.deepcopy(layer)
    mixed = pointwise[:, :, 0, 0].double()
    made.weight.copy_(torch.einsum("om,mihw->oihw", mixed, made.weight.double()))
    made.bias.copy_(mixed @ made.bias.double() + shift.double())
    return made.to(pointwise.device, memory_format=torch.channels_last)


def add_up(net: Generator) -> None:
    """Let SPAN add up what it would join, in place; its results stay up to rounding."""
    for stage in net.stages:
        if isinstance(stage.trunk, Trunk):
            stage.trunk = LeanTrunk(stage.trunk)


class LeanPixelShuffle(nn.PixelShuffle):
    """``PixelShuffle`` in one pass where it makes a single channel of maps whose channels are adjacent in memory."""

    def forward(self, x: Tensor) -> Tensor:
        (n, channels, height, width), r = x.shape, self.upscale_factor
        if channels != r**2:
            return super().forward(x)
        rows = x.permute(0, 2, 3, 1).reshape(n, height, width, r, r).transpose(2, 3)
        return rows.reshape(n, 1, height * r, width * r)


def make_lean(net: Generator) -> None:
    """Change a network in evaluation mode in place; its results stay up to rounding."""
    add_up(net)
    for module in list(net.modules()):
        children = list(module.named_children())
        for (_, before), (_, layer) in zip(children, children[1:]):
            if isinstance(module, nn.Sequential) and isinstance(before, nn.Conv2d) and isinstance(layer, _ACTIVATIONS):
                layer.inplace = True
        for name, child in children:
            if isinstance(child, Residual):
                setattr(module, name, LeanResidual(child))
            elif isinstance(child, SPAB):
                setattr(module, name, LeanSPAB(child))
            elif isinstance(child, nn.PixelShuffle):
                setattr(module, name, LeanPixelShuffle(child.upscale_factor))


class ShortConvolution(nn.Module):
    """A convolution in a short precision, whatever it is given."""

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype):
        super().__init__()
        self.layer, self.dtype = layer.to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.to(self.dtype))


class InFloat32(nn.Module):
    """A layer with parameters that computes in float32, whatever it is given."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.float())


def shortened(net: Generator, dtype: torch.dtype) -> Generator:
    """A copy of a network whose inner convolutions compute in a short precision; takes and returns float32."""
    short = copy.deepcopy(net)
    for stage in short.stages:
        shorten(stage.trunk, dtype, stays=next(iter(convolutions(stage.trunk)), None))
        if not linear_steps(stage.tail):  # those run as one convolution in float32
            shorten(stage.tail, dtype, stays=last_convolution(stage.tail))
    return short


def shorten(part: nn.Module, dtype: torch.dtype, stays: nn.Module | None) -> None:
    """Let the convolutions of a trunk or a tail compute in a short precision, except the one that ``stays``."""

    def replacement(child: nn.Module) -> nn.Module | None:
        if child is stays or isinstance(child, (ImprovedSE, CBAM)):
            return InFloat32(child)
        if isinstance(child, LeanResidual):  # asks its gate for the weights alone, and in float32
            _replace_where(child.body, replacement)
            return child
        if isinstance(child, Conv3XC):
            return ShortConvolution(_multiplied_out(child), dtype)
        if isinstance(child, nn.Conv2d) and child.kernel_size != (1, 1):
            return ShortConvolution(child, dtype)
        plain = not list(child.children()) and list(child.parameters(recurse=False))
        return InFloat32(child) if plain else None

    _replace_where(part, replacement)


def _replace_where(module: nn.Module, replacement) -> None:
    for name, child in list(module.named_children()):
        new = replacement(child)
        if new is None:
            _replace_where(child, replacement)
        else:
            setattr(module, name, new)


def _multiplied_out(layer: Conv3XC) -> nn.Conv2d:
    weight, bias = layer.kernel()
    made = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1).requires_grad_(False)
    made.weight.copy_(weight)
    made.bias.copy_(bias)
    return made
