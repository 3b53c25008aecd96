"""What ITK reads wrongly of a NIfTI file: its end, its neighbor, its missing voxels, a flat image's place in space.

ITK reads the missing end of a file as zeros, turns every NaN and infinity into zero, reads ``head.nii`` where
``head.nii.gz`` is asked for and both are there, and knows nothing of the third axis of a flat image.
"""

from __future__ import annotations

import gzip
import math
import os
import shutil
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import DataError, cut_short

#: Bytes that hold any header.
HEADER = 540

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_FLOATS = {16: "f4", 64: "f8"}

#: Types of colors: RGB and RGBA of 8 bits.
_COLORS = (128, 2304)

# Where the fields that place the voxels stand, and how they are written.
_FORMS_1 = {"pixdim": (76, "8f"), "units": (123, "b"), "codes": (252, "2h"), "turn": (256, "6f"), "rows": (280, "12f")}
_FORMS_2 = {"pixdim": (104, "8d"), "units": (500, "i"), "codes": (344, "2i"), "turn": (352, "6d"), "rows": (400, "12d")}
_MILLIMETRES = {1: 1000.0, 3: 0.001}
_SCANNER = 1


class Header(NamedTuple):
    """What a header says of the voxels: lengths of the axes, data type code, bits a voxel, where they start, order."""

    axes: tuple[int, ...]
    code: int
    bits: int
    start: int
    order: str
    scaling: tuple[float, float] = (0.0, 0.0)

    @property
    def rescaled_components(self) -> bool:
        """Whether it holds several values a voxel and scales them, of which ITK makes something else or nothing."""
        several = self.code in _COLORS or (len(self.axes) >= 5 and self.axes[4] > 1)
        slope, intercept = (value if math.isfinite(value) else 0.0 for value in self.scaling)
        return several and (slope not in (0, 1) or intercept != 0)

    @property
    def flat(self) -> bool:
        """Whether ITK takes it for an image with 2 axes: it has no more, or is a slice of colors."""
        return len(self.axes) == 2 or (len(self.axes) == 5 and self.axes[2:4] == (1, 1) and self.axes[4] > 1)

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
            start, *scaling = struct.unpack_from(order + "3f", data, 108)
        elif len(data) >= HEADER and struct.unpack_from(order + "i", data)[0] == 540 and data[4:7] == b"n+2":
            dim = struct.unpack_from(order + "8q", data, 16)
            code, bits = struct.unpack_from(order + "2h", data, 12)
            start, *scaling = struct.unpack_from(order + "q2d", data, 168)
        else:
            continue
        axes = tuple(dim[1 : 1 + dim[0]]) if 1 <= dim[0] <= 7 else ()
        return Header(axes, code, bits, int(start), order, tuple(scaling))
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
        raise cut_short(path, "its compressed data end early or are damaged") from error
    if header is None:
        raise cut_short(path, "its header is not that of a NIfTI image")
    if not header.axes or min(header.axes) < 1:
        lengths = " x ".join(map(str, header.axes)) or "none"
        raise DataError(f"{path} holds no voxels: its axes have the lengths {lengths}.")
    if header.rescaled_components:
        raise DataError(
            f"{path} holds colors or vectors that are to be scaled (scl_slope {header.scaling[0]:g}, scl_inter "
            f"{header.scaling[1]:g}), which is not supported; save it with its values as they are."
        )
    if held < header.file_size:
        raise cut_short(path, f"its header promises {header.file_size} bytes and {held} are there")


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


def place_for_itk(path: Path, folder: Path) -> Path:
    """Put a file into an empty folder so that ITK reads it and nothing else; its name there.

    Raises:
        OSError: if that fails.
    """
    with _open(path) as stream:
        data = stream.read(HEADER)
        header = parse_header(data)
        if header is not None and header.flat:  # ITK takes most of its orientations for damage
            copy = folder / "image.nii"
            with copy.open("wb") as file:
                file.write(_unplaced(data, header.order))
                shutil.copyfileobj(stream, file)
            return copy
        link = folder / ("image.nii.gz" if isinstance(stream, gzip.GzipFile) else "image.nii")
    link_or_copy(path, link)
    return link


def link_or_copy(path: Path, name: Path) -> None:
    """Give a file another name; where the system allows no links (Windows, some disks) that is a copy."""
    for link in (os.symlink, os.link):
        with suppress(OSError):
            return link(path.absolute(), name)
    shutil.copyfile(path, name)


def flat_geometry(path: Path) -> np.ndarray:
    """ijk_to_ras (4, 4) that the header of a flat image gives; its third axis is 1 mm long where none is given."""
    with _open(path) as stream:
        data = stream.read(HEADER)
    order = parse_header(data).order

    def numbers(name: str) -> np.ndarray:
        offset, code = _forms(data, order)[name]
        return np.array(struct.unpack_from(order + code, data, offset), np.float64)

    (qform, sform), lengths = numbers("codes"), np.abs(numbers("pixdim"))[1:4]
    lengths[lengths == 0] = 1.0
    matrix = np.eye(4)
    if sform > 0 and (sform == _SCANNER or qform <= 0):
        matrix[:3] = numbers("rows").reshape(3, 4)
        if not matrix[:3, 2].any():
            normal = np.cross(matrix[:3, 0], matrix[:3, 1])
            matrix[:3, 2] = normal * (lengths[2] / (np.linalg.norm(normal) or 1.0))
    elif qform > 0:
        turn = numbers("turn")
        mirror = -1.0 if numbers("pixdim")[0] < 0 else 1.0
        matrix[:3, :3] = _rotation(*turn[:3]) * lengths * (1.0, 1.0, mirror)
        matrix[:3, 3] = turn[3:]
    else:
        matrix[:3, :3] = np.diag(lengths * (-1.0, -1.0, 1.0))  # as ITK does
    matrix[:3] *= _MILLIMETRES.get(int(numbers("units")[0]) & 7, 1.0)
    return matrix


def _forms(data: bytes, order: str) -> dict[str, tuple[int, str]]:
    return _FORMS_1 if struct.unpack_from(order + "i", data)[0] == 348 else _FORMS_2


def _unplaced(data: bytes, order: str) -> bytes:
    """A header, with what follows it, that says nothing of the orientation."""
    offset, code = _forms(data, order)["codes"]
    return data[:offset] + bytes(struct.calcsize(order + code)) + data[offset + struct.calcsize(order + code) :]


def _rotation(b: float, c: float, d: float) -> np.ndarray:
    """The rotation (3, 3) of a unit quaternion whose first number is left out because it follows from the others."""
    a = math.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
    a, b, c, d = np.array([a, b, c, d]) / math.sqrt(a * a + b * b + c * c + d * d)
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


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
