"""From a graphics card to the CPU without waiting, and waiting for it in the end; what is on the CPU already is there.

PyTorch keeps pinned memory that is freed, and gives it out again once the copies that were queued for it are done.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch


def to_host(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor on the CPU; from a graphics card in pinned memory, filled when its stream has come so far."""
    if not tensor.is_cuda:
        return tensor
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return pinned.copy_(tensor, non_blocking=True)


def begin_download(made: tuple[torch.Tensor | None, ...]) -> Callable[[], tuple]:
    """The first image of each tensor on its way to the CPU, and what waits for them there as arrays."""
    hosts = [part if part is None else to_host(part[0]) for part in made]
    arrived = now(made[0])

    def wait() -> tuple:
        _wait_for(arrived)
        return tuple(part if part is None else part.numpy() for part in hosts)

    return wait


def download(given: torch.Tensor | np.ndarray) -> np.ndarray:
    """A tensor as an array; an array is one."""
    if isinstance(given, np.ndarray):
        return np.ascontiguousarray(given)
    made = to_host(given)
    _wait_for(now(given))
    return made.numpy()


def now(image: torch.Tensor) -> float | torch.cuda.Event:
    """This moment; for an image on a graphics card, when its stream will have come so far."""
    if not image.is_cuda:
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(image.device))
    return event


def _wait_for(moment: float | torch.cuda.Event) -> None:
    if not isinstance(moment, float):
        moment.synchronize()


def seconds_between(start: float | torch.cuda.Event, stop: float | torch.cuda.Event) -> float:
    """Waits until the latter has come."""
    _wait_for(stop)
    return stop - start if isinstance(start, float) else start.elapsed_time(stop) / 1000
