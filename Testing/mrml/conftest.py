"""A real MRML scene for each test (the slicer-core wheel), without Qt."""

from __future__ import annotations

import types

import pytest


@pytest.fixture
def scene():
    # Imported here: a conftest that fails to import stops every test, not only these.
    from Testing.panel_host.scene import boot
    from Testing.panel_host.strict import failOnHiddenErrors

    application = boot()
    application.mrmlScene().Clear(0)
    with failOnHiddenErrors():
        yield application.mrmlScene()
        application.mrmlScene().Clear(0)


@pytest.fixture
def views(scene):
    """Slice views of the scene, made when a layout asks for them: layoutNode, logic(name) and setSize(name, w, h)."""
    import slicer

    from SuperResolutionLib.mrml_offscreen import addSliceLogic, removeSliceLogic

    layoutLogic = slicer.vtkMRMLLayoutLogic()
    layoutLogic.SetMRMLScene(scene)
    layoutNode = layoutLogic.GetLayoutNode()
    layoutNode.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    logics = {}

    def logic(name):
        sliceNode = scene.GetNodeByID(f"vtkMRMLSliceNode{name}")
        if name not in logics and sliceNode is not None:
            logics[name] = addSliceLogic(slicer.app.applicationLogic(), sliceNode, 200, 160)
        return logics.get(name)

    yield types.SimpleNamespace(layoutNode=layoutNode, logic=logic)
    for each in logics.values():
        removeSliceLogic(slicer.app.applicationLogic(), each)
    layoutLogic.SetMRMLScene(None)
