"""A Slicer that has no torch yet: the panel opens all the same, at once, and lists its models."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

import pytest

from Testing.tiny_model import write_model

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import sys
import time

for name in ("torch", "safetensors", "psutil"):
    sys.modules[name] = None  # importing it raises ModuleNotFoundError
sys.path[:0] = [{module!r}, {root!r}]

from Testing.panel_host.scripted_module import loadModule, openModule
from Testing.panel_host.strict import failOnHiddenErrors

module = loadModule({module!r} + "/SuperResolution.py")
import numpy
import slicer

slicer.util.addVolumeFromArray(numpy.zeros((2, 6, 8), "int16"), name="CT head")
with failOnHiddenErrors():
    started = time.perf_counter()
    widget = openModule(module)
    print("seconds", time.perf_counter() - started)
    families = widget.ui.modelFamilyComboBox
    print("families", [families.itemText(index) for index in range(families.count)])
    print("enabled", widget.ui.applyButton.enabled)
    widget.ui.applyButton.click()
    print("status", widget.ui.statusLabel.text)
"""


def test_panelOpensWithoutTorch(tmp_path):
    write_model(tmp_path)
    script = SCRIPT.format(module=str(ROOT / "SuperResolution"), root=str(ROOT))
    environment = {**os.environ, "SUPERRESOLUTION_MODELS": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert run.returncode == 0, run.stderr
    said = dict(line.split(" ", 1) for line in run.stdout.splitlines())
    assert float(said["seconds"]) < 1.0
    assert "edsr-ise-test-psnr" in said["families"]
    assert said["enabled"] == "True"
    assert "PyTorch extension" in said["status"]


def isSkipped(case, name: str) -> bool:
    return any(getattr(each, "__unittest_skip__", False) for each in (case, getattr(case, name)))


def test_whatSlicersOwnTestsComputeIsSkipped(module, monkeypatch):
    """They must not begin to download torch."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("SuperResolutionLogicTest", "SuperResolutionPanelTest"):
        specification = importlib.util.spec_from_file_location(name, ROOT / "Testing" / f"{name}.py")
        tests = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(tests)
        case = getattr(tests, name)
        sources = {
            each: inspect.getsource(getattr(case, each)) for each in unittest.TestLoader().getTestCaseNames(case)
        }
        computing = [each for each, source in sources.items() if re.search(r"upscale\(|applyButton.click", source)]
        assert computing and all(isSkipped(case, each) for each in computing)
    with pytest.raises(unittest.SkipTest, match="needs torch"):
        module.SuperResolutionTest().test_upscale()
    module.SuperResolutionTest().runTest()  # Reload and Test, which would show the skip as a failure
