"""Read DICOM: one file, or one series of a folder, as one volume.

Headers are read with pydicom and pixels are decoded by SimpleITK (GDCM), which knows more compressions. Order and
geometry come from the position of every frame along the normal of the slices, in classic and in enhanced files alike,
and whatever is not a straight stack of evenly spaced slices is refused with its numbers.
"""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np

from . import itk
from .dicom_stack import Frame, frame_count, read_frames, stack, unplaced
from .errors import DataError, ResourceError
from .volume import Volume

_TAGS = [
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "HighBit",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImagerPixelSpacing",
    "Modality",
    "NominalScannedPixelSpacing",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "PhotometricInterpretation",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SamplesPerPixel",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SharedFunctionalGroupsSequence",
    "SliceThickness",
    "SpacingBetweenSlices",
    "StudyInstanceUID",
]
#: What is said of a file that could tell its spacing and does not.
NO_SPACING = "Nothing says how large the pixels are; they are taken to measure 1 mm."

_NOT_IMAGES = {"SEG": "a segmentation", "RTDOSE": "a radiotherapy dose"}
_RLE = "1.2.840.10008.1.2.5"
#: Implicit, explicit and deflated little endian, explicit big endian; and files that name none are the first.
_UNCOMPRESSED = ("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_LISTED = 20
#: Ranges of padding of more values are told by their ends.
_PADDING_LISTED = 16


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file with these first bytes (at least 132) is DICOM, also without the usual preamble."""
    bare = head[:2] in (b"\x08\x00", b"\x02\x00") and head[3:4] == b"\0" and b"1.2.840.10008." in head
    return head[128:132] == b"DICM" or bare


def read_dicom(path: Path, series: str | None = None) -> Volume:
    """Read a DICOM file, or a series from a folder (not from its subfolders).

    Args:
        path: a file, or a folder whose other files are ignored.
        series: SeriesInstanceUID, where the folder holds several.

    Returns:
        A volume in rescaled units (HU for CT), of an integer type where slope and intercept are integers; slices are
        sorted along their normal. The patient's name and number are not copied. ``source["Padding"]``, where headers
        name such values, lists the voxel values that mean no image, separated by spaces: each of a range, of one of
        more than 16 both ends.

    Raises:
        DataError: if there is no DICOM image, more than one series, or no straight, even, complete stack of slices.
        ResourceError: if memory does not suffice.
    """
    headers = _folder_headers(path) if path.is_dir() else {path: _header(path)}
    _refuse_other_objects(path, headers)
    uid, chosen = _choose(path, headers, series)
    first = next(iter(chosen.values()))
    label = f"The DICOM series {uid}" if path.is_dir() else str(path)
    frames = [frame for file, header in chosen.items() for frame in read_frames(file, header)]
    notices = []
    if first.get("PhotometricInterpretation") == "MONOCHROME1":
        notices.append(
            "Stored with low values bright (MONOCHROME1) and inverted on reading, so that high values are bright."
        )
    if not all(frame.spacing_known for frame in frames):
        notices.append(NO_SPACING)
    _refuse_mixed_sizes(label, chosen, frames)
    for file, header in chosen.items():
        _refuse_misread(file, header)
    if all(frame.position is not None for frame in frames):
        order, matrix = stack(label, frames)
    else:
        order, matrix = unplaced(label, frames, len(chosen))
        if len(frames) > 1:
            notices.append(f"The {len(frames)} frames have no positions; they are kept as slices in their order.")
    array = _decode(frames, order, bits=int(first.get("BitsAllocated", 16)))
    source = {"path": itk.printable(path)}
    for keyword in ("SeriesInstanceUID", "StudyInstanceUID", "Modality"):
        if first.get(keyword):
            source[keyword] = str(first.get(keyword))
    if padding := _padding(chosen, frames, array):
        source["Padding"] = padding
    if NO_SPACING in notices:
        source["Spacing"] = "unknown"
    if notices:
        source["Notice"] = " ".join(notices)
    name = str(first.get("SeriesDescription") or "").strip() or itk.printable(path.stem)
    return Volume(array, matrix, name, source)


def _header(path: Path):
    """The header of a file that looks like DICOM, without its pixels."""
    import pydicom

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=_TAGS)
            # pydicom converts values when they are first seen: now, where damage is expected.
            list(header)
            list(getattr(header, "file_meta", ()))
            # A frame takes at least a byte; what says otherwise would be read without end.
            if not 1 <= frame_count(header) <= path.stat().st_size or int(header.get("BitsAllocated", 16)) < 1:
                raise _damaged(path)
            return header
    except (OSError, DataError):
        raise
    except Exception as error:
        # pydicom meets damage with whatever the bytes lead to: many kinds of exception.
        raise _damaged(path) from error


def _folder_headers(folder: Path) -> dict:
    """Headers of the DICOM files that lie in a folder, by file."""
    files = sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    if not files:
        inside = ", and subfolders are not searched" if any(folder.iterdir()) else ""
        raise DataError(f"The folder {folder} holds no files{inside}; name a DICOM folder or an image file.")
    headers = {}
    for file in files:
        with file.open("rb") as stream:
            head = stream.read(4096)
        if looks_like_dicom(head):
            headers[file] = _header(file)
        elif file.suffix.lower() == ".dcm":
            raise _damaged(file)
    if not headers:
        raise DataError(
            f"None of the {len(files)} files in the folder {folder} is DICOM (subfolders are not searched); "
            "name a DICOM folder or one image file."
        )
    return headers


def _should_be_image(header) -> bool:
    """Whether a file says of itself that it is an image, for one whose header ends before the image's size."""
    from pydicom.uid import UID

    kind = getattr(header, "file_meta", {}).get("MediaStorageSOPClassUID")
    return kind is not None and "Image Storage" in UID(str(kind)).name


def _refuse_other_objects(path: Path, headers: dict) -> None:
    """Leave only images in ``headers``; a folder often also holds reports, plans and masks."""
    other = set()
    for file, header in list(headers.items()):
        modality = str(header.get("Modality") or "")
        if modality in _NOT_IMAGES or not header.get("Rows") or not header.get("Columns"):
            if modality not in _NOT_IMAGES and _should_be_image(header):
                raise _damaged(file)
            other.add(_NOT_IMAGES.get(modality) or f"an object without pixels ({modality or 'unknown kind'})")
            del headers[file]
    if not headers:
        raise DataError(f"{path} holds {', '.join(sorted(other))}, not an image; name the image series.")


def _choose(path: Path, headers: dict, series: str | None) -> tuple[str, dict]:
    """The SeriesInstanceUID to be read and its headers."""
    groups: dict[str, dict] = {}
    for file, header in headers.items():
        uid = str(header.get("SeriesInstanceUID") or "(no UID)")
        groups.setdefault(uid, {})[file] = header
    if series is None and len(groups) == 1:
        return next(iter(groups.items()))
    if series in groups:
        return series, groups[series]
    listed = "; ".join(_describe(uid, group) for uid, group in list(groups.items())[:_LISTED])
    if len(groups) > _LISTED:
        listed += f"; and {len(groups) - _LISTED} more"
    if series is None:
        raise DataError(f"{path} holds {len(groups)} series; choose one with --series UID: {listed}.")
    raise DataError(f"{path} holds no series {series}; it holds: {listed}.")


def _describe(uid: str, group: dict) -> str:
    first = next(iter(group.values()))
    words = [str(first.get(keyword) or "").strip() for keyword in ("Modality", "SeriesDescription")]
    images = sum(frame_count(header) for header in group.values())
    return f"{uid} ({', '.join([*filter(None, words), f'{images} image' + 's' * (images != 1)])})"


def _refuse_mixed_sizes(label: str, headers: dict, frames: list[Frame]) -> None:
    sizes = sorted({(int(header.Columns), int(header.Rows)) for header in headers.values()})
    if len(sizes) > 1:
        listed = ", ".join(f"{columns} x {rows}" for columns, rows in sizes)
        raise DataError(f"{label} mixes images of different sizes ({listed}); name one file, or split the series.")
    spacings = np.array([frame.spacing for frame in frames])
    if not np.allclose(spacings, spacings[0], rtol=1e-3):
        raise DataError(f"{label} mixes images with different pixel spacings; name one file, or split the series.")


def _refuse_misread(path: Path, header) -> None:
    """Refuse pixels of which GDCM makes others without a word, or takes what is not there from memory."""
    samples, allocated = int(header.get("SamplesPerPixel") or 1), int(header.get("BitsAllocated") or 16)
    stored, high = _whole(header.get("BitsStored")), _whole(header.get("HighBit"))
    syntax = str(getattr(header, "file_meta", {}).get("TransferSyntaxUID") or "")
    # Others keep their bits as their compression says, and all bits leave no choice.
    laid_out = syntax in (*_UNCOMPRESSED, _RLE) and None not in (stored, high) and stored < allocated
    if laid_out and high != stored - 1:
        raise DataError(
            f"{path} keeps {stored} bits a pixel with {high} as the highest, which is not supported; export it again."
        )
    if syntax == _RLE and samples > 1 and allocated > 8:
        raise DataError(
            f"{path} holds colors of {allocated} bits in RLE compression, which is not supported; export it again, "
            "uncompressed."
        )
    if syntax in _UNCOMPRESSED:
        halved = "422" in str(header.get("PhotometricInterpretation"))  # two pixels share their two colors
        pixels = frame_count(header) * int(header.Rows) * int(header.Columns)
        if _pixel_bytes(path) < pixels * (2 if halved else samples) * allocated // 8:
            raise _damaged(path)


def _pixel_bytes(path: Path) -> int:
    """Bytes of a file's pixels as their element says, which may be less than its header promises."""
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Large values stay in the file until they are asked for; the length is known without them.
        data = pydicom.dcmread(path, force=True, specific_tags=["PixelData"], defer_size=1024)
        element = data.get_item("PixelData")
    if element is None:
        return 0
    return element.length if hasattr(element, "length") else len(element.value or b"")


def _decode(frames: list[Frame], order: np.ndarray, bits: int) -> np.ndarray:
    """Voxels of all frames, (k, j, i) or (k, j, i, c), rescaled, in the given order of frames."""
    decoded: list[np.ndarray] = []
    for path, group in itertools.groupby(frames, key=lambda frame: frame.path):
        decoded.extend(_decode_file(path, [frame.rescale for frame in group]))
    if len({array.shape for array in decoded}) > 1:
        raise DataError(f"{frames[0].path.parent} mixes grey and color images in one series; name one file.")
    dtype = np.result_type(*{array.dtype for array in decoded})
    if dtype.kind == "f":
        dtype = np.dtype(np.float32)
    volume = np.stack([decoded[index] for index in order], dtype=dtype, casting="same_kind")
    return _narrowed(volume) if bits <= 16 and dtype.itemsize > 2 and dtype.kind in "iu" else volume


def _decode_file(path: Path, rescales: list[tuple[float, float]]) -> np.ndarray:
    """Frames of one file, in its order: (frames, j, i) or (frames, j, i, c)."""
    try:
        array = itk.image_array(itk.read_image(path, "DICOM"))
    except ResourceError:
        raise
    except DataError as error:
        raise _damaged(path) from error
    if len(array) != len(rescales):
        raise _damaged(path)
    if len(set(rescales)) == 1:
        return array
    # GDCM rescales every frame as if it were the first.
    slope, intercept = rescales[0]
    stored = np.rint((array.astype(np.float64) - intercept) / slope)
    own = np.array(rescales).reshape(-1, 2, 1, 1)
    whole = np.equal(own, np.rint(own)).all()
    return (stored * own[:, 0] + own[:, 1]).astype(np.int32 if whole else np.float32)


def _padding(headers: dict, frames: list[Frame], array: np.ndarray) -> str:
    """Values of voxels (in the array's units) where the headers say that there is no image; empty if they say none."""
    if array.ndim == 4:
        return ""
    values = set()
    for path, rescale in {(frame.path, frame.rescale) for frame in frames}:
        slope, intercept = rescale
        values |= {stored * slope + intercept for stored in _stored_padding(headers[path])}
    if array.dtype.kind == "f":
        values = {float(array.dtype.type(value)) for value in values}  # rounded as the voxels are
    else:
        limits = np.iinfo(array.dtype)
        values = {value for value in values if limits.min <= value <= limits.max}
    return " ".join(f"{value:.0f}" if value.is_integer() else repr(value) for value in sorted(values))


def _stored_padding(header) -> list[int]:
    """Padding values as GDCM decodes them, before the rescale; without those that the stored bits cannot hold."""
    signed = header.get("PixelRepresentation") == 1
    keywords = ("PixelPaddingValue", "PixelPaddingRangeLimit", "BitsStored")
    value, limit, bits = (_whole(header.get(keyword)) for keyword in keywords)
    if value is None:
        return []
    # Many files state a negative value as unsigned (63536 for -2000); the kind of their pixels tells what is meant.
    ends = [end & 0xFFFF for end in (value, value if limit is None else limit)]
    low, high = sorted(end - 0x10000 if signed and end >= 0x8000 else end for end in ends)
    bits = bits or int(header.get("BitsAllocated", 16))
    values = range(low, high + 1) if high - low < _PADDING_LISTED else (low, high)
    lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    # GDCM turns pixels whose low values are bright round before it rescales them.
    inverted = header.get("PhotometricInterpretation") == "MONOCHROME1"
    return [lowest + highest - value if inverted else value for value in values if lowest <= value <= highest]


def _whole(value) -> int | None:
    """A header's number, or None where it is absent or none."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _narrowed(volume: np.ndarray) -> np.ndarray:
    """16-bit values that a rescale by integers widened (CT stored with all 16 bits), back in 16 bits if they fit."""
    low, high = volume.min(), volume.max()
    for kind in (np.int16, np.uint16):
        limits = np.iinfo(kind)
        if low >= limits.min and high <= limits.max:
            return volume.astype(kind)
    return volume


def _damaged(path: Path) -> DataError:
    return DataError(
        f"{path} cannot be decoded: it is damaged or truncated, or its compression is not supported; "
        "export it again, uncompressed."
    )
