"""Letters and frames drawn on patches, as radiographs carry them: markers, initials, collimator and film edges.

In chest X-rays a hundredth of the pixels, letters and frames, holds most of bicubic's squared error, and a few dozen
images show few kinds of either. What is drawn here is of the same kind: hard shapes that were reduced once, with the
overshoot of that reduction, at every position and size. Only chance chooses, nothing is copied from an image.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

import numpy as np

from .degradations import convolve, gaussian_kernel

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

#: Shapes are drawn this many times larger and reduced, which leaves what a resized photograph has at its edges.
FINER = 3
REDUCTIONS = ("BOX", "BILINEAR", "BICUBIC", "LANCZOS")

#: Heights of letters and widths of bars, in high-resolution pixels, and how strongly a marker may be out of focus.
LETTERS, BARS, BLUR = (8, 80), (1, 12), 1.2

CHARACTERS = string.ascii_uppercase + string.digits + "LLRR"

#: How often a text is a word of up to so many characters, and how often letters have a rim of another value.
WORDS, LONGEST, OUTLINED = 0.25, 9, 0.25


def burn_in(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw letters, a frame, or both.

    Args:
        image: (h, w, c) float32 in the network's range; it is not changed.
        rng: where all chance comes from.

    Returns:
        (h, w, c) float32, from 0 to 1 or the image's highest. Edges overshoot a little, as reduced edges do.
    """
    kinds = ((frame,), (letters,), (frame, letters))[rng.choice(3, p=(0.4, 0.4, 0.2))]
    for kind in kinds:
        image = kind(image, rng)
    return image


def letters(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One to four characters or a word, perhaps mirrored, turned, in a box, outlined or out of focus, mostly bright."""
    from PIL import Image, ImageDraw, ImageFilter

    height, width = image.shape[:2]
    size = int(np.exp(rng.uniform(*np.log(LETTERS)))) * FINER
    mask = Image.new("L", (width * FINER, height * FINER))
    draw = ImageDraw.Draw(mask)
    longest = LONGEST if rng.random() < WORDS else 4
    text = "".join(rng.choice(list(CHARACTERS), rng.integers(1, longest + 1)))
    place = rng.uniform(-0.2, 0.8) * mask.width, rng.uniform(-0.2, 0.8) * mask.height
    draw.text(place, text, fill=255, font=_font(size), stroke_width=int(rng.integers(0, 1 + size // 20)))
    if rng.random() < 0.3:
        around = draw.textbbox(place, text, font=_font(size))
        space = rng.uniform(0.1, 0.5) * size
        box = (around[0] - space, around[1] - space, around[2] + space, around[3] + space)
        (draw.rectangle if rng.random() < 0.5 else draw.ellipse)(box, outline=255, width=_bar(rng))
    if rng.random() < 0.5:
        mask = mask.rotate(rng.normal(0, 8), Image.Resampling.BILINEAR)
    if rng.random() < 0.3:
        mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    value = 1.0 if rng.random() < 0.4 else rng.uniform(0.4, 1.0)
    layers = [(mask, value)]
    if rng.random() < OUTLINED:
        rim = mask.filter(ImageFilter.MaxFilter(2 * int(rng.integers(1, 2 * FINER)) + 1))
        layers.insert(0, (rim, 0.0 if rng.random() < 0.7 else rng.random()))
    blur = rng.uniform(0, BLUR) if rng.random() < 0.5 else 0.0
    for layer, value in layers:
        covered = _reduced(layer, (width, height), rng)
        image = _laid_over(image, _blurred(covered, blur) if blur else covered, value)
    return image


def frame(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Black, white or grey beyond a straight edge or a corner, sometimes a little turned, or a bar along it."""
    from PIL import Image, ImageDraw

    height, width = image.shape[:2]
    mask = Image.new("L", (width * FINER, height * FINER))
    draw = ImageDraw.Draw(mask)
    slope = 0.0 if rng.random() < 0.7 else rng.normal(0, 0.05)
    bar = _bar(rng) if rng.random() < 0.25 else None
    for side in rng.permutation(4)[: 1 + int(rng.random() < 0.3)]:
        _edge(draw, mask.size, side, slope, bar, rng)
    value = (0.0, 1.0, rng.uniform(0, 1))[rng.choice(3, p=(0.65, 0.15, 0.2))]
    return _laid_over(image, _reduced(mask, (width, height), rng), value)


def _edge(draw: ImageDraw.ImageDraw, size: tuple[int, int], side: int, slope: float, bar: int | None, rng) -> None:
    """All that lies beyond a line along one side, or with ``bar`` only a strip of that width."""
    along, across = size if side < 2 else size[::-1]
    depth = rng.uniform(0, 0.6) * across if rng.random() < 0.6 else rng.uniform(0, 6 * FINER)
    ends = [depth - slope * along / 2, depth + slope * along / 2]
    if side % 2:
        ends = [across - end for end in ends]
    far = ([across, across] if side % 2 else [0, 0]) if bar is None else [end + bar for end in ends]
    corners = [(0, ends[0]), (along, ends[1]), (along, far[1]), (0, far[0])]
    draw.polygon(corners if side < 2 else [corner[::-1] for corner in corners], fill=255)


def _bar(rng: np.random.Generator) -> int:
    return int(rng.integers(BARS[0] * FINER, BARS[1] * FINER + 1))


def _font(size: int) -> ImageFont.FreeTypeFont:
    """The one that pillow brings along."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _reduced(mask: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """The share of each pixel that is covered, with the overshoot of the reduction: (h, w) float32 about 0..1."""
    from PIL import Image

    exact = Image.fromarray(np.asarray(mask, dtype=np.float32) / 255)
    return np.asarray(exact.resize(size, Image.Resampling[REDUCTIONS[rng.integers(len(REDUCTIONS))]]))


def _blurred(covered: np.ndarray, sigma: float) -> np.ndarray:
    return convolve(covered[..., None], gaussian_kernel(sigma, sigma, 0.0))[..., 0]


def _laid_over(image: np.ndarray, covered: np.ndarray, value: float) -> np.ndarray:
    """Overshoot below 0 and above the brightest is cut, as it is in images stored in 8 bits."""
    covered = covered[..., None]
    laid = image * (1 - covered) + np.float32(value) * covered
    return laid.clip(0, max(1.0, image.max())).astype(np.float32)
