"""The logic without widgets: a volume is upscaled in the child process, by a bundled model.

Slicer runs this file as plain unittest, without a main window; pytest runs the same file in the host.
"""

import importlib.util
import sys
import unittest

import numpy as np
import slicer

from SuperResolutionLib.errors import Cancelled

OBLIQUE = np.array([[0.8, 0, 0.6, 10], [0, 0.7, 0, -20], [-0.6, 0, 2.4, 30], [0, 0, 0, 1.0]])


@unittest.skipUnless(importlib.util.find_spec("torch"), "needs torch in Slicer's Python")
class SuperResolutionLogicTest(unittest.TestCase):
    def setUp(self):
        from SuperResolution import SuperResolutionLogic

        slicer.mrmlScene.Clear()
        self.logic = SuperResolutionLogic()
        self.addCleanup(slicer.mrmlScene.Clear)
        cards = [card for card in self.logic.catalog.cards if card.channels == 1 and card.weights_available]
        # SPAN has no gates over the whole image, so that a region gives the same voxels as the whole.
        self.card = next(card for card in cards if card.architecture == "span")
        self.inputVolume = slicer.util.addVolumeFromArray(phantom(), ijkToRAS=OBLIQUE, name="Phantom")

    def test_geometryTypeAndProvenance(self):
        torchWasImported = "torch" in sys.modules
        srVolume, bicubicVolume = self.logic.upscale(self.inputVolume, self.card.id)
        self.assertEqual("torch" in sys.modules, torchWasImported, "torch belongs into the child process")
        self.assertEqual(srVolume.GetName(), f"Phantom SR x{self.card.scale}")
        k, j, i = slicer.util.arrayFromVolume(self.inputVolume).shape
        for node in (srVolume, bicubicVolume):
            voxels = slicer.util.arrayFromVolume(node)
            self.assertEqual(voxels.shape, (k, j * self.card.scale, i * self.card.scale))
            self.assertEqual(voxels.dtype, np.int16)
            np.testing.assert_allclose(boundsOf(node), boundsOf(self.inputVolume), atol=1e-6)
            self.assertTrue(node.GetAttribute("SuperResolution.Software"))
        self.assertEqual(srVolume.GetAttribute("SuperResolution.Model"), self.card.id)
        differs = slicer.util.arrayFromVolume(srVolume) != slicer.util.arrayFromVolume(bicubicVolume)
        self.assertTrue(differs.any(), "the network changed something")

    def test_bicubicIsMadeOnRequestOnly(self):
        _srVolume, bicubicVolume = self.logic.upscale(self.inputVolume, self.card.id, makeBicubic=False)
        self.assertIsNone(bicubicVolume)

    def test_regionGivesTheVoxelsOfTheWhole(self):
        whole, _bicubic = self.logic.upscale(self.inputVolume, self.card.id)
        part, _bicubic = self.logic.upscale(self.inputVolume, self.card.id, region=((8, 40), (4, 36), (1, 2)))
        s = self.card.scale
        expected = slicer.util.arrayFromVolume(whole)[1:2, 4 * s : 36 * s, 8 * s : 40 * s]
        found = slicer.util.arrayFromVolume(part)
        self.assertEqual(found.shape, expected.shape)
        np.testing.assert_allclose(found, expected, atol=1)

    def test_secondRunIntoTheSameNodesReplacesThem(self):
        first = self.logic.upscale(self.inputVolume, self.card.id)
        count = slicer.mrmlScene.GetNumberOfNodes()
        slicer.util.arrayFromVolume(self.inputVolume)[:] //= 2
        second = self.logic.upscale(self.inputVolume, self.card.id, srVolume=first[0], bicubicVolume=first[1])
        self.assertEqual([node.GetID() for node in second], [node.GetID() for node in first])
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), count)

    def test_cancelLeavesTheSceneAsItWas(self):
        count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode")
        with self.assertRaises(Cancelled):
            self.logic.upscale(self.inputVolume, self.card.id, cancelled=lambda: True)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode"), count)


def phantom() -> np.ndarray:
    """(2, 40, 48) int16: a bright ring with fine stripes on a slope."""
    j, i = np.mgrid[0:40, 0:48]
    radius = np.hypot(j - 20, i - 24)
    image = 3.0 * i + 600 * (np.abs(radius - 13) < 2.5) + 200 * ((i // 2) % 2) * (radius < 9)
    return np.stack([image, image[::-1]]).astype(np.int16)


def boundsOf(node) -> np.ndarray:
    bounds = np.zeros(6)
    node.GetRASBounds(bounds)
    return bounds


def tearDownModule():
    from SuperResolutionPanel.childprocess import closeSharedWorker

    closeSharedWorker()


if __name__ == "__main__":
    unittest.main()
