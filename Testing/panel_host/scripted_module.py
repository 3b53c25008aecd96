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


class ScriptedLoadableModuleWidget:
    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent if parent is not None else ModulePanel()
        self.layout = self.parent.layout()
        if parent is None:  # as Slicer does
            self.setup()
            self.parent.show()

    def resourcePath(self, filename):
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", filename)

    def setup(self):
        """Slicer adds the developer section here."""

    def onReload(self):
        slicer.util.reloadScriptedModule(self.moduleName)


class ScriptedLoadableModuleLogic:
    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self):
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag(self.moduleName)
            node.SetName(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        # Closing the scene empties a singleton but keeps it.
        node.SetAttribute("ModuleName", self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    def __init__(self, methodName="runTest"):
        super().__init__(methodName)

    def runTest(self):
        """Overridden by the module's test."""

    def delayDisplay(self, message, msec=0):
        slicer.app.processEvents()


class ModulePanel(qMRMLWidget):
    """The widget that Slicer puts a module's panel into."""

    def __init__(self):
        super().__init__()
        self.isEntered = False
        self.setLayout(qt.QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)
        self.reload = None  # function that makes the module's widget anew, as ``slicer.util.reloadScriptedModule`` asks


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
    parent = types.SimpleNamespace(path=str(path), title="", categories=[], dependencies=[], contributors=[])
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
