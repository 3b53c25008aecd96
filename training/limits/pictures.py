"""The pictures of the page on limits: one input that several images explain, the chart, and a GAN's invention."""

from __future__ import annotations

import io

import numpy as np

from .cases import BICUBIC, GAN, PSNR, Planes
from .measures import detail, disagree, reversed_detail
from .squares import Square, brightest, maps_of

#: Pixels of a panel's longer side, between panels, and of the letters of its title.
SIDE, GAP, LETTERS = 192, 6, 11

#: Quality of WebP files.
QUALITY = 85

#: Title, picture (h, w), lowest and highest value shown, and whether as a map of errors.
Panel = tuple[str, np.ndarray, tuple[float, float], bool]


def draw_same_input(square: Square, scale: int) -> bytes:
    """WebP: an input, and three images that shrink to it: the truth, and that without and with reversed detail."""
    plane = square.image.reference[square.index].astype(np.float64)
    shown = {
        "input": square.input(scale),
        "the truth": square.reference,
        "its detail left out": square.cut(plane - detail(plane, scale)),
        "its detail reversed": square.cut(reversed_detail(plane, scale)),
    }
    return _draw([_grey(shown, _window(square.reference))])


def draw_chart(truth: np.ndarray, low: np.ndarray, planes: Planes, names: dict[str, str]) -> bytes:
    """WebP: the chart as it is, what is left of it, and every method's result. ``names``: method -> title."""
    shown = {"the chart": truth, "input": low} | {names[name]: picture for name, picture in planes.items()}
    panels = _grey(shown, (0.0, 255.0))
    half = (len(panels) + 1) // 2
    return _draw([panels[:half], panels[half:]], max(truth.shape))


def draw_invention(square: Square, scale: int, names: dict[str, str]) -> bytes:
    """WebP of two rows: input, bicubic, both models and the truth; the slice, and maps."""
    index, window = square.index, _window(square.reference)
    shown = {"input": square.input(scale)} | {names[name]: square.of(name) for name in (BICUBIC, PSNR, GAN)}
    maps = maps_of(square, scale)
    titles = {"disagreement": "disagreement"} | {name: f"error of {names[name]}" for name in (PSNR, GAN)}
    whole = _marked(square.image.reference[index], square)
    second = [
        ("the slice", whole, _window(whole), False),
        *((titles[name], picture, (0.0, max(brightest(maps), 1e-6)), True) for name, picture in maps.items()),
        ("contested (white)", square.cut(disagree(square.image, scale).contested[index]) * 1.0, (0.0, 1.0), False),
    ]
    return _draw([_grey(shown | {"the truth": square.reference}, window), second])


def _grey(shown: dict[str, np.ndarray], window: tuple[float, float]) -> list[Panel]:
    return [(name, picture, window, False) for name, picture in shown.items()]


def _window(picture: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(picture, [0.5, 99.5])
    return float(low), float(max(high, low + 1e-6))


def _marked(plane: np.ndarray, square: Square) -> np.ndarray:
    """A slice with a bright frame around the square."""
    shown, width = plane.astype(np.float64), max(1, max(plane.shape) // SIDE)
    inner = np.zeros(plane.shape, bool)
    square.cut(inner)[...] = True
    outer = np.zeros(plane.shape, bool)
    first = max(0, square.top - width), max(0, square.left - width)
    outer[first[0] : square.top + square.side + width, first[1] : square.left + square.side + width] = True
    shown[outer & ~inner] = shown.max()
    return shown


def _draw(rows: list[list[Panel]], side: int = SIDE) -> bytes:
    """One lossless WebP of all panels; the pixels of each are enlarged by a whole number where that fits."""
    from PIL import Image, ImageDraw, ImageFont

    tiles = [[(title, _tile(*panel, side)) for title, *panel in row] for row in rows]
    heights = [max(tile.height for _, tile in row) for row in tiles]
    head = 2 * (LETTERS + 3)
    width, height = (side + GAP) * max(map(len, rows)) - GAP, sum(heights) + (head + GAP) * len(rows) - GAP
    canvas, top = Image.new("RGB", (width, height), "white"), 0
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=LETTERS)
    for row, tall in zip(tiles, heights):
        for column, (title, tile) in enumerate(row):
            left = column * (side + GAP)
            lines = _lines(title, lambda text: draw.textlength(text, font=font) <= side)
            draw.text(
                (left, top + head - (LETTERS + 3) * len(lines)), "\n".join(lines), fill="black", font=font, spacing=2
            )
            canvas.paste(tile, (left, top + head))
        top += head + tall + GAP
    buffer = io.BytesIO()
    canvas.save(buffer, "WEBP", quality=QUALITY, method=6, use_sharp_yuv=True)
    return buffer.getvalue()


def _tile(picture: np.ndarray, window: tuple[float, float], is_map: bool, side: int):
    from matplotlib import colormaps
    from PIL import Image

    low, high = window
    values = np.clip((picture.astype(np.float64) - low) / (high - low), 0, 1)
    pixels = colormaps["magma"](values)[..., :3] if is_map else np.repeat(values[..., None], 3, axis=2)
    tile = Image.fromarray(np.rint(255 * pixels).astype(np.uint8))
    size = tuple(round(length * side / max(picture.shape)) for length in (tile.width, tile.height))
    whole = side % max(picture.shape) == 0
    return tile.resize(size, Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS)


def _lines(title: str, fits) -> list[str]:
    """A title in at most two lines, broken before a hyphen or at a space."""
    if fits(title):
        return [title]
    breaks = [place for place, letter in enumerate(title) if letter in " -" and fits(title[:place])]
    place = max(breaks, default=len(title) // 2)
    return [title[:place], title[place:].lstrip()]
