"""What a run writes while it trains: a row a step, a row an epoch, and TensorBoard's events where that is installed.

An epoch is as many steps as it takes to draw once as many pixels as the sets hold.
"""

from __future__ import annotations

import csv
import math
import os
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from .config import Config
from .distributed import Group
from .optional import installed

STEPS, EPOCHS = "steps.csv", "epochs.csv"

_BEFORE = ("step", "epoch", "phase", "learning_rate")
_AFTER = ("waiting", "seconds")


class Recorder:
    """Collects the numbers of steps, and writes them when they have been found good.

    Numbers stay where they were computed until ``collect``, so that a GPU is not stopped at every step.
    """

    def __init__(self, folder: Path, config: Config, epoch_steps: int, group: Group):
        self.folder, self.group, self.epoch_steps = folder, group, epoch_steps
        losses = dict.fromkeys(name for phase in config.phases for name in phase.losses)
        adversarial = any(phase.discriminator for phase in config.phases)
        self.columns = ["loss", *losses, "g_norm"]
        self.columns += ["d_loss", "d_real", "d_fake", "d_norm"] if adversarial else []
        self.pending: list[tuple[dict, list[str], Tensor]] = []
        self.sums: dict[str, float] = {}
        self.seconds = 0.0
        self._board = None
        if group.leads and installed("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"))

    def add(self, about: dict, names: list[str], values: Tensor) -> None:
        """One step: ``about`` has step, phase, learning_rate, waiting and seconds; ``values`` belong to ``names``."""
        self.pending.append((about, names, values))

    def collect(self) -> list[dict]:
        """The rows of the steps since the last time, averaged over the processes; they are no longer pending."""
        if not self.pending:
            return []
        rows = []
        for names, alike in groupby(self.pending, key=lambda entry: entry[1]):  # another phase has other losses
            entries = list(alike)
            values = self.group.mean(torch.stack([entry[2] for entry in entries])).tolist()
            rows += [{**entry[0], **dict(zip(names, row))} for entry, row in zip(entries, values)]
        self.pending = []
        return rows

    def write(self, rows: list[dict]) -> None:
        """Append good rows to the tables."""
        for row in rows:
            row["epoch"] = (row["step"] - 1) // self.epoch_steps
            self.seconds += row["seconds"]
            self._count(row)
        if self.group.leads:
            self._append(STEPS, self._step_columns, rows)
            self._show(rows)

    @property
    def _step_columns(self) -> list[str]:
        return [*_BEFORE, *self.columns, *_AFTER]

    @property
    def _epoch_columns(self) -> list[str]:
        return ["epoch", "step", "phase", "learning_rate", *self.columns, *_AFTER]

    def state(self) -> dict:
        """For a checkpoint, with what is pending."""
        pending = [(about, names, values.tolist()) for about, names, values in self.pending]
        return {"pending": pending, "sums": dict(self.sums), "seconds": self.seconds}

    def load(self, state: dict, step: int) -> None:
        """From a checkpoint at ``step``; rows that a lost stretch left behind it are removed."""
        device = self.group.device
        self.pending = [
            (about, list(names), torch.tensor(values, device=device)) for about, names, values in state["pending"]
        ]
        self.sums, self.seconds = dict(state["sums"]), state["seconds"]
        if self.group.leads:
            written = step - len(self.pending)
            self.columns = list(self.columns)
            earlier = [*_header(self.folder / STEPS), *_header(self.folder / EPOCHS)]
            earlier += [name for _, names, _ in self.pending for name in names]
            earlier += [name for name in self.sums if not name.endswith(" steps")]
            for name in earlier:
                if name not in {*_BEFORE, *_AFTER, *self.columns}:
                    self.columns.append(name)
            _keep_rows(self.folder / STEPS, self._step_columns, lambda row: int(row["step"]) <= written)
            _keep_rows(
                self.folder / EPOCHS,
                self._epoch_columns,
                lambda row: (int(row["epoch"]) + 1) * self.epoch_steps <= written,
            )

    def begin(self) -> None:
        """Remove the tables that an earlier run without a checkpoint left behind."""
        if self.group.leads:
            for name in (STEPS, EPOCHS):
                (self.folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Write out what TensorBoard holds."""
        if self._board:
            self._board.close()

    def _count(self, row: dict) -> None:
        """Add a row to its epoch, and write the epoch when it is full: means, but the sum of the seconds."""
        for name in (*self.columns, "seconds", "learning_rate", "waiting"):
            if name in row:
                self.sums[name] = self.sums.get(name, 0.0) + row[name]
                self.sums[f"{name} steps"] = self.sums.get(f"{name} steps", 0) + 1
        if row["step"] % self.epoch_steps:
            return
        means = {name: self.sums[name] / self.sums[f"{name} steps"] for name in self.sums if "steps" not in name}
        means |= {"seconds": self.sums["seconds"], "waiting": self.sums["waiting"]}
        about = {"epoch": row["epoch"], "step": row["step"], "phase": row["phase"]}
        if self.group.leads:
            self._append(EPOCHS, self._epoch_columns, [about | means])
        self.sums = {}

    def _append(self, name: str, columns: list[str], rows: list[dict]) -> None:
        path = self.folder / name
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="")
            if new:
                writer.writeheader()
            writer.writerows({key: _text(key, value) for key, value in row.items()} for row in rows)

    def _show(self, rows: list[dict]) -> None:
        if not self._board or not rows:
            return
        for name in [name for name in (*self.columns, "learning_rate") if name in rows[-1]]:
            values = [row[name] for row in rows if name in row]
            self._board.add_scalar(f"{rows[-1]['phase']}/{name}", math.fsum(values) / len(values), rows[-1]["step"])


def not_finite(rows: list[dict], columns: list[str]) -> list[str]:
    """Which of the columns hold a number that is not finite."""
    return [name for name in columns if any(not math.isfinite(row.get(name, 0.0)) for row in rows)]


def _text(name: str, value) -> str:
    """Losses with all the digits of float32, times without."""
    if isinstance(value, float):
        return f"{value:.4f}" if name in _AFTER else f"{value:.9g}"
    return str(value)


def _header(path: Path) -> list[str]:
    """The columns of a table; none if there is none."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file).fieldnames or [])


def _keep_rows(path: Path, columns: list[str], keep) -> None:
    """Write a table anew, with the rows to keep and the columns that it has from now on."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        # A row cut short by a crash lacks columns.
        rows = [row for row in reader if None not in row and None not in row.values() and keep(row)]
    temporary = path.with_suffix(".part")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)
