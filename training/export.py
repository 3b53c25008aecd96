"""A trained checkpoint to a model folder: safetensors and a card, whose results ``evaluate`` fills in."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from SuperResolutionLib.catalog import CARD, WEIGHTS, file_sha256, split_id, user_folder
from SuperResolutionLib.errors import ModelError
from SuperResolutionLib.networks import create, span

from .config import Config
from .dataset import AUGMENTATIONS

#: What a configuration's ``card`` has to say.
ABOUT = ("title", "description", "domain", "intensity", "spacing_mm", "license", "hardware", "data")

#: Largest difference that halving the precision of the weights may make, as a share of the range.
HALF_PARITY = 2.5e-4


def export(config: Config, checkpoint: Path, folder: Path | None = None) -> Path:
    """Write ``<folder>/<id>/card.json`` and ``weights.safetensors`` from the averaged weights of a run.

    Args:
        config: what was trained; ``config.card`` describes it.
        checkpoint: ``checkpoint.pt`` of the run.
        folder: where models are kept; the user's own folder if None.

    Returns:
        The model's folder.

    Raises:
        ModelError: if the id or the network does not fit.
        ValueError: if the configuration does not describe the card.
    """
    scale = split_id(config.id)[1]
    if config.network.get("scale") != scale:
        raise ModelError(f"{config.id} says x{scale} and its network x{config.network.get('scale')}; make them agree.")
    about = config.card
    missing = [name for name in ABOUT if name not in about]
    if missing:
        raise ValueError(f"card in the configuration of {config.id} lacks {', '.join(missing)}")
    state = torch.load(checkpoint, weights_only=True)
    weights, network = inference_form(config, state["average"])
    weights = halve_if_equal(config.architecture, network, weights)
    target = (folder or user_folder()) / config.id
    target.mkdir(parents=True, exist_ok=True)
    _replace(target / WEIGHTS, lambda path: save_file(weights, path))
    card = {
        "id": config.id,
        "title": about["title"],
        "description": about["description"],
        "architecture": config.architecture,
        "config": network,
        "domain": about["domain"],
        "intensity": about["intensity"],
        "spacing_mm": about["spacing_mm"],
        "augmentations": list(AUGMENTATIONS),
        "loss": f"L1 + {config.mse:g} MSE" if config.mse else "L1",
        "training": {
            "data": about["data"],
            "steps": state["step"],
            "batch": config.batch,
            "patch": config.patch,
            "hardware": about["hardware"],
        },
        "measured": [],
        "license": about["license"],
        "sha256": file_sha256(target / WEIGHTS),
    }
    write_card(target, card)
    return target


def inference_form(config: Config, state: dict) -> tuple[dict, dict]:
    """Weights and network configuration for inference: SPAN's factors are multiplied out."""
    if config.architecture == "span":
        return span.fuse(state), {**config.network, "fused": True}
    return dict(state), dict(config.network)


def halve_if_equal(architecture: str, network: dict, weights: dict) -> dict:
    """The weights in fp16 where that changes a random image's result by less than ``HALF_PARITY``, else in fp32."""
    half = {name: tensor.half().contiguous() for name, tensor in weights.items()}
    image = torch.rand(1, network["channels"], 48, 48, generator=torch.Generator().manual_seed(0))
    results = []
    for state in (weights, half):
        net = create(architecture, **network).eval()
        net.load_state_dict({name: tensor.float() for name, tensor in state.items()})
        with torch.inference_mode():
            results.append(net(image))
    difference = (results[0] - results[1]).abs().max().item()
    return half if difference < HALF_PARITY else {name: tensor.contiguous() for name, tensor in weights.items()}


def write_card(folder: Path, card: dict) -> None:
    """Replace a model folder's card at once."""
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    _replace(folder / CARD, lambda path: Path(path).write_text(text, encoding="utf-8"))


def _replace(path: Path, write) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    os.close(handle)
    try:
        write(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
