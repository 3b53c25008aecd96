"""The weights that a run starts from: bicubic where the network has a skip for it, or those of another model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from SuperResolutionLib.backends.torch_weights import load_weights
from SuperResolutionLib.catalog import CARD, WEIGHTS
from SuperResolutionLib.errors import ModelError, SuperResolutionError

from .about import earlier_entry
from .config import trained_config
from .reached import as_trained

#: Share of a generator's numbers that another model has to give; fewer fit by chance.
LEAST = 0.1

_TAIL = re.compile(r"^(stages\.\d+\.tail)\.(\d+)\.(.*)$")


def start_as_bicubic(net: nn.Module) -> nn.Module:
    """Zero each tail's last convolution where a bicubic skip carries the image, so that training starts from it."""
    for stage in net.stages:
        if stage.bicubic_skip:
            last = [layer for layer in stage.tail.modules() if isinstance(layer, nn.Conv2d)][-1]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
    return net


def load_start(net: nn.Module, start: str, beside: Path, fused: bool = False) -> str:
    """Take over weights as far as they fit, and say how far that is.

    Args:
        net: the generator, already initialised.
        start: path of a model folder, a run's folder or a checkpoint, or the name of a run in ``beside``.
        beside: folder of the runs.
        fused: whether the generator has the form for inference.

    Raises:
        ModelError: if nothing is there, next to nothing of it fits, or it is a model in the form for inference and the
            generator is not.
    """
    path = _find(start, beside)
    if not fused and _is_fused(path):
        raise ModelError(
            f"{path} has the form for inference, in which layers were folded into others that the generator still has; "
            "start from the run that it was exported from, or add fused: true to network."
        )
    weights = _aligned(read_weights(path), net.state_dict())
    own = net.state_dict()
    fitting = {name: weights[name] for name in own if name in weights and weights[name].shape == own[name].shape}
    fresh = [name for name in own if name not in fitting]
    share = sum(value.numel() for value in fitting.values()) / sum(value.numel() for value in own.values())
    if share < LEAST:
        raise ModelError(f"The weights of {path} do not fit the generator; start from a model of its architecture.")
    net.load_state_dict(fitting, strict=False)
    if not fresh:
        return f"starts from {start}: all {len(own)} tensors"
    shown = ", ".join(fresh[:6]) + (f" and {len(fresh) - 6} more" if len(fresh) > 6 else "")
    return f"starts from {start}: {len(fitting)} of {len(own)} tensors; left as initialised: {shown}"


def earlier_training(start: str, beside: Path) -> list[dict]:
    """How the weights that a run starts from came to be, for its card: an entry a run, the first one first.

    Empty where the model folder or checkpoint does not tell.
    """
    path = _find(start, beside)
    try:
        if (path / CARD).is_file():
            card = json.loads((path / CARD).read_text(encoding="utf-8"))
            kept = ("steps", "batch", "patch", "hardware", "phases", "notes")
            training = card["training"]
            own = {"id": card["id"]} | {name: training[name] for name in kept if name in training}
            return [*training.get("before", []), own]
        state = _read_state(path)
        config = trained_config(state["config"])
        return [*state.get("before", []), earlier_entry(as_trained(config, state), state)]
    except (KeyError, ValueError, TypeError, SuperResolutionError):
        return []


def _find(start: str, beside: Path) -> Path:
    path = next((p for p in (Path(start), beside / start) if p.exists()), None)
    if path is None:
        raise ModelError(f"start names {start}, which is neither there nor in {beside}; train or fetch it first.")
    return path


def _is_fused(path: Path) -> bool:
    """Whether this is a model folder in the form for inference."""
    try:
        return bool(json.loads((path / CARD).read_text(encoding="utf-8"))["config"].get("fused"))
    except (OSError, LookupError, ValueError):
        return False


def _read_state(path: Path) -> dict:
    return torch.load(path / "checkpoint.pt" if path.is_dir() else path, weights_only=True, map_location="cpu")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The averaged weights of a checkpoint or a run's folder, or those of a model folder, float32.

    Raises:
        ModelError: if they cannot be read.
    """
    try:
        if (path / CARD).is_file():
            state = load_weights(path / WEIGHTS)
        else:
            state = _read_state(path)["average"]
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, EOFError, UnpicklingError) as error:
        raise ModelError(f"{path} holds no weights that can be read; name another model or run.") from error
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def _aligned(weights: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Another scale has more or fewer enlargements before a tail's last layer: move that layer to its place."""
    last, wanted = _last_layers(weights), _last_layers(own)
    moved = {}
    for name, value in weights.items():
        match = _TAIL.match(name)
        if match and match[1] in wanted and int(match[2]) == last[match[1]]:
            name = f"{match[1]}.{wanted[match[1]]}.{match[3]}"
        moved[name] = value
    return moved


def _last_layers(names) -> dict[str, int]:
    last: dict[str, int] = {}
    for match in filter(None, map(_TAIL.match, names)):
        last[match[1]] = max(last.get(match[1], 0), int(match[2]))
    return last
