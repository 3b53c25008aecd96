"""What ITK reads without complaint and wrongly, found before it does.

A NIfTI or JPEG file that was cut short reads as if the rest were zero or grey, a TIFF file loses its last pages, and
two channels (grey and alpha) are taken for one. The same checks find a NIfTI file that a full disk cut short while it
was written, which ITK does not report either.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

from . import nifti
from .errors import DataError

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
    check = {"NIfTI": nifti.check, "JPEG": _check_jpeg, "TIFF": _check_tiff, "PNG": _check_png}.get(format_name)
    if check is not None:
        check(path)


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
