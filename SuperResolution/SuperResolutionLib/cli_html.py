"""The page of a comparison: one HTML file with linked slices, scores and provenance, which loads nothing else."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np

from .compare import Enlarged
from .upscaler import NOTICE

TEMPLATE = Path(__file__).with_name("comparison.html")

#: What the page calls the images; the reference comes last.
TITLES = {
    "nearest": "Low resolution",
    "bicubic": "Bicubic",
    "bicubic consistent": "Bicubic, consistent",
    "model": "Super-resolved",
    "reference": "Reference",
}

#: Pixels of all images together; of more slices some are chosen evenly.
MOST_PIXELS = 24_000_000

#: Percent of the reference's values below and above what is shown.
TAIL = 0.2


def comparison_page(enlarged: Enlarged, scores: dict) -> str:
    """The text of the page.

    Args:
        enlarged: what was compared. scores: of ``compare.score``.

    Returns:
        HTML whose images are 8-bit PNGs, all in one window.
    """
    n, _channels, height, width = enlarged.reference.shape
    count = int(np.clip(MOST_PIXELS // (height * width * len(TITLES)), 1, n))
    chosen = np.unique(np.linspace(0, n - 1, count).round().astype(int)) if count > 1 else np.array([n // 2])
    low, high = _window(enlarged.reference)
    images = {**enlarged.methods, "reference": enlarged.reference}
    page = {
        "name": enlarged.job.source.name,
        "width": width,
        "height": height,
        "aspect": _pixel_aspect(enlarged),
        "slices": chosen.tolist(),
        "of": n,
        "images": [
            {"title": title, "slices": [_png(images[name][index], low, high) for index in chosen]}
            for name, title in TITLES.items()
        ],
        "scores": [
            {"title": TITLES[name], "psnr": _figure(score["psnr"], 2), "ssim": _figure(score["ssim"], 4)}
            for name, score in scores["methods"].items()
        ],
        "about": _about(enlarged, scores, (low, high)),
        "notice": f"{NOTICE}.",
    }
    # Inside a script element no text may look like its end.
    return TEMPLATE.read_text(encoding="utf-8").replace("{{PAGE}}", json.dumps(page).replace("<", "\\u003c"))


def _about(enlarged: Enlarged, scores: dict, window: tuple[float, float]) -> list[list[str]]:
    """Rows of the table that says what was done."""
    report = enlarged.result.report
    spacing = " x ".join(f"{length:.4g}" for length in enlarged.job.source.spacing)
    rows = [
        ["Image", f"{' x '.join(map(str, enlarged.job.source.size))} voxels of {spacing} mm"],
        ["Degradation", f"antialiased bicubic, 1/{scores['scale']} in plane, rounded to {enlarged.job.dtype}"],
        [
            "Scores",
            f"mean over {scores['slices']} slice{'s' * (scores['slices'] != 1)}, data range {scores['data_range']:g}",
        ],
        ["Shown values", f"{window[0]:g} to {window[1]:g}"],
        ["Device", f"{report['device']}, {report['precision']}, {report['seconds']:.2f} s"],
        ["Shrunk again", f"differs from the input by at most {report['consistency']['max']:.3g}"],
        *[[key, str(value)] for key, value in enlarged.result.provenance.items()],
    ]
    return rows + [["Remark", notice] for notice in report["notices"]]


def _figure(value: float, digits: int) -> str:
    if np.isfinite(value):
        return f"{value:.{digits}f}"
    return "equal" if value == np.inf else "not finite"


def _window(reference: np.ndarray) -> tuple[float, float]:
    if reference.dtype == np.uint8:
        return 0.0, 255.0
    low, high = np.percentile(reference[np.isfinite(reference)], (TAIL, 100 - TAIL))
    return float(low), float(high) if high > low else float(low) + 1.0


def _pixel_aspect(enlarged: Enlarged) -> float:
    """Width over height of a pixel of the slices."""
    across, down = (enlarged.job.source.spacing[axis] for axis in range(3) if axis != enlarged.job.axis)
    return across / down


def _png(plane: np.ndarray, low: float, high: float) -> str:
    """A plane (c, h, w) as base64 of an 8-bit PNG."""
    from PIL import Image

    shown = (np.nan_to_num(plane.astype(np.float64), nan=low) - low) * (255.0 / (high - low))
    pixels = np.rint(shown.clip(0, 255)).astype(np.uint8)
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
