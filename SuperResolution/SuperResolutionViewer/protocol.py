"""What the page's script asks of the server: the images of the views, and what the user did to them.

One call carries all that happened since the last one, and its answer all that changed: a page that is slower than the
mouse asks less often, and nothing piles up.
"""

from __future__ import annotations

from math import isfinite

from wslink import register
from wslink.websocket import LinkProtocol

from SuperResolutionLib import mrml_navigate as navigate

from .slices import VIEWS, Frame
from .work import Work


class ViewProtocol(LinkProtocol):
    """Answers the calls of ``static/page.js``.

    Args:
        work: Work.
        magnifies: function that says whether the magnifier is open.
    """

    def __init__(self, work: Work, magnifies=lambda: False):
        super().__init__()
        self._work = work
        self._magnifies = magnifies

    @register("superresolution.views")
    def views(self, request: dict) -> dict:
        """Carry out a request.

        Args:
            request: ``sizes`` {view: [width, height]} in pixels; ``known`` {view: stamp of the image that it has};
                ``actions`` [[kind, view, number, ...], ...], in order.

        Returns:
            ``frames`` that changed, each with ``view``, ``stamp``, ``width``, ``height``, ``channels``, ``pixels``;
            ``offsets`` {view: millimetres} of the slices; ``aspect``, width over height of the image;
            ``point`` (RAS, values, lenses) if the pointer moved.
        """
        return answer(self._work, request, self._magnifies())


def answer(work: Work, request: dict, magnifies: bool = False) -> dict:
    """See ``ViewProtocol.views``; what is not understood is passed over."""
    resized = False
    for view, size in _entries(request, "sizes"):
        if view in VIEWS and _numbers(size, 2) and view in work.shown:
            resized |= work.views.resize(view, *size)
    if resized:
        work.resized()
    point = None
    for action in request.get("actions") or ():
        if not (isinstance(action, list) and len(action) >= 2 and action[1] in work.shown and _numbers(action[2:])):
            continue
        kind, view, *numbers = action
        if kind == "point" and len(numbers) == 2:
            point = (view, *numbers)
        elif (kind, len(numbers)) in ACTIONS:
            ACTIONS[kind, len(numbers)](work, view, *numbers)
    known, sizes = dict(_entries(request, "known")), dict(_entries(request, "sizes"))
    visible = [view for view in work.shown if view in sizes or not sizes]  # others are not even computed
    frames = [work.views.frame(view, known.get(view, 0)) for view in visible]
    told = {
        "frames": [_told(frame) for frame in frames if frame is not None],
        "offsets": {view: round(work.views.of(view).GetSliceOffset(), 4) for view in work.shown},
        "aspect": round(work.aspect, 3),
    }
    if point is not None:
        told["point"] = _point(work, *point, magnifies)
    return told


def _scroll(work: Work, view: str, steps: float) -> None:
    navigate.scroll(work.views.of(view), steps)


def _pan(work: Work, view: str, right: float, down: float) -> None:
    work.zoomed()
    navigate.pan(work.views.of(view), right, down)


def _zoom(work: Work, view: str, factor: float, x: float, y: float) -> None:
    if factor > 0:
        work.zoomed()
        navigate.zoom(work.views.of(view), factor, x, y)


def _window(work: Work, view: str, wider: float, darker: float) -> None:
    """To the right the window grows, four times across the view; down the level rises, by one window."""
    volume = work.views.volume(view)
    display = volume.GetDisplayNode()
    width, height, _depth = work.views.of(view).GetSliceNode().GetDimensions()
    window = display.GetWindow() * 2 ** (wider / width * 2)
    navigate.setWindow(volume, window, display.GetLevel() + darker / height * display.GetWindow())


ACTIONS = {("scroll", 1): _scroll, ("pan", 2): _pan, ("zoom", 3): _zoom, ("window", 2): _window}


def _point(work: Work, view: str, x: float, y: float, magnifies: bool) -> dict:
    ras = navigate.pointRAS(work.views.of(view), x, y)
    lenses = work.views.lenses(view, x, y) if magnifies else []
    return {
        "ras": [round(float(length), 2) for length in ras],
        "values": {name: _short(value) for name, value in work.values(ras).items()},
        "lenses": [_told(frame) for frame in lenses],
    }


def _short(value) -> str:
    if value is None:
        return "outside"
    numbers = value if isinstance(value, tuple) else (value,)
    return ", ".join(f"{number:.5g}" if isinstance(number, float) else str(number) for number in numbers)


def _told(frame: Frame) -> dict:
    return {
        "view": frame.view,
        "stamp": frame.stamp,
        "width": frame.width,
        "height": frame.height,
        "channels": frame.channels,
        "pixels": frame.pixels,
    }


def _entries(request: dict, key: str):
    part = request.get(key)
    return part.items() if isinstance(part, dict) else ()


def _numbers(values, count: int | None = None) -> bool:
    if not isinstance(values, list) or (count is not None and len(values) != count):
        return False
    return all(isinstance(each, (int, float)) and not isinstance(each, bool) and isfinite(each) for each in values)
