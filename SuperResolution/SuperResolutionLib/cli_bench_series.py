"""What ``superres bench`` measures beside speed on one volume: how it scales, how much memory it takes, what skipping
gains. Each volume goes through ``upscale`` in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from .catalog import ModelCard
from .cli_bench import Child, machine

#: Slices of the volumes whose cost for each slice should be the same, and their sides.
SLICES, SIDE = (10, 30, 100, 300, 1000), 128

#: Sides of the slices whose cost for each pixel should be the same, and how many there are.
SIDES, COUNT = (64, 128, 256, 512, 1024), 4

#: Volumes whose memory is measured, and whether their result goes to a file.
LARGE = (((512, 512, 100), False), ((512, 512, 1000), True))

Tell = Callable[[str], None]


def scaling(card: ModelCard, device: str, backend: str, repeats: int, tell: Tell) -> dict:
    """Time and memory against the number of slices and against their size."""
    sizes = [(SIDE, SIDE, count) for count in SLICES] + [(side, side, COUNT) for side in SIDES]
    entries = []
    for size in sizes:
        tell(f"{size[0]} x {size[1]} x {size[2]}")
        request = {"size": size, "backend": backend, "precision": "float32", "device": device, "compared": False}
        entries.append(_measure(card, request, repeats) | {"size": list(size)})
    return _about("scaling", card, device) | {"backend": backend, "runs": entries}


def memory(card: ModelCard, device: str, backend: str, tell: Tell) -> dict:
    """Peak memory of large volumes: everything in memory, and written to a file as it is computed."""
    entries = []
    for size, to_file in LARGE:
        tell(f"{size[0]} x {size[1]} x {size[2]}, result in {'a file' if to_file else 'memory'}")
        request = {"size": size, "backend": backend, "precision": "float32", "device": device, "compared": False}
        request |= {"bicubic": not to_file, "to_file": to_file, "warm": False}
        voxels = size[0] * size[1] * size[2] * 2
        outputs = 0 if to_file else 2 * voxels * card.scale**2
        entries.append(_measure(card, request, 1) | {"size": list(size), "to_file": to_file})
        entries[-1] |= {"input_bytes": voxels, "output_bytes": outputs}
    return _about("memory", card, device) | {"backend": backend, "runs": entries}


def skipping(card: ModelCard, device: str, backend: str, path: Path, repeats: int, tell: Tell) -> dict:
    """A real volume with and without skipping what is constant in it."""
    runs = {}
    for wanted in (True, False):
        tell("skipping what is constant" if wanted else "computing everything")
        request = {"path": str(path), "backend": backend, "precision": "float32", "device": device}
        runs[wanted] = _measure(card, request | {"skip_constant": wanted, "compared": False}, repeats)
    about = _about("skipping", card, device) | {"backend": backend, "image": path.name}
    return about | {"skipped": runs[True], "everything": runs[False]}


def _measure(card: ModelCard, request: dict, repeats: int) -> dict:
    with tempfile.TemporaryDirectory(prefix="superresolution-bench-") as folder:
        about = {"way": "upscale", "model": str(card.weights.parent), "type": "int16", "folder": folder, "number": 0}
        child = Child({**about, **request})
        child.wait_until_ready()
        for _ in range(repeats if not child.problem else 0):
            child.run()
        child.close()
    if child.problem:
        return {"problem": child.problem}
    return {
        "seconds": median(answer["seconds"] for answer in child.answers),
        "network_seconds": median(answer["network_seconds"] for answer in child.answers),
        "skipped_share": child.answers[0]["skipped_share"],
        "peak_bytes": max(answer["peak_bytes"] for answer in child.answers),
    }


def _about(kind: str, card: ModelCard, device: str) -> dict:
    return {"kind": kind, "model": card.id, "device": device, "machine": machine(device)}
