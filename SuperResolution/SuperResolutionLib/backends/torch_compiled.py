"""torch.compile under the parts of a network, where the machine has a compiler."""

from __future__ import annotations

import torch

from ..catalog import ModelCard
from .conversions import backend_errors, parts, plain_part


class CompiledExecutor:
    """Executes parts that are compiled anew for each shape; see ``tiling.Execute``.

    It compiles its own copy of the network: the hooks that poll between layers would break the graph of the other.

    Args:
        card: of the network, by which it is built anew. net: the network whose parts will be given.
        device: of the network. precision: of the parts' inner convolutions.
    """

    def __init__(self, card: ModelCard, net, device: str, precision: str):
        self._card, self._parts, self._device, self._precision = card, parts(net), device, precision
        self._compiled: dict[str, object] = {}

    def __call__(self, module, x, poll):
        if isinstance(module, torch.nn.Identity):
            return x
        part = self._parts[id(module)]
        if part not in self._compiled:
            copy = plain_part(self._card, part, self._precision).to(self._device, memory_format=torch.channels_last)
            self._compiled[part] = torch.compile(copy, dynamic=False)
        poll(0)
        with backend_errors("torch.compile does not work here"):
            made = self._compiled[part](x)
        poll(sum(isinstance(layer, torch.nn.Conv2d) for layer in module.modules()))
        return made
