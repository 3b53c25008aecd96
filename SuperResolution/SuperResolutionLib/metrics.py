"""PSNR and SSIM, one definition for the panel, the terminal and training.

Both are taken per slice in float64 on stored values, over the whole slice without cropping its border or over a region
of it, with a data range that is fixed by the reference volume; a volume's figure is the mean over its slices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .intensity import finite_sample
from .missing import Gaps, find_padding, stated_padding
from .volume import Volume

#: A slice whose values span less than this share of the data range holds nothing to judge and is left out.
EMPTY_SPAN = 0.1

#: The width in HU that CT is judged against, 12 bits.
CT_RANGE = 4096.0


def psnr(reference: np.ndarray, image: np.ndarray, data_range: float, region: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB: 10 log10(data_range^2 / mean squared error); infinite for equal arrays.

    Minus infinity where a value is not finite or the error is too large for a float.
    ``region`` (h, w), boolean, restricts it to some pixels of slices (h, w) or (h, w, 3).
    """
    if region is not None:
        reference, image = reference[region], image[region]
    error = np.mean((reference.astype(np.float64) - image.astype(np.float64)) ** 2)
    if error == 0:
        return math.inf
    ratio = data_range * data_range / error
    return 10.0 * math.log10(ratio) if ratio > 0 else -math.inf


def ssim(reference: np.ndarray, image: np.ndarray, data_range: float) -> float:
    """Structural similarity of two slices (h, w) or (h, w, 3), with the Gaussian window of Wang et al. 2004.

    Computed by scikit-image (sigma 1.5, population covariance). Sides shorter than the window of 11 pixels get the
    largest odd uniform window that fits.
    """
    from skimage.metrics import structural_similarity

    return float(structural_similarity(*_ssim_arguments(reference, image), data_range=data_range, **_window(reference)))


def ssim_map(reference: np.ndarray, image: np.ndarray, data_range: float) -> np.ndarray:
    """The similarity around every pixel, (h, w), mean over channels; ``ssim`` is its mean but for ``ssim_margin``."""
    from skimage.metrics import structural_similarity

    both = _ssim_arguments(reference, image)
    result = structural_similarity(*both, data_range=data_range, full=True, **_window(reference))[1]
    return result.mean(axis=2) if result.ndim == 3 else result


def ssim_margin(shape: tuple[int, ...]) -> int:
    """Pixels at each side of a slice of this shape whose window leaves it; they do not count."""
    shortest = min(shape[:2])
    return 5 if shortest >= 11 else (shortest - 2 + shortest % 2) // 2


def _ssim_arguments(reference: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return reference.astype(np.float64), image.astype(np.float64)


def _window(reference: np.ndarray) -> dict:
    shortest = min(reference.shape[:2])
    channel_axis = 2 if reference.ndim == 3 else None
    if shortest < 11:
        size = shortest - 1 + shortest % 2  # of one pixel there is no sample covariance
        return {"channel_axis": channel_axis, "win_size": size, "use_sample_covariance": size > 1}
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return {"channel_axis": channel_axis, **gaussian}


def data_range(array: np.ndarray, modality: str = "", stated: Sequence[float] = ()) -> float:
    """The peak that PSNR and SSIM refer to, from the reference volume.

    255 for uint8; 4096 for CT, known by its modality or by a signed integer type that reaches -900 or below; else the
    distance between the percentiles 0.1 and 99.9, or where they are the same all that is between the least and the
    most. Values that are not finite or padding do not count; ``stated`` is what the file says is padding.
    """
    if array.dtype == np.uint8:
        return 255.0
    known = array[np.isfinite(array)]
    padding = find_padding(finite_sample(array), stated=stated)
    known = known[~Gaps(padding).mask(known)] if padding else known
    if modality == "CT" or (array.dtype.kind == "i" and known.min() <= -900):
        return CT_RANGE
    low, high = np.percentile(known.astype(np.float64), [0.1, 99.9])
    return float(high - low) or float(known.max()) - float(known.min()) or 1.0


def range_of(reference: Volume) -> float:
    """``data_range`` of a volume, with what its ``source`` says of modality and padding."""
    return data_range(reference.array, reference.source.get("Modality", ""), stated_padding(reference.source))


def volume_scores(reference: np.ndarray, image: np.ndarray, peak: float) -> dict[str, float]:
    """Mean PSNR and SSIM over the slices (first axis) of two arrays (n, h, w) or (n, h, w, 3).

    Slices that hold nothing (see ``EMPTY_SPAN``) are left out unless all do; ``slices`` says how many counted.
    """
    spans = [float(plane.max()) - float(plane.min()) for plane in reference]
    full = [index for index, span in enumerate(spans) if span > EMPTY_SPAN * peak]
    chosen = full or range(len(reference))
    pairs = [(reference[index], image[index]) for index in chosen]
    return {
        "psnr": float(np.mean([psnr(*pair, peak) for pair in pairs])),
        "ssim": float(np.mean([ssim(*pair, peak) for pair in pairs])),
        "slices": len(pairs),
    }
