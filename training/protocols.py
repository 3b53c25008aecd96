"""How a test image becomes a low-resolution one and what it is compared with: ours, and the older tables' way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from SuperResolutionLib.catalog import ModelCard
from SuperResolutionLib.compare import consistent_bicubic, nearest, pair
from SuperResolutionLib.intensity import IntensityMap, round_to, store
from SuperResolutionLib.metrics import range_of
from SuperResolutionLib.missing import fill_missing
from SuperResolutionLib.plan import plan
from SuperResolutionLib.resampling import bicubic_upsample
from SuperResolutionLib.upscaler import Options
from SuperResolutionLib.volume import Volume

from .candidates import Candidate

#: Ways of enlarging that every table has.
BASELINES = ("nearest", "bicubic", "bicubic consistent")

RULES = {
    "ours": "antialiased bicubic (Keys, a = -0.5), rounded to the stored type; scores on stored values in float64, "
    "data range fixed by the reference (255 for 8 bits, 4096 for CT, else between the 0.1th and 99.9th percentile)",
    "uint8": "the older tables' way: 8-bit RGB (grey copied to three channels), PIL's bicubic down and up, no border "
    "cropped, results rounded to 8 bits and not made consistent",
}

#: How models take an image that the protocol uint8 brought to 8 bits: a card's Hounsfield units mean nothing there.
EIGHT_BITS = {"mapping": "auto"}


@dataclass
class Case:
    """One test image at one scale: planes are (n, c, h, w) in the stored type.

    Attributes:
        low: the low-resolution volume that models get.
        axis: "i", "j" or "k", what the planes are stacked along.
        reference: what the results should be. images: method -> planes, the baselines.
        peak: data range. floor: 0.1th percentile of the stored values.
        intensity: stored values to about 0..1, for distances between features.
    """

    low: Volume
    axis: str
    reference: np.ndarray
    images: dict[str, np.ndarray]
    peak: float
    floor: float
    intensity: IntensityMap


def our_case(volume: Volume, card: ModelCard, axis: str | None = None) -> Case:
    """The engine's protocol, as ``superres compare``. Raises DataError if the image is too small."""
    whole, low, planes = pair(volume, card, Options(axis=axis))
    axis = "ijk"[whole.axis]
    job = plan(low, card, None, axis)
    cubic = [_bicubic(plane, job.intensity, card.scale, job.dtype) for plane in job.planes]
    images = {
        "nearest": nearest(job.planes, card.scale),
        "bicubic": np.stack(cubic),
        "bicubic consistent": consistent_bicubic(job.planes, whole),
    }
    peak = range_of(volume)
    return Case(low, axis, planes, images, peak, _floor(planes), whole.intensity)


def uint8_case(volume: Volume, card: ModelCard, axis: str | None = None) -> Case:
    """The protocol of older tables: 8 bits, PIL's bicubic. Grey is not copied: three equal channels score the same."""
    from PIL import Image

    whole = plan(volume, card, None, axis)
    planes = whole.planes
    if planes.dtype != np.uint8:
        if whole.gaps.mask(planes).any():  # one NaN would leave no percentiles, and no image
            planes = np.stack([fill_missing(plane, whole.gaps)[0] for plane in planes])
        low, high = np.percentile(planes, [0.1, 99.9])
        planes = round_to((planes.astype(np.float64) - low) / max(high - low, 1e-12) * 255, np.dtype(np.uint8))
    height, width = (length - length % card.scale for length in planes.shape[2:])
    planes = np.ascontiguousarray(planes[:, :, :height, :width])

    def resized(plane: np.ndarray, factor: float) -> np.ndarray:
        image = Image.fromarray(plane[0] if len(plane) == 1 else np.moveaxis(plane, 0, -1))
        size = (round(plane.shape[2] * factor), round(plane.shape[1] * factor))
        array = np.asarray(image.resize(size, Image.BICUBIC))
        return array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)

    small = np.stack([resized(plane, 1 / card.scale) for plane in planes])
    images = {
        "nearest": nearest(small, card.scale),
        "bicubic": np.stack([resized(plane, card.scale) for plane in small]),
    }
    stacked = np.moveaxis(small, 1, -1)
    low = Volume(stacked if stacked.shape[-1] == 3 else stacked[..., 0], np.eye(4), volume.name, {"Spacing": "unknown"})
    return Case(low, "k", planes, images, 255.0, _floor(planes), IntensityMap(0.0, 255.0))


def _bicubic(plane: np.ndarray, intensity: IntensityMap, scale: int, dtype: np.dtype) -> np.ndarray:
    image = torch.from_numpy(intensity.to_network(plane))[None]
    return store(bicubic_upsample(image, scale)[0].numpy(), intensity, dtype)


def _floor(planes: np.ndarray) -> float:
    return float(np.percentile(planes, 0.1))


def card_key(candidate: Candidate) -> tuple:
    """Models with equal keys share their cases."""
    return candidate.card.scale, str(sorted(candidate.card.intensity.items()))


CASES = {"ours": our_case, "uint8": uint8_case}
