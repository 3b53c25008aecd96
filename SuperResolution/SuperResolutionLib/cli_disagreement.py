"""``superres upscale --disagreement``: a second model's result of the same image, and where the two differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .catalog import ModelCard
from .cli_models import find_model, second_model
from .errors import DataError, ModelError
from .fidelity import Disagreement, disagreement, visible_difference
from .plan import plan
from .upscaler import Options, UpscaleResult, upscale
from .volume import Volume


def find_second(name: str | None, volume: Volume, first: ModelCard, options: Options) -> ModelCard:
    """The model that was named, at the scale of the first; if none was, the one that is recommended.

    Raises:
        ModelError: if there is none, or it is the first or has another scale, or does not fit the image.
        DataError: if there is nothing to compare.
    """
    card = second_model(volume, first) if name is None else find_model(name, first.scale)
    if card.id == first.id:
        raise ModelError(f"{card.id} cannot be compared with itself; name another model with --against.")
    if not np.isfinite(plan(volume, card, options.region, options.axis).planes).any():
        raise DataError("No voxel of the region is finite, so that no results differ there; choose another --region.")
    return card


def compare_results(
    volume: Volume, first: UpscaleResult, second: ModelCard, options: Options, advance: Callable
) -> Disagreement:
    """Run the second model and compare; what came out goes into the first one's report, under ``disagreement``.

    Raises:
        SuperResolutionError: as ``upscale``.
    """
    other = upscale(volume, second, replace(options, bicubic=False), advance)
    pair = (first.sr, other.sr) if second.family.endswith("-gan") else (other.sr, first.sr)
    axis, threshold = "ijk".index(first.report["slice_axis"]), visible_difference(volume.array)
    found = disagreement(*pair, second.scale, axis, threshold)
    first.report["disagreement"] = {"model": second.id, "weights_sha256": second.sha256, **found.summary}
    return found


def provenance(first: UpscaleResult, second: ModelCard) -> dict[str, str]:
    """What the map carries."""
    return first.provenance | {
        "Method": "disagreement of two super-resolved volumes, local root mean square",
        "SecondModel": second.id,
        "SecondWeightsSHA256": second.sha256,
    }
