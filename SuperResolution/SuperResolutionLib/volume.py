"""The one data type that crosses every wall of the engine."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from .errors import DataError


@dataclass(frozen=True)
class Volume:
    """Voxels with their place in the patient.

    Attributes:
        array: shape (k, j, i) for scalar voxels or (k, j, i, c) for colour (c = 3); any integer or floating type,
            in the units of the image (HU for CT). A single slice has an axis of length 1.
        ijk_to_ras: (4, 4) float64, maps voxel indices (i, j, k, 1) to RAS coordinates in millimetres; integer
            indices are voxel centres.
        name: what a person calls this volume.
        source: where it came from, for provenance (``path``, ``SeriesInstanceUID``, ``Modality``, ...), text to text.

    Raises:
        DataError: if the shapes do not fit together or the matrix cannot be inverted.
    """

    array: np.ndarray
    ijk_to_ras: np.ndarray
    name: str = ""
    source: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        if self.array.ndim not in (3, 4):
            raise DataError(f"A volume has 3 axes, or 4 with color; this array has {self.array.ndim}.")
        if 0 in self.array.shape:
            raise DataError("The image holds no voxels: one of its axes has length 0.")
        object.__setattr__(self, "ijk_to_ras", check_geometry(self.ijk_to_ras))

    @property
    def size(self) -> tuple[int, int, int]:
        """Number of voxels along i, j, k."""
        k, j, i = self.array.shape[:3]
        return i, j, k

    @property
    def channels(self) -> int:
        """1 for scalar voxels, otherwise the number of colour components."""
        return 1 if self.array.ndim == 3 else self.array.shape[3]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along i, j, k, in millimetres."""
        return tuple(float(length) for length in np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0))

    def with_array(self, array: np.ndarray) -> Volume:
        """The same place in the patient with other voxels of the same size."""
        return replace(self, array=array)


def check_geometry(ijk_to_ras: np.ndarray) -> np.ndarray:
    """A (4, 4) matrix as float64.

    Raises:
        DataError: if it cannot be inverted: a spacing is zero or no number, or two axes are parallel.
    """
    matrix = np.asarray(ijk_to_ras, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not _spans_space(matrix[:3, :3]):
        raise DataError(
            "The image geometry is not usable: its directions and spacings do not span space; correct its header."
        )
    return matrix


def _spans_space(axes: np.ndarray) -> bool:
    """Whether three columns have lengths and are not in one plane, whatever their unit."""
    lengths = np.linalg.norm(axes, axis=0)
    return bool(lengths.min() > 0 and abs(np.linalg.det(axes / lengths)) > 1e-6)
