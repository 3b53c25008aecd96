"""Sample data: a chest CT as a scanner with pixels four times as large would have seen it, beside the original.

Slicer offers its own samples already, and any of them can be upscaled. What it has not is an image whose finer version
is known, so that super-resolution can be compared with the truth. It is made here from Slicer's public chest CT, with
a file that Slicer keeps in its cache under the same name for its own sample.
"""

from __future__ import annotations

import numpy as np
import slicer
from slicer.i18n import tr as _

from SuperResolutionLib import mrml
from SuperResolutionLib.errors import DataError
from SuperResolutionLib.geometry import refine

SHA256 = "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e"
FACTOR = 4


def registerWhenStarted() -> None:
    """Register as soon as Slicer has loaded all modules."""
    slicer.app.connect("startupCompleted()", register)


def register() -> None:
    """Add the sample to Slicer's Sample Data module; a second call adds nothing."""
    import SampleData

    logic, category = SampleData.SampleDataLogic, _("Super-Resolution")
    if hasattr(logic, "registerCustomSampleDataCategory"):  # since 2026; before, a category is shown by its name
        logic.registerCustomSampleDataCategory("SuperResolution", title=category)
        category = "SuperResolution"
    logic.registerCustomSampleDataSource(
        category=category,
        sampleName="CTChestLowResolution",
        uris=slicer.util.TESTING_DATA_URL + "SHA256/" + SHA256,
        fileNames="CT-chest.nrrd",
        nodeNames="CTChest",
        checksums="SHA256:" + SHA256,
        customDownloader=load,
    )


def load(source):
    """Download the chest CT unless it is in the cache; returns [low resolution node, node of the original].

    Raises:
        Exception: whatever went wrong, after it was shown.
    """
    # Slicer calls this in the slot of a button, where an error would only be printed.
    with slicer.util.tryWithErrorDisplay(_("The sample could not be loaded."), waitCursor=True):
        logic = _logic()
        path = logic.downloadFileIntoCache(source.uris[0], source.fileNames[0], source.checksums[0])
        original = logic.loadNode(path, source.nodeNames[0])
        if original is None:
            sentence = _("The file {path} could not be read; its download may have failed, so try again.")
            raise DataError(sentence.format(path=path))
        return [addReduced(original), original]


def _logic():
    """The logic of the Sample Data panel, whose log shows the progress; a new one if the panel was not opened yet."""
    import SampleData

    logic = getattr(getattr(slicer.modules, "SampleDataWidget", None), "logic", None)
    return logic or SampleData.SampleDataLogic()


def addReduced(original):
    """Add a volume with voxels 4 x 4 times as large in the plane of the slices, each the mean of those it covers."""
    voxels = slicer.util.arrayFromVolume(original)
    k, j, i = voxels.shape[0], voxels.shape[1] // FACTOR, voxels.shape[2] // FACTOR
    blocks = voxels[:, : j * FACTOR, : i * FACTOR].reshape(k, j, FACTOR, i, FACTOR)
    reduced = np.rint(blocks.mean(axis=(2, 4), dtype=np.float32)).astype(voxels.dtype)
    coarse = refine(mrml.ijkToRAS(original), (1 / FACTOR, 1 / FACTOR, 1))
    name = slicer.mrmlScene.GenerateUniqueName(f"{original.GetName()} low resolution")
    return slicer.util.addVolumeFromArray(reduced, ijkToRAS=coarse, name=name)
