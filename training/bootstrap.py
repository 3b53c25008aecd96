"""How sure a mean gain is: paired bootstrap intervals over images."""

from __future__ import annotations

import numpy as np

RESAMPLES = 10_000
COVERAGE = 0.95


def paired_gain(model: list[float], other: list[float], seed: int = 0) -> dict[str, float | int | None]:
    """Mean of model - other over images, with the percentile bootstrap interval of that mean.

    Args:
        model, other: scores of the same images in the same order.
        seed: of the resampling; the result is the same every time.

    Returns:
        ``mean``, ``low`` and ``high`` of the 95 % interval (None for fewer than two images), ``images``, ``better``,
        the number of images on which the model is ahead, and ``least``, its gain on the worst one.
    """
    differences = np.asarray(model, float) - np.asarray(other, float)
    count = len(differences)
    result = {"mean": float(differences.mean()), "low": None, "high": None, "images": count}
    if count > 1:
        chosen = np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))
        tails = [50 * (1 - COVERAGE), 50 * (1 + COVERAGE)]
        low, high = np.percentile(differences[chosen].mean(axis=1), tails)
        result |= {"low": float(low), "high": float(high)}
    return result | {"better": int((differences > 0).sum()), "least": float(differences.min())}
