"""Score a model on the test splits, through the engine, exactly as a user would run it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from SuperResolutionLib.catalog import ModelCard
from SuperResolutionLib.compare import METHODS, compare
from SuperResolutionLib.upscaler import Options


def evaluate(card: ModelCard, data: Path, sets: list[str], split: str = "test", log=print) -> list[dict]:
    """Mean PSNR and SSIM a set, as a card's ``measured`` holds them; an image counts once, whatever its slices.

    Args:
        card: the model.
        data: folder with ``splits.json`` and one subfolder a set. A set written ``a+b`` joins two.
        sets: names of the sets.
        split: which split.
        log: called with a line an image.

    Raises:
        SuperResolutionError: if an image cannot be read or enlarged.
    """
    from SuperResolutionLib.files import read_volume

    splits = json.loads((data / "splits.json").read_text())
    entries = []
    for name in sets:
        files = [data / part / file for part in name.split("+") for file in splits[part][split]]
        scores = []
        for file in files:
            volume = read_volume(file)
            scores.append(
                {
                    "model unconstrained": compare(volume, card, Options(consistent=False))["methods"]["model"],
                    **compare(volume, card)["methods"],
                }
            )
            log(f"{file.name}: " + ", ".join(f"{key} {value['psnr']:.2f}" for key, value in scores[-1].items()))
        methods = {
            method: {
                key: round(float(np.mean([score[method][key] for score in scores])), digits)
                for key, digits in (("psnr", 3), ("ssim", 5))
            }
            for method in (*METHODS, "model unconstrained")
        }
        entries.append({"set": f"{name} {split}", "images": len(files), "methods": methods})
    return entries
