"""Memory that a network's maps take again and again is kept within a run, and given back to the system after it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

#: Numbers of glibc's, and the size with which it begins both.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, AS_A_RULE = -1, -3, 2**17

#: The size of the largest map that is kept for PyTorch, and for others, which keep the maps of a network themselves.
KEPT_BYTES, KEPT_BYTES_ELSE = 2**28, 2**22

#: What to say where memory ran out and nothing more is known.
RAN_OUT = "Memory ran out; upscale a region of the image or choose a smaller scale."

#: What torch, OpenVINO and ONNX Runtime say when memory runs out, on a CPU or a graphics card, in small letters.
_OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "failed to allocate memory",
    "bad_alloc",
    "bad allocation",
    "status_alloc_failed",
)


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; libraries have no class in common for that, and some have none at all."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY)


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
            for threshold in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
                library.mallopt(threshold, AS_A_RULE)
            library.malloc_trim(0)
