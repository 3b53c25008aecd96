"""Pictures of parts of test images: the methods side by side, every pixel as a square, in one window and level."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SuperResolutionLib.metrics import psnr

from ..candidates import MODEL
from ..export import replace_file
from ..scoring import LARGEST_PSNR
from .patches import Patch

#: Pixels of a picture: about the side of a tile, gaps, the size of letters and the height of a line.
TILE, GAP, LETTERS, LINE = 190, 6, 12, 15

#: How many letters of a caption fit into a line of a tile.
WRAP = 26

YELLOW = (255, 204, 0)

#: Quality of WebP files.
QUALITY = 70


@dataclass(frozen=True)
class Row:
    """A row of tiles of one part of an image.

    Attributes:
        label: above the row. patches: caption of a model -> the part with its result; all of the same place.
        cubic: which baseline is beside it, ``bicubic`` or ``bicubic consistent``.
    """

    label: str
    patches: dict[str, Patch]
    cubic: str = "bicubic"


def draw_rows(rows: list[Row]):
    """A Pillow image: the slice with the part marked, input, bicubic, every model's result and the reference."""
    from PIL import Image

    columns = max(len(row.patches) for row in rows)
    strips = [_strip(row, columns) for row in rows]
    width = max(strip.width for strip in strips)
    picture = Image.new("RGB", (width, sum(strip.height for strip in strips) + GAP * (len(strips) - 1)), "white")
    top = 0
    for strip in strips:
        picture.paste(strip, (0, top))
        top += strip.height + GAP
    return picture


def decibel(patch: Patch, name: str) -> float:
    """PSNR of a method in the part, of the pixels in the anatomy."""
    area = patch.crops["area"] if patch.crops["area"].any() else None
    return min(psnr(patch.crops["reference"], patch.crops[name], patch.peak, area), LARGEST_PSNR)


def _strip(row: Row, columns: int):
    """A row with room for ``columns`` models; the reference stands last."""
    from PIL import Image, ImageDraw, ImageFont

    first = next(iter(row.patches.values()))
    cubic = {"bicubic": "bicubic", "bicubic consistent": "bicubic made consistent"}[row.cubic]
    side = len(first.crops["low"])
    tiles = [("the slice", _overview(first)), (f"input, {side} x {side}", _tile(first, "low"))]
    tiles.append((f"{cubic}\n{decibel(first, row.cubic):.1f} dB", _tile(first, row.cubic)))
    tiles += [(f"{name}\n{decibel(patch, MODEL):.1f} dB", _tile(patch, MODEL)) for name, patch in row.patches.items()]
    tiles += [("", None)] * (columns - len(row.patches)) + [("reference", _tile(first, "reference"))]
    captions = ["\n".join(line for part in text.split("\n") for line in textwrap.wrap(part, WRAP)) for text, _ in tiles]
    high, lines = tiles[1][1].height, max(caption.count("\n") for caption in captions) + 1
    step = max(TILE, tiles[1][1].width) + GAP
    strip = Image.new("RGB", (step * len(tiles) - GAP, LINE * (1 + lines) + high + 2), "white")
    pen, font = ImageDraw.Draw(strip), ImageFont.load_default(LETTERS)
    pen.text((0, 0), row.label, "black", font)
    for place, ((_, tile), caption) in enumerate(zip(tiles, captions)):
        if tile:
            strip.paste(tile, (place * step, LINE + 2))
        pen.multiline_text((place * step, LINE + 3 + high), caption, "black", font, spacing=LINE - LETTERS)
    return strip


def _zoom(patch: Patch) -> int:
    return max(1, round(TILE / patch.side))


def _tile(patch: Patch, name: str):
    """A crop with every pixel as a square, in the window of the reference's crop."""
    from PIL import Image

    crop = patch.crops[name]
    shown = _window(crop, patch.crops["reference"])
    times = _zoom(patch) * patch.side // len(crop)
    return Image.fromarray(shown.repeat(times, 0).repeat(times, 1)).convert("RGB")


def _overview(patch: Patch):
    """The slice as large as a tile, with the part marked."""
    from PIL import Image, ImageDraw

    overview, side = patch.crops["overview"], _zoom(patch) * patch.side
    picture = Image.fromarray(_window(overview, overview)).convert("RGB")
    factor = side / max(picture.size)
    picture = picture.resize([max(1, round(length * factor)) for length in picture.size], Image.BICUBIC)
    factor = picture.width / patch.shape[1]
    box = [patch.left, patch.top, patch.left + patch.side, patch.top + patch.side]
    ImageDraw.Draw(picture).rectangle([round(length * factor) for length in box], outline=YELLOW, width=2)
    return picture


def _window(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Stored values to bytes between the reference's 0.1th and 99.9th percentiles; color as it is."""
    if image.ndim == 3 and image.dtype == np.uint8:
        return image
    low, high = np.percentile(reference, [0.1, 99.9])
    return np.rint(255 * np.clip((image.astype(np.float64) - low) / max(high - low, 1e-12), 0, 1)).astype(np.uint8)


def save_photo(picture, path: Path) -> None:
    """As WebP, half as large as JPEG of this quality; brightness keeps its edges where color is halved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda place: picture.save(place, "WEBP", quality=QUALITY, method=6, use_sharp_yuv=True))


def save_drawing(picture, path: Path) -> None:
    """As PNG of 32 colors, which lines and letters need."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = picture.convert("RGB").quantize(32)
    replace_file(path, lambda place: picture.save(place, "PNG", optimize=True))
