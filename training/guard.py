"""Two watchmen: one rolls back what is not finite, one sees a discriminator that wins or gives up."""

from __future__ import annotations

import math
from collections import deque

from SuperResolutionLib.errors import SuperResolutionError

#: Rollbacks in one phase before training gives up, and what each multiplies the learning rates by.
ROLLBACKS, SLOWER = 5, 0.5

#: Steps over which the margin between real and generated images is averaged.
WINDOW = 200

#: Mean raw score of real images minus that of generated ones above which the discriminator has won, by the kind of the
#: adversarial loss. Below ``LOST`` of it, it no longer tells them apart.
WON = {"standard": 8.0, "relativistic": 8.0, "least_squares": 0.95, "hinge": 4.0, "saturating": 8.0}
LOST = 0.01


class DivergedError(SuperResolutionError):
    """Training does not stay finite, whatever the guard tries."""

    code = "diverged"


class NanGuard:
    """Counts rollbacks of a phase. ``rate`` multiplies its learning rates from then on."""

    def __init__(self):
        self.rollbacks, self.rate = 0, 1.0

    def trip(self, step: int, names: list[str]) -> str:
        """Count a rollback to ``step``; says so.

        Raises:
            DivergedError: if it is one too many.
        """
        if self.rollbacks == ROLLBACKS:
            raise DivergedError(
                f"After step {step} {', '.join(names)} did not stay finite, even after {ROLLBACKS} returns to a good "
                "state at ever lower learning rates; that state is kept. Lower the learning rate or check the images."
            )
        self.rollbacks, self.rate = self.rollbacks + 1, self.rate * SLOWER
        return (
            f"{', '.join(names)} not finite: back to step {step} with other patches and learning rates x {self.rate:g}"
        )

    def state(self) -> dict:
        """For a checkpoint."""
        return {"rollbacks": self.rollbacks, "rate": self.rate}

    def load(self, state: dict) -> None:
        """From a checkpoint."""
        self.rollbacks, self.rate = state["rollbacks"], state["rate"]


class CollapseWatch:
    """Watches the margin between real and generated images over a window of steps.

    ``paused`` is None, or "discriminator" or "generator" if ``pause`` is set and that one is too far ahead. It changes
    only where ``observe`` is called.
    """

    def __init__(self, kind: str, pause: bool):
        self.won = WON[kind]
        self.pause = pause
        self.margins: deque[float] = deque(maxlen=WINDOW)
        self.verdict = "even"
        self.paused: str | None = None

    def observe(self, margins: list[float]) -> str | None:
        """Take the margins of some steps; returns a sentence if the verdict changed."""
        self.margins.extend(margins)
        if len(self.margins) < WINDOW:
            return None
        mean = math.fsum(self.margins) / len(self.margins)
        verdict = "won" if mean > self.won else "lost" if mean < LOST * self.won else "even"
        if verdict == self.verdict:
            return None
        self.verdict = verdict
        ahead = {"won": "discriminator", "lost": "generator"}.get(verdict)
        self.paused = ahead if self.pause else None
        says = {
            "won": "the discriminator tells all images apart, the generator learns little from it",
            "lost": "the discriminator no longer tells images apart",
            "even": "discriminator and generator are even again",
        }[verdict]
        return f"{says} (mean margin {mean:.3g} over {WINDOW} steps)" + (f"; {ahead} paused" if self.paused else "")

    def state(self) -> dict:
        """For a checkpoint."""
        return {"margins": list(self.margins), "verdict": self.verdict, "paused": self.paused}

    def load(self, state: dict) -> None:
        """From a checkpoint."""
        self.margins = deque(state["margins"], maxlen=WINDOW)
        self.verdict, self.paused = state["verdict"], state["paused"]
