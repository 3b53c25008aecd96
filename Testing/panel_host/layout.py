"""A layout manager with real slice views: Slicer's own layout and slice logics, painted without OpenGL.

The layout logic makes view nodes from a layout's description, one ``vtkMRMLSliceLogic`` a view reslices, windows and
links, and its image, which it computes on the processor, is painted by a Qt widget with the view's label over it.
Three-dimensional views are empty boxes. Markups, segmentations and annotations are not painted: Slicer draws them with
OpenGL.
"""

from __future__ import annotations

import slicer
import vtk

from SuperResolutionLib.mrml_offscreen import addSliceLogic, removeSliceLogic, sliceImage

from . import pythonqt

qt = pythonqt.install()

BAR_HEIGHT = 20


class LayoutManager:
    """Has the methods of ``qMRMLLayoutManager`` that panels call. Works on the scene of ``slicer.app``.

    Attributes:
        widget: the Qt widget that shows the current layout; resize it to resize the views.
    """

    def __init__(self, width: int = 800, height: int = 420):
        self.widget = qt.QWidget()
        self.widget.setLayout(qt.QVBoxLayout())
        self.widget.layout().setContentsMargins(0, 0, 0, 0)
        self.widget.layout().setSpacing(0)
        self.widget.resize(width, height)
        self._content = None
        self._sliceWidgets = {}
        self._shown = []
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._layoutNode = self._logic.GetLayoutNode()
        self._observerTag = self._layoutNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onLayoutModified)
        self._layoutNode.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self._build()
        self.widget.show()

    def close(self) -> None:
        """Let go of the scene and of the windows."""
        self._layoutNode.RemoveObserver(self._observerTag)
        for sliceWidget in self._sliceWidgets.values():
            sliceWidget.close()
        self._sliceWidgets = {}
        self._logic.SetMRMLScene(None)
        self.widget.hide()
        self.widget.deleteLater()

    @property
    def layout(self) -> int:
        return self._layoutNode.GetViewArrangement()

    def setLayout(self, number: int) -> None:
        self._layoutNode.RemoveAllMaximizedViewNodes()
        self._layoutNode.SetViewArrangement(number)

    def layoutLogic(self):
        return self._logic

    def sliceViewNames(self) -> list[str]:
        """The slice views of the current layout."""
        return list(self._shown)

    def sliceWidget(self, name: str):
        """A slice view by its layout name; None if no layout with it was shown yet."""
        return self._sliceWidgets.get(name)

    def mrmlSliceLogics(self):
        return slicer.app.applicationLogic().GetSliceLogics()

    def resetSliceViews(self) -> None:
        """Fit every slice view that is shown to its volumes."""
        for name in self._shown:
            self._sliceWidgets[name].sliceLogic().FitSliceToAll()

    def _onLayoutModified(self, _caller, _event) -> None:
        self._build()

    def _build(self) -> None:
        wanted = self._layoutNode.GetCurrentLayoutDescription()
        for index in range(self._layoutNode.GetNumberOfMaximizedViewNodes()):
            maximized = self._layoutNode.GetMaximizedViewNode(index)
            wanted = self._logic.GetMaximizedViewLayoutDescription(maximized, wanted)
        if not wanted or (self._content is not None and self._content.description == wanted):
            return
        for sliceWidget in self._sliceWidgets.values():
            sliceWidget.setParent(None)
            sliceWidget.mrmlSliceNode().SetMappedInLayout(False)
        if self._content is not None:
            self.widget.layout().removeWidget(self._content)
            self._content.deleteLater()
        self._shown = []
        self._content = self._box(vtk.vtkXMLUtilities.ReadElementFromString(wanted))
        self._content.description = wanted
        self.widget.layout().addWidget(self._content)
        self.widget.layout().activate()
        for name in self._shown:
            self._sliceWidgets[name].mrmlSliceNode().SetMappedInLayout(True)
            self._sliceWidgets[name].show()

    def _box(self, element):
        """A Qt widget for one element of a layout description."""
        if element.GetName() == "view":
            return self._view(element)
        box = qt.QWidget()
        isVertical = element.GetAttribute("type") == "vertical"
        box.setLayout(qt.QVBoxLayout() if isVertical else qt.QHBoxLayout())
        box.layout().setContentsMargins(0, 0, 0, 0)
        box.layout().setSpacing(2)
        for index in range(element.GetNumberOfNestedElements()):
            item = element.GetNestedElement(index)
            if item.GetName() == "item" and item.GetNumberOfNestedElements():
                box.layout().addWidget(self._box(item.GetNestedElement(0)), 1)
        return box

    def _view(self, element):
        if element.GetAttribute("class") != "vtkMRMLSliceNode":
            return qt.QFrame()
        name = element.GetAttribute("singletontag")
        if name not in self._sliceWidgets:
            self._sliceWidgets[name] = SliceWidget(self._logic.GetViewFromElement(element))
        self._shown.append(name)
        return self._sliceWidgets[name]


class SliceWidget(qt.QWidget):
    """One slice view: a bar with its label and offset, and below it the image of its logic."""

    def __init__(self, sliceNode):
        super().__init__()
        self._sliceNode = sliceNode
        self._logic = addSliceLogic(slicer.app.applicationLogic(), sliceNode, 100, 100)
        self._tag = self._logic.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda _caller, _event: self.update())

    def close(self) -> None:
        self._logic.RemoveObserver(self._tag)
        removeSliceLogic(slicer.app.applicationLogic(), self._logic)
        self.deleteLater()

    def sliceLogic(self):
        return self._logic

    def mrmlSliceNode(self):
        return self._sliceNode

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()

    def sliceController(self):
        return SliceController(self)

    def sliceView(self):
        return self

    def resizeEvent(self, event):
        super().resizeEvent(event)
        self._logic.ResizeSliceNode(max(self.width, 1), max(self.height - BAR_HEIGHT, 1))

    def paintEvent(self, event):
        painter = qt.QPainter(self)
        painter.fillRect(self.rect, qt.QColor(0, 0, 0))
        pixels = sliceImage(self._logic)
        if pixels is not None:
            height, width = pixels.shape[:2]
            painter.drawImage(
                0, BAR_HEIGHT, qt.QImage(pixels.data, width, height, 4 * width, qt.QImage.Format_RGBX8888)
            )
        bar = qt.QRect(0, 0, self.width, BAR_HEIGHT)
        painter.fillRect(bar, qt.QColor.fromRgbF(*self._sliceNode.GetLayoutColor()))
        painter.setPen(qt.QColor(0, 0, 0))
        painter.drawText(bar.adjusted(6, 0, -6, 0), qt.Qt.AlignVCenter, self._sliceNode.GetLayoutLabel())
        offset = f"{self._logic.GetSliceOffset():.2f} mm"
        painter.drawText(bar.adjusted(6, 0, -6, 0), qt.Qt.AlignVCenter | qt.Qt.AlignRight, offset)
        painter.end()


class SliceController:
    """The bar of a slice view, as far as scripts use it."""

    def __init__(self, sliceWidget):
        self._widget = sliceWidget

    def setSliceLink(self, linked: bool) -> None:
        self._widget.mrmlSliceCompositeNode().SetLinkedControl(linked)

    def setHotLinked(self, linked: bool) -> None:
        self._widget.mrmlSliceCompositeNode().SetHotLinkedControl(linked)

    def setSliceOffsetValue(self, offset: float) -> None:
        """What dragging the slider to a position does, links included."""
        logic = self._widget.sliceLogic()
        logic.StartSliceOffsetInteraction()
        logic.SetSliceOffset(offset)
        logic.EndSliceOffsetInteraction()
