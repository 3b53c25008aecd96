"""The panel without a main window: it opens, follows the scene, upscales and cancels.

Slicer runs this file as plain unittest; pytest runs the same file in the host.
"""

import importlib.util
import os
import tempfile
import time
import unittest

import numpy as np
import slicer

#: Without torch a click on Upscale would begin to download it.
needsTorch = unittest.skipUnless(importlib.util.find_spec("torch"), "needs torch in Slicer's Python")


class SuperResolutionPanelTest(unittest.TestCase):
    def setUp(self):
        slicer.mrmlScene.Clear()
        self.addCleanup(slicer.mrmlScene.Clear)
        self.assertIsNone(slicer.app.layoutManager(), "start Slicer with --no-main-window")
        panel = slicer.modules.superresolution.widgetRepresentation()
        self.widget = panel.self()
        # Without a main window no module is ever entered.
        self.widget.enter()
        self.addCleanup(self.widget.exit)
        self.ui = self.widget.ui

    def parameters(self):
        return self.widget.logic.getParameterNode()

    def addVolume(self, shape=(1, 48, 64)):
        voxels = np.random.default_rng(1).integers(0, 1000, shape).astype(np.int16)
        node = slicer.util.addVolumeFromArray(voxels, ijkToRAS=np.diag((0.7, 0.7, 3, 1)), name="Phantom")
        slicer.app.processEvents()
        return node

    def waitFor(self, condition, seconds=120):
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, f"waited {seconds} s; the panel says: {self.ui.statusLabel.text}")
            slicer.app.processEvents()
            time.sleep(0.01)

    def choose(self, comboBox, data):
        comboBox.setCurrentIndex(comboBox.findData(data))

    def test_withoutAVolumeNothingCanBeUpscaled(self):
        self.assertFalse(self.ui.applyButton.enabled)

    def test_aVolumeThatIsAddedCanBeUpscaled(self):
        node = self.addVolume()
        self.ui.inputVolumeSelector.setCurrentNode(node)
        self.assertEqual(self.parameters().inputVolume.GetID(), node.GetID())
        self.assertTrue(self.ui.applyButton.enabled)
        self.assertIn("256 x 192", self.ui.outlookLabel.text)

    def test_widgetsAndParametersFollowEachOther(self):
        self.ui.inputVolumeSelector.setCurrentNode(self.addVolume())
        self.ui.makeBicubicCheckBox.setChecked(False)
        self.assertFalse(self.parameters().makeBicubic)
        self.parameters().makeBicubic = True
        self.assertTrue(self.ui.makeBicubicCheckBox.checked)
        self.choose(self.ui.extentComboBox, "slice")
        self.assertEqual(self.parameters().extent, "slice")

    @needsTorch
    def test_clickUpscales(self):
        self.ui.inputVolumeSelector.setCurrentNode(self.addVolume())
        label = self.ui.applyButton.text
        self.ui.applyButton.click()
        self.assertNotEqual(self.ui.applyButton.text, label, "the button cancels while it runs")
        self.waitFor(lambda: self.ui.applyButton.text == label)
        srVolume, bicubicVolume = self.parameters().srVolume, self.parameters().bicubicVolume
        self.assertIsNotNone(srVolume, self.ui.statusLabel.text)
        for node in (srVolume, bicubicVolume):
            self.assertEqual(slicer.util.arrayFromVolume(node).shape, (1, 192, 256))

    @needsTorch
    def test_secondClickCancels(self):
        self.ui.inputVolumeSelector.setCurrentNode(self.addVolume((8, 96, 96)))
        label = self.ui.applyButton.text
        count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode")
        self.ui.applyButton.click()
        slicer.app.processEvents()
        self.ui.applyButton.click()
        self.waitFor(lambda: self.ui.applyButton.text == label, seconds=2)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode"), count)

    @needsTorch
    def test_closingTheSceneStopsTheRun(self):
        self.ui.inputVolumeSelector.setCurrentNode(self.addVolume((8, 96, 96)))
        label = self.ui.applyButton.text
        self.ui.applyButton.click()
        slicer.app.processEvents()
        slicer.mrmlScene.Clear()
        self.waitFor(lambda: self.ui.applyButton.text == label, seconds=2)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode"), 0)

    def test_aSavedSceneBringsTheChoicesBack(self):
        self.ui.inputVolumeSelector.setCurrentNode(self.addVolume())
        self.ui.keepConsistentCheckBox.setChecked(False)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "scene.mrb")
            self.assertTrue(slicer.util.saveScene(path))
            slicer.mrmlScene.Clear()
            self.widget.enter()
            self.assertTrue(self.parameters().keepConsistent, "the default")
            slicer.util.loadScene(path)
            self.widget.enter()
        self.assertFalse(self.parameters().keepConsistent)
        self.assertEqual(self.parameters().inputVolume.GetName(), "Phantom")
        self.assertFalse(self.ui.keepConsistentCheckBox.checked)


def tearDownModule():
    from SuperResolutionPanel.childprocess import closeSharedWorker

    closeSharedWorker()


if __name__ == "__main__":
    unittest.main()
