"""One bicubic kernel both ways, and the exact consistency of an enlargement with its input.

The kernel is Keys' cubic with a = -0.5, antialiased when it shrinks, on the pixel-area grid: what PIL computes on
float images. Written for planes: the last two axes are rows and columns, everything before them is batch.
"""

from __future__ import annotations

from functools import lru_cache

#: A long axis is solved in windows of this many pixels, of which this many on each side are margin.
WINDOW, MARGIN = 256, 32


def bicubic_upsample(image, scale: int):
    """Enlarge a (n, c, h, w) tensor to (n, c, h * scale, w * scale); float32 or float64 in, the same out."""
    return resize(image, (image.shape[-2] * scale, image.shape[-1] * scale))


def bicubic_downsample(image, scale: int):
    """Shrink a (n, c, h, w) tensor, h and w multiples of scale, to (n, c, h / scale, w / scale), antialiased.

    Raises:
        ValueError: if h or w is not a multiple of scale.
    """
    height, width = image.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"{height}x{width} is not a multiple of the scale {scale}; crop it first")
    return resize(image, (height // scale, width // scale))


def resize(image, size: tuple[int, int]):
    """Bring a (n, c, h, w) float tensor to ``size`` (rows, columns), antialiased along an axis that shrinks."""
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
    scale = image.shape[-1] // low_resolution.shape[-1]
    residual = (low_resolution - bicubic_downsample(image, scale)).double()
    z = _solve(_solve(residual, scale, axis=-1), scale, axis=-2)
    return bicubic_upsample(z.to(image.dtype), scale).add_(image)


def _solve(residual, scale: int, axis: int):
    """Solve (D U) z = residual along the last axis of a float64 tensor, or along the one before it.

    The inverse of D U fades by a factor of 3 a pixel, so a long axis is solved in windows whose margins are dropped;
    what the cut costs is below float64's rounding.
    """
    import torch

    def solved(part, *place):
        inverse = _inverse(residual.device, scale, *place)
        return part @ inverse.T if axis == -1 else inverse @ part

    length = residual.shape[axis]
    if length <= WINDOW:
        return solved(residual, length, 0, length)
    core, parts = WINDOW - 2 * MARGIN, []
    for start in range(0, length, core):
        stop = min(start + core, length)
        first, last = max(0, start - MARGIN), min(length, stop + MARGIN)
        # What a window looks like depends on its size and on whether it touches the borders, not on where it is.
        total = (last - first) + (MARGIN if first > 0 else 0) + (MARGIN if last < length else 0)
        offset = MARGIN if first > 0 else 0
        part = solved(residual.narrow(axis, first, last - first), total, offset, offset + last - first)
        parts.append(part.narrow(axis, start - first, stop - start))
    return torch.cat(parts, dim=axis)


@lru_cache(maxsize=64)
def _inverse(device, scale: int, length: int, first: int, last: int):
    """Inverse of rows and columns first:last of D U along an axis of that length, float64; well conditioned (2).

    It stays on the device: to bring it to a graphics card each time would be waited for.
    """
    import torch

    with torch.inference_mode(False):  # what is remembered must serve gradients as well
        eye = torch.eye(length, dtype=torch.float64)[None, None]
        up = resize(eye, (length, length * scale))
        return torch.linalg.inv(resize(up, (length, length))[0, 0].T[first:last, first:last]).to(device)
