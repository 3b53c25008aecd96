"""The panel with the real engine: a small model with random weights, from click to nodes."""

from __future__ import annotations

import numpy as np
import pytest

from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.upscaler import Options, upscale
from Testing.tiny_model import write_model

FAMILY = "edsr-ise-test-psnr"


@pytest.fixture
def catalog(tmp_path):
    write_model(tmp_path)
    return ModelCatalog([tmp_path])


@pytest.fixture
def openReal(module, openPanel, catalog):
    """Function that opens the panel with the real engine and the small model."""
    return lambda: openPanel(module.SuperResolutionLogic(catalog))


@pytest.mark.parametrize("channels", [1, 3])
def test_panelGivesWhatTheEngineGives(openReal, addVolume, catalog, channels):
    import slicer

    from SuperResolutionLib import mrml

    node = addVolume(channels=channels)
    widget = openReal()
    widget.ui.deviceComboBox.currentIndex = 1
    widget.ui.applyButton.click()
    sr, bicubic = widget._parameterNode.srVolume, widget._parameterNode.bicubicVolume
    assert (sr.GetName(), bicubic.GetName()) == ("CT head SR x2", "CT head bicubic x2")

    card = catalog.find(FAMILY)
    expected = upscale(mrml.volumeFromNode(node), card, Options(device="cpu"))
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(sr), expected.sr.array)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(bicubic), expected.bicubic.array)
    assert mrml.provenanceOf(sr)["Model"] == card.id
    assert mrml.provenanceOf(sr)["WeightsSHA256"] == card.sha256
    assert "Model" not in mrml.provenanceOf(bicubic)


def test_cancelReachesTheEngine(openReal, addVolume, monkeypatch):
    import slicer

    addVolume()
    widget = openReal()
    seen = []

    def cancelAtOnce(fraction, stage, secondsLeft):
        seen.append(fraction)
        widget.ui.applyButton.click()

    monkeypatch.setattr(widget._form, "showProgress", cancelAtOnce)
    widget.ui.applyButton.click()
    assert seen == [0.0], "no layer is computed after the click"
    assert "Cancelled" in widget.ui.statusLabel.text
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 1


def test_damagedWeightsAreOneSentence(openReal, addVolume, tmp_path, errorsShown):
    addVolume()
    widget = openReal()
    weights = tmp_path / "edsr-ise-test-x2-psnr" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    widget.ui.applyButton.click()
    assert len(errorsShown) == 1
    assert "damaged" in errorsShown[0]


def test_selfTestOfTheModule(module, catalog, monkeypatch):
    monkeypatch.setattr(module.ModelCatalog, "default", classmethod(lambda cls: catalog))
    module.SuperResolutionTest().runTest()
