"""Weights as a model's file holds them: in 16 or 32 bits, or in 8 with a step for each output channel.

In 8 bits a convolution's weights are whole numbers from -127 to 127 times the step of their output channel, which
stands beside them under the name of the weights and ``.step``. Folding batch normalisation in changes the steps alone.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

#: Ends the name of what a tensor of whole numbers is to be multiplied with.
STEP = ".step"

#: Largest whole number.
MOST = 127


def load_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a safetensors file by name, float32.

    Raises:
        SafetensorError, OSError: if it cannot be read. KeyError: if a step is missing.
    """
    stored = load_file(path)
    weights = {}
    for name, tensor in stored.items():
        if tensor.dtype == torch.int8:
            weights[name] = tensor.float() * stored[name + STEP]
        elif not (name.endswith(STEP) and name.removesuffix(STEP) in stored):
            weights[name] = tensor.float()
    return weights


def is_rounded(weight: Tensor) -> bool:
    """Whether 8 bits are for a tensor of this shape: a kernel, not a bias, slope or scale."""
    return weight.dim() > 1


def to_whole_numbers(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest whole numbers, int8, and the steps, float32 of shape (o, 1, ...), of a kernel (o, ...)."""
    largest = weight.detach().float().abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True)
    step = torch.where(largest > 0, largest / MOST, torch.ones_like(largest))
    return torch.round(weight.detach() / step).to(torch.int8), step


def rounded(weight: Tensor) -> Tensor:
    """A kernel as it comes out of a file that holds it in 8 bits, float32."""
    numbers, step = to_whole_numbers(weight)
    return numbers.float() * step
