"""Where enlarged slices go: an array in memory, or a file whose voxels are written as they come.

A sink has ``put(index, plane)`` for a plane (c, h, w), ``close()``, and ``array``, (k, j, i) or (k, j, i, c), which
holds everything once it is closed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .plan import Job, slice_planes

#: Makes a sink: "sr" or "bicubic", the job, and the provenance of what will be put into it.
Open = Callable[[str, Job, "dict[str, str]"], "ArraySink | FileSink"]

#: Bytes of a file that are mapped at once when slices do not lie in it one after the other.
MAPPED_BYTES = 2**28


class ArraySink:
    """Slices in memory."""

    def __init__(self, job: Job):
        self.array = np.empty(job.output_shape, job.dtype)
        self._planes = slice_planes(self.array, job.axis)

    def put(self, index: int, plane: np.ndarray) -> None:
        self._planes[index] = plane

    def close(self) -> None:
        """Nothing is left to do."""


class FileSink:
    """Slices in a file of raw voxels behind a header; only what is being written is in memory.

    Args:
        path: a file that holds a header of ``start`` bytes and nothing else yet. job: what is written.

    Raises:
        OSError: if the disk has no room for the voxels.
    """

    def __init__(self, path: Path, start: int, job: Job):
        self._path, self._start, self._axis = path, start, job.axis
        self._shape, self._dtype = job.output_shape, job.dtype
        self._slab_bytes = int(np.prod(self._shape[1:])) * self._dtype.itemsize
        _reserve(path, start, self._shape[0] * self._slab_bytes)
        self._file = open(path, "r+b")

    def put(self, index: int, plane: np.ndarray) -> None:
        along = 2 - self._axis
        if along == 0:
            self._file.seek(self._start + index * self._slab_bytes)
            self._file.write(np.ascontiguousarray(np.moveaxis(plane, 0, -1)).reshape(-1).view(np.uint8))
            return
        # A plane touches every slab of the file: mapped some at a time, its pages do not stay in memory.
        step = max(1, MAPPED_BYTES // self._slab_bytes)
        for first in range(0, self._shape[0], step):
            last = min(first + step, self._shape[0])
            slabs = slice_planes(self._map(first, last), self._axis)
            slabs[index] = plane[:, first:last]

    def close(self) -> None:
        self._file.close()

    @property
    def array(self) -> np.ndarray:
        """The file's voxels, mapped and not read."""
        return np.memmap(self._path, self._dtype, "r", self._start, self._shape)

    def _map(self, first: int, last: int) -> np.memmap:
        shape, offset = (last - first, *self._shape[1:]), self._start + first * self._slab_bytes
        return np.memmap(self._path, self._dtype, "r+", offset, shape)


def _reserve(path: Path, start: int, size: int) -> None:
    """Make room for the voxels; without it a full disk would end the process that writes into a map."""
    with open(path, "r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), start, size)
            return
        file.seek(start)
        for first in range(0, size, MAPPED_BYTES):
            file.write(bytes(min(MAPPED_BYTES, size - first)))


def in_memory(_kind: str, job: Job, _provenance: dict[str, str]) -> ArraySink:
    """A sink in memory."""
    return ArraySink(job)
