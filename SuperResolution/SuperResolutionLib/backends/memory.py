"""Memory that a network's maps take again and again is kept within a run, and given back to the system after it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

#: Numbers of glibc's, and the size of the largest map that is kept.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, KEPT_BYTES = -1, -3, 2**28


@contextmanager
def kept_memory() -> Iterator[None]:
    """Let glibc keep what is freed; elsewhere nothing happens.

    By default each map is asked of the system anew, which takes a fifth of a run's time.
    """
    library = None
    try:
        library = ctypes.CDLL(None)
        if library.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES):  # old ones refuse so high a number
            library.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    except (OSError, TypeError, AttributeError):  # another system, another library
        library = None
    try:
        yield
    finally:
        if library is not None and hasattr(library, "malloc_trim"):
            library.malloc_trim(0)
