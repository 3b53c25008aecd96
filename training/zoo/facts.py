"""What is known of a model besides its scores: size, training, and how long a slice takes on this machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from SuperResolutionLib.backends.torch_weights import is_beside, load_weights
from SuperResolutionLib.catalog import ModelCard
from SuperResolutionLib.upscaler import Options, upscale
from SuperResolutionLib.volume import Volume

from ..candidates import Candidate
from ..export import replace_file

#: The slice that is timed, in pixels, how often, and the seconds above which once must do.
SIDE, TIMES, LONG = 256, 3, 5.0

SPEEDS = "speeds.json"


class Facts(NamedTuple):
    """A model's parameters, precision and bytes of weights, seconds a slice, and the processor that took them."""

    parameters: int
    precision: str
    size: int
    seconds: float
    on: str


def processor() -> str:
    """The name of the processor and the number of threads that are used."""
    import torch

    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' * (threads != 1)}"


def slice_seconds(candidate: Candidate) -> float:
    """Seconds in which a slice of ``SIDE`` x ``SIDE`` pixels is enlarged and made consistent; the median of some."""
    color = candidate.card.channels == 3
    array = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3) if color else (1, SIDE, SIDE), np.uint8)
    volume, options = Volume(array, np.eye(4), "slice", {"Spacing": "unknown"}), Options(bicubic=False)

    def once(volume: Volume) -> float:
        began = time.perf_counter()
        upscale(volume, candidate.card, options, load=lambda *_: candidate.model)
        return time.perf_counter() - began

    once(volume.with_array(array[:, :32, :32]))  # what is set up at the first call is not timed
    times = [once(volume)]
    while len(times) < TIMES and times[0] < LONG:
        times.append(once(volume))
    return statistics.median(times)


def speeds(candidates: list[Candidate], folder: Path, log=print) -> dict[str, float]:
    """Model -> ``slice_seconds``, kept in ``folder`` as long as weights and processor are the same."""
    path, kept = folder / SPEEDS, {}
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
    result = {}
    for candidate in candidates:
        key = f"{candidate.card.sha256} {processor()}"
        if key not in kept:
            kept[key] = slice_seconds(candidate)
            text = json.dumps(kept, indent=1)
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(path, lambda place, text=text: Path(place).write_text(text, encoding="utf-8"))
        result[candidate.name] = kept[key]
        log(f"{candidate.name}: {kept[key]:.3f} s for a slice of {SIDE} x {SIDE} pixels ({processor()})")
    return result


def find_facts(candidates: list[Candidate], folder: Path, log=print) -> dict[str, Facts]:
    """The facts of models by their ids; ``folder`` as in ``speeds``."""
    seconds, on = speeds(candidates, folder, log), processor()
    return {one.name: Facts(*weights_facts(one.card), seconds[one.name], on) for one in candidates}


def weights_facts(card: ModelCard) -> tuple[int, str, int]:
    """Parameters, precision and bytes of a model's weights, read from the file."""
    from safetensors import safe_open

    count = sum(tensor.numel() for tensor in load_weights(card.weights).values())
    with safe_open(card.weights, "np") as file:
        names = list(file.keys())
        kinds = sorted({file.get_slice(name).get_dtype() for name in names if not is_beside(name, names)})
    names = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "I8": "int8", "U8": "int6"}
    return count, ", ".join(names.get(kind, kind) for kind in kinds), os.path.getsize(card.weights)


def facts_lines(cards: list[ModelCard], facts: dict[str, Facts], on: str) -> list[str]:
    """Tables: what a model is, how it was trained, and on which images. ``on``: whose seconds are shown."""
    lines = [
        "| model | architecture | parameters | weights | license | seconds a slice |",
        "|---|---|---:|---|---|---:|",
    ]
    for card in cards:
        fact = facts[card.id]
        cells = [f"`{card.id}`", card.architecture, f"{fact.parameters:,}"]
        cells += [f"{fact.size / 2**20:.2f} MiB, {fact.precision}", card.license]
        lines.append("| " + " | ".join([*cells, f"{fact.seconds:.2f}" if fact.on == on else ""]) + " |")
    lines += ["", f"Seconds: one slice of {SIDE} x {SIDE} pixels, enlarged and made consistent ({on}; the median of"]
    elsewhere = "" if all(facts[card.id].on == on for card in cards) else " Those of another machine are left out."
    lines += [f"{TIMES} runs, of one where it took more than {LONG:g} s).{elsewhere}", ""]
    lines += ["| model | trained on | steps | hours | hardware | loss |", "|---|---|---:|---:|---|---|"]
    for card in cards:
        training = card.card["training"]
        data = "; ".join(entry["name"] for entry in training["data"])
        hours = f"{training['hours']:.2f}" if "hours" in training else "not recorded"
        steps = f"{training['steps']:,}"
        for run in training.get("before", []):
            steps += f", after {run['steps']:,} of `{run['id']}` on {run.get('hardware', 'hardware not recorded')}"
        cells = [f"`{card.id}`", data, steps, hours, training["hardware"], card.card["loss"]]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    lines += ["", "| training images | how many | license |", "|---|---|---|"]
    entries = [entry for card in cards for entry in card.card["training"]["data"]]
    rows = [" | ".join(entry[key].replace("|", "/") for key in ("name", "images", "license")) for entry in entries]
    return [*lines, *(f"| {row} |" for row in dict.fromkeys(rows)), ""]
