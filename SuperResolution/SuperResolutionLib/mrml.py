"""Volume nodes and the engine: a node becomes a Volume, a result becomes nodes. Only mrml*.py touches MRML.

Names are camelCase here, as everywhere a Slicer developer calls. Geometry lives on the node (IJKToRAS in millimetres),
never on its image data. Needs no widgets and no application: a scene is enough.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from .errors import DataError
from .volume import Volume, check_geometry

PROVENANCE_PREFIX = "SuperResolution."


def volumeFromNode(node, copy: bool = True) -> Volume:
    """Return a volume node's voxels and geometry.

    A parent transform is not applied: the result gets the same parent.

    Args:
        node: vtkMRMLScalarVolumeNode or vtkMRMLVectorVolumeNode.
        copy: copy the voxels, so that the scene may change while the engine works on them. Otherwise the array is a
            view of the scene's memory, which it keeps alive: for a reader that is quick or writes them to file.

    Returns:
        Volume with array (k, j, i) for scalar voxels or (k, j, i, c) for color, in stored units.

    Raises:
        DataError: if there is no node, it is not an image (a label map, a model), or it holds no voxels.
    """
    checkInputNode(node)
    image = node.GetImageData()
    i, j, k = image.GetDimensions()
    channels = image.GetNumberOfScalarComponents()
    shape = (k, j, i) if channels == 1 else (k, j, i, channels)
    voxels = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)
    voxels = voxels.copy() if copy else voxels
    return Volume(voxels, arrayToRAS(node), name=node.GetName() or "", source=sourceOf(node))


def checkInputNode(node) -> None:
    """Raise DataError, with a sentence for the user, if this node cannot be upscaled."""
    if node is None:
        raise DataError("No input volume is chosen.")
    name = node.GetName()
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise DataError(f"'{name}' is a label map; super-resolution works on images. Choose the image it belongs to.")
    if not isImageVolume(node):
        raise DataError(f"'{name}' is not a scalar or color volume.")
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        raise DataError(f"'{name}' holds no voxels.")
    check_geometry(ijkToRAS(node))


def isImageVolume(node) -> bool:
    """Whether a node is a scalar or color volume, with or without voxels; label maps and diffusion volumes are not."""
    others = ("LabelMapVolume", "TensorVolume", "DiffusionWeightedVolume")
    isOther = any(node.IsA(f"vtkMRML{kind}Node") for kind in others)
    # To MRML a color volume is a kind of tensor volume, and each of them a kind of scalar volume.
    return _isColor(node) or bool(node.IsA("vtkMRMLScalarVolumeNode") and not isOther)


def firstImageVolume():
    """The first volume of the scene that a person would choose as input; None if there is none."""
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return next((node for node in volumes if isImageVolume(node) and not node.GetHideFromEditors()), None)


def channelsOf(node) -> int:
    """Number of components a voxel of this node has; 1 if there is no node or no image yet."""
    image = node.GetImageData() if node is not None else None
    return image.GetNumberOfScalarComponents() if image is not None else 1


def ijkToRAS(node) -> np.ndarray:
    """(4, 4) float64 matrix of a volume node, from voxel indices to RAS in millimetres."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def arrayToRAS(node) -> np.ndarray:
    """(4, 4) float64 matrix from the indices (i, j, k) of a node's voxel array to RAS in millimetres."""
    # The first stored voxel need not have index 0: MRML maps the indices of the extent to RAS.
    firstVoxel = np.eye(4)
    firstVoxel[:3, 3] = node.GetImageData().GetExtent()[::2]
    return ijkToRAS(node) @ firstVoxel


def sourceOf(node) -> dict[str, str]:
    """What the scene knows about where a volume came from, for provenance: text to text, unknown entries left out."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    item = hierarchy.GetItemByDataNode(node)
    storage = node.GetStorageNode()
    source = {"path": storage.GetFileName() if storage is not None else None}
    if item != hierarchy.GetInvalidItemID():
        source["SeriesInstanceUID"] = hierarchy.GetItemUID(item, constants.GetDICOMUIDName())
        source["Modality"] = hierarchy.GetItemAttribute(item, constants.GetDICOMAttributePrefix() + "Modality")
    return {key: value for key, value in source.items() if value}


def addResult(inputNode, result, srNode=None, bicubicNode=None, part: str = ""):
    """Put a result into the scene, beside its input.

    Nodes that are not given are created and named by ``outputName``; given ones keep their name and lose their former
    voxels. Both get the input's window and level, color table, inversion, interpolation,
    parent transform, units and place in the subject hierarchy, so that they can be compared fairly. A given node that a
    sequence browser plays is played no more.

    Args:
        inputNode: the volume node that was upscaled; it must still be in the scene.
        result: UpscaleResult of the engine.
        srNode: volume node to fill, of the input's class, or None.
        bicubicNode: the same for the bicubic volume; left alone if the result has none.
        part: which part of the input was upscaled, for the name; empty for all of it.

    Returns:
        (SR node, bicubic node or None).

    Raises:
        DataError: if the input left the scene or a given node cannot take the result. A failure of any kind leaves
            no new node behind.
    """
    if not slicer.mrmlScene.IsNodePresent(inputNode):
        raise DataError("The input volume was removed from the scene, so its result has no place there.")
    checkOutputNodes(inputNode, srNode, bicubicNode)
    scale = scaleBetween(inputNode, result.sr)
    outputs = outputsOf(result)
    # Everything that needs memory is built before the scene is touched.
    images = [imageFromArray(volume.array) for _label, volume, _provenance in outputs]
    nodes, created = [], []
    try:
        for (label, volume, provenance), node, image in zip(outputs, (srNode, bicubicNode), images):
            if node is None:
                node = createOutputNode(inputNode, outputName(inputNode, label, scale, part))
                created.append(node)
            _stopPlaying(node)
            copyPresentation(inputNode, node)
            fillNode(node, image, volume.ijk_to_ras)  # after it: whoever watches the voxels finds everything done
            setProvenance(node, provenance)
            nodes.append(node)
    except Exception:
        for node in created:
            removeVolume(node)
        raise
    return nodes[0], nodes[1] if len(nodes) > 1 else None


def outputsOf(result) -> list[tuple]:
    """What a result holds: ("SR" or "bicubic", Volume, provenance) each, SR first."""
    outputs = [("SR", result.sr, result.provenance)]
    if result.bicubic is not None:
        outputs.append(("bicubic", result.bicubic, result.bicubic_provenance))
    return outputs


def checkOutputNodes(inputNode, *outputNodes) -> None:
    """Raise DataError if one of these nodes (None is skipped) cannot take a result of the input.

    Meant to be called before a long run as well as after it.
    """
    given = [node for node in outputNodes if node is not None]
    for node in given:
        if node is inputNode:
            raise DataError(f"'{node.GetName()}' is the input; choose another output volume or let a new one be made.")
        if node.GetClassName() != outputClass(inputNode):
            kind = "color" if _isColor(inputNode) else "scalar"
            raise DataError(f"The output volume '{node.GetName()}' is of another kind; a {kind} volume is needed.")
    if len({node.GetID() for node in given}) < len(given):
        raise DataError("The super-resolved and the bicubic volume must be two different nodes.")


def outputName(inputNode, kind: str, scale: int, part: str = "") -> str:
    """What an output volume is called: "<input> SR x4", and "region" or "slice 7" behind it if it is but a part."""
    return f"{inputNode.GetName() if inputNode is not None else 'Volume'} {kind} x{scale} {part}".rstrip()


def createOutputNode(inputNode, name: str):
    """Add an empty volume node of the input's class to the scene; a name that is taken gets a number."""
    return slicer.mrmlScene.AddNewNodeByClass(outputClass(inputNode), slicer.mrmlScene.GenerateUniqueName(name))


def imageFromArray(array: np.ndarray):
    """vtkImageData that holds a copy of an array (k, j, i) or (k, j, i, c); origin 0 and spacing 1, as MRML wants."""
    components = 1 if array.ndim == 3 else array.shape[3]
    k, j, i = array.shape[:3]
    flat = np.ascontiguousarray(array).reshape(-1) if components == 1 else array.reshape(-1, components)
    scalars = numpy_support.numpy_to_vtk(np.ascontiguousarray(flat), deep=True)
    scalars.SetName("ImageScalars")
    image = vtk.vtkImageData()
    image.SetDimensions(i, j, k)
    image.GetPointData().SetScalars(scalars)
    return image


def copyPresentation(inputNode, outputNode) -> None:
    """Show the output as the input is shown: display, parent transform, units, place in the subject hierarchy."""
    _copyDisplay(inputNode, outputNode)
    outputNode.SetAndObserveTransformNodeID(inputNode.GetTransformNodeID())
    outputNode.SetVoxelValueQuantity(inputNode.GetVoxelValueQuantity())
    outputNode.SetVoxelValueUnits(inputNode.GetVoxelValueUnits())
    _moveBesideInput(inputNode, outputNode)


def setProvenance(node, provenance: dict[str, str]) -> None:
    """Write provenance as node attributes ``SuperResolution.<key>``; those of an earlier result are removed."""
    for name in node.GetAttributeNames():
        if name.startswith(PROVENANCE_PREFIX):
            node.RemoveAttribute(name)
    for key, value in provenance.items():
        node.SetAttribute(PROVENANCE_PREFIX + key, str(value))


def provenanceOf(node) -> dict[str, str]:
    """The provenance that ``setProvenance`` wrote on a node; empty for any other node."""
    names = [name for name in node.GetAttributeNames() if name.startswith(PROVENANCE_PREFIX)]
    return {name[len(PROVENANCE_PREFIX) :]: node.GetAttribute(name) for name in names}


def _isColor(node) -> bool:
    return bool(node.IsA("vtkMRMLVectorVolumeNode"))


def outputClass(inputNode) -> str:
    """The class of node that takes results of this input."""
    # Not GetClassName(): a live ultrasound stream, for example, is a vector volume whose result is a plain one.
    return "vtkMRMLVectorVolumeNode" if _isColor(inputNode) else "vtkMRMLScalarVolumeNode"


def scaleBetween(inputNode, volume: Volume) -> int:
    """How many times finer a volume's grid is than that of a node."""
    inputSpacing = np.linalg.norm(ijkToRAS(inputNode)[:3, :3], axis=0)
    return int(round(float(np.max(inputSpacing / np.array(volume.spacing)))))


def fillNode(node, image, matrix: np.ndarray) -> None:
    """Give a volume node new voxels (vtkImageData) and a new (4, 4) IJK-to-RAS matrix at once."""
    with slicer.util.NodeModify(node):
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
        node.SetAndObserveImageData(image)
        node.StorableModified()


def _stopPlaying(node) -> None:
    """Let no sequence browser write its next time point over a node; the sequence that it showed stays in the scene."""
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"):
        sequence = browser.GetSequenceNode(node)
        if sequence is not None:
            leaveSequence(browser, sequence, node)


def leaveSequence(browser, sequence, node) -> None:
    """Take a sequence, and the node that shows it, out of a browser; both stay in the scene."""
    node.RemoveAttribute("proxyNodeCopy")  # the browser would take a node of its own making out of the scene
    with slicer.util.NodeModify(browser):
        browser.RemoveSynchronizedSequenceNode(sequence.GetID())


def _copyDisplay(inputNode, outputNode) -> None:
    for node in (inputNode, outputNode):
        if node.GetDisplayNode() is None:
            node.CreateDefaultDisplayNodes()
    source, target = inputNode.GetDisplayNode(), outputNode.GetDisplayNode()
    with slicer.util.NodeModify(target):
        # Automatic levels would be computed from each volume's own values, and the comparison would not be fair.
        target.AutoWindowLevelOff()
        target.SetWindowLevel(source.GetWindow(), source.GetLevel())
        target.AutoThresholdOff()
        target.SetThreshold(source.GetLowerThreshold(), source.GetUpperThreshold())
        target.SetApplyThreshold(source.GetApplyThreshold())
        target.SetInterpolate(source.GetInterpolate())
        target.SetInvertDisplayScalarRange(source.GetInvertDisplayScalarRange())
        target.SetAndObserveColorNodeID(source.GetColorNodeID() or "")  # color images have none


def _moveBesideInput(inputNode, outputNode) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    invalid = hierarchy.GetInvalidItemID()
    inputItem = hierarchy.GetItemByDataNode(inputNode)
    parent = hierarchy.GetSceneItemID() if inputItem == invalid else hierarchy.GetItemParent(inputItem)
    item = hierarchy.GetItemByDataNode(outputNode)
    if item == invalid:  # the application makes items for new nodes, a bare scene does not
        hierarchy.CreateItem(parent, outputNode)
    else:
        hierarchy.SetItemParent(item, parent)


def removeVolume(node) -> None:
    """Remove a volume node from the scene with what belongs to it: display, storage, place in the hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node)
    if item != hierarchy.GetInvalidItemID():  # the application would remove it, a bare scene does not
        hierarchy.RemoveItem(item, False)
    for each in (node, node.GetDisplayNode(), node.GetStorageNode()):
        if each is not None:
            slicer.mrmlScene.RemoveNode(each)
