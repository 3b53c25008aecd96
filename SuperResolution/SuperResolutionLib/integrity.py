"""What ITK reads without complaint and wrongly, found before it does.

A NIfTI or JPEG file that was cut short reads as if the rest were zero or grey, a damaged compressed MetaImage file as
garbage, and two channels (grey and alpha) are taken for one. The same checks find a NIfTI file that a full disk cut
short while it was written, which ITK does not report either. NIfTI and TIFF have files of their own.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from pathlib import Path

from . import nifti, tiff
from .errors import cut_short, grey_with_alpha

_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

#: Lines of a MetaImage header, which ends with the one that says where the voxels are.
_META_LINE = re.compile(rb"\s*(\w+)\s*=\s*(.*?)\s*")
_META_HEADER = 1 << 16
_META_SIZES = {"CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "FLOAT": 4, "DOUBLE": 8}
_META_SIZES |= {"LONG_LONG": 8, "ULONG_LONG": 8}
_CHUNK = 1 << 20


def check_file(path: Path, format_name: str) -> None:
    """Refuse a file that is incomplete or that ITK would misread.

    Args:
        path: an existing file.
        format_name: "NIfTI", "MetaImage", "JPEG", "TIFF" or "PNG"; others need no check.

    Raises:
        DataError: if the file is incomplete or not fit to be read.
        OSError: if it cannot be opened.
    """
    checks = {"NIfTI": nifti.check, "TIFF": tiff.check}
    checks |= {"MetaImage": _check_meta_image, "JPEG": _check_jpeg, "PNG": _check_png}
    if format_name in checks:
        checks[format_name](path)


def _check_meta_image(path: Path) -> None:
    """Whether compressed voxels that follow their header are whole."""
    with path.open("rb") as stream:
        fields = _meta_fields(stream)
        local = fields.get("ElementDataFile", "").upper() == "LOCAL"
        if not local or fields.get("CompressedData", "").upper() not in ("TRUE", "1", "T", "Y", "YES"):
            return
        held, unpacker = 0, zlib.decompressobj(47)  # zlib's or gzip's wrapping
        try:
            while not unpacker.eof and (packed := unpacker.unconsumed_tail or stream.read(_CHUNK)):
                held += len(unpacker.decompress(packed, _CHUNK))
        except zlib.error as error:
            raise cut_short(path, "its compressed data are damaged") from error
    promised = _meta_bytes(fields)
    if not unpacker.eof or held < promised:
        raise cut_short(path, f"its header promises {promised} bytes of voxels and {held} are there")


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
