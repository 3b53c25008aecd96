"""Curves of training: a run's table of steps, thinned to a small file that is kept, and its picture."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from SuperResolutionLib.errors import DataError

from ..export import replace_file
from ..loss_terms import OPTIONS
from ..plots import COLORS, canvas
from ..record import STEPS

#: The most rows that are kept of a run.
ROWS = 120

#: Columns that are not kept: how long a step took says nothing of the training.
LEFT_OUT = ("epoch", "waiting", "seconds")

#: Columns that are drawn: on a logarithmic axis, and in a second picture.
LOSSES = ("loss", *OPTIONS, "d_loss")
SCORES = ("d_real", "d_fake")


def thin(sources: Sequence[Path], target: Path) -> None:
    """Write at most ``ROWS`` rows of a model's tables of steps: means over equal numbers of rows, none of two phases.

    Args:
        sources: tables of runs that went on from one another. What a later one has of a phase takes the place of what
            the earlier ones have of it, and its steps are counted on from what is left of them.

    Raises:
        DataError: if a table cannot be read.
    """
    rows: list[dict] = []
    for source in sources:
        rows = _joined(rows, _read(source))
    phases = list(dict.fromkeys(row["phase"] for row in rows))
    every = -(-len(rows) // (ROWS - len(phases))) if len(rows) > ROWS else 1
    parts = [[row for row in rows if row["phase"] == phase] for phase in phases]
    groups = [part[start : start + every] for part in parts for start in range(0, len(part), every)]
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in LEFT_OUT]
    thinned = [{name: _mean(group, name) for name in names} for group in groups]
    target.parent.mkdir(parents=True, exist_ok=True)

    def write(place: str) -> None:
        with open(place, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(thinned)

    replace_file(target, write)


def _read(source: Path) -> list[dict]:
    """The rows of a table; one cut short by a crash lacks columns and is left out."""
    try:
        with source.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if None not in row.values()]
        if not rows or not {"step", "phase"} <= set(rows[0]):
            raise ValueError("no rows")
        numbers = [row[name] for row in rows for name in row if name != "phase" and row[name] != ""]
        return rows if [float(number) for number in numbers] else []
    except (OSError, ValueError) as error:
        raise DataError(f"{source} is no table of a run's steps; name the folder of the runs.") from error


def _joined(earlier: list[dict], later: list[dict]) -> list[dict]:
    phases = {row["phase"] for row in later}
    kept = [row for row in earlier if row["phase"] not in phases]
    done = int(kept[-1]["step"]) if kept else 0
    return kept + [row | {"step": str(done + int(row["step"]))} for row in later]


def _mean(group: list[dict], name: str) -> str:
    """Of a group's values that are there; its last step and its phase as they are."""
    if name in ("step", "phase"):
        return group[-1][name]
    values = [float(row[name]) for row in group if row.get(name)]
    return f"{np.mean(values):.5g}" if values else ""


def keep_curves(runs: Sequence[Path], ids: Iterable[str], folder: Path) -> list[str]:
    """Thin the tables of the runs that are named after models into ``folder``; returns the ids that have one.

    Args:
        runs: folders of runs; of a model in several of them the tables follow one another in this order.
    """
    found = {name: [run / name / STEPS for run in runs if (run / name / STEPS).is_file()] for name in ids}
    found = {name: tables for name, tables in found.items() if tables}
    for name, tables in found.items():
        thin(tables, folder / f"{name}.csv")
    return list(found)


def draw_curve(path: Path, title: str):
    """The picture of a kept table, a Pillow image."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    steps = np.array([int(row["step"]) for row in rows])
    scores = [name for name in SCORES if any(row.get(name) for row in rows)]
    figure, axes = canvas(1, 2 if scores else 1, 3.4, height=2.4, axis=True)
    for axis, names in zip(axes[0], (LOSSES, scores)):
        for place, name in enumerate(name for name in names if any(row.get(name) for row in rows)):
            values = np.array([float(row[name]) if row.get(name) else np.nan for row in rows])
            axis.plot(steps, values, color=COLORS[place % len(COLORS)], linewidth=0.9, label=name)
        for start, row, after in zip(steps, rows, rows[1:]):
            if row["phase"] != after["phase"]:
                axis.axvline(start, color="0.7", linewidth=0.8)
        axis.tick_params(labelsize=7)
        axis.set_xlabel("step", fontsize=7)
        axis.legend(fontsize=6, frameon=False)
    axes[0, 0].set_yscale("log")
    figure.suptitle(title, fontsize=8)
    return _image(figure)


def _image(figure):
    import io

    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return Image.open(buffer)
