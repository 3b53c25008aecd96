"""Uncompressed image files whose voxels are written as they are computed, so that a result need not fit into memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import itk
from .errors import DataError, UsageError
from .output import check_nifti, known_suffix, label, output_format, sidecar_path, sidecar_text, writing_error
from .plan import Job
from .sinks import FileSink, Open
from .slicewise import write_header
from .volume import Volume

#: The formats that can be written slice by slice, by their suffix.
SUFFIXES = (".nrrd", ".mha", ".nii")


def check_raw(path: Path, channels: int = 1) -> None:
    """Whether a file of this name can be written slice by slice.

    Raises:
        DataError: if its format cannot.
    """
    if known_suffix(path, dict.fromkeys(SUFFIXES)) is None or path.name.lower().endswith(".nii.gz"):
        raise DataError(f"{path} cannot be written uncompressed; use one of {', '.join(SUFFIXES)}.")
    if channels > 1 and path.name.lower().endswith(".nii"):
        raise DataError(f"Colors are not written to {path} slice by slice; use .nrrd or .mha.")


def check_uncompressed(paths: list[Path], compared: bool) -> None:
    """Whether files can be written slice by slice; ``compared``: whether the result is compared with another.

    Raises:
        DataError: if a format cannot. UsageError: if it is compared, which takes all of it.
    """
    for path in paths:
        check_raw(path)
    if compared:
        raise UsageError("--disagreement takes the whole result in memory; leave out --uncompressed.")


def open_raw(path: Path, job: Job, provenance: dict[str, str]) -> FileSink:
    """A sink that writes a job's output into an uncompressed file, which is complete once the sink is closed.

    Args:
        path: where to write; an existing file is replaced. job: what is written.
        provenance: see ``output.write_volume``.

    Raises:
        DataError: if the format cannot hold it or it cannot be written there.
        ResourceError: if the disk has no room for it.
    """
    check_raw(path, job.layout.channels)
    output = output_format(path)
    k, *slice_shape = job.output_shape
    single = Volume(np.zeros((1, *slice_shape), job.dtype), job.output_ijk_to_ras)
    if output.name == "NIfTI":
        check_nifti(job.layout.output_size, job.output_ijk_to_ras, path)
    image = itk.volume_image(single)
    label(image, output, provenance)
    try:
        start = write_header(image, path, output.name, k)
        if not output.metadata:
            sidecar_path(path).write_text(sidecar_text(single, output, provenance), encoding="utf-8")
        return FileSink(path, start, job)
    except (RuntimeError, OSError) as error:
        raise writing_error(path, error, job.layout.output_bytes) from error


def raw_sinks(places: dict[str, Path | None]) -> Open:
    """What ``upscale`` takes to write into uncompressed files; ``places`` names them for "sr" and "bicubic"."""
    return lambda kind, job, provenance: open_raw(places[kind], job, provenance)
