"""``superres upscale --disagreement``: a second model's result of the same image, and where the two differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .backends.limits import free_memory
from .catalog import ModelCard
from .cli_models import find_model, second_model
from .cli_output import part_of
from .errors import DataError, ModelError, ResourceError
from .fidelity import Disagreement, disagreement, visible_difference
from .forecast import MEMORY_SHARE
from .missing import stated_padding
from .plan import CONSISTENCY_REACH, plan
from .upscaler import Options, UpscaleResult, upscale
from .volume import Volume

#: Pixels around a region that are compared as well: what shrinking looks at, and the correction.
MARGIN = CONSISTENCY_REACH + 2

#: Bytes that the comparison takes for each pixel of one enlarged slice, and for each voxel of an enlarged volume.
SLICE_BYTES, VOXEL_BYTES = 60, 8


def find_second(name: str | None, volume: Volume, first: ModelCard, options: Options) -> ModelCard:
    """The model that was named, at the scale of the first; if none was, the one that is recommended.

    Raises:
        ModelError: if there is none, or it is the first or has another scale, or does not fit the image.
        DataError: if there is nothing to compare.
        ResourceError: if memory would not suffice.
    """
    card = second_model(volume, first) if name is None else find_model(name, first.scale)
    if card.id == first.id:
        raise ModelError(f"{card.id} cannot be compared with itself; name another model with --against.")
    job = plan(volume, card, options.region, options.axis)
    if job.gaps.mask(job.planes).all():
        raise DataError(
            "No voxel of the region is finite or measured, so that no results differ there; choose another --region."
        )
    voxels = np.prod(job.layout.output_size, dtype=float)
    needed = SLICE_BYTES * voxels / len(job.planes) * job.layout.channels + VOXEL_BYTES * voxels
    needed += 2 * job.layout.output_bytes
    free = free_memory()
    if needed > MEMORY_SHARE * free:
        raise ResourceError(
            f"Comparing two results needs about {needed / 1e9:.1f} GB of memory, more than {MEMORY_SHARE:.0%} of the "
            f"{free / 1e9:.1f} GB that are free; choose a --region, or leave out --disagreement."
        )
    return card


def compare_results(
    volume: Volume, card: ModelCard, first: UpscaleResult, second: ModelCard, options: Options, advance: Callable
) -> Disagreement:
    """Run the second model and compare; what came out goes into the first one's report, under ``disagreement``.

    Of a region both models are run with a margin around it, because shrinking looks beyond its sides.

    Args:
        card: of the first result.

    Raises:
        SuperResolutionError: as ``upscale``.
    """
    job = plan(volume, second, options.region, options.axis)
    layout = job.layout
    seen, place = layout.surroundings(MARGIN)
    wider = replace(options, bicubic=False, region=layout.with_window(seen), axis="ijk"[layout.axis])
    alone = seen == layout.window
    ours = first.sr if alone else upscale(volume, card, wider, part_of(advance, 0, 2)).sr
    other = upscale(volume, second, wider, advance if alone else part_of(advance, 1, 2)).sr
    pair = (ours, other) if second.family.endswith("-gan") else (other, ours)
    threshold = visible_difference(volume.array, stated_padding(volume.source))
    found = disagreement(*pair, second.scale, layout.axis, threshold, job.gaps, place)
    first.report["disagreement"] = {"model": second.id, "weights_sha256": second.sha256, **found.summary}
    return found


def provenance(first: UpscaleResult, second: ModelCard) -> dict[str, str]:
    """What the map carries."""
    return first.provenance | {
        "Method": "disagreement of two super-resolved volumes, local root mean square",
        "SecondModel": second.id,
        "SecondWeightsSHA256": second.sha256,
    }
