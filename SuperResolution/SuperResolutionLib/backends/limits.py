"""What this process may use of the machine, where a container or a service limits it: Linux's control groups.

Limits hold for a group and all groups below it. Their files have one set of names in the current version and another in
the first; where a limit is not set, its file holds a word, -1 or a number that no machine has.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from pathlib import Path

_ROOT = Path("/")


def free_memory(root: Path = _ROOT) -> int:
    """Bytes that this process can still get.

    Args:
        root: the folder under which the system shows its limits.
    """
    import psutil

    left = [psutil.virtual_memory().available]
    for group in _groups(root, "memory"):
        for limit, used, kept in (
            ("memory.max", "memory.current", ""),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        ):
            numbers = _number(group / limit), _number(group / used)
            if None not in numbers:
                left.append(numbers[0] - numbers[1] + _of_files(group / "memory.stat", kept))
    return max(0, min(left))


def cpu_quota(root: Path = _ROOT) -> int | None:
    """How many processors this process may keep busy, rounded up; None where that is not limited."""
    quotas = []
    for group in _groups(root, "cpu"):
        current = _words(group / "cpu.max")
        first = _words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us")
        for words in (current, first):
            if len(words) == 2 and all(word.isdigit() for word in words):
                quotas.append(max(1, ceil(int(words[0]) / int(words[1]))))
    return min(quotas, default=None)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's group and of those above it; some may not exist."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        mounted = root / "sys/fs/cgroup"
        if controllers:
            if controller not in controllers.split(","):
                continue
            mounted = mounted / controller
        yield mounted
        parts = [part for part in path.split("/") if part and part != ".."]
        yield from (mounted.joinpath(*parts[: count + 1]) for count in range(len(parts)))


def _of_files(path: Path, prefix: str) -> int:
    """Bytes that count as used and hold what was read from files, which the system drops when it needs room."""
    lines = (line.partition(" ") for line in _read(path).splitlines())
    wanted = f"{prefix}active_file", f"{prefix}inactive_file"
    return sum(int(value) for name, _, value in lines if name in wanted)


def _number(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if words and words[0].isdigit() else None


def _words(path: Path) -> list[str]:
    return _read(path).split()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
