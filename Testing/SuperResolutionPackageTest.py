"""What a packaged extension must have, checked by Slicer's own Python in a build and by pytest without one."""

import importlib
import unittest
from pathlib import Path

import SuperResolutionLib


class SuperResolutionPackageTest(unittest.TestCase):
    """A file that the build forgot to package shows here, not at a user's first click."""

    def test_engineImports(self):
        for name in ("volume", "geometry", "intensity", "resampling", "catalog", "upscaler", "files", "mrml"):
            importlib.import_module(f"SuperResolutionLib.{name}")

    def test_bundledModelsHaveTheirWeights(self):
        from SuperResolutionLib.catalog import ModelCatalog

        cards = ModelCatalog.default().cards
        self.assertTrue(cards)
        for card in cards:
            self.assertTrue(card.weights_available, card.id)

    def test_moduleHasItsResources(self):
        module = Path(SuperResolutionLib.__file__).parents[1]
        for name in ("UI/SuperResolution.ui", "Icons/SuperResolution.png", "requirements.txt"):
            self.assertTrue((module / "Resources" / name).is_file(), name)
