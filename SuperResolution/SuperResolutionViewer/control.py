"""What the page's buttons and choices do: the page's state on one side, ``Work`` on the other."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from functools import wraps

from SuperResolutionLib.cli_demo import example_file
from SuperResolutionLib.errors import SuperResolutionError
from SuperResolutionLib.files import read_volume
from SuperResolutionLib.plan import lay_out
from SuperResolutionLib.recommend import DEFAULT_SCALE, card_at
from SuperResolutionLib.volume import Volume

from .state import family_items, initial_state
from .work import Look, Work

#: The example: an MR slice through the abdomen that comes with pydicom, fine enough to be reduced and to be the truth.
EXAMPLE = "examples_overlay.dcm"

#: Seconds between two looks at a run.
POLL_SECONDS = 0.05

METHODS = {"bicubic": "Bicubic", "sr": "SR"}


def told(method):
    """Show an error of the engine on the page instead of raising it."""

    @wraps(method)
    def guarded(self, *arguments, **state):
        try:
            self.state.error = ""
            method(self, *arguments, **state)
        except SuperResolutionError as error:
            self.state.error = str(error)

    return guarded


class Control:
    """Answers the page.

    Args:
        server: trame server.
        work: Work.
        most_bytes: size that an upload may have, which the page is told.
    """

    def __init__(self, server, work: Work, most_bytes: int):
        self.state, self._work = server.state, work
        self._following: asyncio.Future | None = None
        self._scored: asyncio.Future | None = None
        self.state.update(initial_state(work))
        self.state.most_bytes = most_bytes
        self._preselected = self.state.family
        self.state.change("family")(self._on_family)
        self.state.change("scale", "extent", "region_i", "region_j", "region_k")(self._on_choice)
        self.state.change("orientation", "interpolate", "difference")(self._on_look)
        self.state.change("magnifier")(self._on_magnifier)
        server.controller.trigger("fit")(self.fit)  # keys of the page's script
        server.controller.trigger("flicker")(self.flicker)

    def show_volume(self, volume: Volume, purpose: str = "image") -> None:
        """Open an image, or take it as the reference.

        Raises:
            SuperResolutionError: if it cannot be.
        """
        if purpose == "image":
            self._work.open(volume)
            self._opened()
        else:
            self._work.set_reference(volume)
        self._tell_scores()

    async def receive(self, purpose: str, volume: Volume) -> None:
        """An upload has arrived; see ``show_volume``."""
        with self.state:
            self.state.error = ""
            self.show_volume(volume, purpose)

    @told
    def open_example(self) -> None:
        self._work.open(replace(read_volume(example_file(EXAMPLE)), name="MR abdomen"))
        self._opened()
        self._work.reduce(self.state.family, self._scale())
        self._opened()
        self._tell_scores()

    @told
    def reduce(self) -> None:
        self._work.reduce(self.state.family, self._scale())
        self._opened()
        self._tell_scores()

    @told
    def region_from_view(self) -> None:
        for axis, (start, stop) in zip("ijk", self._work.region_in_view()):
            self.state[f"region_{axis}"] = [start, stop]

    @told
    def upscale_or_cancel(self) -> None:
        if self._work.running:
            self._work.cancel()
            self._ended("Cancelled; nothing was changed.")
            return
        state = self.state
        self._work.start(state.family, self._scale(), state.extent, self._region(), bool(state.consistent))
        state.running, state.percent, state.status = True, 0, "starting"
        self._following = asyncio.ensure_future(self._follow())

    @told
    def flicker(self) -> None:
        self._work.flicker()
        self._redraw()

    @told
    def fit(self) -> None:
        self._work.fit()
        self._redraw()

    def close(self) -> None:
        """Look after nothing any more."""
        for task in (self._following, self._scored):
            if task is not None:
                task.cancel()

    async def _follow(self) -> None:
        """Look after a run until its end."""
        while self._work.running:
            with self.state:
                self._look_after_run()
            await asyncio.sleep(POLL_SECONDS)

    def _look_after_run(self) -> None:
        try:
            fraction, stage, left = self._work.poll()
        except SuperResolutionError as error:
            self._ended("")
            self.state.error = str(error)
        except Exception as error:
            self._ended("")
            self.state.error = f"Unexpected {type(error).__name__}: {error}."
        else:
            if self._work.running:
                self._tell_progress(fraction, stage, left)
            else:
                self._finished()

    def _finished(self) -> None:
        report = self._work.report
        size = _times(report["output"]["size"])
        self._ended(f"{size} voxels in {report['seconds']:.1f} s on {report['device']}. {' '.join(report['notices'])}")
        self._redraw()
        with _shown_in(self.state):
            self._tell_scores()

    def _ended(self, status: str) -> None:
        self.state.running, self.state.percent, self.state.status = False, 0, status

    def _tell_progress(self, fraction: float, stage: str, left: float | None) -> None:
        seconds = "" if left is None else f", about {left:.0f} s left"
        self.state.percent, self.state.status = round(100 * fraction, 1), f"{stage}{seconds}"

    def _opened(self) -> None:
        volume, state = self._work.volume, self.state
        spacing = _times(f"{each:.3g}" for each in volume.spacing)
        state.image_text = f"{volume.name}: {_times(volume.size)} voxels of {spacing} mm, {volume.array.dtype}"
        for axis, length in zip("ijk", volume.size):
            state[f"length_{axis}"], state[f"region_{axis}"] = length, [0, length]
        state.families = family_items(self._work)
        offered = [item["value"] for item in state.families]
        if state.family not in offered or state.family == self._preselected:  # what the user chose stays
            state.family = self._preselected = offered[0] if offered else ""
        self._on_family()
        state.status = ""
        self._redraw()

    def _redraw(self) -> None:
        """Let the page ask for the images that changed."""
        work, state = self._work, self.state
        state.shown = work.shown
        state.labels = {view: work.views.of(view).GetSliceNode().GetLayoutLabel() for view in work.shown}
        state.has_result = work.sr_node is not None
        if not state.has_result:
            state.arrangement = "side"
        state.revision += 1

    def _tell_scores(self) -> None:
        """Say what results are scored against, and let a thread score them: of large volumes that takes a while."""
        reference, state = self._work.reference, self.state
        state.scores = []
        state.reference_text = f"Reference: {_times(reference.size)} voxels" if reference is not None else ""
        scoring = self._work.scoring()
        if self._scored is not None:
            self._scored.cancel()
        self._scored = asyncio.ensure_future(self._score(scoring)) if scoring is not None else None

    async def _score(self, scoring) -> None:
        scores = await asyncio.to_thread(scoring)
        with self.state:
            self.state.scores = [
                {"method": METHODS[name], "psnr": f"{score['psnr']:.2f}", "ssim": f"{score['ssim']:.4f}"}
                for name, score in scores.items()
            ]

    def _on_family(self, **_state) -> None:
        cards = self._work.catalog.families().get(self.state.family, [])
        self.state.scales = [{"title": f"x{card.scale}", "value": card.scale} for card in cards]
        if cards and self.state.scale not in [card.scale for card in cards]:
            self.state.scale = card_at(cards, DEFAULT_SCALE).scale
        self.state.model_text = cards[0].description if cards else ""
        self._on_choice()

    def _on_choice(self, **_state) -> None:
        """Say how large the result will be, or why there will be none."""
        self.state.outlook = ""
        with contextlib.suppress(SuperResolutionError):
            self.state.outlook = self._outlook()

    @told
    def _on_look(self, **_state) -> None:
        state = self.state
        orientation = state.orientation if state.orientation in ("Axial", "Coronal", "Sagittal") else "volume"
        self._work.show(Look(orientation, not state.interpolate, bool(state.difference)))
        self._redraw()

    def _on_magnifier(self, **_state) -> None:
        if not self.state.magnifier:
            self._work.views.forget_lenses()

    def _outlook(self) -> str:
        volume = self._work.volume
        if volume is None:
            return ""
        card = self._work.catalog.find(self.state.family, self._scale())
        region = self._region() if self.state.extent == "region" else None
        layout = lay_out(volume.size, volume.spacing, volume.channels, volume.array.dtype, card, region)
        size = list(layout.output_size)
        if self.state.extent == "slice":
            size[layout.axis] = 1
        return f"Result: {_times(size)} voxels"

    def _scale(self) -> int:
        scale = self.state.scale
        return int(scale) if isinstance(scale, (int, float)) else 0

    def _region(self):
        """The chosen ranges; what the page sent is checked by the engine."""
        ranges = [self.state[f"region_{axis}"] for axis in "ijk"]
        if not all(isinstance(each, list) and len(each) == 2 and all(map(_is_number, each)) for each in ranges):
            return None
        return tuple((int(start), int(stop)) for start, stop in ranges)


def _times(numbers) -> str:
    return " x ".join(map(str, numbers))


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9


@contextlib.contextmanager
def _shown_in(state):
    """Show an error of the engine in the page's state."""
    try:
        yield
    except SuperResolutionError as error:
        state.error = str(error)
