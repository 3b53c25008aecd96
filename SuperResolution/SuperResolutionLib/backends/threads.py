"""How many threads compute."""

from __future__ import annotations

import os

from .limits import cpu_quota


def physical_cores() -> int:
    """Cores that this process may use; two threads of one core only get in each other's way."""
    import psutil

    wish = os.environ.get("OMP_NUM_THREADS", "")
    if wish.isdigit() and int(wish):
        return int(wish)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(psutil.cpu_count(logical=False) or allowed, allowed, cpu_quota() or allowed)
