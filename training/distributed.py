"""Several processes as one: torchrun's variables, means over all of them, and the same gradients in each.

Every process takes its share of the batch. After a backward pass the gradients are averaged, so that for losses that
are means over the batch and networks without batch normalisation the step equals that of one process with the whole
batch. Batch normalisation sees one process's share only, and a checkpoint holds the first process's running statistics.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from SuperResolutionLib.errors import DeviceError


@dataclass(frozen=True)
class Group:
    """This process among ``world`` of them, and the device it computes on."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes, in one message."""
        gradients = [p.grad for p in parameters if p.grad is not None] if self.world > 1 else []
        if not gradients:
            return
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world
        for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
            gradient.copy_(part.view_as(gradient))

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over the processes."""
        if self.world > 1:
            dist.all_reduce(values)
            values = values / self.world
        return values

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is set in any process."""
        if self.world == 1:
            return list(flags)
        tensor = torch.tensor(flags, dtype=torch.float32, device=self.device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return [bool(value) for value in tensor.tolist()]

    def gather(self, value) -> list:
        """What each process passed, in their order."""
        if self.world == 1:
            return [value]
        values = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def close(self) -> None:
        """Leave the group."""
        if self.world > 1:
            dist.destroy_process_group()


def connect(device: str = "auto") -> Group:
    """Join the processes that torchrun started: nccl on GPUs, gloo on CPUs. Without torchrun this process is alone.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``; with torchrun each process of a machine takes its own GPU.

    Raises:
        DeviceError: for a GPU that is not there, or a name that is none of these.
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and world > 1:
        device = f"cuda:{os.environ.get('LOCAL_RANK', rank)}"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in ("cpu", "cuda"):
        raise DeviceError(f"There is no device {device}; --device takes auto, cpu, cuda or cuda:<n>.")
    if chosen.type == "cuda":
        if not torch.cuda.is_available() or (chosen.index or 0) >= torch.cuda.device_count():
            raise DeviceError(f"The device {device} is not available; use --device cpu or one GPU a process.")
        torch.cuda.set_device(chosen if chosen.index is not None else 0)
    if world > 1:
        # Its functions keep the group of the moment they are imported as a default: imported later, as optimisers do,
        # they would keep this one's threads alive after close(), and the interpreter's end would abort the process.
        from torch.distributed.nn import functional  # noqa: F401

        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Group(chosen, rank, world)
