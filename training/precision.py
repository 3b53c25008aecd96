"""In which number format the forward and backward passes run. Weights, optimisers and sums stay in float32."""

from __future__ import annotations

import time

import torch
from torch import nn

#: How much faster than float32 bfloat16 has to be on a CPU to be worth its rounding.
WORTH = 1.3


def choose_precision(wish: str, device: torch.device) -> str:
    """``auto`` becomes bfloat16 where the device computes it fast, else float32; anything else stays.

    A GPU says whether it has it. A CPU without its instructions is many times slower in bfloat16, so a CPU that might
    have them is timed for a moment.
    """
    if wish != "auto":
        return wish
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return "float32"
    return "bfloat16" if _seconds("float32") > WORTH * _seconds("bfloat16") else "float32"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which networks and losses compute."""
    return torch.autocast(device.type, getattr(torch, precision), enabled=precision != "float32")


def grad_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Keeps float16's gradients above its smallest number; does nothing for the other formats."""
    return torch.amp.GradScaler(device.type, enabled=precision == "float16")


def _seconds(precision: str) -> float:
    """Shortest of three passes through a convolution, forwards and backwards."""
    layer = nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    image = torch.zeros(4, 64, 48, 48).to(memory_format=torch.channels_last)
    times = []
    for _ in range(4):  # the first one prepares
        began = time.perf_counter()
        with autocast(precision, torch.device("cpu")):
            loss = layer(image).sum()
        torch.autograd.grad(loss, list(layer.parameters()))
        times.append(time.perf_counter() - began)
    return min(times[1:])
