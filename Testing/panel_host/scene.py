"""A MRML scene with the application objects that ``slicer.util`` and the panel ask for; no Qt, no window."""

from __future__ import annotations

import tempfile
import types

import slicer
import vtk


class HeadlessApplication:
    """What ``slicer.app`` offers when Slicer runs with ``--testing --no-main-window``, as far as it is used here."""

    applicationName = "Slicer"
    majorVersion = 5
    minorVersion = 11

    def __init__(self):
        self.temporaryPath = tempfile.mkdtemp(prefix="slicer-host-")
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
        return None  # as with --no-main-window: the panel has to live with it

    def topLevelWidgets(self) -> list:
        return []

    def processEvents(self) -> None:
        """Nothing waits here without Qt; ``scripted_module`` puts Qt's own in its place."""


class _Module:
    def __init__(self, logic):
        self._logic = logic

    def logic(self):
        return self._logic


def boot() -> HeadlessApplication:
    """Make ``slicer.app``, ``slicer.mrmlScene`` and ``slicer.modules``; once a process, later calls return the same."""
    if not hasattr(slicer, "app"):
        slicer.app = HeadlessApplication()
        slicer.mrmlScene = slicer.app.mrmlScene()
        volumesLogic = slicer.vtkSlicerVolumesLogic()
        volumesLogic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        volumesLogic.SetMRMLScene(slicer.mrmlScene)
        slicer.modules = types.SimpleNamespace(volumes=_Module(volumesLogic))
    return slicer.app
