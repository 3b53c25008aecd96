"""An image's outermost lines, blended with what lies outside, as an earlier resampling leaves them.

Where a radiograph was resized or padded with nothing beyond it, its first line is a mixture of image and black, often
after a few lines of black alone. Most of NIH's chest X-rays have such a side, and on some of them the four outermost
lines hold most of bicubic's squared error. Patches rarely lie at an image's edge; this puts some there.
"""

from __future__ import annotations

import numpy as np

#: The share of images of which the outermost line alone is covered, and how much of it: lowest, most often, highest.
PARTIAL, COVERED = 0.75, (0.0, 0.4, 1.0)

#: How many lines are covered in the others, in high-resolution pixels, drawn evenly in the logarithm.
DEPTHS = (1.0, 60.0)

#: By what share of the step the first line inside overshoots, as interpolation with a negative lobe does.
OVERSHOOT = (0.05, 0.2)

#: How often what lies along the edge turns bright or dark towards it, as beside a collimator or a film's rim, and over
#: how many pixels, drawn evenly in the logarithm.
RIM, REACH = 0.4, (0.7, 30.0)

#: (row or column, first or last): the four edges.
Edge = tuple[int, int]


def choose_edges(rng: np.random.Generator) -> list[Edge]:
    """One edge, or two that meet in a corner in three of ten cases."""
    first = int(rng.integers(2))
    axes = (first, 1 - first)[: 1 + int(rng.random() < 0.3)]
    return [(axis, int(rng.integers(2))) for axis in axes]


def blend_edges(image: np.ndarray, edges: list[Edge], rng: np.random.Generator) -> np.ndarray:
    """Cover outermost lines with what lies outside the image: mostly black, sometimes white or grey.

    Args:
        image: (h, w, c) float32 in the network's range; it is not changed.
        edges: from ``choose_edges``.
        rng: where all chance comes from.

    Returns:
        (h, w, c) float32, from 0 to 1 or the image's highest.
    """
    highest = max(1.0, float(image.max()))
    for axis, last in edges:
        depth = rng.triangular(*COVERED) if rng.random() < PARTIAL else _log_uniform(rng, DEPTHS)
        distance = np.arange(image.shape[axis])
        if rng.random() < RIM:
            fades = rng.random() * np.exp(-(distance - depth).clip(min=0) / _log_uniform(rng, REACH))
            image = _towards(image, float(rng.random() < 0.7), fades, axis, last)
        covered = (depth - distance).clip(0, 1)
        inside = min(int(np.ceil(depth)), len(covered) - 1)
        covered[inside] -= covered[inside - 1] * rng.uniform(*OVERSHOOT)
        value = (0.0, 1.0, rng.random())[rng.choice(3, p=(0.85, 0.1, 0.05))]
        image = _towards(image, value, covered, axis, last)
    return image.clip(0, highest).astype(np.float32)


def _towards(image: np.ndarray, value: float, shares: np.ndarray, axis: int, last: int) -> np.ndarray:
    """Mixed with a value, by one share for each line from the edge."""
    shares = np.expand_dims(shares[:: -1 if last else 1], (1 - axis, 2)).astype(np.float32)
    return image * (1 - shares) + np.float32(value) * shares


def _log_uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))
