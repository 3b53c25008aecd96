"""Image files written slice by slice: behind the header that ITK writes for one slice, with their number corrected.

ITK wants a copy of all voxels before it writes any, which large results have no room for.
"""

from __future__ import annotations

import gzip
import re
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from . import itk
from .volume import Volume

#: Where the third of NIfTI-1's axis lengths stands.
_NIFTI_DEPTH = 46

#: Bytes of voxels that are written at once.
_SLAB_BYTES = 2**25

#: What can be written so.
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")

#: How hard zlib tries, 0 to 9.
_LEVEL = 6


def write_header(image, path: Path, format_name: str, slices: int) -> int:
    """Write what precedes the voxels of an uncompressed file.

    Args:
        image: SimpleITK image of one slice, with geometry and labels. path: .nii, .nrrd or .mha.
        format_name: see ``itk.write_image``. slices: how many the file will hold.

    Returns:
        The header's length in bytes.

    Raises:
        RuntimeError, OSError: if it cannot be written.
    """
    itk.write_image(image, path, format_name, compressed=False)
    data = path.read_bytes()
    header = data[: len(data) - itk.image_array(image).nbytes]
    if path.name.lower().endswith(".nii"):
        header = header[:_NIFTI_DEPTH] + struct.pack("<h", slices) + header[_NIFTI_DEPTH + 2 :]
    else:
        pattern = rb"^(sizes:|DimSize =)((?: \d+)+) 1(\r?)$"
        header = re.sub(pattern, rb"\1\2 %d\3" % slices, header, count=1, flags=re.MULTILINE)
    path.write_bytes(header)
    return len(header)


def write_slicewise(volume: Volume, image, path: Path, format_name: str) -> None:
    """Write a volume of one channel without a copy of its voxels: .nii, or compressed .nii.gz, .nrrd and .mha.

    Args:
        volume: what is written. image: SimpleITK image of its first slice, with geometry and labels.
        path: ends in one of ``SUFFIXES``. format_name: see ``itk.write_image``.

    Raises:
        RuntimeError, OSError: if it cannot be written.
    """
    zipped = path.name.lower().endswith(".gz")
    plain = path.with_suffix("") if zipped else path
    try:
        write_header(image, plain, format_name, len(volume.array))
        header = plain.read_bytes()
    finally:
        plain.unlink(missing_ok=True)
    with path.open("wb") as file:
        if format_name == "MetaImage":
            _write_meta_image(file, header, volume)
            return
        if not zipped:
            file.write(header.replace(b"encoding: raw", b"encoding: gzip", 1))  # NRRD compresses the voxels alone
        compressed = zipped or format_name == "NRRD"
        with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) if compressed else nullcontext(file) as stream:
            if zipped:
                stream.write(header)
            for slab in _slabs(volume.array):
                stream.write(slab)


def _write_meta_image(file, header: bytes, volume: Volume) -> None:
    """The header names the size of the compressed voxels, so they wait in a file of their own until it is known."""
    packer = zlib.compressobj(_LEVEL)
    with tempfile.TemporaryFile(dir=Path(file.name).parent) as packed:
        for slab in _slabs(volume.array):
            packed.write(packer.compress(slab))
        packed.write(packer.flush())
        says = b"CompressedData = True\nCompressedDataSize = %d" % packed.tell()
        file.write(header.replace(b"CompressedData = False", says, 1))
        packed.seek(0)
        shutil.copyfileobj(packed, file)


def _slabs(array: np.ndarray) -> Iterator[memoryview]:
    """The bytes of some slices after the others."""
    step = max(1, _SLAB_BYTES // array[0].nbytes)
    for first in range(0, len(array), step):
        yield _stored(array[first : first + step])


def _stored(array: np.ndarray) -> memoryview:
    """The bytes of voxels as files hold them: little endian, without a copy where they are so already."""
    return memoryview(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8))
