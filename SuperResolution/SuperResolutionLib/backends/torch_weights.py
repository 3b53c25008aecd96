"""Weights as a model's file holds them: in 16 or 32 bits, or in 8 or 6 with a step for each output channel.

In 8 bits a convolution's weights are whole numbers from -127 to 127 times the step of their output channel, which
stands beside them under the name of the weights and ``.step``. Folding batch normalisation in changes the steps alone.
In 6 bits they reach from -31 to 31 and lie four in three bytes, in one row; ``.shape`` says what shape they are given.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

#: End the names of what kernels of whole numbers are to be multiplied with, and of the shape of those in 6 bits.
STEP, SHAPE = ".step", ".shape"

#: What is added to the whole numbers of 6 bits, so that none is negative.
_MIDDLE = 32


def load_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a safetensors file by name, float32.

    Raises:
        SafetensorError, OSError: if it cannot be read. KeyError, ValueError, RuntimeError: if a step or a shape is
            missing or does not fit.
    """
    stored = load_file(path)
    weights = {}
    for name, tensor in stored.items():
        if tensor.dtype == torch.uint8:
            tensor = _from_six_bits(tensor, stored[name + SHAPE].tolist())
        if tensor.dtype == torch.int8:
            weights[name] = tensor.float() * stored[name + STEP]
        elif not is_beside(name, stored):
            weights[name] = tensor.float()
    return weights


def is_beside(name: str, stored) -> bool:
    """Whether a name among those of a file is no tensor of the network but belongs to another one."""
    return any(name.endswith(end) and name.removesuffix(end) in stored for end in (STEP, SHAPE))


def is_rounded(weight: Tensor) -> bool:
    """Whether 8 or 6 bits are for a tensor of this shape: a kernel, not a bias, slope or scale."""
    return weight.dim() > 1


def to_whole_numbers(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """The nearest whole numbers, int8, and the steps, float32 of shape (o, 1, ...), of a kernel (o, ...).

    The largest whole number is ``2 ** (bits - 1) - 1``.
    """
    largest = weight.detach().float().abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True)
    step = torch.where(largest > 0, largest / (2 ** (bits - 1) - 1), torch.ones_like(largest))
    return torch.round(weight.detach() / step).to(torch.int8), step


def rounded(weight: Tensor, bits: int) -> Tensor:
    """A kernel as it comes out of a file that holds it in so many bits, float32."""
    numbers, step = to_whole_numbers(weight, bits)
    return numbers.float() * step


def stored_kernel(name: str, weight: Tensor, bits: int) -> dict[str, Tensor]:
    """The tensors by which a file holds a kernel in 8 or 6 bits."""
    numbers, step = to_whole_numbers(weight, bits)
    if bits == 8:
        return {name: numbers, name + STEP: step}
    shape = torch.tensor(numbers.shape, dtype=torch.int32)
    return {name: _to_six_bits(numbers), name + STEP: step, name + SHAPE: shape}


def _to_six_bits(numbers: Tensor) -> Tensor:
    values = (numbers + _MIDDLE).to(torch.uint8).numpy().reshape(-1, 1)
    return torch.from_numpy(np.packbits(np.unpackbits(values, axis=1)[:, 2:]))


def _from_six_bits(packed: Tensor, shape: list[int]) -> Tensor:
    count = int(np.prod(shape))
    bits = np.unpackbits(packed.numpy())[: 6 * count].reshape(count, 6)
    values = np.packbits(np.pad(bits, ((0, 0), (2, 0))), axis=1)
    return (torch.from_numpy(values).to(torch.int16) - _MIDDLE).to(torch.int8).reshape(shape)
