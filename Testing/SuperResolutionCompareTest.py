"""The linked comparison on real slice logics: each view keeps its volume, and all show the same place alike.

Slicer runs this file as plain unittest, without a main window and so without a layout; pytest runs the same file in the
host. The views are made here.
"""

import unittest

import numpy as np
import slicer
import vtk

from SuperResolutionLib import mrml_layout
from SuperResolutionLib.mrml_compare import Comparison

VIEWS = (mrml_layout.SR_VIEW, mrml_layout.PARTNER_VIEW, mrml_layout.ORIGINAL_VIEW, mrml_layout.DIFFERENCE_VIEW)
SCALE = 4


class SuperResolutionCompareTest(unittest.TestCase):
    def setUp(self):
        slicer.mrmlScene.Clear()
        # Cleanups run last first: a slice logic that still had the scene would leave a node of its view in it.
        self.addCleanup(slicer.mrmlScene.Clear)
        # Slice nodes look up their orientation by name in the scene.
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(slicer.mrmlScene, True)
        if slicer.app.applicationLogic().GetSliceLogics() is None:  # there is no layout without a main window
            slicer.app.applicationLogic().SetSliceLogics(vtk.vtkCollection())
        self.logics = {name: self.makeView(name) for name in VIEWS}
        low = np.random.default_rng(5).integers(0, 1000, (6, 16, 20)).astype(np.int16)
        high = low.repeat(SCALE, axis=1).repeat(SCALE, axis=2)
        self.inputVolume = addVolume(low, "Input")
        self.srVolume = addVolume(high + np.int16(7), "SR", SCALE)
        self.bicubicVolume = addVolume(high, "Bicubic", SCALE)
        self.comparison = Comparison(self.logics.get)
        self.addCleanup(self.comparison.close)

    def makeView(self, name):
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        logic.SetMRMLScene(slicer.mrmlScene)
        slicer.app.applicationLogic().GetSliceLogics().AddItem(logic)
        sliceNode = slicer.vtkMRMLSliceNode()
        sliceNode.SetName(name)
        sliceNode.SetLayoutName(name)
        # A view survives the closing of the scene, so that there may be one of this name: it is then the one to take.
        logic.SetSliceNode(slicer.mrmlScene.AddNode(sliceNode))
        logic.ResizeSliceNode(200, 160)
        self.addCleanup(logic.SetMRMLScene, None)
        self.addCleanup(slicer.app.applicationLogic().GetSliceLogics().RemoveItem, logic)
        return logic

    def show(self, **choices):
        self.comparison.show(self.inputVolume, self.srVolume, self.bicubicVolume, **choices)

    def shownIn(self, name):
        return slicer.mrmlScene.GetNodeByID(self.logics[name].GetSliceCompositeNode().GetBackgroundVolumeID() or "")

    def test_eachViewShowsItsVolume(self):
        self.show(original=True, difference=True)
        self.assertIs(self.shownIn(mrml_layout.SR_VIEW), self.srVolume)
        self.assertIs(self.shownIn(mrml_layout.PARTNER_VIEW), self.bicubicVolume)
        self.assertIs(self.shownIn(mrml_layout.ORIGINAL_VIEW), self.inputVolume)
        difference = slicer.util.arrayFromVolume(self.shownIn(mrml_layout.DIFFERENCE_VIEW))
        np.testing.assert_array_equal(difference, np.full_like(difference, 7))

    def test_scrollingOneViewScrollsTheOther(self):
        self.show()
        first, second = (self.logics[name] for name in (mrml_layout.SR_VIEW, mrml_layout.PARTNER_VIEW))
        self.assertAlmostEqual(first.GetSliceOffset(), second.GetSliceOffset())
        wanted = first.GetSliceOffset() + 3.0
        first.StartSliceOffsetInteraction()
        first.SetSliceOffset(wanted)
        first.EndSliceOffsetInteraction()
        self.assertAlmostEqual(second.GetSliceOffset(), wanted)
        self.assertIs(self.shownIn(mrml_layout.PARTNER_VIEW), self.bicubicVolume)

    def test_zoomingOneViewZoomsTheOther(self):
        self.show()
        first, second = (self.logics[name].GetSliceNode() for name in (mrml_layout.SR_VIEW, mrml_layout.PARTNER_VIEW))
        width, height, depth = first.GetFieldOfView()
        logic = self.logics[mrml_layout.SR_VIEW]
        logic.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.FieldOfViewFlag)
        first.SetFieldOfView(width / 2, height / 2, depth)
        logic.EndSliceNodeInteraction()
        self.assertAlmostEqual(second.GetFieldOfView()[0], width / 2)

    def test_windowAndLevelAreShared(self):
        self.show()
        display = self.srVolume.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(321.0, 123.0)
        other = self.bicubicVolume.GetDisplayNode()
        self.assertEqual((other.GetWindow(), other.GetLevel()), (321.0, 123.0))

    def test_flickerShowsTheOtherVolumeInTheSameView(self):
        self.show()
        self.comparison.flicker()
        self.assertIs(self.shownIn(mrml_layout.SR_VIEW), self.bicubicVolume)
        self.comparison.flicker()
        self.assertIs(self.shownIn(mrml_layout.SR_VIEW), self.srVolume)

    def test_trueVoxelsAreShownUntilTheEnd(self):
        before = self.srVolume.GetDisplayNode().GetInterpolate()
        self.show(voxels=True)
        self.assertFalse(self.srVolume.GetDisplayNode().GetInterpolate())
        self.comparison.hide()
        self.assertEqual(self.srVolume.GetDisplayNode().GetInterpolate(), before)
        self.assertIsNone(self.shownIn(mrml_layout.SR_VIEW))

    def test_removedVolumeEndsIt(self):
        self.show()
        slicer.mrmlScene.RemoveNode(self.srVolume)
        self.assertFalse(self.comparison.shown)


def addVolume(voxels, name, scale=1):
    """A volume whose voxels are 1 mm / scale wide, edges aligned for every scale."""
    ijkToRAS = np.diag((1 / scale, 1 / scale, 3.0, 1.0))
    ijkToRAS[:2, 3] = (1 / scale - 1) / 2
    node = slicer.util.addVolumeFromArray(voxels, ijkToRAS=ijkToRAS, name=name)
    node.CreateDefaultDisplayNodes()
    return node


if __name__ == "__main__":
    unittest.main()
