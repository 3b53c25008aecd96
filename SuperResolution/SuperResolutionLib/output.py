"""Write image files: NIfTI, NRRD, MetaImage, and PNG or TIFF for single slices, with their provenance.

What is written appears under its name only when it is complete.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from . import integrity, itk, slicewise
from .errors import DataError, ResourceError, reason
from .volume import Volume

# ITK writes NIfTI-1, whose axes are counted in 16 bits.
_NIFTI_LONGEST = 32767
_NIFTI_DESCRIPTION = 79

# Grey volumes of more bytes are written slice by slice.
_LARGE_BYTES = 2**26


@dataclass(frozen=True)
class _Output:
    """What an output format can hold: numpy types, whether more than one slice, and text beside the voxels."""

    name: str
    dtypes: frozenset[str]
    volumes: bool
    metadata: bool


_SMALL_TYPES = frozenset({"int8", "uint8", "int16", "uint16", "int32", "uint32", "float32"})
_EVERY_TYPE = _SMALL_TYPES | {"int64", "uint64", "float64"}
_NIFTI = _Output("NIfTI", _EVERY_TYPE, volumes=True, metadata=False)
_PNG = _Output("PNG", frozenset({"uint8", "uint16"}), volumes=False, metadata=False)
_TIFF = _Output("TIFF", _SMALL_TYPES, volumes=False, metadata=False)
_OUTPUTS = {
    ".nii.gz": _NIFTI,
    ".nii": _NIFTI,
    ".nrrd": _Output("NRRD", _EVERY_TYPE, volumes=True, metadata=True),
    ".mha": _Output("MetaImage", _EVERY_TYPE, volumes=True, metadata=True),
    ".png": _PNG,
    ".tiff": _TIFF,
    ".tif": _TIFF,
}


def check_output(
    path: str | os.PathLike,
    volume_is_single_slice: bool | None = None,
    overwrite: bool = False,
    dtype: np.dtype | str | None = None,
    channels: int = 1,
) -> Path:
    """Whatever can be known about an output before the voxels are computed.

    Args:
        path: the file to be written.
        volume_is_single_slice: whether one axis has length 1; None if not known yet.
        overwrite: whether an existing file may be replaced.
        dtype: the scalar type to be written; None if not known yet.
        channels: 1 or 3.

    Returns:
        The path.

    Raises:
        DataError: if the file could not be written there, or the format cannot hold such an image.
    """
    path = Path(path)
    output = output_format(path)
    _check_kind(path, output, volume_is_single_slice, dtype, channels)
    check_place(path, overwrite)
    if not output.metadata:
        check_place(sidecar_path(path), overwrite)
    return path


def check_place(path: Path, overwrite: bool = False) -> Path:
    """Whether a file of this name, whatever its kind, could be written.

    Raises:
        DataError: if its folder is missing or not writable, or the name is taken or not possible.
    """
    if not itk.is_utf8(path):
        raise DataError(f"The name {itk.printable(path)} is not valid UTF-8; choose another one.")
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder; name a file in it.")
        if os.path.lexists(path) and not overwrite:
            raise DataError(f"{path} exists already; choose another name or allow overwriting (--overwrite).")
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is not an ordinary file, so that it is not replaced; choose another name.")
        if not path.parent.is_dir():
            raise DataError(f"There is no folder {path.parent}; create it or choose another one.")
        # Permission bits say little about network shares, read-only disks and administrators; a file does.
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise DataError(f"{path} cannot be written: {_reason(error)}; choose another place.") from error
    return path


def output_format(path: Path) -> _Output:
    """What a file of this name can hold; raises DataError for an unknown suffix."""
    suffix = known_suffix(path, _OUTPUTS)
    if suffix is None:
        known = ", ".join(_OUTPUTS)
        raise DataError(f"The format of {path} is not known for output; its name must end in one of {known}.")
    return _OUTPUTS[suffix]


def _check_kind(path: Path, output: _Output, single: bool | None, dtype, channels: int) -> None:
    if channels not in (1, 3):
        raise DataError(f"{path} cannot hold {channels} values in each voxel; only grey (1) and RGB (3) are written.")
    if single is False and not output.volumes:
        raise DataError(f"{output.name} holds a single slice and this is a volume; use {_alternatives(False, dtype)}.")
    if dtype is not None and np.dtype(dtype).name not in output.dtypes:
        fitting = _alternatives(single is True, dtype)
        better = f"use {fitting}" if fitting else "convert it to 32-bit float first"
        raise DataError(f"{output.name} cannot hold {np.dtype(dtype).name} values; {better}.")


def _alternatives(single: bool, dtype) -> str:
    """The suffixes of the formats that can hold such an image."""
    name = None if dtype is None else np.dtype(dtype).name
    fitting = [
        suffix
        for suffix, output in _OUTPUTS.items()
        if (single or output.volumes) and (name is None or name in output.dtypes)
    ]
    return ", ".join(fitting)


def write_volume(
    volume: Volume,
    path: str | os.PathLike,
    provenance: dict[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a volume; the file appears under its name only when it is complete.

    Provenance becomes ``SuperResolution.<key>`` fields of NRRD and MetaImage files. NIfTI, PNG and TIFF have no such
    fields: for them it goes into a JSON file beside the image (``sidecar_path``), which also holds the geometry of a
    PNG or TIFF slice, and what fits into NIfTI's 80-byte description goes there too.

    Args:
        volume: scalar or RGB.
        path: ends in .nii.gz, .nii, .nrrd, .mha or, for a single slice, .png, .tiff, .tif.
        provenance: text to text.
        overwrite: whether an existing file may be replaced.

    Returns:
        The path.

    Raises:
        DataError: see ``check_output``; or the format cannot hold this volume, or writing failed.
        ResourceError: if the disk is full.
    """
    single = 1 in volume.array.shape[:3]
    path = check_output(path, single, overwrite, volume.array.dtype, volume.channels)
    output = output_format(path)
    if output is _NIFTI:
        check_nifti(volume.size, volume.ijk_to_ras, path)
    suffix = known_suffix(path, _OUTPUTS)
    large = suffix in slicewise.SUFFIXES and volume.channels == 1 and volume.array.nbytes > _LARGE_BYTES
    shown = replace(volume, array=volume.array[:1]) if large else volume
    image = itk.volume_image(shown) if output.volumes else itk.slice_image(volume)
    label(image, output, provenance or {})
    with _partial(path, suffix) as partial, _partial(path, ".json") as partial_sidecar:
        try:
            if large:
                slicewise.write_slicewise(volume, image, partial, output.name)
            else:
                itk.write_image(image, partial, output.name)
            integrity.check_file(partial, output.name)
            if provenance and not output.metadata:
                partial_sidecar.write_text(sidecar_text(volume, output, provenance), encoding="utf-8")
            os.replace(partial, path)
            if partial_sidecar.exists():
                os.replace(partial_sidecar, sidecar_path(path))
            elif not output.metadata:
                # One from an earlier run would describe another image.
                sidecar_path(path).unlink(missing_ok=True)
        except (RuntimeError, OSError, DataError) as error:
            raise writing_error(path, error, volume.array.nbytes) from error
    return path


def write_text(path: str | os.PathLike, text: str, overwrite: bool = False) -> Path:
    """Write a text file (a report) in UTF-8; it appears under its name only when it is complete.

    Raises:
        DataError: if it cannot be written there, or exists and may not be replaced.
        ResourceError: if the disk is full.
    """
    path = check_place(Path(path), overwrite)
    with _partial(path, ".txt") as partial:
        try:
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, path)
        except OSError as error:
            raise writing_error(path, error, len(text)) from error
    return path


@contextmanager
def _partial(path: Path, suffix: str):
    """A name beside ``path`` to write under; whatever is left under it at the end goes."""
    partial = path.with_name(f".superresolution-{secrets.token_hex(8)}{suffix}")
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def writing_error(path: Path, error: Exception, size: int) -> Exception:
    """What to raise for a file of that many bytes that could not be written."""
    if disk_free(path) < size:
        return ResourceError(f"The disk of {path} is full; free some space or choose another one.")
    return DataError(f"{path} cannot be written: {_reason(error)}.")


def check_nifti(size: tuple[int, int, int], ijk_to_ras: np.ndarray, path: Path) -> None:
    """Refuse what NIfTI-1 cannot say: long axes and sheared ones.

    Raises:
        DataError: if so.
    """
    if max(size) > _NIFTI_LONGEST:
        raise DataError(
            f"NIfTI counts at most {_NIFTI_LONGEST} voxels along an axis; write {path.name} as .nrrd or .mha."
        )
    directions = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-4:
        raise DataError(f"The axes of this volume are sheared, which NIfTI loses; write {path.name} as .nrrd or .mha.")


def label(image, output: _Output, provenance: dict[str, str]) -> None:
    """Put provenance into the image's header, as far as the format has room for it."""
    fields = {key: " ".join(_ascii(value).split()) for key, value in provenance.items()}
    if output.metadata:
        for key, value in fields.items():
            # ITK drops an empty field with a warning.
            image.SetMetaData(f"SuperResolution.{key}", value or "-")
    elif output is _NIFTI and fields:
        description = "SuperResolution"
        for key, value in fields.items():
            longer = f"{description}; {key}={value}"
            description = longer if len(longer) <= _NIFTI_DESCRIPTION else description
        image.SetMetaData("ITK_FileNotes", description)


def _ascii(value: str) -> str:
    # NRRD headers are ASCII, and ITK's MetaImage writer empties a field that is not.
    return str(value).encode("ascii", "backslashreplace").decode("ascii")


def sidecar_text(volume: Volume, output: _Output, provenance: dict[str, str]) -> str:
    """What stands in the file beside an image whose format has no place for provenance."""
    content = {key: str(value) for key, value in provenance.items()}
    if not output.volumes:
        content["IJKToRAS"] = json.dumps(volume.ijk_to_ras.tolist())
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def sidecar_path(path: str | os.PathLike) -> Path:
    """Where the provenance of an image lies whose format has no place for it: beside it, ``<name>.provenance.json``."""
    path = Path(path)
    return path.with_name(path.name + ".provenance.json")


def disk_free(path: str | os.PathLike) -> int:
    """Bytes free on the disk that holds the folder of a file (or the folder itself).

    Raises:
        DataError: if no part of the path exists.
    """
    folder = Path(path).absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise DataError(f"The free space of {folder} cannot be found: {_reason(error)}.") from error


def known_suffix(path: Path, known: dict) -> str | None:
    """Which of the known suffixes a file's name ends in, in any case; None if in none."""
    return next((suffix for suffix in known if path.name.lower().endswith(suffix)), None)


def _reason(error: Exception) -> str:
    """A short cause; ITK's own text names source files and addresses, so it stays in the chained exception."""
    if isinstance(error, OSError):
        return reason(error)
    if isinstance(error, DataError):
        return "the written file is incomplete"
    return "the image library could not write it"
