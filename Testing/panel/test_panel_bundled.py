"""The panel with the bundled models in a real child process, in situations that users meet."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from SuperResolutionLib import mrml
from SuperResolutionLib.catalog import ModelCatalog
from Testing.panel.fakes import clickUpscale, waitUntil

FAMILY = "span-general-psnr"
BUNDLED = Path(mrml.__file__).parent / "models" / "span-general-x4-psnr"


def addNoise(*shape: int, name: str = "CT"):
    import slicer

    voxels = np.random.default_rng(1).integers(0, 1000, shape).astype(np.int16)
    return slicer.util.addVolumeFromArray(voxels, ijkToRAS=np.diag((0.7, 0.7, 3, 1.0)), name=name)


@pytest.fixture
def openReal(module, openPanel, realWorker):
    """Function that opens the panel with the bundled models, on the CPU."""

    def open():
        widget = openPanel(module.SuperResolutionLogic(ModelCatalog.default(), realWorker))
        widget._parameterNode.modelFamily = FAMILY
        widget._parameterNode.device = "cpu"
        return widget

    return open


def showSlice(layoutManager, height: float) -> None:
    sliceNode = layoutManager.sliceWidget("Red").mrmlSliceNode()
    sliceNode.SetOrientation("Axial")
    sliceNode.SetSliceOffset(height)


def test_panelOpensWithAModelFolderThatCannotBeResolved(module, openPanel, worker, tmp_path):
    import qt

    folder = tmp_path / "loop"
    folder.symlink_to(folder)
    qt.QSettings().setValue("SuperResolution/ModelFolder", str(folder))
    widget = openPanel(module.SuperResolutionLogic(worker=worker))
    assert widget.ui.modelFamilyComboBox.findData(FAMILY) >= 0


@pytest.mark.parametrize(
    "wrong", [{"measured": "good"}, {"measured": [{"psnr": 30}]}, {"title": 5}, {"domain": 3}], ids=str
)
def test_panelOpensWithABrokenCardInTheModelFolder(module, openPanel, worker, tmp_path, wrong):
    import qt

    own = tmp_path / "span-mine-x4-psnr"
    own.mkdir()
    card = json.loads((BUNDLED / "card.json").read_text(encoding="utf-8"))
    (own / "card.json").write_text(json.dumps({**card, "id": own.name, **wrong}), encoding="utf-8")
    shutil.copy(BUNDLED / "weights.safetensors", own)
    qt.QSettings().setValue("SuperResolution/ModelFolder", str(tmp_path))
    widget = openPanel(module.SuperResolutionLogic(worker=worker))
    assert widget.ui.modelFamilyComboBox.findData(FAMILY) >= 0, "the models of the extension are still offered"


def test_resultOfAnotherInputIsNotOverwritten(openReal):
    first, second = addNoise(6, 128, 128, name="A"), addNoise(1, 32, 32, name="B")
    widget = openReal()
    widget._parameterNode.inputVolume = first
    widget.ui.applyButton.click()
    waitUntil(lambda: "Slice" in widget.ui.statusLabel.text or not widget._run.running)
    widget._parameterNode.inputVolume = second  # by a script, or by a scene that is loaded meanwhile
    waitUntil(lambda: not widget._run.running)
    clickUpscale(widget)
    assert widget._parameterNode.srVolume.GetName().startswith("B SR x4")


def test_partnerOfAnotherSliceIsNotCompared(openReal, layoutManager):
    addNoise(4, 140, 140)
    widget = openReal()
    widget._parameterNode.extent = "slice"
    showSlice(layoutManager, 0)
    clickUpscale(widget)
    widget.ui.makeBicubicCheckBox.checked = False
    showSlice(layoutManager, 6)
    clickUpscale(widget)
    chosen = widget._parameterNode
    assert chosen.bicubicVolume is None or np.allclose(
        mrml.ijkToRAS(chosen.bicubicVolume), mrml.ijkToRAS(chosen.srVolume)
    ), "the bicubic volume of slice 0 beside the super-resolved slice 2"


def test_resultSaysWhichPartItIs(openReal, layoutManager):
    addNoise(4, 32, 32)
    widget = openReal()
    widget._parameterNode.extent = "slice"
    showSlice(layoutManager, 6)
    clickUpscale(widget)
    assert widget._parameterNode.srVolume.GetName().startswith(widget.ui.srVolumeSelector.baseName)


def test_comparisonOutlivesTheInput(openReal, layoutManager, scene):
    node = addNoise(2, 32, 32)
    widget = openReal()
    clickUpscale(widget)
    widget.ui.compareButton.click()
    scene.RemoveNode(node)
    assert widget._compareView.shown, "the super-resolved and the bicubic volume are still there"


def test_aLongNameDoesNotWidenThePanel(openReal):
    addNoise(1, 32, 32, name="sub-01_ses-baseline_acq_mprage_rec_norm_run_01_desc_preproc_T1w_brain_extracted")
    widget = openReal()
    clickUpscale(widget)
    widget.parent.show()
    assert widget.ui.statusLabel.minimumSizeHint().width() <= 360, "a panel of 400 pixels"
