"""The live line and the warnings: from sizes alone, at once."""

from __future__ import annotations

import time
import types

import pytest

from Testing.panel.form_bench import addImage, card, formBenches


@pytest.fixture
def outlook(module, scene):
    from SuperResolutionPanel import outlook

    return outlook.outlook


def test_line(outlook):
    from SuperResolutionPanel import speed

    node, model = addImage((10, 200, 300)), card("line-psnr")
    seen = outlook(node, model, deviceText="CPU")
    assert seen.line == "Output: 1200 x 800 x 10 voxels, 2 volumes of 19 MB\nTime unknown until the first run (CPU)"
    assert (seen.warnings, seen.refusal) == ((), "")
    speed.remember(model.id, "auto", seen.work, 42)
    assert outlook(node, model, deviceText="CPU").line.endswith("Expected time: about 42 s (CPU)")
    region = ((0, 300), (0, 200), (3, 4))
    small = outlook(node, model, region, makeBicubic=False, deviceText="CPU")
    assert small.line == "Output: 1200 x 800 x 1 voxels, 1.9 MB\nExpected time: about 4 s (CPU)"
    assert "Expected time: about 84 s" in outlook(node, model, timePoints=2).line
    assert "unknown" in outlook(node, model, device="cuda:0").line
    assert "unknown" in outlook(node, model, precision="float16").line


@pytest.mark.parametrize(
    ("size", "channels", "spacing", "free", "words"),
    [
        ((2, 200, 200), 1, (3, 3, 9), 10**12, "expect less of it"),
        ((2, 100, 200), 1, (0.5, 0.5, 3), 10**12, "details may be invented"),
        ((1, 200, 200), 3, (0.5, 0.5, 3), 10**12, "color"),
        ((2, 200, 200), 1, (0.5, 0.5, 3), 10**5, "memory"),
    ],
)
def test_warnings(outlook, monkeypatch, size, channels, spacing, free, words):
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=free))
    seen = outlook(addImage(size, channels=channels, spacing=spacing), card())
    assert len(seen.warnings) == 1 and words in seen.warnings[0]
    assert seen.line and not seen.refusal


def test_whatCannotRun(outlook, scene):
    seen = outlook(addImage((2, 3, 3)), card())
    assert "at least 4 x 4" in seen.refusal
    assert (seen.line, seen.work) == ("", 0)
    assert "holds no voxels" in outlook(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"), card()).refusal
    assert outlook(None, card()).line == outlook(addImage((2, 8, 8)), None).line == ""


def test_withoutPsutil(outlook, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "psutil", None)
    assert outlook(addImage((2, 200, 200)), card()).line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.1, "about 1 s"), (12.4, "about 12 s"), (130, "about 2 min"), (9000, "about 2.5 h")],
)
def test_durations(module, seconds, text):
    from SuperResolutionPanel.outlook import durationText

    assert durationText(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0.0 MB"), (2_500_000, "2.5 MB"), (63_400_000, "63 MB"), (1_500_000_000, "1.5 GB")]
)
def test_bytes(module, count, text):
    from SuperResolutionPanel.outlook import bytesText

    assert bytesText(count) == text


def test_anUpdateTakesLessThanFiveMilliseconds(module, scene):
    with formBenches() as openForm:
        bench = openForm(*(card(f"family-{index}-psnr") for index in range(10)))
        addImage((30, 256, 256))
        for extent in ("volume", "roi"):
            bench.ui.extentComboBox.currentIndex = bench.ui.extentComboBox.findData(extent)
            durations = []
            for _repeat in range(20):
                started = time.perf_counter()
                bench.form.refresh()
                durations.append(time.perf_counter() - started)
            assert sorted(durations)[10] < 0.005, extent


def test_anOutputThatDoesNotFitIsSaid(outlook, monkeypatch):
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=10**6))
    seen = outlook(addImage((2, 200, 200), spacing=(0.5, 0.5, 3)), card())
    assert "800 x 800 x 2 voxels" in seen.tooLarge and "90%" in seen.tooLarge
    assert "terminal" not in seen.tooLarge and not seen.refusal


@pytest.mark.parametrize(
    ("memory", "space", "timePoints", "makeBicubic", "said"),
    [
        (110, 10**6, 1, True, ""),
        (110, 10**6, 3, True, "need 115 MB of memory, more than 90% of the 110 MB that are free"),
        (110, 10**6, 3, False, ""),
        (None, 10**6, 3, True, ""),
        (10**6, 110, 1, True, ""),
        (10**6, 110, 3, True, "needs 119 MB for files in"),
        (10**6, 110, 3, False, ""),
        (10**6, 20, 1, False, "more than 90% of the 20 MB that are free there"),
    ],
)
def test_theResultsOfAllTimePointsMustFit(outlook, monkeypatch, memory, space, timePoints, makeBicubic, said):
    """Sizes in MB: an input of 1.2 and outputs of 19.2, all kept as files until they are copied into the scene."""
    import shutil

    import slicer

    from SuperResolutionPanel import outlook as module

    def usage(folder):
        assert str(folder) == slicer.app.temporaryPath
        return types.SimpleNamespace(free=space * 10**6)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    monkeypatch.setattr(module, "_freeMemory", lambda: None if memory is None else memory * 10**6)
    seen = outlook(addImage((10, 200, 300)), card(), makeBicubic=makeBicubic, timePoints=timePoints)
    assert seen.line and not seen.refusal
    assert said in seen.tooLarge and bool(seen.tooLarge) == bool(said)
    assert seen.warnings == ((seen.tooLarge,) if said else ())


def test_aFolderThatIsGoneIsLeftToTheRun(outlook, monkeypatch, tmp_path):
    import slicer

    monkeypatch.setattr(slicer.app, "temporaryPath", str(tmp_path / "gone"))
    assert not outlook(addImage((2, 200, 200)), card()).tooLarge


def test_aBrokenGeometryIsRefused(outlook):
    import numpy as np
    import slicer

    node = addImage((2, 200, 200))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.diag((0.0, 0.5, 3, 1))))
    assert "geometry" in outlook(node, card()).refusal
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.diag((np.nan, 0.5, 3, 1))))
    assert "geometry" in outlook(node, card()).refusal


def test_longNamesCanBeBroken(module):
    from SuperResolutionPanel.outlook import breakable

    text = "Created sub-01_ses-baseline_acq_mprage in 3.2 s.\n/home/" + 45 * "x"
    assert breakable(text).replace("\u200b", "") == text
    assert max(map(len, breakable(text).replace("\u200b", " ").split())) <= 20
    assert breakable("CT head SR x4") == "CT head SR x4"


def test_markupIsShownAsItIs(module):
    import qt

    from SuperResolutionPanel.outlook import literal

    assert literal("CT head") == "CT head"
    document = qt.QTextDocument()
    for name in ("<b>CT</b> & MR\nsecond", "a &lt; b", '<img src="x">'):
        document.setHtml(literal(name))
        assert document.toPlainText() == name
