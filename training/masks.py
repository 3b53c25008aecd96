"""Where an image is judged: the whole of it, the body or field of view, the anatomy, and its finest structure.

Every rule looks at the reference and at bicubic alone, never at the models that are compared.
"""

from __future__ import annotations

import numpy as np

#: A pixel is foreground if it exceeds the darkest values of its volume by this share of the data range. Around the
#: field of view of a fundus camera there is stray light.
FOREGROUND, FOREGROUND_COLOR = 0.05, 0.15

#: Of 255: a pixel of an 8-bit image that is as bright may be a burnt-in mark.
MARK = 250

#: A bright patch larger than this share of the slice is no mark but anatomy.
LARGEST_MARK = 0.01

#: The share of pixels left out where bicubic is worst, and the share that counts as fine structure.
WORST, FINE = 0.01, 0.05

#: Fewer pixels than this are no region; the slice does not count for it.
SMALLEST = 64

#: The rules in words, for tables; in the order in which regions are reported.
RULES = {
    "whole": "every pixel, no border cropped (what `superres compare` prints)",
    "full": "every pixel but a border as wide as the scale",
    "mask": "body or field of view: values above the 0.1th percentile of the volume by more than 5 % of the data "
    "range (color: the brightest channel by more than 15 %), the largest connected patch a slice, its holes filled",
    "anatomy": "of that mask, eroded by 2 x scale pixels (frame and outline), without marks (in 8-bit images patches "
    "at 250 or above in every channel that take less than 1 % of the slice, widened by 2 x scale pixels) and without "
    "the 1 % of the pixels left where bicubic's squared error is largest",
    "fine": "of the mask without outline and marks, the 5 % of the pixels with the strongest fine structure of the "
    "reference: |HR - Gaussian(HR)|, both smoothed with sigma = scale / 2 pixels",
}


def regions(reference: np.ndarray, bicubic: np.ndarray, scale: int, peak: float, floor: float) -> dict:
    """The regions of one slice by name: boolean arrays (h, w), without those of fewer than ``SMALLEST`` pixels.

    Args:
        reference, bicubic: (h, w) or (h, w, 3), stored values.
        scale: enlargement.
        peak: data range. floor: the 0.1th percentile of the volume.
    """
    brightest = reference.max(axis=2) if reference.ndim == 3 else reference
    inside = _border(brightest.shape, scale)
    share = FOREGROUND if reference.ndim == 2 else FOREGROUND_COLOR
    mask = foreground(brightest, floor + share * peak)
    clear = _shrunk(mask, 2 * scale) & inside
    if reference.dtype == np.uint8:
        clear &= ~marks(reference if reference.ndim == 2 else reference.min(axis=2), scale)
    error = (reference.astype(np.float64) - bicubic.astype(np.float64)) ** 2
    error = error.mean(axis=2) if error.ndim == 3 else error
    found = {
        "whole": np.ones(brightest.shape, bool),
        "full": inside,
        "mask": mask & inside,
        "anatomy": clear & ~strongest(error, clear, WORST),
        "fine": strongest(fine_structure(reference, scale), clear, FINE),
    }
    return {name: region for name, region in found.items() if region.sum() >= SMALLEST}


def foreground(plane: np.ndarray, level: float) -> np.ndarray:
    """The largest connected patch above ``level``, its holes filled; everything if nothing is above it."""
    from scipy import ndimage

    above = plane > level
    labels, count = ndimage.label(above)
    if count == 0:
        return np.ones(plane.shape, bool)
    sizes = np.bincount(labels.reshape(-1))
    sizes[0] = 0
    return ndimage.binary_fill_holes(labels == sizes.argmax())


def marks(plane: np.ndarray, scale: int) -> np.ndarray:
    """Burnt-in letters and signs of an 8-bit slice, widened by twice the scale."""
    from scipy import ndimage

    labels, count = ndimage.label(plane >= MARK, np.ones((3, 3)))
    sizes = np.bincount(labels.reshape(-1), minlength=count + 1)
    small = sizes < LARGEST_MARK * plane.size
    small[0] = False
    return ndimage.maximum_filter(small[labels], 4 * scale + 1)


def fine_structure(plane: np.ndarray, scale: int) -> np.ndarray:
    """Strength of what is finer than about the scale: the smoothed distance to a blurred copy, (h, w)."""
    from scipy import ndimage

    channels = np.moveaxis(np.atleast_3d(plane.astype(np.float64)), -1, 0)
    detail = sum(np.abs(channel - ndimage.gaussian_filter(channel, scale / 2)) for channel in channels)
    return ndimage.gaussian_filter(detail, scale / 2)


def strongest(values: np.ndarray, within: np.ndarray, share: float) -> np.ndarray:
    """The share of the pixels of ``within`` that have the largest values; equal ones are taken in their order."""
    places = np.flatnonzero(within)
    count = int(round(share * len(places)))
    chosen = places[np.argsort(-values.reshape(-1)[places], kind="stable")[:count]]
    result = np.zeros(values.shape, bool)
    result.reshape(-1)[chosen] = True
    return result


def _border(shape: tuple[int, int], width: int) -> np.ndarray:
    inside = np.zeros(shape, bool)
    inside[width : shape[0] - width, width : shape[1] - width] = True
    return inside


def _shrunk(mask: np.ndarray, radius: int) -> np.ndarray:
    from scipy import ndimage

    return ndimage.minimum_filter(mask, 2 * radius + 1, mode="constant", cval=0)
