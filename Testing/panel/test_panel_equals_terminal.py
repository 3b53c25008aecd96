"""One volume through both doors: the panel and the terminal give the same voxels in the same place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from SuperResolutionLib import mrml
from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.files import read_volume, write_volume
from Testing.panel.fakes import clickUpscale

LIBRARY = Path(__file__).resolve().parents[2] / "SuperResolution"
MODEL = "span-general-x4-psnr"


def test_panelAndTerminalAgree(module, openPanel, addVolume, realWorker, tmp_path):
    node = addVolume()
    write_volume(mrml.volumeFromNode(node), tmp_path / "in.nrrd")
    outputs = [tmp_path / "sr.nrrd", tmp_path / "bicubic.nrrd"]
    arguments = [
        "upscale",
        tmp_path / "in.nrrd",
        outputs[0],
        "--bicubic",
        outputs[1],
        "--model",
        MODEL,
        "--device",
        "cpu",
    ]
    subprocess.run(
        [sys.executable, "-m", "SuperResolutionLib.cli", *map(str, arguments)],
        check=True,
        env={**os.environ, "PYTHONPATH": str(LIBRARY)},
    )

    widget = openPanel(module.SuperResolutionLogic(ModelCatalog.default(), realWorker))
    widget._parameterNode.modelFamily = "span-general-psnr"
    widget._parameterNode.device = "cpu"
    clickUpscale(widget)
    for path, made in zip(outputs, (widget._parameterNode.srVolume, widget._parameterNode.bicubicVolume)):
        written, shown = read_volume(path), mrml.volumeFromNode(made)
        assert written.array.dtype == np.int16
        np.testing.assert_array_equal(shown.array, written.array)
        np.testing.assert_allclose(shown.ijk_to_ras, written.ijk_to_ras, atol=1e-6)
