"""A picture of what the averaged weights do at a step: a row a patch, LR, bicubic, SR and HR side by side."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from SuperResolutionLib.resampling import bicubic_upsample

from .optional import installed

#: Rows of a picture, and pixels between its parts.
ROWS, GAP = 4, 4


@torch.inference_mode()
def draw_samples(net: nn.Module, low: Tensor, high: Tensor, path: Path) -> None:
    """Write a PNG; nothing without pillow.

    Args:
        net: the generator in evaluation mode.
        low, high: (n, c, h, w) and (n, c, h * scale, w * scale) in the network's range.
    """
    if not installed("PIL"):
        return
    from PIL import Image

    scale = high.shape[-1] // low.shape[-1]
    columns = [low.repeat_interleave(scale, -1).repeat_interleave(scale, -2), bicubic_upsample(low, scale)]
    grid = np.concatenate([_column(images.float().cpu()) for images in (*columns, net(low), high)], axis=1)
    pixels = np.clip(np.rint(grid[GAP:, GAP:] * 255), 0, 255).astype(np.uint8)
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(".part")
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(temporary, "PNG")
    os.replace(temporary, path)


def _column(images: Tensor) -> np.ndarray:
    """(n, c, h, w) to one (n * (h + GAP), w + GAP, c), white between."""
    padded = torch.nn.functional.pad(images, (GAP, 0, GAP, 0), value=1.0)
    return np.concatenate([np.moveaxis(image.numpy(), 0, -1) for image in padded])
