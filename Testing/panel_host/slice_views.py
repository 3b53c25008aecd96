"""Slice views without a window: Slicer's own slice logics, and the images that they compute on the processor."""

from __future__ import annotations

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy


def addSliceLogic(sliceNode, width: int, height: int):
    """A slice logic for a slice node, as Slicer's slice widget makes one; linked by the application's logic."""
    application = slicer.app.applicationLogic()
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(slicer.mrmlScene)
    application.GetSliceLogics().AddItem(logic)
    logic.SetSliceNode(sliceNode)
    logic.ResizeSliceNode(width, height)
    return logic


def removeSliceLogic(logic) -> None:
    """The end of ``addSliceLogic``; its nodes stay in the scene."""
    slicer.app.applicationLogic().GetSliceLogics().RemoveItem(logic)
    logic.SetMRMLScene(None)


def sliceImage(logic) -> np.ndarray | None:
    """(height, width, 4) uint8 RGBA of what a slice logic shows, on black, top line first; None if it shows nothing."""
    connection = logic.GetImageDataConnection()
    if connection is None:
        return None
    producer = connection.GetProducer()
    producer.Update()
    image = producer.GetOutputDataObject(connection.GetIndex())
    width, height, _depth = image.GetDimensions()
    if image.GetPointData().GetScalars() is None or not width * height:
        return None
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1]
    shown = np.full((height, width, 4), 255, np.uint8)
    shown[..., :3] = pixels[..., :3]
    if pixels.shape[2] == 4:  # what lies outside the volume is transparent
        shown[..., :3][pixels[..., 3] == 0] = 0
    return shown
