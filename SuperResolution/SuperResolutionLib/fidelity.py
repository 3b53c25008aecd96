"""What can be said about a result: how closely it gives the input back when it is shrunk."""

from __future__ import annotations

import numpy as np


class ConsistencyResidual:
    """Collects |D(result) - input| slice by slice, in the input's units."""

    def __init__(self):
        self._parts: list[np.ndarray] = []

    def add(self, residual: np.ndarray) -> None:
        """Residuals of one slice, any shape."""
        self._parts.append(np.abs(residual, dtype=np.float32).reshape(-1))

    def summary(self) -> dict[str, float]:
        """Largest residual, 99.9th percentile, and the share of input voxels that are off by more than one unit."""
        values = np.concatenate(self._parts)
        return {
            "max": float(values.max()),
            "p99_9": float(np.percentile(values, 99.9)),
            "share_above_one_unit": float(np.mean(values > 1.0)),
        }
