"""Checkpoints made small for the journey to another machine, and made whole again there.

Kept exactly: the generator. Kept in bfloat16: how far the averaged weights are from it, Adam's two means of the
generator, and the discriminator's weights; its optimiser begins anew. Of a finished run only the averaged weights
travel, in float16.
"""

from __future__ import annotations

import torch
from torch import Tensor


def shrink(state: dict, with_discriminator: bool = True) -> dict:
    """A small copy of an unfinished run's checkpoint; pending rows of the log are left out."""
    net, average = state["net"], state["average"]
    small = {key: value for key, value in state.items() if key not in ("average", "modules")}
    small["recorder"] = state["recorder"] | {"pending": []}
    small["distance"] = {name: _half(average[name].float() - net[name].float()) for name in net if _real(net[name])}
    modules = dict(state["modules"])
    modules.pop("discriminator_optimizer", None)
    if not with_discriminator:
        modules.pop("discriminator", None)
    small["modules"] = {name: _map(module, _half) for name, module in modules.items()}
    return small


def shrink_finished(state: dict) -> dict:
    """A small copy of a finished run's or phase's checkpoint: the averaged weights in float16."""
    kept = (
        "format",
        "step",
        "phase",
        "precision",
        "config",
        "notes",
        "losses",
        "before",
        "hardware",
        "sampler",
        "random",
        "guard",
        "watch",
    )
    small = {name: state[name] for name in kept if name in state}
    small["recorder"] = state["recorder"] | {"pending": []}
    small["modules"] = {}
    small["average"] = {name: t.half() if _real(t) else t for name, t in state["average"].items()}
    return small


def grow(small: dict) -> dict:
    """A checkpoint that training goes on from, or that is exported; as ``shrink`` or ``shrink_finished`` left it."""
    state = {key: value for key, value in small.items() if key != "distance"}
    if "distance" in small:
        distance = small["distance"]
        state["average"] = {n: v + distance[n].float() if n in distance else v for n, v in small["net"].items()}
    else:
        state["average"] = _map(small["average"], _float)
        state["net"] = dict(state["average"])
    state["modules"] = _map(small["modules"], _float)
    return state


def _real(value) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _half(tensor: Tensor) -> Tensor:
    # A count of steps is exact to 256 only in bfloat16, so single numbers stay.
    return tensor.to(torch.bfloat16) if tensor.numel() > 1 else tensor


def _float(tensor: Tensor) -> Tensor:
    return tensor.float()


def _map(value, change):
    """Apply ``change`` to every floating-point tensor in nested mappings and lists."""
    if isinstance(value, dict):
        return {key: _map(part, change) for key, part in value.items()}
    if isinstance(value, list):
        return [_map(part, change) for part in value]
    return change(value) if _real(value) else value
