"""One bicubic kernel both ways, and the exact consistency of an enlargement with its input.

The kernel is Keys' cubic with a = -0.5, antialiased when it shrinks, on the pixel-area grid: what PIL computes on
float images. Written for planes: the last two axes are rows and columns, everything before them is batch.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np


def bicubic_upsample(image, scale: int):
    """Enlarge a (n, c, h, w) tensor to (n, c, h * scale, w * scale); float32 or float64 in, the same out."""
    return _resize(image, (image.shape[-2] * scale, image.shape[-1] * scale))


def bicubic_downsample(image, scale: int):
    """Shrink a (n, c, h, w) tensor, h and w multiples of scale, to (n, c, h / scale, w / scale), antialiased.

    Raises:
        ValueError: if h or w is not a multiple of scale.
    """
    height, width = image.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"{height}x{width} is not a multiple of the scale {scale}; crop it first")
    return _resize(image, (height // scale, width // scale))


def _resize(image, size):
    import torch.nn.functional as F

    # Without antialias torch uses a = -0.75 instead of -0.5.
    return F.interpolate(image, size=size, mode="bicubic", antialias=True, align_corners=False)


def make_consistent(image, low_resolution):
    """Correct an enlargement so that shrinking it gives the input back.

    With D this module's downsampling and U its upsampling the result is ``y + U z`` where ``(D U) z = lr - D y``, so
    ``D(y + U z) = lr`` up to rounding. D U is separable: z costs one small solve per axis at the input's size.

    Args:
        image: (n, c, h * s, w * s) float tensor y.
        low_resolution: (n, c, h, w) float tensor lr in the same units.

    Returns:
        Tensor like ``image``, computed in float64 for the small solve and in float32 elsewhere.
    """
    import torch

    height, width = low_resolution.shape[-2:]
    scale = image.shape[-1] // width
    residual = (low_resolution - bicubic_downsample(image, scale)).double()
    rows = torch.from_numpy(_inverse_of_down_up(height, scale)).to(residual.device)
    columns = torch.from_numpy(_inverse_of_down_up(width, scale)).to(residual.device)
    z = rows @ residual @ columns.T
    return image + bicubic_upsample(z.to(image.dtype), scale)


@lru_cache(maxsize=16)
def _inverse_of_down_up(length: int, scale: int) -> np.ndarray:
    """Inverse of D U along one axis, (length, length) float64; well conditioned (about 2)."""
    import torch

    eye = torch.eye(length, dtype=torch.float64)[None, None]
    up = _resize(eye, (length, length * scale))
    return np.linalg.inv(_resize(up, (length, length))[0, 0].T.numpy())
