"""What ITK reads without complaint and wrongly, found before it does.

A NIfTI or JPEG file that was cut short reads as if the rest were zero or grey, a damaged compressed MetaImage or NRRD
file as garbage, and two channels (grey and alpha) are taken for one. The same checks find a NIfTI file that a full disk
cut short while it was written, which ITK does not report either. NIfTI and TIFF have files of their own.
"""

from __future__ import annotations

import math
import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from . import nifti, tiff
from .errors import cut_short, grey_with_alpha

#: What libjpeg says, and goes on, where a file does not hold what was written; and of bytes that it passed over.
_JPEG_DAMAGE = (
    "premature end of data segment",
    "bad Huffman code",
    "found marker",
    "Inconsistent progression",
    "Premature end of JPEG",
)
_JPEG_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]+)")

_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

#: Lines of a MetaImage header, which ends with the one that says where the voxels are.
_META_LINE = re.compile(rb"\s*(\w+)\s*[=:]\s*(.*?)\s*")
_META_HEADER = 1 << 16
_META_SIZES = {"CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "FLOAT": 4, "DOUBLE": 8}
_META_SIZES |= {"LONG_LONG": 8, "ULONG_LONG": 8}
_CHUNK = 1 << 20

#: How a detached NRRD header counts the files that hold its voxels: a name with a number, first, last and step.
_NRRD_COUNTED = re.compile(r"(.*)(%0?\d{0,2}d)(.*?)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)(?:\s+\d+)?")
_NRRD_LINE = 1 << 16
_GZIP = b"\x1f\x8b"


def check_file(path: Path, format_name: str) -> None:
    """Refuse a file that is incomplete or that ITK would misread.

    Args:
        path: an existing file.
        format_name: "NIfTI", "NRRD", "MetaImage", "JPEG", "TIFF" or "PNG"; others need no check.

    Raises:
        DataError: if the file is incomplete or not fit to be read.
        OSError: if it cannot be opened.
    """
    checks = {"NIfTI": nifti.check, "TIFF": tiff.check, "NRRD": _check_nrrd}
    checks |= {"MetaImage": _check_meta_image, "JPEG": _check_jpeg, "PNG": _check_png}
    if format_name in checks:
        checks[format_name](path)


def jpeg_is_damaged(path: Path, said: str) -> bool:
    """Whether what libjpeg said while it read a file means damage; bytes that fill up its end are none."""
    if any(words in said for words in _JPEG_DAMAGE):
        return True
    for count, marker in _JPEG_LEFT_OVER.findall(said):
        data = path.read_bytes()
        end = len(data[: data.rfind(b"\xff\xd9")].rstrip(b"\xff"))  # which a marker may have before it
        if marker != "d9" or data[max(0, end - int(count)) : end].strip(b"\0\xff"):
            return True
    return False


def is_detached(path: Path, format_name: str) -> bool:
    """Whether a NRRD or MetaImage header names other files for its voxels; no other format can."""
    with path.open("rb") as stream:
        if format_name == "NRRD":
            return "datafile" in _nrrd_fields(stream)
        return format_name == "MetaImage" and _meta_fields(stream).get("ElementDataFile", "").upper() != "LOCAL"


def _check_meta_image(path: Path) -> None:
    """Whether compressed voxels that follow their header are whole."""
    with path.open("rb") as stream:
        fields = _meta_fields(stream)
        local = fields.get("ElementDataFile", "").upper() == "LOCAL"
        if not local or fields.get("CompressedData", "").upper() not in ("TRUE", "1", "T", "Y", "YES"):
            return
        held, whole, _ = _unpacked(path, stream)
    promised = _meta_bytes(fields)
    if not whole or held < promised:
        raise cut_short(path, f"its header promises {promised} bytes of voxels and {held} are there")


def _unpacked(path: Path, stream, packed: bytes = b"") -> tuple[int, bool, bytes]:
    """Bytes that compressed data hold, whether their end is there, and what follows it of the bytes read so far.

    Raises:
        DataError: if their checksum, which zlib verifies at the end, or anything before it is wrong.
    """
    held, unpacker = 0, zlib.decompressobj(47)  # zlib's or gzip's wrapping
    try:
        while not unpacker.eof and (packed := packed or stream.read(_CHUNK)):
            held += len(unpacker.decompress(packed, _CHUNK))
            packed = unpacker.unconsumed_tail
    except zlib.error as error:
        raise cut_short(path, "its compressed data are damaged") from error
    return held, unpacker.eof, unpacker.unused_data


def _meta_fields(stream) -> dict[str, str]:
    """The header's fields; the stream stands behind it."""
    fields: dict[str, str] = {}
    while "ElementDataFile" not in fields and (line := stream.readline(_META_HEADER)):
        if match := _META_LINE.fullmatch(line):
            fields[match[1].decode("latin-1")] = match[2].decode("latin-1")
    return fields


def _meta_bytes(fields: dict[str, str]) -> int:
    """Bytes that a header promises; 0 where it does not read so, which ITK then says."""
    try:
        lengths = [int(length) for length in fields["DimSize"].split()]
        channels = int(fields.get("ElementNumberOfChannels", 1))
        return math.prod(lengths) * channels * _META_SIZES.get(fields["ElementType"].removeprefix("MET_"), 0)
    except (KeyError, ValueError):
        return 0


def _check_nrrd(path: Path) -> None:
    """Whether compressed voxels are whole, be they behind their header or in files that it names."""
    with path.open("rb") as stream:
        fields = _nrrd_fields(stream)
        if fields.get("encoding", "").lower() not in ("gzip", "gz"):
            return
        skipped = int(skip) if (skip := fields.get("lineskip", "")).isdecimal() else 0
        if not (named := fields.get("datafile")):
            return _check_nrrd_data(path, stream, skipped)
        names = [os.fsdecode(line.strip()) for line in stream] if named.startswith("LIST") else _nrrd_names(named)
    for name in names:
        data = path.parent / name
        if not data.is_file():  # which ITK says
            return
        with data.open("rb") as stream:
            _check_nrrd_data(data, stream, skipped)


def _nrrd_fields(stream) -> dict[str, str]:
    """The header's fields, their names without spaces; the stream stands behind it, or behind a list's start."""
    fields: dict[str, str] = {}
    begins = True  # a line, and is not the rest of a long one
    while (line := stream.readline(_NRRD_LINE)) and not (begins and not line.strip(b"\r\n")):
        name, separator, value = os.fsdecode(line).partition(": ")
        if begins and separator and not name.startswith("#"):
            fields[name.strip().lower().replace(" ", "")] = value.strip()
        if fields.get("datafile", "").startswith("LIST"):
            break
        begins = line.endswith(b"\n")
    return fields


def _nrrd_names(named: str) -> Iterator[str]:
    """Names of the files that hold the voxels."""
    if not (match := _NRRD_COUNTED.fullmatch(named)):
        yield named
        return
    first, last, step = (int(number) for number in match.groups()[3:])
    for number in range(first, last + (1 if step > 0 else -1), step or 1):
        yield match[1] + match[2] % number + match[3]


def _check_nrrd_data(path: Path, stream, skipped: int) -> None:
    for _ in range(skipped):
        if not stream.readline():
            break
    packed, whole = b"", False
    # Some programs write one piece of gzip data after the other.
    while not whole or packed.startswith(_GZIP):
        _, whole, packed = _unpacked(path, stream, packed)
        if not whole:
            raise cut_short(path, "its compressed data end early")
        packed = packed if len(packed) > 1 else packed + stream.read(_CHUNK)


def _check_jpeg(path: Path) -> None:
    data = path.read_bytes()
    at = 2
    try:
        while (marker := data[at + 1]) != 0xD9:
            if marker == 0xFF:  # bytes that only fill up may precede a marker
                at += 1
                continue
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
            if marker == 0xDA:
                # In the scan that starts here 0xFF is escaped or a restart mark; anything else ends it.
                at = _JPEG_MARKER.search(data, at).end() - 2
    except (IndexError, struct.error, AttributeError) as error:
        raise cut_short(path, "its last lines are missing") from error


def _check_png(path: Path) -> None:
    with path.open("rb") as stream:
        header = stream.read(33)
        if len(header) < 33:
            raise cut_short(path, "its header is incomplete")
        kind, chunk = header[25], b""
        while kind == 0 and chunk != b"IDAT" and len(start := stream.read(8)) == 8:
            length, chunk = struct.unpack(">I4s", start)
            if chunk == b"tRNS":
                kind = 4
            stream.seek(length + 4, 1)
    if kind == 4:
        raise grey_with_alpha(path)
