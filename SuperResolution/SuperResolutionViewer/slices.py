"""The slice views of the page: Slicer's slice logics by name, their images, and the magnifier's small ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SuperResolutionLib import mrml_navigate as navigate
from SuperResolutionLib import mrml_offscreen as offscreen
from SuperResolutionLib.mrml_layout import DIFFERENCE_VIEW, ORIGINAL_VIEW, PARTNER_VIEW, SR_VIEW

#: What the page calls the views, in the order in which it shows them.
VIEWS = {"input": ORIGINAL_VIEW, "bicubic": PARTNER_VIEW, "sr": SR_VIEW, "difference": DIFFERENCE_VIEW}

#: Pixels of a view's shortest and longest side, and of the square lens of the magnifier.
SHORTEST, LONGEST, LENS = 16, 1600, 150

#: How much larger the magnifier shows what lies under the pointer.
MAGNIFICATION = 4.0

#: The view group of the lenses: links act inside a group only.
LENS_GROUP = 5702


@dataclass(frozen=True)
class Frame:
    """What a view shows.

    Attributes:
        view: name of the view. stamp: differs between two images of a view.
        width, height, channels: of the image; channels is 1 (grey) or 3 (RGB).
        pixels: height * width * channels bytes, top line first.
    """

    view: str
    stamp: int
    width: int
    height: int
    channels: int
    pixels: bytes


class SliceViews:
    """Makes a slice logic for a view when it is first asked for, and keeps it.

    Args:
        application_logic: vtkMRMLApplicationLogic whose link logic moves linked views together.
    """

    def __init__(self, application_logic):
        self._application_logic = application_logic
        self._logics = {}

    def logic(self, name: str):
        """The vtkMRMLSliceLogic of a view, by the names of ``mrml_layout``; the function that Comparison asks for."""
        if name not in self._logics:
            node = offscreen.addSliceNode(name)
            self._logics[name] = offscreen.addSliceLogic(self._application_logic, node, 400, 400)
        return self._logics[name]

    def of(self, view: str):
        """The slice logic of a view by the page's name."""
        return self.logic(VIEWS[view])

    def resize(self, view: str, width: float, height: float) -> bool:
        """Give a view the size of its place on the page, in pixels; whether it had another one."""
        logic = self.of(view)
        size = tuple(int(min(max(length, SHORTEST), LONGEST)) for length in (width, height))
        changed = size != tuple(logic.GetSliceNode().GetDimensions()[:2])
        if changed:
            logic.ResizeSliceNode(*size)
        return changed

    def volume(self, view: str):
        """The volume node that a view shows, or None."""
        layer = self.of(view).GetBackgroundLayer()
        return layer.GetVolumeNode() if layer is not None else None

    def frame(self, view: str, known: int = 0) -> Frame | None:
        """What a view shows; None if it shows nothing, or still what the page knows by this stamp."""
        return _frame(view, self.of(view), known)

    def lenses(self, view: str, x: float, y: float) -> list[Frame]:
        """What lies under a point of a view, magnified, as each view with a volume shows it."""
        reference = self.of(view)
        ras = navigate.pointRAS(reference, x, y)
        frames = []
        for name in ("input", "bicubic", "sr"):
            volume = self.volume(name)
            lens = self.logic(f"SuperResolutionLens{name.capitalize()}")
            node, composite = lens.GetSliceNode(), lens.GetSliceCompositeNode()
            if tuple(node.GetDimensions()[:2]) != (LENS, LENS):
                lens.ResizeSliceNode(LENS, LENS)
                node.SetViewGroup(LENS_GROUP)
            composite.SetBackgroundVolumeID(volume.GetID() if volume is not None else None)
            if volume is None:
                continue
            navigate.look(lens, reference, ras, MAGNIFICATION)
            frames.append(_frame(name, lens, 0))
        return [frame for frame in frames if frame is not None]

    def forget_lenses(self) -> None:
        """Let the lenses hold no volume while nobody looks through them."""
        for name, logic in self._logics.items():
            if name not in VIEWS.values():
                logic.GetSliceCompositeNode().SetBackgroundVolumeID(None)


def _frame(view: str, logic, known: int) -> Frame | None:
    stamp = offscreen.imageStamp(logic)
    if not stamp or stamp == known:
        return None
    image = offscreen.sliceImage(logic)
    height, width = image.shape[:2]
    red, green, blue = (image[..., channel] for channel in range(3))
    grey = np.array_equal(red, green) and np.array_equal(green, blue)
    pixels = red if grey else image[..., :3]
    return Frame(view, stamp, width, height, 1 if grey else 3, np.ascontiguousarray(pixels).tobytes())
