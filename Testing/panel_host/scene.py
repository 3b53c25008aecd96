"""A MRML scene with the application objects that ``slicer.util`` and the panel ask for; no Qt, no window."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import types

import slicer
import vtk

VOLUME_OPTIONS = {"labelmap": 1, "center": 2, "singleFile": 4, "discardOrientation": 16}
AUTO_WINDOW_LEVEL = 8

#: Module logics that are made when they are first asked for: ``slicer.modules.<name>.logic()``.
MODULE_LOGICS = {
    "volumes": "vtkSlicerVolumesLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "sequences": "vtkSlicerSequencesLogic",
    "transforms": "vtkSlicerTransformLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
}
#: Those whose node classes a scene file may name: they must have registered them before it is read.
NEEDED_TO_LOAD = ("volumes", "markups", "segmentations", "sequences", "transforms", "subjecthierarchy")


class HeadlessApplication:
    """What ``slicer.app`` offers when Slicer runs with ``--testing --no-main-window``, as far as it is used here.

    ``layoutManager`` answers None, as it does there, until a test puts one in its place with ``useLayoutManager``.
    """

    applicationName = "Slicer"
    majorVersion = 5
    minorVersion = 11

    def __init__(self):
        self.temporaryPath = tempfile.mkdtemp(prefix="slicer-host-")
        atexit.register(shutil.rmtree, self.temporaryPath, ignore_errors=True)
        self._layoutManager = None
        self._io = CoreIOManager(self)
        self._scene = slicer.vtkMRMLScene()
        self._logic = slicer.vtkSlicerApplicationLogic()
        self._logic.SetTemporaryPath(self.temporaryPath)
        self._logic.SetMRMLScene(self._scene)
        self._logic.SetSliceLogics(vtk.vtkCollection())
        self._logic.SetViewLogics(vtk.vtkCollection())
        # Display nodes look up their color table in the scene, slice nodes their orientation ("Axial").
        self._logic.GetColorLogic().SetMRMLScene(self._scene)
        self._logic.GetColorLogic().AddDefaultColorNodes()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self._scene, True)

    def mrmlScene(self):
        return self._scene

    def applicationLogic(self):
        return self._logic

    def testingEnabled(self) -> bool:
        return True  # slicer.util then logs its message boxes instead of opening them

    def layoutManager(self):
        return self._layoutManager

    def useLayoutManager(self, layoutManager) -> None:
        self._layoutManager = layoutManager

    def connect(self, signal: str, slot) -> bool:
        """Signals of the application, such as ``startupCompleted()``, are never sent here."""
        return True

    def coreIOManager(self):
        return self._io

    def topLevelWidgets(self) -> list:
        return []

    def processEvents(self) -> None:
        """Nothing waits here without Qt; ``scripted_module`` puts Qt's own in its place."""

    def setOverrideCursor(self, shape) -> None:
        """There is no mouse here."""

    def restoreOverrideCursor(self) -> None:
        """See ``setOverrideCursor``."""

    def pauseRender(self) -> None:
        """Nothing is rendered by itself."""

    def resumeRender(self) -> None:
        """See ``pauseRender``."""


class CoreIOManager:
    """Reads and writes scenes (.mrb, .mrml) and volumes, for ``slicer.util.saveScene``, ``loadScene`` and the like."""

    def __init__(self, application):
        self._application = application
        self._remote = None

    def fileType(self, path) -> str:
        return "SceneFile" if str(path).lower().endswith((".mrb", ".mrml")) else "VolumeFile"

    def fileWriterFileType(self, node) -> str:
        return "Node"

    def saveNodes(self, fileType, properties, messages=None) -> bool:
        scene, path = self._application.mrmlScene(), str(properties["fileName"])
        if fileType != "SceneFile":
            return self._saveNode(scene.GetNodeByID(properties["nodeID"]), path)
        if path.endswith(".mrb"):
            return bool(scene.WriteToMRB(path, None))
        scene.SetRootDirectory(os.path.dirname(path))
        scene.SetURL(path)
        return bool(scene.Commit())

    def loadNodes(self, fileType, properties, nodes, messages=None) -> bool:
        scene, path = self._application.mrmlScene(), str(properties["fileName"])
        for name in NEEDED_TO_LOAD:
            getattr(slicer.modules, name).logic()
        self._prepareRemoteFiles(scene)
        if fileType == "SceneFile":
            return self._loadScene(scene, path, bool(properties.get("clear", False)))
        options = sum(bit for name, bit in VOLUME_OPTIONS.items() if properties.get(name))
        options |= AUTO_WINDOW_LEVEL if properties.get("autoWindowLevel", True) else 0
        name = properties.get("name") or os.path.basename(path).split(".")[0]
        node = slicer.modules.volumes.logic().AddArchetypeVolume(path, name, options, None)
        if node is not None:
            nodes.AddItem(node)
        return node is not None

    @staticmethod
    def _loadScene(scene, path: str, clear: bool) -> bool:
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear))
        scene.SetURL(path)
        return bool(scene.Connect() if clear else scene.Import())

    @staticmethod
    def _saveNode(node, path: str) -> bool:
        if node.GetStorageNode() is None and not node.AddDefaultStorageNode():
            return False
        node.GetStorageNode().SetFileName(path)
        return bool(node.GetStorageNode().WriteData(node))

    def _prepareRemoteFiles(self, scene) -> None:
        # MRML unpacks a .mrb through the cache of its remote files.
        if self._remote is None:
            self._remote = slicer.vtkMRMLRemoteIOLogic(), slicer.vtkDataIOManagerLogic()
            remote, files = self._remote
            remote.SetMRMLScene(scene)
            remote.GetCacheManager().SetRemoteCacheDirectory(self._application.temporaryPath)
            files.SetMRMLApplicationLogic(self._application.applicationLogic())
            files.SetMRMLScene(scene)
            files.SetAndObserveDataIOManager(remote.GetDataIOManager())
            remote.AddDataIOToScene()


class _Module:
    """A module whose logic is made when it is first asked for."""

    def __init__(self, className: str):
        self._className = className
        self._logic = None

    def logic(self):
        if self._logic is None:
            self._logic = getattr(slicer, self._className)()
            self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
            self._logic.SetMRMLScene(slicer.mrmlScene)
        return self._logic


def boot() -> HeadlessApplication:
    """Make ``slicer.app``, ``slicer.mrmlScene`` and ``slicer.modules``; once a process, later calls return the same."""
    if not hasattr(slicer, "app"):
        slicer.app = HeadlessApplication()
        slicer.mrmlScene = slicer.app.mrmlScene()
        slicer.modules = types.SimpleNamespace(**{name: _Module(each) for name, each in MODULE_LOGICS.items()})
    return slicer.app
