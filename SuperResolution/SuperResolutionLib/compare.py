"""Against a reference: degrade a high-resolution volume, enlarge it again in several ways, and score each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .catalog import ModelCard
from .errors import DataError
from .intensity import store
from .metrics import range_of, volume_scores
from .missing import fill_missing
from .plan import Job, plan, slice_planes
from .upscaler import Options, Progress, UpscaleResult, upscale
from .volume import Volume

#: The ways of enlarging, in the order in which they are reported.
METHODS = ("nearest", "bicubic", "bicubic consistent", "model")


@dataclass(frozen=True)
class Enlarged:
    """A degraded reference, enlarged again.

    Attributes:
        job: the layout of the reference. low: what it was degraded to.
        reference: (n, c, h, w), cropped to a multiple of the scale, in stored units.
        methods: name in ``METHODS`` to its planes, shaped and typed like ``reference``.
        result: UpscaleResult of the model.
        peak: the data range that scores refer to.
    """

    job: Job
    low: Volume
    reference: np.ndarray
    methods: dict[str, np.ndarray]
    result: UpscaleResult
    peak: float


def compare(
    reference: Volume,
    card: ModelCard,
    options: Options | None = None,
    progress: Progress | None = None,
    cancelled=None,
) -> dict:
    """PSNR and SSIM of a model beside nearest neighbour, bicubic, and bicubic made consistent with the input.

    The reference is cropped in plane to a multiple of the scale, shrunk with antialiased bicubic, rounded to its own
    type, and enlarged again. ``options.consistent`` holds for the model; ``metrics.py`` defines the scores.

    Returns:
        JSON-ready: ``model``, ``scale``, ``slices``, ``data_range`` and ``methods`` (name -> psnr in dB, ssim).

    Raises:
        SuperResolutionError: as ``upscale``; DataError if the reference is too small to be degraded.
    """
    options = options or Options()
    return score(degrade_and_enlarge(reference, card, options, progress, cancelled), card, options)


def degrade_and_enlarge(
    reference: Volume, card: ModelCard, options: Options, progress: Progress | None = None, cancelled=None
) -> Enlarged:
    """The images that ``compare`` scores; raises what it raises."""
    whole, low, planes = pair(reference, card, options)
    choices = replace(options, region=None, axis="ijk"[whole.axis], bicubic=True)
    result = upscale(low, card, choices, progress, cancelled)
    small = slice_planes(low.array, whole.axis)
    images = {
        "nearest": nearest(small, card.scale),
        "bicubic": slice_planes(result.bicubic.array, whole.axis),
        "bicubic consistent": consistent_bicubic(small, whole),
        "model": slice_planes(result.sr.array, whole.axis),
    }
    peak = range_of(reference)
    return Enlarged(whole, low, planes, {name: images[name] for name in METHODS}, result, peak)


def score(enlarged: Enlarged, card: ModelCard, options: Options) -> dict:
    """The figures of ``compare``."""
    wanted = channels_last(enlarged.reference)
    scores = {
        name: volume_scores(wanted, channels_last(planes), enlarged.peak) for name, planes in enlarged.methods.items()
    }
    return {
        "model": card.id,
        "scale": card.scale,
        "consistent": options.consistent,
        "slices": scores["model"].pop("slices"),
        "data_range": enlarged.peak,
        "methods": {name: {"psnr": each["psnr"], "ssim": each["ssim"]} for name, each in scores.items()},
    }


def pair(reference: Volume, card: ModelCard, options: Options) -> tuple[Job, Volume, np.ndarray]:
    """The job of a reference, its low-resolution volume, and the planes (n, c, h, w) that it stands for.

    Raises:
        DataError: if a side is shorter than 4 times the scale.
    """
    whole = plan(reference, card, options.region, options.axis)
    if whole.gaps.mask(whole.planes).any():  # what is missing cannot be scored: bridge it before anything is compared
        whole.planes = np.stack([fill_missing(plane, whole.gaps)[0] for plane in whole.planes])
    return whole, *degrade(whole)


def nearest(low: np.ndarray, scale: int) -> np.ndarray:
    """Planes (n, c, h, w) with every pixel repeated."""
    return low.repeat(scale, axis=2).repeat(scale, axis=3)


def degrade(job: Job) -> tuple[Volume, np.ndarray]:
    """The low-resolution volume of a job's input, and the part of the input that it stands for.

    Returns:
        The volume, and the cropped high-resolution planes (n, c, h, w).

    Raises:
        DataError: if a side is shorter than 4 times the scale.
    """
    scale = job.scale
    height, width = (length - length % scale for length in (job.height, job.width))
    if min(height, width) < 4 * scale:
        raise DataError(
            f"The slices are {job.width} x {job.height} voxels; comparing at x{scale} needs at least "
            f"{4 * scale} x {4 * scale}."
        )
    planes = job.planes[:, :, :height, :width]
    low = np.concatenate([_shrink(plane[None], job) for plane in planes])
    coarser = tuple(1.0 / factor for factor in job.scale_per_axis)
    return job.as_volume(low, job.source.name, coarser), planes


def consistent_bicubic(low: np.ndarray, job: Job) -> np.ndarray:
    """Bicubic enlargement of ``low`` (n, c, h, w), made consistent with it and stored just as a network's is."""
    import torch

    from .backends.torch_finish import finish
    from .resampling import bicubic_upsample

    planes = []
    for plane in low:
        image = torch.from_numpy(job.intensity.to_network(plane))[None]
        stored, *_ = finish(bicubic_upsample(image, job.scale), image, job, True, False, lambda: None)
        planes.append(stored[0].numpy())
    return np.stack(planes)


def _shrink(plane: np.ndarray, job: Job) -> np.ndarray:
    import torch

    from .resampling import bicubic_downsample

    image = torch.from_numpy(job.intensity.to_network(plane))
    return store(bicubic_downsample(image, job.scale).numpy(), job.intensity, job.dtype)


def channels_last(planes: np.ndarray) -> np.ndarray:
    """(n, c, h, w) to (n, h, w) or (n, h, w, 3)."""
    return planes[:, 0] if planes.shape[1] == 1 else np.moveaxis(planes, 1, -1)
