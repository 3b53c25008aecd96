"""One user's work: an opened image, its results and how they are compared. Knows the scene, not the page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from math import gcd

import numpy as np
import slicer

from SuperResolutionLib import compare, mrml, mrml_navigate, mrml_region, mrml_views
from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.errors import DataError, UsageError
from SuperResolutionLib.jobs import Worker
from SuperResolutionLib.mrml_compare import LABELS, Comparison
from SuperResolutionLib.mrml_layout import ORIGINAL_VIEW, colorOf
from SuperResolutionLib.upscaler import Options
from SuperResolutionLib.volume import Volume

from .scores import part_of, scoring
from .slices import SliceViews

#: Percent of the finite voxels below and above the window in which an image is first shown; how many are looked at.
TAIL, SAMPLE = 0.2, 2_000_000


@dataclass(frozen=True)
class Look:
    """How volumes are shown: plane, voxels as squares or interpolated, and whether the difference has a view."""

    orientation: str = "volume"
    voxels: bool = True
    difference: bool = False


class Work:
    """What is open, what was made of it, and the run that is under way.

    Args:
        application: trame_slicer's SlicerApp, whose scene is ``slicer.mrmlScene``.
        catalog: ModelCatalog; None is the default one.
        worker: jobs.Worker that computes; None is one of its own.

    Attributes:
        views: SliceViews.
        volume: the opened Volume, or None. reference: the high-resolution Volume to score against, or None.
        input_node, sr_node, bicubic_node: volume nodes, or None.
        report: the engine's report of the last result, or None.
    """

    def __init__(self, application, catalog=None, worker=None):
        self.views = SliceViews(application.app_logic)
        self.catalog = catalog or ModelCatalog.default()
        self.volume = self.reference = self.report = None
        self.input_node = self.sr_node = self.bicubic_node = None
        self._comparison = Comparison(self.views.logic)
        self._worker = worker or Worker()
        self._job = None
        self._part = ""
        self._look = Look()
        self._fitted = True  # whether the views show all of the image, and shall after a change of size, too

    # What is open

    def open(self, volume: Volume) -> None:
        """Show an image in the place of all that was open.

        Raises:
            UsageError: during a run.
            DataError: if the image holds no finite value. What was open stays.
        """
        self._refuse_during_run("opening another image")
        node = _add_node(volume)
        self._remove(self.input_node, self.sr_node, self.bicubic_node)
        self.sr_node = self.bicubic_node = self.report = self.reference = None
        self.input_node = node
        # The scene's voxels and the engine's are the same memory.
        self.volume = replace(volume, array=mrml.volumeFromNode(self.input_node, copy=False).array)
        self._fitted = True
        self.show(self._look)

    def set_reference(self, volume: Volume) -> None:
        """Score results against this image from now on.

        Raises:
            DataError: if the result that is there does not lie on its grid.
        """
        if self.sr_node is not None:
            part_of(volume, self.sr_node)
        self.reference = volume

    def reduce(self, model: str, scale: int) -> None:
        """Take the opened image as the reference, and its reduced version in its place as the input.

        Raises:
            SuperResolutionError: if nothing is open, a run is under way or the image is too small.
        """
        self._refuse_during_run("reducing the image")
        self._refuse_nothing()
        job, low, planes = compare.pair(self.volume, self.catalog.find(model, scale), Options())
        reference = job.as_volume(planes.copy(), self.volume.name, (1.0, 1.0, 1.0))
        low = replace(low, name=f"{self.volume.name} reduced x{scale}")
        self.open(low)
        self.reference = reference

    def close(self) -> None:
        """End the run and the child process, and let go of the scene."""
        self._worker.close()
        self._comparison.close()

    # Runs

    @property
    def running(self) -> bool:
        return self._job is not None

    def warm(self) -> None:
        """Let the child process import torch before it is needed."""
        self._worker.warm()

    def start(self, model: str, scale: int, extent: str = "volume", region=None, consistent: bool = True) -> None:
        """Begin to upscale the opened image.

        Args:
            model, scale: as for ``ModelCatalog.find``.
            extent: "volume", "slice" (the one that is shown) or "region".
            region: half-open voxel ranges along i, j, k, for "region".
            consistent: as in ``Options``.

        Raises:
            SuperResolutionError: for what is wrong before the run begins.
        """
        self._refuse_during_run("starting another one")
        self._refuse_nothing()
        if extent == "slice":
            region = mrml_region.regionFromSlice(self.input_node, self._leading_logic().GetSliceNode())
        elif extent != "region":
            region = None
        elif region is None:
            raise UsageError("The region is not chosen yet: set its ranges, or take what the views show.")
        card = self.catalog.find(model, scale)
        card.verify()
        self._part = mrml_region.partOf(self.input_node, region)
        self._job = self._worker.start(self.volume, card, Options(consistent=consistent, region=region))

    def poll(self) -> tuple[float, str, float | None]:
        """How the run stands: fraction 0 to 1, stage, seconds left or None; its end puts the result into the scene.

        Raises:
            SuperResolutionError: why there will be no result; the run is over then.
        """
        if self._job is None:
            return 0.0, "", None
        try:
            if self._job.poll() != "running":
                self._take(self._job)
                return 1.0, "done", None
        except Exception:
            self.cancel()
            raise
        return self._job.fraction, self._job.stage, self._job.seconds_left

    def cancel(self) -> None:
        """End the run, if there is one; nothing is added to the scene."""
        job, self._job = self._job, None
        if job is not None:
            job.release()

    def _take(self, job) -> None:
        result = job.result()
        nodes = mrml.addResult(self.input_node, result, self.sr_node, self.bicubic_node)
        scale = mrml.scaleBetween(self.input_node, result.sr)
        for kind, node in zip(("SR", "bicubic"), nodes):
            node.SetName(mrml.outputName(self.input_node, kind, scale, self._part))
        self.sr_node, self.bicubic_node = nodes
        self.report = result.report
        self._job = None
        job.release()
        self.show(self._look)
        self.fit()

    # How it is shown

    @property
    def shown(self) -> list[str]:
        """The views that show something, by the page's names and in its order."""
        if self.sr_node is not None:
            return ["input", "bicubic", "sr", *(["difference"] if self._look.difference else [])]
        return ["input"] if self.input_node is not None else []

    def show(self, look: Look) -> None:
        """Show what there is, all views alike."""
        orientation_changed = look.orientation != self._look.orientation
        self._look, self._fitted = look, self._fitted or orientation_changed
        if self.sr_node is not None:
            arguments = {"original": True, "difference": look.difference, "orientation": look.orientation}
            self._comparison.show(self.input_node, self.sr_node, self.bicubic_node, voxels=look.voxels, **arguments)
        elif self.input_node is not None:
            self.input_node.GetDisplayNode().SetInterpolate(not look.voxels)
            logic = self.views.logic(ORIGINAL_VIEW)
            is_new = self.views.volume("input") is not self.input_node
            mrml_views.setUp(logic, self.input_node, LABELS["input"], colorOf(ORIGINAL_VIEW))
            if is_new or orientation_changed:
                mrml_views.orient(logic, self.input_node, look.orientation)
                mrml_views.fit(logic)

    def fit(self) -> None:
        """Show all of the image again, in every view."""
        self._fitted = True
        self.resized()

    def flicker(self) -> None:
        """Swap the SR view between SR and bicubic."""
        self._comparison.flicker()

    def resized(self) -> None:
        """Bring the views into line after they changed their size: all of the image again, or the same place."""
        logic = self._leading_logic()
        if logic is None:
            return
        if self._fitted:
            mrml_views.fit(logic, mrml_views.centerOf(logic))
        for each in self._comparison.logics.values():
            mrml_views.align(each, logic)

    @property
    def aspect(self) -> float:
        """Width over height of the image in the plane of the views, 1/4 to 4; 1 without an image."""
        logic = self._leading_logic()
        if logic is None:
            return 1.0
        bounds = np.zeros(6)
        logic.GetBackgroundSliceBounds(bounds)
        width, height = bounds[1] - bounds[0], bounds[3] - bounds[2]
        return float(np.clip(width / height, 0.25, 4.0)) if height > 0 else 1.0

    def zoomed(self) -> None:
        """The user chose a place of their own."""
        self._fitted = False

    def region_in_view(self):
        """What the views show of the opened image, as ranges along i, j, k.

        Raises:
            UsageError: if they show nothing of it.
        """
        self._refuse_nothing()
        region = mrml_navigate.regionInView(self._leading_logic(), self.input_node)
        if region is None:
            raise UsageError("The views show nothing of the image: move it back with Fit.")
        return region

    def values(self, ras: np.ndarray) -> dict:
        """View name to the value of its voxel at a RAS point; None outside its volume."""
        nodes = {"input": self.input_node, "bicubic": self.bicubic_node, "sr": self.sr_node}
        found = {name: mrml_navigate.valueAt(node, ras) for name, node in nodes.items() if node is not None}
        return {name: None if each is None else each[1] for name, each in found.items()}

    def scoring(self):
        """``scores.scoring`` of the result that is there against the reference; None if one is missing.

        Raises:
            DataError: if the result does not lie on the grid of the reference.
        """
        if self.reference is None or self.sr_node is None:
            return None
        nodes = {"bicubic": self.bicubic_node, "sr": self.sr_node}
        return scoring(self.reference, nodes, "ijk".index(self.report["slice_axis"]))

    def _leading_logic(self):
        """The slice logic that the others are placed like."""
        if self.sr_node is not None:
            return next(iter(self._comparison.logics.values()))
        return self.views.logic(ORIGINAL_VIEW) if self.input_node is not None else None

    def _remove(self, *nodes) -> None:
        present = [node for node in nodes if node is not None]
        if present:
            self._comparison.hide()
            self.views.forget_lenses()
        for node in present:
            mrml.removeVolume(node)

    def _refuse_during_run(self, what: str) -> None:
        if self.running:
            raise UsageError(f"A run is under way: wait for its end or cancel it before {what}.")

    def _refuse_nothing(self) -> None:
        if self.volume is None:
            raise UsageError("No image is open: open a file or the example first.")


def _add_node(volume: Volume):
    """A volume node of a Volume, shown between percentiles of its values; colors of 8 bits as they are."""
    kind = "vtkMRMLScalarVolumeNode" if volume.channels == 1 else "vtkMRMLVectorVolumeNode"
    if volume.array.dtype.kind in "iu" and volume.array.dtype.itemsize > 4:
        raise DataError(f"'{volume.name}' holds 64-bit integers, which the views cannot show; convert it to 32 bits.")
    node = slicer.mrmlScene.AddNewNodeByClass(kind, volume.name or "image")
    try:
        mrml.fillNode(node, mrml.imageFromArray(volume.array), volume.ijk_to_ras)
        node.CreateDefaultDisplayNodes()
        finite = volume.array[np.isfinite(volume.array)]
        if finite.size == 0:
            raise DataError(f"'{volume.name}' holds no finite value.")
        step = next(each for each in count(max(1, finite.size // SAMPLE)) if gcd(each, volume.channels) == 1)
        sample = finite[::step]  # of every channel
        is_picture = volume.channels > 1 and volume.array.dtype == np.uint8
        low, high = (0, 255) if is_picture else np.percentile(sample, (TAIL, 100 - TAIL))
        mrml_navigate.setWindow(node, high - low or 1.0, (low + high) / 2)
    except Exception:
        mrml.removeVolume(node)
        raise
    return node
