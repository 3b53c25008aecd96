"""A picture of what the views show, with their names and the notice that every result carries."""

from __future__ import annotations

import io

import numpy as np

from SuperResolutionLib import mrml_offscreen as offscreen
from SuperResolutionLib.upscaler import NOTICE

from .work import Work

#: Pixels between two views, and of the lines of text above and below them.
GAP, LINE = 4, 18


def draw_views(work: Work) -> bytes:
    """PNG of the views side by side, losslessly, each under its name."""
    from PIL import Image, ImageDraw

    images = {view: offscreen.sliceImage(work.views.of(view)) for view in work.shown}
    images = {view: image[..., :3] for view, image in images.items() if image is not None}
    width = sum(image.shape[1] + GAP for image in images.values()) - GAP
    height = max(image.shape[0] for image in images.values())
    canvas = np.zeros((height + 2 * LINE, width, 3), np.uint8)
    left, places = 0, []
    for view, image in images.items():
        canvas[LINE : LINE + image.shape[0], left : left + image.shape[1]] = image
        places.append((left, work.views.of(view).GetSliceNode().GetLayoutLabel()))
        left += image.shape[1] + GAP
    picture = Image.fromarray(canvas)
    drawing = ImageDraw.Draw(picture)
    for left, label in places:
        drawing.text((left + 4, 3), label, fill=(255, 255, 255))
    about = f"{work.report['model']}. " if work.report is not None else ""
    drawing.text((4, height + LINE + 3), f"{about}{NOTICE}.", fill=(200, 200, 200))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
