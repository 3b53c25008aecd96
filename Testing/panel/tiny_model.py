"""A model with random weights that is small enough to run in a moment, in a catalog folder of its own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

FAMILY = "edsr-test-psnr"


def writeTinyModel(folder: Path, channels: int = 1) -> Path:
    """Write the model folder ``edsr-test-x2-psnr`` with card and weights into ``folder``; return the weights' path."""
    import torch
    from safetensors.torch import save_file

    from SuperResolutionLib import networks

    torch.manual_seed(0)
    config = {"scale": 2, "channels": channels, "features": 8, "blocks": 1, "bicubic_skip": True}
    model = folder / "edsr-test-x2-psnr"
    model.mkdir(parents=True)
    weights = model / "weights.safetensors"
    save_file(networks.create("edsr", **config).state_dict(), str(weights))
    card = {
        "id": model.name,
        "title": "EDSR for tests",
        "description": "Random weights.",
        "architecture": "edsr",
        "config": config,
        "domain": "test",
        "intensity": {"mapping": "auto"},
        "spacing_mm": None,
        "license": "Apache-2.0",
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    (model / "card.json").write_text(json.dumps(card))
    return weights
