"""What a person sees while a run trains: a bar in a terminal that has rich, else a line now and then."""

from __future__ import annotations

import sys
import time
from bisect import bisect_left, bisect_right
from itertools import accumulate

from .optional import installed


class Display:
    """Shows lines and how far a run is. Use as a context manager.

    Args:
        log: takes a line; None writes to standard output, and draws a bar there if it is a terminal.
        phases: the steps of every phase.
        done: steps that an earlier start did.
    """

    def __init__(self, log, phases: list[int], done: int):
        self.ends = list(accumulate(phases))
        self.steps = steps = self.ends[-1]
        self.speed = 0.0  # seconds a step, of the phase at work as soon as it is known, else of the one before
        self.phase, self.first, self.began = bisect_right(self.ends, done), done, time.monotonic()
        self.log, self.bar, self.task = log or print, None, None
        if log is None and sys.stdout.isatty() and installed("rich"):
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            parts = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            self.bar = Progress(*parts, TextColumn("{task.fields[numbers]}"))
            self.task = self.bar.add_task("", total=steps, completed=done, numbers="")
            self.log = self.bar.console.print

    def line(self, text: str) -> None:
        """Something that happened."""
        self.log(text)

    def step(self, step: int, phase: str) -> None:
        """A step is done."""
        index = bisect_left(self.ends, step)
        if index != self.phase:  # another phase, another speed
            self.phase, self.first, self.began = index, step, time.monotonic()
        if self.bar:
            self.bar.update(self.task, completed=step, description=phase)

    def rows(self, rows: list[dict], columns: list[str]) -> None:
        """The means of the last steps."""
        last = rows[-1]
        found = {name: [row[name] for row in rows if name in row] for name in columns if name in last}
        means = {name: sum(values) / len(values) for name, values in found.items()}
        seconds = sum(row["seconds"] for row in rows)
        waiting = sum(row["waiting"] for row in rows)
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in means.items())
        numbers += f"  lr {last['learning_rate']:.2e}"
        if self.bar:
            self.bar.update(self.task, numbers=numbers)
            return
        if last["step"] > self.first:
            self.speed = (time.monotonic() - self.began) / (last["step"] - self.first)
        left = (self.steps - last["step"]) * self.speed
        self.log(
            f"{last['phase']} {last['step']}/{self.steps}  {numbers}  {seconds / len(rows):.3g} s/step"
            f"  waiting {100 * waiting / max(seconds, 1e-9):.1f} %  {_clock(left)} left"
        )

    def __enter__(self) -> Display:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_) -> None:
        if self.bar:
            self.bar.stop()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
