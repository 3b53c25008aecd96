"""Read image files: NIfTI, NRRD, MetaImage, PNG, TIFF, JPEG, DICOM; and the engine's whole file interface.

Files are recognised by their content; names only choose the words of an error. DICOM is read in dicom.py, writing is
in output.py.
"""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

import numpy as np

from . import dicom, integrity, itk, nifti, tiff
from .errors import DataError, UsageError, reason
from .output import check_output, disk_free, known_suffix, sidecar_path, write_volume
from .volume import Volume

__all__ = ["check_output", "disk_free", "read_volume", "sidecar_path", "write_volume"]

_SUFFIXES = {
    ".nii.gz": "NIfTI",
    ".nii": "NIfTI",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
    ".png": "PNG",
    ".tiff": "TIFF",
    ".tif": "TIFF",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".dcm": "DICOM",
}
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_META_IMAGE = re.compile(rb"^NDims\s*=\s*\d", re.MULTILINE)


def read_volume(path: str | os.PathLike, series: str | None = None, alone: bool = False) -> Volume:
    """Read an image file, or a DICOM series from a folder.

    Args:
        path: NIfTI, NRRD, MetaImage, PNG, TIFF, JPEG or DICOM file, or a folder with DICOM files.
        series: SeriesInstanceUID, where a folder holds several series.
        alone: refuse a header that names other files for its voxels: for a file from somebody else.

    Returns:
        A volume in the file's own scalar type and units (rescaled: CT in HU). A flat image has one slice. ``source``
        holds ``path``, for DICOM also ``SeriesInstanceUID``, ``StudyInstanceUID`` and ``Modality`` and, where the
        file names them, ``Padding``: the voxel values that mean no image, separated by spaces; and a ``Notice`` where
        something was left out or assumed.

    Raises:
        DataError: if it is missing, unreadable, damaged, incomplete, ambiguous or not a scalar or RGB image.
        UsageError: if a series is named for a file that is not DICOM.
        ResourceError: if memory does not suffice.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return dicom.read_dicom(path, series)
        format_name = _recognise(path)
        if format_name == "DICOM":
            return dicom.read_dicom(path, series)
        if series is not None:
            raise UsageError(f"{path} is not DICOM, so it has no series; leave out --series.")
        if alone and integrity.is_detached(path, format_name):
            raise DataError(f"{path} is a header alone, whose voxels lie in another file; save both as one file.")
        integrity.check_file(path, format_name)
        return _read(path, format_name)
    except PermissionError as error:
        raise DataError(
            f"{itk.printable(error.filename or path)} may not be read: permission denied; ask its owner for access."
        ) from error
    except OSError as error:
        raise DataError(f"{itk.printable(path)} cannot be read: {reason(error)}.") from error


def _read(path: Path, format_name: str) -> Volume:
    """A file that is not DICOM and has been found whole."""
    image = itk.read_image(path, format_name)
    array, matrix, notices = itk.image_array(image), itk.image_geometry(image), []
    spacing_known = format_name not in ("PNG", "JPEG")
    if format_name == "NIfTI":
        if array.dtype.kind == "f":
            nifti.restore_missing(path, array)
        if image.GetDimension() < 3:
            matrix = nifti.flat_geometry(path)
        else:
            _refuse_ignored_sform(path, image, matrix)
    if format_name == "TIFF":
        array, spacing_known, notices = tiff.correct(path, array)
        notices += [] if spacing_known else [dicom.NO_SPACING]
    if array.ndim == 4 and array.shape[3] == 4:
        array = np.ascontiguousarray(array[..., :3])
        notices.append("The alpha channel (transparency) is dropped.")
    source = {"path": itk.printable(path)}
    if not spacing_known:
        source["Spacing"] = "unknown"
    if notices:
        source["Notice"] = " ".join(notices)
    return Volume(array, matrix, itk.printable(_stem(path)), source)


def _recognise(path: Path) -> str:
    """The format of a file, from its first bytes."""
    if not path.exists():
        raise DataError(f"There is no file or folder {path}; check the name.")
    if not path.is_file():
        raise DataError(f"{path} is not an ordinary file; name an image file or a DICOM folder.")
    with path.open("rb") as stream:
        head = stream.read(4096)
    if not head:
        raise DataError(f"{path} is empty (0 bytes); copy or export it again.")
    suffix = known_suffix(path, _SUFFIXES)
    if dicom.looks_like_dicom(head):
        return "DICOM"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(_TIFF_STARTS):
        return "TIFF"
    if head.startswith(b"NRRD000"):
        return "NRRD"
    if nifti.parse_header(_inflated(head)[: nifti.HEADER]):
        return "NIfTI"
    if _META_IMAGE.search(head):
        return "MetaImage"
    if suffix is None:
        raise DataError(
            f"{path} is not an image that can be read; use NIfTI, NRRD, MetaImage, DICOM, PNG, TIFF or JPEG."
        )
    raise DataError(f"{path} is not a {_SUFFIXES[suffix]} image, as its name says, or is truncated; export it again.")


def _inflated(head: bytes) -> bytes:
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        return zlib.decompressobj(31).decompress(head, nifti.HEADER)
    except zlib.error:
        return b""


def _refuse_ignored_sform(path: Path, image, matrix: np.ndarray) -> None:
    """Refuse a NIfTI file whose only orientation contradicts its voxel sizes: ITK then goes without any orientation."""
    header = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    millimetres = int(header.get("xyzt_units", 0)) & 7 in (0, 2)
    if header.get("qform_code", "0") != "0" or header.get("sform_code", "0") == "0" or not millimetres:
        return
    steps = np.array([[float(number) for number in header[f"srow_{row}"].split()[:3]] for row in "xyz"])
    if np.abs(steps - matrix[:3, :3])[:, : image.GetDimension()].max() > 0.01 * np.abs(steps).max():
        stated = " x ".join(f"{length:.4g}" for length in np.linalg.norm(steps, axis=0))
        held = " x ".join(f"{length:.4g}" for length in np.linalg.norm(matrix[:3, :3], axis=0))
        raise DataError(
            f"{path} contradicts itself: its voxels measure {held} mm, by its sform {stated} mm; correct its header."
        )


def _stem(path: Path) -> str:
    suffix = known_suffix(path, _SUFFIXES)
    return path.name[: -len(suffix)] if suffix else path.stem
