"""What a run will give and cost, from the sizes alone: no voxels, no network, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

import numpy as np

from .catalog import ModelCard
from .geometry import Region
from .plan import CONSISTENCY_REACH, Layout, lay_out

#: The share of the free memory that a run may plan for.
MEMORY_SHARE = 0.9

#: Slices with a shorter side than this show so little that a network may invent more than it restores.
FEW_PIXELS = 128


@dataclass(frozen=True)
class Forecast:
    """What a run will give and cost.

    Attributes:
        size: voxels of the output along i, j, k.
        output_bytes: of one output volume.
        memory_bytes: what ``upscale`` needs for its outputs; the network's own need comes on top.
        work: input voxels times the network's calls for each, in proportion to the time on one device. What surrounds
            a region and has to be computed with it counts too.
        warnings: sentences for the user.
        refusal: the one of them with which ``upscale`` would refuse the run as things are; empty if it would not.
    """

    size: tuple[int, int, int]
    output_bytes: int
    memory_bytes: int
    work: int
    warnings: tuple[str, ...]
    refusal: str = ""


def forecast(
    size: tuple[int, int, int],
    spacing: tuple[float, float, float],
    channels: int,
    dtype: np.dtype,
    card: ModelCard,
    region: Region | None = None,
    axis: str | None = None,
    bicubic: bool = True,
    spacing_known: bool = True,
    free_bytes: int | None = None,
) -> Forecast:
    """Foresee ``upscale`` for a volume of this kind.

    Args:
        size: voxels along i, j, k. spacing: millimetres along i, j, k. channels: components of a voxel.
        dtype: of the voxels.
        card, region, axis, bicubic: as for ``upscale``.
        spacing_known: False for a picture whose spacing says nothing.
        free_bytes: memory that is free, for a warning if the outputs are too large for it; None leaves it out. What the
            network needs besides is known once it is loaded.

    Raises:
        DataError, UsageError, ModelError: as ``upscale``, for what cannot be done.
    """
    layout = lay_out(size, spacing, channels, dtype, card, region, axis, spacing_known)
    memory, warnings = memory_bytes(layout, bicubic), list(layout.notices)
    shape = [size[index] for index in (0, 1, 2) if index != layout.axis]
    if min(shape) < FEW_PIXELS:
        warnings.append(
            f"The slices have {shape[0]} x {shape[1]} voxels; below {FEW_PIXELS} across, details may be invented."
        )
    refusal = ""
    if free_bytes is not None and memory > MEMORY_SHARE * free_bytes:
        refusal = too_large(layout, memory, free_bytes)
        warnings.append(refusal)
    return Forecast(layout.output_size, layout.output_bytes, memory, _work(layout, card), tuple(warnings), refusal)


def _work(layout: Layout, card: ModelCard) -> int:
    seen, _ = layout.surroundings(reach(card.architecture, card.config) + CONSISTENCY_REACH)
    (top, bottom), (left, right) = seen
    first, last = layout.region[layout.axis]
    return (last - first) * (bottom - top) * (right - left) * layout.channels // card.channels


def reach(architecture: str, config: dict) -> int:
    """Pixels on each side that an output pixel depends on, which ``networks.layout.reach`` reads off the layers.

    Known here as well because a forecast has no torch; 0 for an architecture that is not known.
    """
    scale = config.get("scale", 4)
    steps = [3] if scale == 3 else [2] * round(log2(scale))
    before = [1 / np.prod(steps[:index]) for index in range(len(steps))]  # an input pixel's share of a step's pixel
    blocks = config.get("blocks", {"rrdb": 23, "span": 6}.get(architecture, 16))
    srgan = 4 + 2 * blocks + 1
    exact = {
        "srcnn": 2 + (4 + 2) / scale,
        "vdsr": 2 + config.get("layers", 20) / scale,
        "edsr": 2 * blocks + 2 + sum(before) + 1 / scale,
        "edsr_ise": 2 * blocks + 2 + sum(before) + 1 / scale,
        "srgan": srgan + sum(before) + 4 / scale,
        "swift_srgan": srgan + sum(before) + 4 / scale,
        "srgan_cbam": srgan + 3 * blocks + sum(before) + 4 / scale,
        "rrdb": 15 * blocks + 2 + sum(before[1:]) + 3 / scale,
        "pgan": sum((srgan + 1 + 4 / step) * share for step, share in zip(steps, before)),
        "span": 3 * blocks + 3,
    }
    return ceil(round(exact.get(architecture, 0), 6))


def memory_bytes(layout: Layout, bicubic: bool) -> int:
    """Memory for the outputs until a door has handed them on."""
    outputs = 2 if bicubic else 1
    return (outputs + 1) * layout.output_bytes  # one at a time is copied to hand it on


def too_large(layout: Layout, needed: int, free: int) -> str:
    """The sentence for an output that does not fit into memory; all numbers in bytes."""
    size = " x ".join(map(str, layout.output_size))
    return (
        f"The output of {size} voxels needs about {needed / 1e9:.1f} GB of memory, more than {MEMORY_SHARE:.0%} of the "
        f"{free / 1e9:.1f} GB that are free; upscale a region of the image or choose a smaller scale."
    )
