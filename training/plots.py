"""Pictures of an evaluation: gains image by image, and panels of the methods side by side with zoomed insets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from SuperResolutionLib.compare import channels_last
from SuperResolutionLib.metrics import psnr

from .candidates import MODEL, Candidate
from .masks import RULES, fine_structure, regions
from .protocols import Case

#: Share of a slice's shorter side that an inset shows.
INSET = 0.14

#: Colors of the models in the order in which they were named; they differ for color-blind readers too.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@dataclass
class Panels:
    """Collects the methods' planes of the first ``count`` images a set and scale, then draws one panel an image."""

    folder: Path
    count: int
    held: dict = field(default_factory=dict)

    def add(self, name: str, file: str, candidate: Candidate, case: Case, images: dict[str, np.ndarray]) -> None:
        """As ``evaluate`` calls it; keeps one slice of each method."""
        key = (name, candidate.card.scale, file)
        known = [other for other in self.held if other[:2] == key[:2]]
        if key not in self.held and len(known) >= self.count:
            return
        planes = channels_last(case.reference)
        index = len(planes) // 2
        if key not in self.held:
            bicubic = channels_last(images["bicubic"][index : index + 1])[0]
            areas = regions(planes[index], bicubic, candidate.card.scale, case.peak, case.floor)
            area = areas.get("anatomy", areas["whole"])
            at = busiest(fine_structure(planes[index], candidate.card.scale), area)
            pictures = {"reference": planes[index]}
            pictures |= {n: channels_last(images[n][index : index + 1])[0] for n in ("bicubic", "bicubic consistent")}
            self.held[key] = {"at": at, "pictures": pictures, "peak": case.peak}
        self.held[key]["pictures"][candidate.name] = channels_last(images[MODEL][index : index + 1])[0]

    def draw(self) -> list[Path]:
        """Write the panels; returns their paths."""
        paths = []
        for (name, scale, file), held in self.held.items():
            stem = re.sub(r"[^A-Za-z0-9]+", "-", f"{name}-x{scale}-{file}").strip("-")
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{stem}.png"
            draw_panel(path, f"{name}, {file}, x{scale}", held["pictures"], held["at"], held["peak"])
            paths.append(path)
        return paths


def busiest(strength: np.ndarray, area: np.ndarray) -> tuple[int, int, int]:
    """Top, left and side of the square inset whose pixels inside ``area`` hold the most fine structure."""
    height, width = strength.shape
    side = max(16, round(INSET * min(height, width)))
    side = min(side, height, width)
    table = np.zeros((height + 1, width + 1))
    table[1:, 1:] = np.where(area, strength, 0).cumsum(0).cumsum(1)
    sums = table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]
    top, left = np.unravel_index(sums.argmax(), sums.shape)
    return int(top), int(left), side


def draw_panel(path: Path, title: str, pictures: dict[str, np.ndarray], at: tuple[int, int, int], peak: float) -> None:
    """Three rows: each method's picture, its inset, and the inset's error; one window and level a row.

    Args:
        path: PNG to write. title: above it.
        pictures: name -> (h, w) or (h, w, 3); the first is the reference.
        at: top, left and side of the inset, in pixels.
        peak: data range; errors are shown from 0 to a tenth of it.
    """
    figure, axes = canvas(3, len(pictures), 2.5)
    reference = next(iter(pictures.values()))
    low, high = np.percentile(reference, [0.1, 99.9])
    top, left, side = at
    for column, (name, picture) in enumerate(pictures.items()):
        inset = picture[top : top + side, left : left + side]
        near = reference[top : top + side, left : left + side]
        error = np.abs(inset.astype(np.float64) - near)  # for the picture alone: of color, the channels' mean
        error = error.mean(axis=2) if error.ndim == 3 else error
        axes[0, column].imshow(_shown(picture, low, high), cmap="gray", vmin=0, vmax=1)
        axes[0, column].add_patch(_square(left, top, side))
        axes[0, column].set_title(name if len(name) < 26 else name.replace("-", "-\n", 2), fontsize=8)
        axes[1, column].imshow(
            _shown(inset, *np.percentile(near, [0.1, 99.9])), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
        )
        axes[2, column].imshow(error / peak, cmap="magma", vmin=0, vmax=0.1, interpolation="nearest")
        if column:
            axes[2, column].set_xlabel(f"inset {psnr(near, inset, peak):.1f} dB", fontsize=8)
    for row, words in enumerate(("image", "inset", "error, 0 to 10 %")):
        axes[row, 0].set_ylabel(words, fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110)


def plot_gains(rows: Sequence[dict], folder: Path) -> list[Path]:
    """One picture a set and scale: each model's gain over bicubic consistent, a dot an image, a panel a region."""
    ours = [row for row in rows if row["protocol"] == "ours"]
    paths = []
    for name, scale in dict.fromkeys((row["set"], row["scale"]) for row in ours):
        chosen = [row for row in ours if (row["set"], row["scale"]) == (name, scale)]
        stem = re.sub(r"[^A-Za-z0-9]+", "-", f"gains-{name}-x{scale}")
        path = folder / f"{stem}.png"
        folder.mkdir(parents=True, exist_ok=True)
        _draw_gains(path, f"{name}, x{scale}: gain over bicubic made consistent", chosen)
        paths.append(path)
    return paths


def _draw_gains(path: Path, title: str, rows: list[dict]) -> None:
    models = list(dict.fromkeys(row["model"] for row in rows))
    names = [region for region in RULES if any(row["region"] == region for row in rows)]
    figure, axes = canvas(1, len(names), 2.6, height=1.2 + 0.5 * len(models), axis=True)
    for axis, region in zip(axes[0], names):
        axis.axvline(0, color="0.6", linewidth=1)
        for place, model in enumerate(models):
            values = _paired([row for row in rows if row["region"] == region and row["model"] == model])
            spread = np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else np.zeros(len(values))
            color = COLORS[place % len(COLORS)]
            axis.plot(values, place + spread, "o", color=color, markersize=3, alpha=0.5)
            if values:
                axis.plot([np.mean(values)], [place], "|", color=color, markersize=22, markeredgewidth=2)
        axis.set_yticks(range(len(models)), models if region == names[0] else [""] * len(models), fontsize=8)
        axis.set_ylim(len(models) - 0.5, -0.5)
        axis.set_title(region, fontsize=9)
        axis.set_xlabel("dB", fontsize=8)
        axis.tick_params(labelsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110)


def _paired(rows: list[dict]) -> list[float]:
    scores = {(row["image"], row["method"]): row["psnr"] for row in rows}
    return [value - scores[image, "bicubic consistent"] for (image, method), value in scores.items() if method == MODEL]


def canvas(rows: int, columns: int, side: float, height: float | None = None, axis: bool = False):
    """A figure of its own, without a window system, and its axes as a (rows, columns) array."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(side * columns + 0.5, height or side * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for cell in axes.flat if not axis else ():
        cell.set_xticks([])
        cell.set_yticks([])
    return figure, axes


def _square(left: int, top: int, side: int):
    from matplotlib.patches import Rectangle

    return Rectangle((left, top), side, side, fill=False, edgecolor="#ffcc00", linewidth=1.2)


def _shown(picture: np.ndarray, low: float, high: float) -> np.ndarray:
    """Stored values to 0..1 between the reference's percentiles; a color picture keeps its own range."""
    if picture.ndim == 3 and picture.dtype == np.uint8:
        return picture
    return np.clip((picture.astype(np.float64) - low) / max(high - low, 1e-12), 0, 1)
