"""Memory that a network's maps take again and again is kept within a run, and given back to the system after it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

#: Numbers of glibc's.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

#: The size of the largest map that is kept for PyTorch, and for others, which keep the maps of a network themselves.
KEPT_BYTES, KEPT_BYTES_ELSE = 2**28, 2**22


@contextmanager
def kept_memory(backend: str) -> Iterator[None]:
    """Let glibc keep what is freed; elsewhere nothing happens.

    By default each map is asked of the system anew, which takes a fifth of a run's time in PyTorch.
    """
    library, kept = None, KEPT_BYTES if backend == "torch" else KEPT_BYTES_ELSE
    try:
        library = ctypes.CDLL(None)
        if library.mallopt(M_MMAP_THRESHOLD, kept):  # old ones refuse a high number
            library.mallopt(M_TRIM_THRESHOLD, kept)
    except (OSError, TypeError, AttributeError):  # another system, another library
        library = None
    try:
        yield
    finally:
        if library is not None and hasattr(library, "malloc_trim"):
            library.malloc_trim(0)
