"""The feature parts of VGG19, MobileNetV2 and SqueezeNet 1.1, with the keys of torchvision's weight files.

``network(backbone)`` builds one without weights, ``depth_of(backbone, layer)`` finds a layer in it. A layer is
named ``features.N``, torchvision's own index, or, in VGG19, as in the paper: ``conv5_4`` before its activation,
``relu5_4`` after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from SuperResolutionLib.errors import UsageError

#: Convolutions a block and their channels; a pooling follows every block.
VGG19_BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))

#: Expansion, channels, repetitions and first stride of MobileNetV2's groups of blocks (its paper's table 2).
MOBILENET_GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def network(backbone: str) -> nn.Sequential:
    """The feature part of a classification network, for RGB images; its tensors have shapes and no values yet.

    So it costs no time, and leaves the random numbers that training starts from alone.

    Raises:
        UsageError: for an unknown name.
    """
    if backbone not in NETWORKS:
        raise UsageError(f"Unknown feature network '{backbone}'; known are {', '.join(sorted(NETWORKS))}.")
    with torch.device("meta"):
        return NETWORKS[backbone]()


def depth_of(backbone: str, layer: str) -> int:
    """How many modules of ``network(backbone)`` have to run for a layer's output.

    Raises:
        UsageError: for a layer that the network does not have.
    """
    names = dict(_named(backbone))
    if layer not in names:
        hint = "conv1_1 to conv5_4, relu1_1 to relu5_4 or " if backbone == "vgg19" else ""
        last = len(network(backbone)) - 1
        raise UsageError(f"{backbone} has no layer '{layer}'; name one of {hint}features.0 to features.{last}.")
    return names[layer]


def deepest_layer(backbone: str, depth: int) -> str:
    """The name of the last layer that the first ``depth`` modules reach, VGG19's convolutions by their own names."""
    reached = [name for name, at in _named(backbone) if at <= depth]
    convolutions = [name for name in reached if name.startswith("conv")]
    return (convolutions or reached)[-1]


def _named(backbone: str) -> Iterator[tuple[str, int]]:
    for index in range(len(network(backbone))):
        yield f"features.{index}", index + 1
    if backbone == "vgg19":
        depth = 0
        for block, (count, _) in enumerate(VGG19_BLOCKS, 1):
            for number in range(1, count + 1):
                yield f"conv{block}_{number}", depth + 1
                yield f"relu{block}_{number}", depth + 2
                depth += 2
            depth += 1


def _vgg19() -> nn.Sequential:
    layers, inputs = [], 3
    for count, outputs in VGG19_BLOCKS:
        for _ in range(count):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class Fire(nn.Module):
    """SqueezeNet's module: a 1x1 convolution, then 1x1 and 3x3 ones side by side."""

    def __init__(self, inputs: int, squeeze: int, expand: int):
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze1x1(x))
        return torch.cat([torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))], dim=1)


def _squeezenet() -> nn.Sequential:
    """No padding in the first convolution; poolings that round up."""

    def pool() -> nn.MaxPool2d:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    layers = [nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), Fire(64, 16, 64), Fire(128, 16, 64), pool()]
    layers += [Fire(128, 32, 128), Fire(256, 32, 128), pool(), Fire(256, 48, 192), Fire(384, 48, 192)]
    return nn.Sequential(*layers, Fire(384, 64, 256), Fire(512, 64, 256))


class Inverted(nn.Module):
    """MobileNetV2's block: widen, filter each channel, narrow; plus the input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int):
        super().__init__()
        wide = inputs * expansion
        layers = [_activated(inputs, wide, 1)] if expansion > 1 else []
        layers += [_activated(wide, wide, 3, stride, groups=wide), nn.Conv2d(wide, outputs, 1, bias=False)]
        self.conv = nn.Sequential(*layers, nn.BatchNorm2d(outputs))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


def _activated(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())


def _mobilenet() -> nn.Sequential:
    layers, inputs = [_activated(3, 32, 3, 2)], 32
    for expansion, outputs, count, stride in MOBILENET_GROUPS:
        for index in range(count):
            layers.append(Inverted(inputs, outputs, expansion, stride if index == 0 else 1))
            inputs = outputs
    return nn.Sequential(*layers, _activated(inputs, 1280, 1))


NETWORKS = {"vgg19": _vgg19, "mobilenet_v2": _mobilenet, "squeezenet1_1": _squeezenet}


def layer_index(key: str) -> int:
    """The position in the network that a key of its state belongs to."""
    return int(re.match(r"\d+", key).group())
