"""How fast the panel is. Each measure is printed (``pytest -s``); the limits leave room for a busy machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.jobs import Worker
from Testing.panel.fakes import clickUpscale, waitUntil

ROOT = Path(__file__).resolve().parents[2]
FAMILY = "span-general-psnr"

#: A test on a machine that does other things at the same time may take this many times as long as it should.
PATIENCE = 10

OPEN = """
import sys, time
sys.path[:0] = [{module!r}, {root!r}]
from Testing.panel_host.scripted_module import loadModule, openModule
from Testing.panel_host.strict import failOnHiddenErrors

import importlib.util
assert importlib.util.find_spec("torch") is not None
module = loadModule({module!r} + "/SuperResolution.py")
import numpy, slicer
slicer.util.addVolumeFromArray(numpy.zeros((20, 256, 256), "int16"), name="CT head")
with failOnHiddenErrors():
    started, startedComputing = time.perf_counter(), time.process_time()
    widget = openModule(module)
    widget.parent.show()
    slicer.app.processEvents()
    print(time.process_time() - startedComputing, time.perf_counter() - started)
    assert "torch" not in sys.modules
    widget.cleanup()
"""


@pytest.fixture
def openPanelWith(module, openPanel):
    """Function that opens the panel with the bundled models, on the CPU."""

    def open(worker, voxels):
        import slicer

        slicer.util.addVolumeFromArray(voxels, ijkToRAS=np.diag((0.7, 0.7, 3, 1.0)), name="CT head")
        widget = openPanel(module.SuperResolutionLogic(ModelCatalog.default(), worker))
        widget._parameterNode.modelFamily = FAMILY
        widget._parameterNode.device = "cpu"
        return widget

    return open


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 1000, shape).astype(np.int16)


def report(what: str, seconds: float, target: float) -> None:
    print(f"\n{what}: {seconds:.3f} s (to be below {target} s)")
    assert seconds < PATIENCE * target


def test_panelOpensAtOnceAndWithoutTorch():
    script = OPEN.format(module=str(ROOT / "SuperResolution"), root=str(ROOT))
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=dict(os.environ), check=False
    )
    assert run.returncode == 0, run.stderr
    computing, seconds = map(float, run.stdout.split()[-2:])
    report("panel opens", seconds, 0.3)
    report("of this, computing", computing, 0.3)


def test_warmSecondRunOfOneSlice(openPanelWith, realWorker, monkeypatch):
    from SuperResolutionPanel import speed

    computed = []
    monkeypatch.setattr(speed, "remember", lambda _model, _device, _work, seconds, _precision: computed.append(seconds))
    widget = openPanelWith(realWorker, noise(1, 256, 256))
    clickUpscale(widget)
    started = time.perf_counter()
    clickUpscale(widget)
    seconds = time.perf_counter() - started
    report("warm run of one 256x256 slice x4 on the CPU, from click to nodes", seconds, 1.0)
    report("of this, all but the network itself", seconds - computed[-1], 0.3)
    assert widget._parameterNode.srVolume.GetImageData().GetDimensions() == (1024, 1024, 1)


class Waits:
    """Measures how long the event loop waits between two ticks of a timer, and what the panel showed then."""

    def __init__(self, widget):
        import qt

        self.gaps = []
        self._label = widget.ui.statusLabel
        self._last = time.perf_counter()
        self._timer = qt.QTimer()
        self._timer.setInterval(2)
        self._timer.timeout.connect(self._tick)
        self._timer.start()

    def _tick(self):
        now, self._last = time.perf_counter(), self._last
        self.gaps.append((now - self._last, self._label.text))
        self._last = now

    def stop(self) -> None:
        self._tick()
        self._timer.stop()

    def report(self) -> None:
        """Judge all but the taking of the result into the scene, after which the panel says what was created."""
        print()
        taking = [seconds for seconds, text in self.gaps if text.startswith("Created")]
        if taking:
            print(f"taking the result into the scene: {max(taking):.3f} s")
        before = sorted(
            ((seconds, text) for seconds, text in self.gaps if not text.startswith("Created")), reverse=True
        )
        print("longest waits:", ", ".join(f"{1000 * seconds:.0f} ms ({text})" for seconds, text in before[:3]))
        report("longest wait of the event loop", before[0][0], 0.05)


def test_eventLoopNeverWaitsDuringARun(openPanelWith, realWorker):
    widget = openPanelWith(realWorker, noise(6, 256, 256))
    waits = Waits(widget)
    clickUpscale(widget)
    waits.stop()
    assert any("Slice" in text for _seconds, text in waits.gaps)
    waits.report()


def test_eventLoopNeverWaitsForALargeVolume(openPanelWith, realWorker):
    widget = openPanelWith(realWorker, np.zeros((300, 512, 512), np.int16))
    widget.ui.makeBicubicCheckBox.checked = False
    corner = ((0, 64), (0, 64), (0, 1))
    widget._run._upscale = lambda **chosen: widget.logic.upscale(**{**chosen, "region": corner})
    waits = Waits(widget)
    clickUpscale(widget)
    waits.stop()
    assert "Created" in widget.ui.statusLabel.text, "a small region of 157 MB that are handed over"
    waits.report()


def test_cancelToIdle(openPanelWith):
    worker = Worker()
    widget = openPanelWith(worker, noise(12, 256, 256))
    widget.ui.applyButton.click()
    waitUntil(lambda: "Slice" in widget.ui.statusLabel.text or not widget._run.running)
    child = worker._child
    started = time.perf_counter()
    widget.ui.applyButton.click()
    waitUntil(lambda: not widget._run.running)
    idle = time.perf_counter() - started
    waitUntil(child.ended.is_set)
    print(f"\nthe child process is gone after {time.perf_counter() - started:.3f} s")
    report("cancel to idle", idle, 1.0)
