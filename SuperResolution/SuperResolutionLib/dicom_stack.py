"""Where the slices of a DICOM series lie, and whether they are one straight, even, complete stack.

Works on headers alone; classic files have one frame each, enhanced files say in functional groups where each lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import itk
from .errors import DataError

# Directions are unit vectors; headers round them.
_SAME_DIRECTION = 1e-3
# Some headers round positions to a tenth of a millimetre: half of that, and what the fit of a line adds to it.
_ROUNDING = 0.06
_TILT_DEGREES = 0.5


@dataclass(frozen=True)
class Frame:
    """One slice as its header describes it: millimetres, DICOM's LPS axes.

    ``orientation`` holds the directions of the i and the j axis; it and ``position`` (of the first voxel) are None for
    images that have no place in the patient. ``spacing`` is along i and j, 1 mm where it is not known, ``thickness``
    the distance to the next slice, as far as one header knows it. ``rescale`` is slope and intercept.
    """

    path: Path
    position: np.ndarray | None
    orientation: np.ndarray | None
    spacing: tuple[float, float]
    spacing_known: bool
    thickness: float
    rescale: tuple[float, float]


def frame_count(header) -> int:
    return int(header.get("NumberOfFrames") or 1)


def read_frames(path: Path, header) -> list[Frame]:
    frames = []
    for index in range(frame_count(header)):
        measures = _group(header, index, "PixelMeasuresSequence")
        values = _group(header, index, "PixelValueTransformationSequence")
        spacing = _pixel_spacing(measures)
        plane = _group(header, index, "PlanePositionSequence")
        position = _numbers(plane, "ImagePositionPatient", 3)
        orientation = _numbers(_group(header, index, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
        if frame_count(header) > 1 and plane is header:
            # A classic multi-frame file has one position for all its frames, which is none for most of them.
            position = None
        placed = position is not None and orientation is not None
        slope, intercept = _one(values, "RescaleSlope", 1.0), _one(values, "RescaleIntercept", 0.0)
        if slope == 0:
            raise DataError(f"{path} states a rescale slope of 0, which leaves nothing of its pixels; export it again.")
        frames.append(
            Frame(
                path=path,
                position=position if placed else None,
                orientation=orientation.reshape(2, 3) if placed else None,
                spacing=spacing or (1.0, 1.0),
                spacing_known=spacing is not None,
                thickness=_positive(measures, "SpacingBetweenSlices") or _positive(measures, "SliceThickness") or 1.0,
                rescale=(slope, intercept),
            )
        )
    return frames


def _group(header, index: int, name: str):
    """Where a frame's attributes stand: in its own functional group, in the shared one, else in the header itself."""
    for sequence, item in (("PerFrameFunctionalGroupsSequence", index), ("SharedFunctionalGroupsSequence", 0)):
        items = header.get(sequence) or []
        if item < len(items) and items[item].get(name):
            return items[item].get(name)[0]
    return header


def _numbers(dataset, keyword: str, count: int) -> np.ndarray | None:
    """Finite numbers of an attribute, or None where it is absent or of no use."""
    try:
        values = np.array(dataset.get(keyword), dtype=np.float64).ravel()
    except (TypeError, ValueError):
        return None
    return values if values.size == count and np.isfinite(values).all() else None


def _one(dataset, keyword: str, default: float) -> float:
    values = _numbers(dataset, keyword, 1)
    return default if values is None else float(values[0])


def _positive(dataset, keyword: str) -> float | None:
    value = abs(_one(dataset, keyword, 0.0))
    return value if value > 0 else None


def _pixel_spacing(dataset) -> tuple[float, float] | None:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        values = _numbers(dataset, keyword, 2)
        if values is not None and (values > 0).all():
            # DICOM names the distance between rows first, which is the step along j.
            return float(values[1]), float(values[0])
    return None


def unplaced(label: str, frames: list[Frame], files: int) -> tuple[np.ndarray, np.ndarray]:
    """Order and geometry of frames that have no place in the patient."""
    if files > 1:
        raise DataError(f"{label} has {files} files, not all with a position, which cannot be stacked; name one file.")
    first = frames[0]
    steps = np.diag([*first.spacing, first.thickness])
    return np.arange(len(frames)), itk.ras_matrix(steps, np.zeros(3))


def stack(label: str, frames: list[Frame]) -> tuple[np.ndarray, np.ndarray]:
    """Order of the slices along their normal, and ijk_to_ras.

    Raises:
        DataError: if they are not one straight, evenly spaced, complete stack.
    """
    orientation = frames[0].orientation
    others = np.array([frame.orientation for frame in frames])
    if np.abs(others - orientation).max() > _SAME_DIRECTION:
        raise DataError(f"{label} holds slices of different orientations (a localizer?); name one file.")
    if np.abs(orientation @ orientation.T - np.eye(2)).max() > 10 * _SAME_DIRECTION:
        raise DataError(f"{label} has row and column directions that are not at right angles; it cannot be used.")
    normal = np.cross(*orientation)
    normal /= np.linalg.norm(normal)
    positions = np.array([frame.position for frame in frames])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    step = frames[0].thickness
    if len(frames) > 1:
        heights = (positions - positions[0]) @ normal
        _refuse_repeated(label, heights)
        _refuse_tilt(label, positions, heights, normal, half_pixel=min(frames[0].spacing) / 2)
        _refuse_uneven(label, heights)
        step = heights[-1] / (len(heights) - 1)
    steps = np.stack([*orientation, normal], axis=1) * [*frames[0].spacing, step]
    return order, itk.ras_matrix(steps, positions[0])


def _refuse_repeated(label: str, heights: np.ndarray) -> None:
    gaps = np.diff(heights)
    distinct = 1 + np.count_nonzero(gaps > max(1e-3, 0.01 * float(np.median(gaps))))
    if distinct < len(heights):
        raise DataError(
            f"{label} has {len(heights)} images at {distinct} positions (several phases, echoes, time points, or the "
            "same files twice); use one image for each position."
        )


def _refuse_tilt(label: str, positions: np.ndarray, heights: np.ndarray, normal: np.ndarray, half_pixel: float) -> None:
    sideways = np.linalg.norm(positions - positions[0] - np.outer(heights, normal), axis=1)
    degrees = float(np.degrees(np.arctan2(sideways[-1], heights[-1])))
    if sideways.max() > half_pixel or (sideways[-1] > _ROUNDING and degrees > _TILT_DEGREES):
        raise DataError(
            f"{label} is not stacked at right angles to its slices (gantry tilt or shifted slices: {degrees:.1f} "
            f"degrees, {sideways.max():.2f} mm sideways); resample it to a straight grid first."
        )


def _refuse_uneven(label: str, heights: np.ndarray) -> None:
    index = np.arange(len(heights))
    step, start = np.polyfit(index, heights, 1)
    tolerance = min(max(0.02 * step, _ROUNDING), 0.1 * step)
    if np.abs(heights - start - step * index).max() <= tolerance:
        return
    gaps = np.diff(heights)
    low, high = float(gaps.min()), float(gaps.max())
    ratios = gaps / low
    if np.abs(ratios - ratios.round()).max() < 0.05:
        missing = int(ratios.round().sum()) - len(gaps)
        raise DataError(
            f"{label} lacks {missing} slice{'s' * (missing != 1)}: its {len(heights)} slices are {low:.4g} mm apart "
            f"with gaps of up to {high:.4g} mm; export the complete series again."
        )
    raise DataError(
        f"{label} has uneven slice spacing, from {low:.4g} to {high:.4g} mm; resample it to even spacing first."
    )
