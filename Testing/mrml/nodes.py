"""Nodes and results that several tests of the MRML files use."""

from __future__ import annotations

import numpy as np


def obliqueMatrix() -> np.ndarray:
    """IJK to RAS with three different spacings, turned about two axes, a left-handed direction and an offset."""
    a, b = np.radians((25.0, -40.0))
    aboutS = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    aboutR = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    matrix = np.eye(4)
    matrix[:3, :3] = aboutS @ aboutR @ np.diag((0.71, -0.83, 3.3))
    matrix[:3, 3] = (-112.5, 37.25, 901.0)
    return matrix


def refined(matrix: np.ndarray, scale: int) -> np.ndarray:
    """The grid that is ``scale`` times finer along i and j and covers the same space."""
    finer = np.diag((1 / scale, 1 / scale, 1.0, 1.0))
    finer[:2, 3] = (1 / scale - 1) / 2
    return matrix @ finer


def addVolume(array: np.ndarray, name: str = "CT head"):
    """An oblique volume node with these voxels, (k, j, i) or (k, j, i, c)."""
    import slicer

    className = "vtkMRMLVectorVolumeNode" if array.ndim == 4 else "vtkMRMLScalarVolumeNode"
    return slicer.util.addVolumeFromArray(array, ijkToRAS=obliqueMatrix(), name=name, nodeClassName=className)


def resultFor(node, scale: int = 4, bicubic: bool = True):
    """What the engine returns, made by repeating voxels; the bicubic volume is 3 units brighter."""
    from SuperResolutionLib import mrml
    from SuperResolutionLib.upscaler import UpscaleResult
    from SuperResolutionLib.volume import Volume

    volume = mrml.volumeFromNode(node)
    array = volume.array.repeat(scale, axis=1).repeat(scale, axis=2)
    output = Volume(array, refined(volume.ijk_to_ras, scale))
    provenance = {"Method": "super-resolution", "Model": "edsr-ise-general-x4-psnr"}
    provenance |= {"Scale": str(scale), "Source": "1.2.3"}
    return UpscaleResult(output, output.with_array(array + array.dtype.type(3)) if bicubic else None, provenance)


def boundsOf(node) -> np.ndarray:
    """RAS bounds of a volume node, in millimetres, its parent transform included."""
    bounds = np.zeros(6)
    node.GetRASBounds(bounds)
    return bounds


def addSequence(arrays, indexValues, name: str = "Heart"):
    """A browser that plays a sequence of these voxels, oblique; its proxy has the given name.

    Returns:
        vtkMRMLSequenceBrowserNode.
    """
    import slicer

    slicer.modules.sequences.logic()  # which updates proxies
    className = "vtkMRMLVectorVolumeNode" if arrays[0].ndim == 4 else "vtkMRMLScalarVolumeNode"
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", f"{name} sequence")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    for array, value in zip(arrays, indexValues):
        volume = getattr(slicer, className)()
        volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(obliqueMatrix()))
        slicer.util.updateVolumeFromArray(volume, array)
        sequence.SetDataNodeAtValue(volume, value)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{name} browser")
    proxy = slicer.mrmlScene.AddNewNodeByClass(className, name)
    with slicer.util.NodeModify(browser):
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        browser.AddProxyNode(proxy, sequence, False)
    browser.SetSelectedItemNumber(0)
    proxy.CreateDefaultDisplayNodes()
    return browser


def countByClass(scene) -> dict[str, int]:
    """How many nodes of each class a scene has, and under "items" those of its subject hierarchy."""
    import slicer

    counts = {}
    for index in range(scene.GetNumberOfNodes()):
        name = scene.GetNthNode(index).GetClassName()
        counts[name] = counts.get(name, 0) + 1
    counts.setdefault("vtkMRMLSubjectHierarchyNode", 1)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    return {**counts, "items": hierarchy.GetNumberOfItems()}
