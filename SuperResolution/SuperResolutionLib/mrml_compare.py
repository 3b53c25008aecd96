"""Linked comparison of a super-resolved volume with its bicubic twin, at the level of MRML: no Qt, any slice views.

The views belong to the module alone (``mrml_layout``); they are linked and placed alike by ``mrml_views``, share window
and level through ``mrml_display``, and the difference volume comes from ``mrml_difference``.
"""

from __future__ import annotations

import slicer
import vtk
from slicer.util import VTKObservationMixin

from . import mrml_views as views
from .errors import UsageError
from .mrml import isImageVolume
from .mrml_difference import Difference, differenceObstacle
from .mrml_display import SharedDisplay
from .mrml_layout import DIFFERENCE_VIEW, ORIGINAL_VIEW, PARTNER_VIEW, SR_VIEW, ComparisonLayout, colorOf

#: What the views are called; a door may give translated ones.
LABELS = {"sr": "SR", "bicubic": "Bicubic", "input": "Input", "difference": "SR - bicubic"}


class Comparison(VTKObservationMixin):
    """Shows one comparison at a time.

    Args:
        sliceLogicOf: function from the name of a view (see ``mrml_layout``) to its vtkMRMLSliceLogic, or None if
            there is no such view.
        layoutNode: vtkMRMLLayoutNode that the views come and go with; None if they are always there.
        settle: called after a change of layout, so that new views get their size.
        ended: called when the comparison ended by itself: a volume vanished, the scene closes, another layout was
            chosen.
        labels: names of the views instead of ``LABELS``.
        later: called in observers, where a result may be half in the scene, for a ``catchUp`` soon after; None
            catches up at once.
    """

    def __init__(self, sliceLogicOf, layoutNode=None, settle=lambda: None, ended=lambda: None, labels=None, later=None):
        VTKObservationMixin.__init__(self)
        self._sliceLogicOf = sliceLogicOf
        self._settle = settle
        self._ended = ended
        self._labels = {**LABELS, **(labels or {})}
        self._layout = ComparisonLayout(layoutNode, self._onLayoutLeft) if layoutNode is not None else None
        self._display = SharedDisplay()
        self._display.restoreLoaded()  # of a scene that was loaded before there was a comparison
        self._later = later or self.catchUp
        self._difference = Difference(self._later)
        self._volumes = {}  # view name: volume node
        self._shownAs = None  # what the last fit was made for
        self._arguments = None
        self._flickered = False
        self._busy, self._waiting = False, None  # arguments of a call that came while views were built
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.NodeRemovedEvent, self._onNodeRemoved)
        self.addObserver(scene, scene.StartCloseEvent, self._onSceneStartClose)
        for event in (scene.EndImportEvent, scene.EndRestoreEvent):
            self.addObserver(scene, event, self._onSceneLoaded)

    @property
    def shown(self) -> bool:
        return bool(self._volumes)

    @property
    def logics(self) -> dict:
        """The slice logics that are in use, by view name, SR first."""
        found = {name: self._sliceLogicOf(name) for name in self._volumes}
        return {name: logic for name, logic in found.items() if logic is not None}

    def show(
        self, inputNode, srNode, bicubicNode=None, original=False, difference=False, orientation="volume",
        voxels=True, center=None,
    ) -> None:  # fmt: skip
        """Show the comparison, or bring the one that is shown up to date; zoom and slice stay where they can.

        Args:
            inputNode: the volume that was upscaled, or None if it is gone; all are first shown as it is.
            srNode: the super-resolved volume.
            bicubicNode: what it is compared with; None compares it with the input.
            original: show the input in a view of its own.
            difference: show SR minus bicubic, if there is a bicubic volume on the same grid.
            orientation: "volume" (the plane of the input's slices), "Axial", "Sagittal" or "Coronal".
            voxels: show voxels as squares instead of interpolating between them.
            center: RAS point whose slice is shown first, or None for the middle.

        Raises:
            UsageError: if there is nothing to compare.
            ResourceError: if there is no memory for the difference.
        """
        obstacle = compareObstacle(inputNode, srNode, bicubicNode)
        if obstacle:
            raise UsageError(obstacle)
        if self._busy:  # settling lets other events through
            self._waiting = (inputNode, srNode, bicubicNode, original, difference, orientation, voxels)
            return
        self._busy, self._waiting = True, None
        try:
            before = self._volumes
            self._arguments = (inputNode, srNode, bicubicNode, original, difference, orientation, voxels)
            self._volumes = self._choose(inputNode, srNode, bicubicNode, original, difference)
            if list(before) != list(self._volumes) and self._layout is not None:
                self._layout.enter(tuple(self._volumes))
                self._settle()
            if self._volumes:  # settling may have ended it
                self._fill(before)
                self._place(srNode, inputNode or srNode, orientation, center)
                alike = [node for name, node in self._volumes.items() if name != DIFFERENCE_VIEW]
                others = [node for name, node in self._volumes.items() if name == DIFFERENCE_VIEW]
                self._display.hold(alike, others, interpolate=not voxels, like=inputNode)
        finally:
            self._busy = False
        if self._waiting is not None and self.shown:
            self.show(*self._waiting)
        else:
            self.catchUp()

    def catchUp(self) -> None:
        """Answer what observers saw: volumes that changed, or that left the scene. While views are built it waits."""
        if self._busy:
            return
        self._difference.catchUp()
        gone = [node for node in self._volumes.values() if not slicer.mrmlScene.IsNodePresent(node)]
        if gone:
            inputNode, srNode, bicubicNode, original, difference, orientation, voxels = self._arguments
            inputNode = None if inputNode in gone else inputNode
            difference = difference and self._volumes.get(DIFFERENCE_VIEW) not in gone
            self.show(inputNode, srNode, bicubicNode, original, difference, orientation, voxels)

    def hide(self) -> None:
        """End the comparison and bring the previous layout back; harmless if none is shown."""
        if not self.shown:
            return
        for logic in self.logics.values():
            views.clear(logic)
        self._volumes, self._arguments, self._shownAs = {}, None, None
        self._flickered = False
        self._difference.shown = False
        self._display.release()
        if self._layout is not None:
            self._layout.leave()

    def flicker(self) -> None:
        """Swap the first view between the super-resolved volume and what it is compared with."""
        if self.shown:
            self._flickered = not self._flickered
            self._fillView(SR_VIEW)

    def adoptDifference(self, srNode, bicubicNode) -> None:
        """Keep a difference volume that was loaded with a scene up to date, too."""
        if srNode is not None and bicubicNode is not None:
            self._difference.adopt(srNode, bicubicNode)

    def close(self) -> None:
        """End the comparison and watch the scene no more."""
        self.hide()
        self._difference.forget()
        self.removeObservers()

    def _choose(self, inputNode, srNode, bicubicNode, original, difference) -> dict:
        """Which view shows which volume."""
        chosen = {SR_VIEW: srNode, PARTNER_VIEW: bicubicNode or inputNode}
        if original and bicubicNode is not None and inputNode is not None:
            chosen[ORIGINAL_VIEW] = inputNode
        self._difference.shown = difference and not differenceObstacle(srNode, bicubicNode)
        if self._difference.shown:
            chosen[DIFFERENCE_VIEW] = self._difference.of(srNode, bicubicNode)
        return chosen

    def _fill(self, before: dict) -> None:
        if any(before.get(name) is not self._volumes[name] for name in (SR_VIEW, PARTNER_VIEW)):
            self._flickered = False
        for name in self._volumes:
            logic = self._sliceLogicOf(name)
            if name not in before and logic is not None:
                views.clear(logic)  # of what was laid over an earlier comparison
            self._fillView(name)

    def _fillView(self, name: str) -> None:
        logic = self._sliceLogicOf(name)
        if logic is None:
            return
        shown = PARTNER_VIEW if name == SR_VIEW and self._flickered else name
        views.setUp(logic, self._volumes[shown], self._labels[self._kindOf(shown)], colorOf(shown))

    def _kindOf(self, name: str) -> str:
        inputNode = self._arguments[0]
        partner = "input" if self._volumes[PARTNER_VIEW] is inputNode else "bicubic"
        return {SR_VIEW: "sr", PARTNER_VIEW: partner, ORIGINAL_VIEW: "input", DIFFERENCE_VIEW: "difference"}[name]

    def _place(self, srNode, planeNode, orientation: str, center) -> None:
        logics = list(self.logics.values())
        if not logics:
            return
        wanted = (srNode.GetID(), planeNode.GetID(), orientation)
        if wanted != self._shownAs:
            if center is None and self._shownAs is not None and wanted[1:] == self._shownAs[1:]:
                center = views.centerOf(logics[0])  # another result of the same input, at the same slice
            views.orient(logics[0], planeNode, orientation)
            views.fit(logics[0], center)
            self._shownAs = wanted
        for logic in logics[1:]:
            views.align(logic, logics[0])

    def _end(self) -> None:
        self.hide()
        self._ended()

    def _onLayoutLeft(self) -> None:
        if self.shown:
            self._end()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, _caller, _event, node) -> None:
        if not node.IsA("vtkMRMLVolumeNode"):
            return
        if self.shown and node in (self._volumes[SR_VIEW], self._volumes[PARTNER_VIEW]):
            self._end()
        self._difference.nodeRemoved(node)
        if node in self._volumes.values():
            self._later()

    def _onSceneStartClose(self, _caller, _event) -> None:
        if self.shown:
            self._end()
        self._difference.forget()

    def _onSceneLoaded(self, _caller, _event) -> None:
        self._display.restoreLoaded()


def compareObstacle(inputNode, srNode, bicubicNode) -> str:
    """One sentence that says why there is nothing to compare; empty if there is."""
    if not _hasVoxels(srNode):
        return "There is no super-resolved volume to compare yet: upscale a volume, or choose its result."
    if not _hasVoxels(bicubicNode or inputNode):
        return "There is nothing to compare with: choose a bicubic volume or the input volume."
    if srNode is (bicubicNode or inputNode):
        return "The super-resolved volume would be compared with itself: choose another volume."
    return ""


def _hasVoxels(node) -> bool:
    return node is not None and isImageVolume(node) and node.GetImageData() is not None
