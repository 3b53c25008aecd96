"""A Slicer that has no torch yet: the panel opens all the same, at once, and lists its models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import sys
for name in ("torch", "safetensors", "psutil"):
    sys.modules[name] = None  # importing it raises ModuleNotFoundError
sys.path[:0] = [{module!r}, {root!r}]
from Testing.panel_host.scripted_module import loadModule, openModule
from Testing.panel_host.strict import failOnHiddenErrors
module = loadModule({module!r} + "/SuperResolution.py")
import numpy, slicer, time
slicer.util.addVolumeFromArray(numpy.zeros((2, 6, 8), "int16"), name="CT head")
with failOnHiddenErrors():
    started = time.perf_counter()
    widget = openModule(module)
    seconds = time.perf_counter() - started
    assert widget.ui.applyButton.enabled == (widget.ui.modelFamilyComboBox.count > 0)
    assert seconds < 1.0, seconds
    slicer.app.extensionsManagerModel = lambda: None
    widget.ui.applyButton.click()
    print(widget.ui.statusLabel.text)
"""


def test_panelOpensWithoutTorch():
    script = SCRIPT.format(module=str(ROOT / "SuperResolution"), root=str(ROOT))
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert "PyTorch extension" in run.stdout
