"""The edge of a round field of view drawn on patches, as a fundus camera's aperture leaves it on every photograph.

That edge holds two thirds of bicubic's squared error on retinal photographs. A few dozen of one camera show it at one
radius and one sharpness; what is drawn has any, and lies anywhere.
"""

from __future__ import annotations

import numpy as np

#: Radii and widths of the edge in high-resolution pixels, drawn evenly in their logarithm.
RADII, WIDTHS = (150.0, 3000.0), (0.7, 5.0)

#: The highest value outside, and how much darker (or brighter, below 0) a rim inside is at the edge.
OUTSIDE, RIM = 0.03, (-0.2, 0.5)


def draw_aperture(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Black beyond a circle that passes through the image.

    Args:
        image: (h, w, c) float32 in the network's range; it is not changed.
        rng: where all chance comes from.

    Returns:
        (h, w, c) float32, 0 or more.
    """
    height, width, channels = image.shape
    radius, soft = (float(np.exp(rng.uniform(*np.log(limits)))) for limits in (RADII, WIDTHS))
    turn, through = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.8, 2) * (height, width)
    outwards = np.array([np.sin(turn), np.cos(turn)])
    y, x = np.ogrid[:height, :width]
    center = through - radius * outwards
    beyond = np.hypot(y - center[0], x - center[1]) - radius
    inside = (0.5 - beyond / soft).clip(0, 1)[..., None]
    rim = 1 - rng.uniform(*RIM) * np.exp(beyond.clip(max=0) / rng.uniform(2, 40))[..., None]
    outside = OUTSIDE * rng.random(channels)
    return (image * rim * inside + outside * (1 - inside)).astype(np.float32)
