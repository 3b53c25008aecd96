"""SimpleITK's side of reading and writing: quietly, in RAS, and with errors that a person can use."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import numpy as np

from . import integrity, nifti
from .errors import DataError, ResourceError, cut_short
from .volume import Volume

# RAS and ITK's LPS differ in the sign of the first two axes.
_FLIP = np.array([-1.0, -1.0, 1.0])

_IMAGE_IO = {
    "DICOM": "GDCMImageIO",
    "JPEG": "JPEGImageIO",
    "MetaImage": "MetaImageIO",
    "NIfTI": "NiftiImageIO",
    "NRRD": "NrrdImageIO",
    "PNG": "PNGImageIO",
    "TIFF": "TIFFImageIO",
}

#: Formats whose voxels may lie in another file, beside the one that is named.
_DETACHED = ("MetaImage", "NRRD")

_quiet_lock = threading.RLock()


@contextmanager
def quiet():
    """Keep what ITK, GDCM and the image codecs print out of the terminal.

    Codecs write to the process's error stream from C, past Python, so the file descriptor itself is turned away.
    One thread at a time, because it belongs to the whole process.
    """
    import SimpleITK as sitk

    with _quiet_lock:
        shown = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            with open(os.devnull, "wb") as nowhere, _turned_away(sys.stderr, 2, nowhere):
                yield
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(shown)


@contextmanager
def _turned_away(stream, number: int, file):
    """Let a descriptor of the process write into a file; nothing happens where there is none (a Windows program without
    console, a stream that was closed)."""
    try:
        if stream is not None:
            stream.flush()
        _flush()
        kept = os.dup(number)
    except (OSError, ValueError, AttributeError):
        yield
        return
    os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        _flush()
        os.dup2(kept, number)
        os.close(kept)


def _flush() -> None:
    """Write out what C has buffered, so that it goes where it was meant to."""
    with suppress(OSError, AttributeError):
        (ctypes.CDLL(None) if os.name == "posix" else ctypes.cdll.ucrtbase).fflush(None)


def _read_jpeg(path: Path, reader):
    """The image, unless libjpeg says that it is damaged, on whichever stream, and goes on."""
    with suppress(OSError), TemporaryFile() as said:
        with _turned_away(sys.stdout, 1, said), _turned_away(sys.stderr, 2, said):
            image = reader.Execute()
        said.seek(0)
        if integrity.jpeg_is_damaged(path, said.read().decode("utf-8", "replace")):
            raise cut_short(path, "its compressed data are damaged")
        return image
    return reader.Execute()  # where no temporary file can be made, nothing is heard


def read_image(path: Path, format_name: str):
    """The SimpleITK image in a file of the named format (a key of ``_IMAGE_IO``).

    Raises:
        DataError: if it cannot be read, or is not a scalar or color image with 2 or 3 axes.
        ResourceError: if memory does not suffice.
        OSError: if the file cannot be given another name where it needs one.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO(_IMAGE_IO[format_name])
    try:
        with _name_for_itk(path, format_name) as name, quiet():
            reader.SetFileName(str(name))
            reader.ReadImageInformation()
            _refuse_odd_pixels(path, reader)
            return _read_jpeg(path, reader) if format_name == "JPEG" else reader.Execute()
    except RuntimeError as error:
        raise _reading_error(path, str(error)) from error


@contextmanager
def _name_for_itk(path: Path, format_name: str) -> Iterator[Path]:
    """A name under which ITK reads the file: its own, or one in a temporary folder that it bears meanwhile."""
    named_well = is_utf8(path)
    if named_well and format_name != "NIfTI":
        yield path
        return
    if format_name in _DETACHED:
        raise DataError(f"The name of {printable(path)} is not valid UTF-8; rename it or its folder.")
    with TemporaryDirectory(prefix="superresolution-") as folder:
        if format_name == "NIfTI":
            yield nifti.place_for_itk(path, Path(folder))
        else:
            link = Path(folder) / "image"
            nifti.link_or_copy(path, link)
            yield link


def is_utf8(path: Path) -> bool:
    """Whether a path is text in UTF-8; with any other ITK ends the whole process."""
    return printable(path) == str(path)


def printable(path: Path | str) -> str:
    """A path as text that every encoding of Unicode has; bytes that are none of it read \\udcXX."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def _refuse_odd_pixels(path: Path, reader) -> None:
    import SimpleITK as sitk

    pixel = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    size = [int(length) for length in reader.GetSize()]
    components = reader.GetNumberOfComponents()
    if "complex" in pixel or "label" in pixel:
        raise DataError(f"{path} holds {pixel} pixels; save its magnitude or another plain scalar image and use that.")
    beyond = int(np.prod(size[3:]))
    if beyond > 1:
        raise DataError(
            f"{path} has {len(size)} axes and holds {beyond} volumes (a time series or several channels); "
            "extract one volume and use that."
        )
    alpha = components == 4 and pixel.endswith((" 8-bit unsigned integer", " 16-bit unsigned integer"))
    if components not in (1, 3) and not alpha:
        raise DataError(
            f"{path} has {components} values in each voxel, neither grey nor RGB; extract one and use that."
        )


def _reading_error(path: Path, text: str) -> Exception:
    """What ITK's message means to a person (the message itself names source files and addresses in memory)."""
    if "dimension of space" in text:
        return DataError(f"{path} is a flat image that lies in 3-D space; save it as a volume of one slice.")
    if "orthonormal" in text:
        return DataError(f"The axes of {path} are sheared, not at right angles; resample it to a straight grid first.")
    if "Zero-valued spacing" in text or "spacing (0) invalid" in text:
        return DataError(f"{path} says that its voxels measure 0 mm; correct its spacing.")
    if "encoding not available" in text:
        return DataError(f"{path} is compressed in a way that is not supported; save it with gzip or uncompressed.")
    if "alloc" in text:
        return ResourceError(f"There is not enough memory to read {path}.")
    if path.suffix.lower() in (".mhd", ".nhdr"):
        return DataError(f"{path} cannot be read: it or the data file that it names is damaged, incomplete or missing.")
    return DataError(f"{path} cannot be read: it is damaged or incomplete; copy or export it again.")


def image_array(image) -> np.ndarray:
    """The voxels of a SimpleITK image with 2 axes or more as (k, j, i) or (k, j, i, c)."""
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(image)
    color = array.shape[-1:] if image.GetNumberOfComponentsPerPixel() > 1 else ()
    size = (*image.GetSize(), 1)[:3]
    return array.reshape(size[::-1] + color)


def image_geometry(image) -> np.ndarray:
    """ijk_to_ras (4, 4) of a SimpleITK image; the missing third axis of a flat one is 1 mm long."""
    used = min(image.GetDimension(), 3)
    direction = np.eye(3)
    direction[:used, :used] = np.reshape(image.GetDirection(), (image.GetDimension(),) * 2)[:used, :used]
    spacing, origin = np.ones(3), np.zeros(3)
    spacing[:used] = image.GetSpacing()[:used]
    origin[:used] = image.GetOrigin()[:used]
    return ras_matrix(direction * spacing, origin)


def ras_matrix(steps: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """ijk_to_ras (4, 4) from LPS steps (3, 3), one column a voxel axis, and the LPS position of the first voxel."""
    matrix = np.eye(4)
    matrix[:3, :3] = steps * _FLIP[:, None]
    matrix[:3, 3] = origin * _FLIP
    return matrix


def volume_image(volume: Volume):
    """A volume as a SimpleITK image with 3 axes."""
    image = _image(volume.array, volume.channels > 1)
    steps = volume.ijk_to_ras[:3, :3] * _FLIP[:, None]
    spacing = np.linalg.norm(steps, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((steps / spacing).ravel().tolist())
    image.SetOrigin((volume.ijk_to_ras[:3, 3] * _FLIP).tolist())
    return image


def slice_image(volume: Volume):
    """A volume one of whose axes has length 1 as a SimpleITK image with 2 axes; only its spacing stays."""
    flat = volume.array.shape[:3].index(1)
    image = _image(volume.array.take(0, axis=flat), volume.channels > 1)
    kept = [axis for axis in range(3) if axis != 2 - flat]
    image.SetSpacing([volume.spacing[axis] for axis in kept])
    return image


def _image(array: np.ndarray, color: bool):
    import SimpleITK as sitk

    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return sitk.GetImageFromArray(native, isVector=color)


def write_image(image, path: Path, format_name: str, compressed: bool = True) -> None:
    """Write a SimpleITK image; compressed where the format can, unless told otherwise.

    Raises:
        RuntimeError: ITK's own, if it cannot.
    """
    import SimpleITK as sitk

    writer = sitk.ImageFileWriter()
    writer.SetImageIO(_IMAGE_IO[format_name])
    writer.SetFileName(str(path))
    writer.SetUseCompression(compressed)
    with quiet():
        writer.Execute(image)
