"""What ITK reads wrongly of a NIfTI file: one that was cut short, and voxels that are NaN or infinite.

ITK reads the missing end of a file as zeros, and turns every NaN and infinity into zero.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import DataError

#: Bytes that hold any header.
HEADER = 540

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_FLOATS = {16: "f4", 64: "f8"}


class Header(NamedTuple):
    """What a header says of the voxels: lengths of the axes, data type code, bits a voxel, where they start, order."""

    axes: tuple[int, ...]
    code: int
    bits: int
    start: int
    order: str

    @property
    def file_size(self) -> int:
        """Bytes that the whole file has to hold."""
        return self.start + (math.prod(self.axes) * self.bits + 7) // 8


def parse_header(data: bytes) -> Header | None:
    """The header in the first ``HEADER`` bytes of a file; None if they are no single-file NIfTI-1 or -2 image."""
    for order in "<>":
        if len(data) >= 348 and struct.unpack_from(order + "i", data)[0] == 348 and data[344:347] == b"n+1":
            dim = struct.unpack_from(order + "8h", data, 40)
            code, bits = struct.unpack_from(order + "2h", data, 70)
            start = int(struct.unpack_from(order + "f", data, 108)[0])
        elif len(data) >= HEADER and struct.unpack_from(order + "i", data)[0] == 540 and data[4:7] == b"n+2":
            dim = struct.unpack_from(order + "8q", data, 16)
            code, bits = struct.unpack_from(order + "2h", data, 12)
            start = struct.unpack_from(order + "q", data, 168)[0]
        else:
            continue
        return Header(tuple(dim[1 : 1 + dim[0]]) if 1 <= dim[0] <= 7 else (), code, bits, start, order)
    return None


def check(path: Path) -> None:
    """Refuse a file that holds less than its header promises, or nothing.

    Raises:
        DataError: if so.
        OSError: if it cannot be opened.
    """
    try:
        with _open(path) as stream:
            header = parse_header(stream.read(HEADER))
            stream.seek(0)
            held = _count(stream)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _cut_short(path, "its compressed data end early or are damaged") from error
    if header is None:
        raise _cut_short(path, "its header is not that of a NIfTI image")
    if not header.axes or min(header.axes) < 1:
        lengths = " x ".join(map(str, header.axes)) or "none"
        raise DataError(f"{path} holds no voxels: its axes have the lengths {lengths}.")
    if held < header.file_size:
        raise _cut_short(path, f"its header promises {header.file_size} bytes and {held} are there")


def restore_missing(path: Path, array: np.ndarray) -> None:
    """Put the NaN and infinite voxels of a file back into the floating-point array (k, j, i[, c]) that ITK read."""
    with _open(path) as stream:
        header = parse_header(stream.read(HEADER))
        if header is None or header.code not in _FLOATS:
            return
        stream.seek(header.start)
        dtype = np.dtype(header.order + _FLOATS[header.code])
        stored = np.frombuffer(stream.read(array.size * dtype.itemsize), dtype)
    if array.ndim == 4:  # NIfTI holds one component after the other
        stored = np.moveaxis(stored.reshape(array.shape[3:] + array.shape[:3]), 0, -1)
    stored = stored.reshape(array.shape)
    missing = ~np.isfinite(stored)
    array[missing] = stored[missing]


def _open(path: Path):
    with path.open("rb") as stream:
        compressed = stream.read(2) == _GZIP
    return gzip.open(path, "rb") if compressed else path.open("rb")


def _count(stream) -> int:
    """Bytes to the end of a stream; reading all of a gzip stream also verifies its checksum."""
    total = 0
    while chunk := stream.read(_CHUNK):
        total += len(chunk)
    return total


def _cut_short(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is truncated or damaged: {reason}; copy or export it again.")
