"""Stand-ins for the ctk and qMRML widgets that the form names. The scene behind them is real.

They have the properties, signals and methods that the panel and the parameter node use, under the same names, and look
roughly like the originals.
"""

from __future__ import annotations

import slicer

from . import pythonqt

qt = pythonqt.install()

from PySide6.QtCore import Property, Signal  # noqa: E402  (after the properties are in place)

HEADER_HEIGHT = 24


class ctkCollapsibleButton(qt.QWidget):
    """A titled section that can be closed."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._text = ""
        self._collapsed = False
        self.setContentsMargins(0, HEADER_HEIGHT, 0, 0)

    def _getText(self):
        return self._text

    def _setText(self, text):
        self._text = text
        self.update()

    def _getCollapsed(self):
        return self._collapsed

    def _setCollapsed(self, collapsed):
        self._collapsed = collapsed
        for child in self.children():
            if isinstance(child, qt.QWidget):
                child.visible = not collapsed
        self.setMaximumHeight(HEADER_HEIGHT if collapsed else 16777215)
        self.contentsCollapsed.emit(collapsed)

    text = Property(str, _getText, _setText)
    collapsed = Property(bool, _getCollapsed, _setCollapsed)

    def childEvent(self, event):
        # The loader sets ``collapsed`` before it adds the children.
        if self._collapsed and isinstance(event.child(), qt.QWidget):
            event.child().visible = False
        super().childEvent(event)

    def mousePressEvent(self, event):
        if event.position().y() < HEADER_HEIGHT:
            self.collapsed = not self._collapsed

    def paintEvent(self, event):
        painter = qt.QPainter(self)
        option = qt.QStyleOptionButton()
        option.rect = qt.QRect(0, 0, self.width, HEADER_HEIGHT - 2)
        option.state = qt.QStyle.State_Enabled if self.enabled else qt.QStyle.State_None
        self.style().drawControl(qt.QStyle.CE_PushButtonBevel, option, painter, self)
        title = ("▸  " if self._collapsed else "▾  ") + self._text
        place = option.rect.adjusted(8, 0, -8, 0)
        self.style().drawItemText(painter, place, qt.Qt.AlignVCenter, self.palette(), self.enabled, title)
        painter.end()


class qMRMLWidget(qt.QWidget):
    """A widget with a scene; children get it through the connections that the form lists."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


def _flag(name: str, changesItems: bool = False):
    def write(self, value):
        self._flags[name] = value
        if changesItems:
            self.refresh()

    return Property(bool, lambda self: self._flags[name], write)


def destroy(widget) -> None:
    """Delete a widget at once, with all that is in it; without an event loop ``deleteLater`` would keep it."""
    widget.deleteLater()
    qt.QCoreApplication.sendPostedEvents(widget, qt.QEvent.DeferredDelete)


class SceneObservers:
    """Calls a function when nodes come and go, and when a scene has been loaded or closed, at Slicer's moments."""

    def __init__(self):
        self._scene, self._tags = None, []

    def follow(self, scene, onNodes, onEnd=None) -> None:
        """Observe this scene, or none, instead of the one before.

        Args:
            onNodes: called when a node came or went. onEnd: called after the scene was imported or closed.
        """
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        events = dict.fromkeys(("NodeAddedEvent", "NodeRemovedEvent"), onNodes)
        events |= dict.fromkeys(("EndImportEvent", "EndCloseEvent"), onEnd or onNodes)
        self._scene = scene
        self._tags = [] if scene is None else [self._observe(event, function) for event, function in events.items()]

    def _observe(self, event: str, function) -> int:
        return self._scene.AddObserver(getattr(self._scene, event), lambda _caller, _event: function())


class qMRMLNodeComboBox(qt.QWidget):
    """Lists the nodes of some classes in the scene, and follows it as nodes come and go."""

    currentNodeChanged = Signal(object)
    nodeAddedByUser = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._flags = {"noneEnabled": False, "addEnabled": True, "removeEnabled": True, "renameEnabled": False}
        self._flags["showChildNodeTypes"] = True
        self._scene = None
        self._observers = observers = SceneObservers()
        self.destroyed.connect(lambda: observers.follow(None, None))  # the scene lives on
        self._nodeTypes = []
        self._noneDisplay = "None"
        self._baseName = ""
        self._lastID = ""
        self.comboBox = qt.QComboBox(self)
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.comboBox)
        self.comboBox.currentIndexChanged.connect(self._onIndexChanged)

    def _getNodeTypes(self):
        return self._nodeTypes

    def _setNodeTypes(self, nodeTypes):
        self._nodeTypes = list(nodeTypes)
        self.refresh()

    def _getNoneDisplay(self):
        return self._noneDisplay

    def _setNoneDisplay(self, text):
        self._noneDisplay = text
        self.refresh()

    def _getBaseName(self):
        return self._baseName

    def _setBaseName(self, name):
        self._baseName = name

    nodeTypes = Property("QStringList", _getNodeTypes, _setNodeTypes)
    noneDisplay = Property(str, _getNoneDisplay, _setNoneDisplay)
    baseName = Property(str, _getBaseName, _setBaseName)
    noneEnabled = _flag("noneEnabled", changesItems=True)
    showChildNodeTypes = _flag("showChildNodeTypes", changesItems=True)
    addEnabled = _flag("addEnabled")
    removeEnabled = _flag("removeEnabled")
    renameEnabled = _flag("renameEnabled")

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is self._scene:
            return
        self._scene = scene
        self._observers.follow(scene, self.refresh, self.rebuild)
        self.refresh()

    def nodes(self) -> list:
        """The nodes that are offered."""
        if self._scene is None:
            return []
        found = []
        for nodeType in self._nodeTypes:
            for node in slicer.util.getNodesByClass(nodeType, self._scene):
                isExact = self._flags["showChildNodeTypes"] or node.GetClassName() == nodeType
                if isExact and not node.GetHideFromEditors() and node not in found:
                    found.append(node)
        return found

    def addNode(self, nodeType=None):
        """What "Create new ..." in the list does."""
        name = self._scene.GenerateUniqueName(self._baseName) if self._baseName else ""
        node = self._scene.AddNewNodeByClass(nodeType or self._nodeTypes[0], name)
        self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)  # after it was chosen, as in Slicer
        return node

    def currentNode(self):
        nodeID = self.comboBox.currentData
        return self._scene.GetNodeByID(nodeID) if nodeID and self._scene is not None else None

    def setCurrentNode(self, node):
        self.comboBox.currentIndex = self.comboBox.findData(node.GetID() if node is not None else "")

    def refresh(self) -> None:
        """Show the scene's nodes, keeping the current one if it is still there."""
        if self._scene is not None and (self._scene.IsImporting() or self._scene.IsClosing()):
            return
        self._fill(self.comboBox.currentData)

    def rebuild(self) -> None:
        """Make all rows anew, as the original does after an import: what was chosen is forgotten."""
        self._fill(None)

    def _fill(self, chosen) -> None:
        self.comboBox.blockSignals(True)
        self.comboBox.clear()
        if self._flags["noneEnabled"]:
            self.comboBox.addItem(self._noneDisplay, "")
        for node in self.nodes():
            self.comboBox.addItem(node.GetName(), node.GetID())
        # Like the original, a list without "None" chooses its first node by itself.
        found = self.comboBox.findData(chosen) if chosen else -1
        self.comboBox.currentIndex = max(found, 0)
        self.comboBox.blockSignals(False)
        self._onIndexChanged()

    def _onIndexChanged(self, _index=0):
        nodeID = self.comboBox.currentData or ""
        if nodeID != self._lastID:
            self._lastID = nodeID
            self.currentNodeChanged.emit(self.currentNode())


FORM_WIDGETS = {widget.__name__: widget for widget in (ctkCollapsibleButton, qMRMLWidget, qMRMLNodeComboBox)}
