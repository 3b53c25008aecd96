"""Slice views without a window: Slicer's own slice logics, and the images that they compute on the processor.

They reslice, window, interpolate and link as the application's slice views do, and need no OpenGL. Markups,
segmentations and annotations, which Slicer draws with OpenGL, are not in the images.
"""

from __future__ import annotations

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy


def addSliceLogic(applicationLogic, sliceNode, width: int, height: int):
    """A slice logic for a slice node, as Slicer's slice widget makes one; linked by the application's logic."""
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(applicationLogic)
    logic.SetMRMLScene(slicer.mrmlScene)
    applicationLogic.GetSliceLogics().AddItem(logic)
    logic.SetSliceNode(sliceNode)
    logic.ResizeSliceNode(width, height)
    return logic


def addSliceNode(name: str):
    """A slice node with the singleton tag ``name``, shown in the layout: links act between such nodes only."""
    sliceNode = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSliceNode")  # as the scene's default, with orientations
    sliceNode.UnRegister(None)
    sliceNode.SetSingletonTag(name)
    sliceNode.SetName(name)
    sliceNode.SetLayoutName(name)
    sliceNode = slicer.mrmlScene.AddNode(sliceNode)
    sliceNode.SetOrientation("Axial")
    sliceNode.SetMappedInLayout(True)
    return sliceNode


def removeSliceLogic(applicationLogic, logic) -> None:
    """The end of ``addSliceLogic``; its nodes stay in the scene."""
    applicationLogic.GetSliceLogics().RemoveItem(logic)
    logic.SetMRMLScene(None)


def imageStamp(logic) -> int:
    """A number that differs between two images of a view, and is kept while nothing changed; 0 if it shows nothing."""
    image = _updatedImage(logic)
    return 0 if image is None else image.GetMTime()


def sliceImage(logic) -> np.ndarray | None:
    """(height, width, 4) uint8 RGBA of what a slice logic shows, on black, top line first; None if it shows nothing."""
    image = _updatedImage(logic)
    if image is None:
        return None
    width, height, _depth = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1]
    shown = np.full((height, width, 4), 255, np.uint8)
    shown[..., :3] = pixels[..., :3]
    if pixels.shape[2] == 4:  # what lies outside the volume is transparent
        shown[..., :3][pixels[..., 3] == 0] = 0
    return shown


def _updatedImage(logic):
    """vtkImageData of what a slice logic shows; the pipeline computes only what changed."""
    connection = logic.GetImageDataConnection()
    if connection is None:
        return None
    producer = connection.GetProducer()
    producer.Update()
    image = producer.GetOutputDataObject(connection.GetIndex())
    width, height, _depth = image.GetDimensions()
    return image if width * height and image.GetPointData().GetScalars() is not None else None
