"""What ITK reads without complaint and wrongly, found before it does.

A NIfTI or JPEG file that was cut short reads as if the rest were zero or grey, a TIFF file loses its last pages, and
two channels (grey and alpha) are taken for one. The same checks find a NIfTI file that a full disk cut short while it
was written, which ITK does not report either.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path

from .errors import DataError

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

_TIFF_TYPE_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_TIFF_SAMPLES_PER_PIXEL = 277


def check_file(path: Path, format_name: str) -> None:
    """Refuse a file that is incomplete or that ITK would misread.

    Args:
        path: an existing file.
        format_name: "NIfTI", "JPEG", "TIFF" or "PNG"; others need no check.

    Raises:
        DataError: if the file is incomplete or not fit to be read.
        OSError: if it cannot be opened.
    """
    check = {"NIfTI": _check_nifti, "JPEG": _check_jpeg, "TIFF": _check_tiff, "PNG": _check_png}.get(format_name)
    if check is not None:
        check(path)


def nifti_layout(header: bytes) -> tuple[tuple[int, ...], int] | None:
    """Axis lengths and file size in bytes that a NIfTI-1 or -2 header (its first 540 bytes) promises.

    None if these bytes are no header of a single-file NIfTI image.
    """
    for order in "<>":
        if len(header) >= 348 and struct.unpack_from(order + "i", header)[0] == 348 and header[344:347] == b"n+1":
            dim = struct.unpack_from(order + "8h", header, 40)
            bits = struct.unpack_from(order + "h", header, 72)[0]
            offset = int(struct.unpack_from(order + "f", header, 108)[0])
            break
        if len(header) >= 540 and struct.unpack_from(order + "i", header)[0] == 540 and header[4:7] == b"n+2":
            dim = struct.unpack_from(order + "8q", header, 16)
            bits = struct.unpack_from(order + "h", header, 14)[0]
            offset = struct.unpack_from(order + "q", header, 168)[0]
            break
    else:
        return None
    axes = tuple(dim[1 : 1 + dim[0]]) if 1 <= dim[0] <= 7 else ()
    return axes, offset + (math.prod(axes) * bits + 7) // 8


def _check_nifti(path: Path) -> None:
    with path.open("rb") as stream:
        compressed = stream.read(2) == _GZIP
    try:
        with gzip.open(path, "rb") if compressed else path.open("rb") as stream:
            layout = nifti_layout(stream.read(540))
            stream.seek(0)
            held = _count(stream) if compressed else path.stat().st_size
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _cut_short(path, "its compressed data end early or are damaged") from error
    if layout is None:
        raise _cut_short(path, "its header is not that of a NIfTI image")
    axes, promised = layout
    if not axes or min(axes) < 1:
        raise DataError(f"{path} holds no voxels: its axes have the lengths {' x '.join(map(str, axes)) or 'none'}.")
    if held < promised:
        raise _cut_short(path, f"its header promises {promised} bytes and {held} are there")


def _count(stream) -> int:
    """Bytes to the end of a stream; reading all of a gzip stream also verifies its checksum."""
    total = 0
    while chunk := stream.read(_CHUNK):
        total += len(chunk)
    return total


def _check_jpeg(path: Path) -> None:
    data = path.read_bytes()
    at = 2
    try:
        while data[at + 1] != 0xD9:
            marker = data[at + 1]
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
            if marker == 0xDA:
                # In the scan that starts here 0xFF is escaped or a restart mark; anything else ends it.
                at = _JPEG_MARKER.search(data, at).end() - 2
    except (IndexError, struct.error, AttributeError) as error:
        raise _cut_short(path, "its last lines are missing") from error


def _check_png(path: Path) -> None:
    with path.open("rb") as stream:
        header = stream.read(26)
    if len(header) < 26:
        raise _cut_short(path, "its header is incomplete")
    if header[25] == 4:
        raise _grey_with_alpha(path)


def _check_tiff(path: Path) -> None:
    try:
        with path.open("rb") as stream:
            samples = _tiff_samples(stream, path.stat().st_size)
    except (EOFError, struct.error) as error:
        raise _cut_short(path, "the description of its pages leads past its end") from error
    if 2 in samples:
        raise _grey_with_alpha(path)


def _tiff_samples(stream, size: int) -> list[int]:
    """Values per pixel of each page, along the chain of page directories (TIFF and BigTIFF).

    Raises:
        EOFError, struct.error: if the chain, or what an entry points to, leads past the end of the file.
    """
    order = "<" if stream.read(2) == b"II" else ">"
    big = _unpack(stream, order + "H") == 43
    if big:
        stream.seek(8)
    count_code, value_code = ("Q", "Q") if big else ("H", "I")
    room = struct.calcsize(value_code)
    offset = _unpack(stream, order + value_code)
    seen, samples = set(), []
    while offset and offset not in seen:
        seen.add(offset)
        stream.seek(offset)
        per_pixel = 1
        for _ in range(_unpack(stream, order + count_code)):
            tag, kind = _unpack(stream, order + "H"), _unpack(stream, order + "H")
            length = _TIFF_TYPE_SIZES.get(kind, 1) * _unpack(stream, order + value_code)
            value = stream.read(room)
            if length > room and struct.unpack(order + value_code, value)[0] + length > size:
                raise EOFError
            if tag == _TIFF_SAMPLES_PER_PIXEL:
                per_pixel = struct.unpack_from(order + "H", value)[0]
        samples.append(per_pixel)
        offset = _unpack(stream, order + value_code)
    return samples


def _unpack(stream, code: str) -> int:
    return struct.unpack(code, stream.read(struct.calcsize(code)))[0]


def _cut_short(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is truncated or damaged: {reason}; copy or export it again.")


def _grey_with_alpha(path: Path) -> DataError:
    return DataError(f"{path} is a grey image with transparency, which is not supported; save it without transparency.")
