"""The module's own slice view layouts: registered once, entered, left again, and never written into a saved scene.

A comparison has two to four views. Each choice of views is a layout of its own, so that Slicer builds and restores it
like any other. The views have names and a view group of their own: linking acts inside a group only, and the user's
Red, Green and Yellow views are not part of it.
"""

from __future__ import annotations

import slicer
import vtk
from slicer.util import VTKObservationMixin

SR_VIEW = "SuperResolutionSR"
PARTNER_VIEW = "SuperResolutionBicubic"
ORIGINAL_VIEW = "SuperResolutionOriginal"
DIFFERENCE_VIEW = "SuperResolutionDifference"

#: Numbers below 100 are Slicer's.
LAYOUTS = {
    5701: ((SR_VIEW, PARTNER_VIEW),),
    5702: ((SR_VIEW, PARTNER_VIEW, ORIGINAL_VIEW),),
    5703: ((SR_VIEW, PARTNER_VIEW, DIFFERENCE_VIEW),),
    5704: ((SR_VIEW, PARTNER_VIEW), (ORIGINAL_VIEW, DIFFERENCE_VIEW)),
}
VIEW_GROUP = 5701
COLORS = {SR_VIEW: "#3CB371", PARTNER_VIEW: "#E69F00", ORIGINAL_VIEW: "#8FA3B0", DIFFERENCE_VIEW: "#CC79A7"}


class ComparisonLayout(VTKObservationMixin):
    """Puts the layout of some views in the place of the current one, and that one back.

    Args:
        layoutNode: the scene's vtkMRMLLayoutNode.
        left: called when somebody else chose another layout, which then stays.
    """

    def __init__(self, layoutNode, left):
        VTKObservationMixin.__init__(self)
        self._node = layoutNode
        self._left = left
        self._previous = None

    def enter(self, viewNames) -> None:
        """Show these views (SR and partner, and the others on demand); the layout before the first call is kept."""
        number = next(n for n, rows in LAYOUTS.items() if {name for row in rows for name in row} == set(viewNames))
        self.removeObservers()
        register(self._node)
        if self._previous is None:
            self._previous = self._node.GetViewArrangement()
            if self._previous in LAYOUTS or self._previous == slicer.vtkMRMLLayoutNode.SlicerLayoutNone:
                self._previous = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
            # Slicer announces no saving, so the node stays out of files for as long as it names our layout.
            self._node.SetSaveWithScene(False)
        self._arrange(number)
        self.addObserver(self._node, vtk.vtkCommand.ModifiedEvent, self._onLayoutModified)

    def leave(self) -> None:
        """Bring the previous layout back, unless another one was chosen meanwhile."""
        if self._previous is None:
            return
        previous = self._previous
        self._forget()
        if self._node.GetViewArrangement() in LAYOUTS:
            self._arrange(previous)

    def _arrange(self, number: int) -> None:
        # As Slicer's own menu does: a view that a double click has maximized would stay the only one.
        self._node.RemoveAllMaximizedViewNodes()
        self._node.SetViewArrangement(number)

    def _onLayoutModified(self, _caller, _event) -> None:
        if self._node.GetViewArrangement() in LAYOUTS:
            return
        self._forget()
        self._left()

    def _forget(self) -> None:
        self.removeObservers()
        self._previous = None
        self._node.SetSaveWithScene(True)


def colorOf(viewName: str) -> list[float]:
    """(r, g, b) of a view, 0 to 1."""
    return [int(COLORS[viewName][index : index + 2], 16) / 255 for index in (1, 3, 5)]


def register(layoutNode) -> None:
    """Tell a layout node what our layouts look like; may be called any number of times."""
    for number, rows in LAYOUTS.items():
        if not layoutNode.IsLayoutDescription(number):
            layoutNode.AddLayoutDescription(number, describe(rows))
        elif layoutNode.GetLayoutDescription(number) != describe(rows):  # an earlier version of the module's
            layoutNode.SetLayoutDescription(number, describe(rows))


def describe(rows) -> str:
    """The XML of a layout with these rows of view names."""
    rowTexts = [_box("horizontal", [_view(name) for name in row]) for row in rows]
    return rowTexts[0] if len(rowTexts) == 1 else _box("vertical", rowTexts)


def _box(direction: str, contents: list[str]) -> str:
    items = "".join(f"<item>{content}</item>" for content in contents)
    return f'<layout type="{direction}" split="true">{items}</layout>'


def _view(name: str) -> str:
    properties = {"orientation": "Axial", "viewlabel": "SR", "viewcolor": COLORS[name], "viewgroup": VIEW_GROUP}
    lines = "".join(f'<property name="{key}" action="default">{value}</property>' for key, value in properties.items())
    return f'<view class="vtkMRMLSliceNode" singletontag="{name}">{lines}</view>'
