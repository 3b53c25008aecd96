"""Packed sets in the memory of a GPU, and patches cut there: the pairs of ``dataset``, hundreds of batches a second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from SuperResolutionLib.resampling import bicubic_downsample

from .dataset import Draw
from .packed import PackedSet

#: Share of the device's free memory that the sets may take.
SHARE = 0.25


class ResidentSets:
    """All slices and their reductions on a device; called with what was drawn, it gives the batch.

    Args:
        packed: the sets in the order in which draws number them, all with the same channels.
        scale, patch: enlargement, and side of a low-resolution patch in pixels.
    """

    def __init__(self, packed: Sequence[PackedSet], scale: int, patch: int, device: torch.device):
        self.scale, self.patch, self.device = scale, patch, device
        self._starts: list[list[tuple[int, int, int, int]]] = []
        high, low, ends = [], [], [0, 0]
        for one in packed:
            rows = []
            for index in range(len(one)):
                height, width = (length - length % scale for length in one.shape(index))
                rows.append((ends[0], width, ends[1], width // scale))
                plane = torch.from_numpy(one.window(index, slice(0, height), slice(0, width))).to(device)
                small = (
                    bicubic_downsample(plane.movedim(-1, 0)[None], scale)[0].movedim(0, -1).clamp(*one.limits(index))
                )
                for parts, image in ((high, plane), (low, small)):
                    parts.append(image.reshape(-1, one.channels))
                ends = [ends[0] + height * width, ends[1] + height * width // scale**2]
            self._starts.append(rows)
        self._high, self._low = torch.cat(high), torch.cat(low)
        self._turned = [turned_places(patch * factor).to(device) for factor in (scale, 1)]

    def __call__(self, draws: Sequence[Draw]) -> tuple[Tensor, Tensor]:
        """(n, c, p, p) and (n, c, p * scale, p * scale) float32 on the device, p the patch."""
        numbers = np.array([(*self._starts[d.which][d.index], d.y, d.x, 2 * d.turns + d.flip) for d in draws])
        start, width, low_start, low_width, y, x, how = torch.from_numpy(numbers).to(self.device).unbind(1)
        gains = torch.tensor([d.gain for d in draws], dtype=torch.float32, device=self.device)[:, None, None, None]
        high = self._gather(self._high, self._turned[0][how], start, width, y * self.scale, x * self.scale)
        low = self._gather(self._low, self._turned[1][how], low_start, low_width, y, x)
        return low * gains, high * gains

    @staticmethod
    def _gather(pixels: Tensor, places: Tensor, start: Tensor, width: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Patches (n, c, p, p) from flat pixels (m, c), for ``places`` (n, 2, p, p) within each patch."""
        start, width, y, x = (value[:, None, None] for value in (start, width, y, x))
        return pixels[start + (y + places[:, 0]) * width + x + places[:, 1]].movedim(-1, 1)


def fits(packed: Sequence[PackedSet], device: torch.device) -> bool:
    """Whether the sets can lie on a GPU, in float32, within ``SHARE`` of what is free there."""
    if device.type != "cuda":
        return False
    pixels = sum(int(np.prod(one.shape(index))) * one.channels for one in packed for index in range(len(one)))
    return 4 * 2 * pixels <= SHARE * torch.cuda.mem_get_info(device)[0]


def turned_places(side: int) -> Tensor:
    """Row and column (8, 2, side, side) from which each pixel of a square comes: 2 * quarter turns + flip."""
    square = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1)
    turned = [np.rot90(square, turns)[:, :: -1 if flip else 1] for turns in range(4) for flip in (False, True)]
    return torch.from_numpy(np.moveaxis(np.stack(turned), -1, 1).copy())
