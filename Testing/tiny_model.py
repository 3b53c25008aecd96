"""Model folders that are written in a moment: tiny networks with random weights whose result is close to bicubic."""

from __future__ import annotations

import json
from pathlib import Path


def write_model(
    root: Path,
    model_id: str = "edsr-ise-test-x2-psnr",
    channels: int = 1,
    architecture: str = "edsr_ise",
    **network,
) -> Path:
    """Write ``<root>/<model_id>/card.json`` and ``weights.safetensors``; SUPERRESOLUTION_MODELS can name ``root``.

    Args:
        model_id: its scale is the network's.
        channels: 1 (grey) or 3 (colour).
        architecture: any that takes the arguments below; ``network`` replaces and adds to them.

    Returns:
        The model's folder.
    """
    import torch
    from safetensors.torch import save_file

    from SuperResolutionLib.catalog import CARD, WEIGHTS, file_sha256, split_id
    from SuperResolutionLib.networks import create

    scale = split_id(model_id)[1]
    config = {"scale": scale, "channels": channels, "features": 8, "blocks": 1, "bicubic_skip": True, **network}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = create(architecture, **config).state_dict()
    folder = root / model_id
    folder.mkdir(parents=True)
    save_file(weights, folder / WEIGHTS)
    card = {
        "id": model_id,
        "title": "A tiny network",
        "description": "Random weights on a bicubic skip, for tests.",
        "architecture": architecture,
        "config": config,
        "domain": "test",
        "intensity": {"mapping": "auto"},
        "spacing_mm": None,
        "augmentations": [],
        "loss": "none",
        "training": {
            "data": [{"name": "none", "license": "none", "images": "none"}],
            "steps": 1,
            "hardware": "none",
        },
        "measured": [],
        "license": "Apache-2.0",
        "sha256": file_sha256(folder / WEIGHTS),
    }
    (folder / CARD).write_text(json.dumps(card, indent=2), encoding="utf-8")
    return folder
