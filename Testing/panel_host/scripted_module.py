"""Base classes of a scripted module, and what Slicer's module factory does with one.

``loadModule`` first puts ``qt``, ``slicer.ScriptedLoadableModule``, ``slicer.parameterNodeWrapper`` and ``slicer.i18n``
where the module imports them from; ``openModule`` makes its panel.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types
import unittest
from pathlib import Path

import slicer

from . import parameter_node, pythonqt, scene
from .form_loader import FormLoader
from .widgets import qMRMLWidget

qt = pythonqt.install()


class ScriptedLoadableModule:
    def __init__(self, parent):
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title, parent.helpText, parent.acknowledgementText = "", "", ""
        parent.categories, parent.dependencies, parent.contributors = [], [], []

    def resourcePath(self, filename):
        return os.path.join(os.path.dirname(self.parent.path), "Resources", filename)

    def runTest(self, msec=100, **arguments):
        """What Reload and Test runs."""
        test = getattr(sys.modules[type(self).__module__], f"{self.moduleName}Test")()
        test.messageDelay = msec
        test.runTest(**arguments)


class ScriptedLoadableModuleWidget:
    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent if parent is not None else ModulePanel()
        self.layout = self.parent.layout()
        if parent is None:  # as Slicer does
            self.setup()
            self.parent.show()

    def resourcePath(self, filename):
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", filename)

    def setup(self):
        """Slicer adds the developer section here."""

    def cleanup(self):
        """Slicer calls it before it closes, and before a reload."""

    def onReload(self):
        slicer.util.reloadScriptedModule(self.moduleName)


class ScriptedLoadableModuleLogic:
    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def createParameterNode(self):
        node = slicer.vtkMRMLScriptedModuleNode()
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node

    def getParameterNode(self):
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.AddNode(self.createParameterNode())
        # Closing the scene empties a singleton but keeps it.
        node.SetAttribute("ModuleName", self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    def __init__(self, methodName="runTest"):
        super().__init__(methodName)

    def runTest(self):
        """As Slicer's: every method with "test" in its name."""
        for name in [name for name in dir(self) if "test" in name and callable(getattr(self, name))]:
            self.setUp()
            getattr(self, name)()
            self.tearDown()

    def delayDisplay(self, message, requestedDelay=None, msec=None):
        slicer.app.processEvents()


class ModulePanel(qMRMLWidget):
    """The widget that Slicer puts a module's panel into."""

    def __init__(self):
        super().__init__()
        self.isEntered = False
        self.setLayout(qt.QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)
        self.object = None  # the module's own widget object
        self.reload = None  # function that makes the module's widget anew, as ``slicer.util.reloadScriptedModule`` asks

    def self(self):
        """As ``qSlicerScriptedLoadableModuleWidget.self`` in Slicer."""
        return self.object


def install() -> None:
    """Make the names that a scripted module imports; once a process."""
    if "slicer.ScriptedLoadableModule" in sys.modules:
        return
    application = scene.boot()
    application.processEvents = qt.QApplication.processEvents
    application.topLevelWidgets = qt.QApplication.topLevelWidgets
    qt.QUiLoader = FormLoader
    baseClasses = (ScriptedLoadableModule, ScriptedLoadableModuleWidget, ScriptedLoadableModuleLogic)
    names = {each.__name__: each for each in (*baseClasses, ScriptedLoadableModuleTest)}
    _addModule("ScriptedLoadableModule", **names, __all__=list(names))
    _addModule("i18n", tr=lambda text: text, translate=lambda context, text: text)
    wrapperNames = ("parameterNodeWrapper", "Choice", "WithinRange")
    _addModule("parameterNodeWrapper", **{name: getattr(parameter_node, name) for name in wrapperNames})


def _addModule(name: str, **members) -> None:
    module = types.ModuleType(f"slicer.{name}")
    vars(module).update(members)
    sys.modules[module.__name__] = module
    setattr(slicer, name, module)


def loadModule(path):
    """Import a scripted module and make its module object, as the factory does when Slicer starts."""
    install()
    name = Path(path).stem
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    parent = types.SimpleNamespace(path=str(path))
    getattr(module, name)(parent)
    setattr(slicer.modules, name.lower(), parent)
    return module


def openModule(module, **injected):
    """Make a module's panel and enter it, as when the user chooses the module; returns the module's widget object.

    Args:
        injected: further arguments of the widget class.
    """
    name = module.__name__
    panel = ModulePanel()

    def makeWidget():
        widget = getattr(sys.modules[name], f"{name}Widget")(panel, **injected)
        setattr(slicer.modules, f"{name}Widget", widget)
        panel.object = widget
        widget.setup()
        return widget

    panel.reload = makeWidget
    getattr(slicer.modules, name.lower()).widgetRepresentation = lambda: panel
    widget = makeWidget()
    panel.isEntered = True
    widget.enter()
    return widget


def picture(widget, path) -> None:
    """Write the panel as it looks now to a PNG file."""
    widget.parent.resize(420, 460)
    widget.parent.show()
    slicer.app.processEvents()
    if not widget.parent.grab().save(str(path)):
        raise OSError(f"Cannot write {path}")
