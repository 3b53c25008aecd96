"""Pack a folder of sets with fixed splits into training slices.

The folder holds ``splits.json`` (set -> split -> file names) and one subfolder a set. Every volume gets the intensity
map of the engine as a whole, then it is cut into slices whose sides are multiples of 16, the largest scale.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from SuperResolutionLib.intensity import choose_map

from .config import Config
from .dataset import pack

#: Axes whose spacings differ by less than this factor all give slices; otherwise only the finest plane does.
ISOTROPIC = 1.3
MULTIPLE = 16


def prepare(config: Config, data: Path, out: Path) -> dict[str, int]:
    """Pack the train splits of a configuration's sets under its card's intensity mapping.

    Returns:
        The number of slices a set.

    Raises:
        SuperResolutionError: for a file that cannot be read.
    """
    from SuperResolutionLib.files import read_volume

    splits = json.loads((data / "splits.json").read_text())
    counts = {}
    for name in config.sets:
        slices = []
        for file in splits[name]["train"]:
            volume = read_volume(data / name / file)
            slices += cut_slices(volume.array, volume.spacing, config.card["intensity"])
        pack(out, name, slices)
        counts[name] = len(slices)
    return counts


def cut_slices(array: np.ndarray, spacing: tuple[float, float, float], intensity: dict) -> list[np.ndarray]:
    """Slices (h, w) in the network's range of a (k, j, i) array; spacing is along (i, j, k) in millimetres."""
    mapped = choose_map(array, intensity).to_network(array)
    k, j, i = mapped.shape
    isotropic = min(k, j, i) > 1 and max(spacing) < ISOTROPIC * min(spacing)
    axes = range(3) if isotropic else (int(np.argmax(spacing[::-1])) if k > 1 else 0,)
    slices = [plane for axis in axes for plane in np.moveaxis(mapped, axis, 0)]
    return [_crop(plane) for plane in slices if plane.max() - plane.min() > 0.1]


def _crop(plane: np.ndarray) -> np.ndarray:
    height, width = (length - length % MULTIPLE for length in plane.shape)
    top, left = (plane.shape[0] - height) // 2, (plane.shape[1] - width) // 2
    return plane[top : top + height, left : left + width]
