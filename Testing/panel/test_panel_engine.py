"""The panel with the real engine in a real child process: a small model with random weights, from click to nodes."""

from __future__ import annotations

import os
import sys
import threading
import time

import numpy as np
import pytest

from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.jobs import Worker
from SuperResolutionLib.upscaler import Options, upscale
from Testing.panel.fakes import clickUpscale, waitUntil
from Testing.tiny_model import write_model

FAMILY = "edsr-ise-test-psnr"


@pytest.fixture
def catalog(tmp_path):
    write_model(tmp_path)
    return ModelCatalog([tmp_path])


@pytest.fixture
def openReal(module, openPanel, catalog, realWorker):
    """Function that opens the panel with the small model and a warm child process, or another worker."""
    return lambda worker=realWorker: openPanel(module.SuperResolutionLogic(catalog, worker))


def volumeCount() -> int:
    import slicer

    return len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))


def waitForStage(widget, word: str) -> None:
    waitUntil(lambda: word in widget.ui.statusLabel.text.lower() or not widget._run.running)
    assert widget._run.running, widget.ui.statusLabel.text


@pytest.mark.parametrize("channels", [1, 3])
def test_panelGivesWhatTheEngineGives(openReal, addVolume, catalog, channels):
    import slicer

    from SuperResolutionLib import mrml

    node = addVolume(channels=channels)
    widget = openReal()
    widget.ui.deviceComboBox.currentIndex = 1
    clickUpscale(widget)
    sr, bicubic = widget._parameterNode.srVolume, widget._parameterNode.bicubicVolume
    assert (sr.GetName(), bicubic.GetName()) == ("CT head SR x2", "CT head bicubic x2")

    card = catalog.find(FAMILY)
    expected = upscale(mrml.volumeFromNode(node), card, Options(device="cpu"))
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(sr), expected.sr.array)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(bicubic), expected.bicubic.array)
    assert mrml.provenanceOf(sr)["Model"] == card.id
    assert mrml.provenanceOf(sr)["WeightsSHA256"] == card.sha256
    assert "Model" not in mrml.provenanceOf(bicubic)


def test_secondRunIsWarm(openReal, addVolume, realWorker):
    addVolume()
    widget = openReal()
    clickUpscale(widget)
    child = realWorker._child
    clickUpscale(widget)
    assert realWorker._child is child
    assert volumeCount() == 3


def test_childNamesItsDevices(openReal, realWorker):
    widget = openReal()
    waitUntil(lambda: realWorker.devices is not None)
    waitUntil(lambda: widget._form._devices == realWorker.devices)
    assert realWorker.devices[0][0] == "cpu"


def test_cancelEndsTheChild(openReal, addVolume, tmp_path):
    import slicer

    worker = Worker(temporary=tmp_path)
    large = slicer.util.addVolumeFromArray(np.zeros((200, 64, 64), np.int16), name="large")
    small = addVolume()
    widget = openReal(worker)
    widget.ui.inputVolumeSelector.setCurrentNode(large)
    widget.ui.applyButton.click()
    waitForStage(widget, "slice")
    child = worker._child
    widget.ui.applyButton.click()
    assert not widget._run.running and "Cancelled" in widget.ui.statusLabel.text
    waitUntil(child.ended.is_set, seconds=10)
    assert volumeCount() == 2
    widget.ui.inputVolumeSelector.setCurrentNode(small)
    clickUpscale(widget)
    assert volumeCount() == 4, "the next run has a process of its own"
    widget.cleanup()
    assert not list(tmp_path.glob("superresolution-*")), "no file is left behind"


def test_childKilledFromOutside(openReal, addVolume, errorsShown):
    import slicer

    worker = Worker()
    large = slicer.util.addVolumeFromArray(np.zeros((200, 64, 64), np.int16), name="large")
    small = addVolume()
    widget = openReal(worker)
    widget.ui.inputVolumeSelector.setCurrentNode(large)
    widget.ui.applyButton.click()
    waitForStage(widget, "slice")
    worker._child._process.kill()
    waitUntil(lambda: not widget._run.running)
    assert len(errorsShown) == 1 and "process that computes" in errorsShown[0]
    assert volumeCount() == 2
    widget.ui.inputVolumeSelector.setCurrentNode(small)
    clickUpscale(widget)
    assert volumeCount() == 4


def test_childThatPrintsGarbage(openReal, addVolume, tmp_path):
    # A launcher may print what it likes into the pipe before Python begins.
    launcher = tmp_path / "launcher.py"
    launcher.write_text(
        "import os, sys\n"
        'sys.stdout.write("no message\\n{}\\n[1]\\n" + \'{"event": "done"}\\n{"event": 1, "job": 2}\\n\')\n'
        "sys.stdout.flush()\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
    )
    addVolume()
    widget = openReal(Worker([sys.executable, str(launcher)]))
    clickUpscale(widget)
    assert volumeCount() == 3


def test_childThatCannotStart(openReal, addVolume, errorsShown):
    addVolume()
    widget = openReal(Worker(["/no/such/python"]))
    clickUpscale(widget)
    assert len(errorsShown) == 1 and "cannot be started" in errorsShown[0]
    assert volumeCount() == 1


def test_temporaryFolderThatCannotBeWritten(openReal, addVolume, tmp_path, errorsShown):
    # A file in its place refuses everybody; a folder without write permission would not refuse root.
    blocked = tmp_path / "temporary"
    blocked.write_text("")
    addVolume()
    widget = openReal(Worker(temporary=blocked))
    clickUpscale(widget)
    assert len(errorsShown) == 1 and os.fspath(blocked) in errorsShown[0]
    assert volumeCount() == 1


def test_damagedWeightsAreOneSentence(openReal, addVolume, tmp_path, errorsShown):
    addVolume()
    widget = openReal()
    weights = tmp_path / "edsr-ise-test-x2-psnr" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    clickUpscale(widget)
    assert len(errorsShown) == 1
    assert "damaged" in errorsShown[0]


def test_regionIsThatPartOfTheWhole(openReal, addVolume, module):
    import slicer

    node = slicer.util.addVolumeFromArray(
        np.random.default_rng(5).integers(0, 900, (3, 40, 48)).astype(np.int16),
        ijkToRAS=np.diag((0.5, 0.7, 3, 1.0)),
        name="CT head",
    )
    logic = openReal().logic
    whole, _bicubic = logic.upscale(node, FAMILY, device="cpu")
    part, _bicubic = logic.upscale(node, FAMILY, device="cpu", region=((8, 32), (10, 30), (1, 2)))
    expected = slicer.util.arrayFromVolume(whole)[1:2, 20:60, 16:64]
    difference = np.abs(slicer.util.arrayFromVolume(part).astype(int) - expected)
    assert difference.max() <= 1, "at most the last digit"


def test_selfTestOfTheModule(module, catalog, monkeypatch):
    monkeypatch.setattr(module.ModelCatalog, "default", classmethod(lambda cls, *_folder: catalog))
    try:
        module.SuperResolutionTest().runTest()
    finally:
        module.SuperResolutionLogic().close()


class SlowlyEndingChild:
    """Stands for a Child that is killed ``seconds`` after it was asked for."""

    def __init__(self, seconds: float):
        self.isGone = threading.Event()
        self._seconds, self._isLetGo = seconds, threading.Event()

    def end(self) -> None:
        self._isLetGo.wait(self._seconds)
        self.isGone.set()

    def letGo(self) -> None:
        self._isLetGo.set()


@pytest.mark.parametrize("seconds", [0.05, 30])
def test_cancellingWaitsForTheKillButNotLong(seconds, tmp_path):
    """In Slicer no thread gets on after the call has returned, until somebody runs Python again."""
    worker = Worker(temporary=tmp_path)
    worker._child = child = SlowlyEndingChild(seconds)
    began = time.monotonic()
    worker.discard_child()
    assert time.monotonic() - began < 5
    assert child.isGone.is_set() == (seconds < 1)
    child.letGo()
    worker.close()
