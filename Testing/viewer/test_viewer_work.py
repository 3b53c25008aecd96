"""The page's work without a page: views over a real scene, and how long a linked step takes."""

from __future__ import annotations

import time
import types

import numpy as np
import pytest

pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")

import slicer  # noqa: E402

from SuperResolutionLib import mrml  # noqa: E402
from SuperResolutionLib.errors import DataError, UsageError  # noqa: E402
from SuperResolutionLib.geometry import refine  # noqa: E402
from SuperResolutionLib.volume import Volume  # noqa: E402
from SuperResolutionViewer.protocol import answer  # noqa: E402
from SuperResolutionViewer.work import Look, Work  # noqa: E402
from Testing.panel.fakes import FakeWorker  # noqa: E402
from Testing.viewer.conftest import phantom  # noqa: E402

MODEL, SCALE = "span-general-psnr", 4


@pytest.fixture
def work():
    """Work in the host's scene, with a stand-in for the child process."""
    from Testing.panel_host.scene import boot
    from Testing.panel_host.strict import failOnHiddenErrors

    application = boot()
    slicer.mrmlScene.Clear(0)
    with failOnHiddenErrors():
        work = Work(types.SimpleNamespace(app_logic=application.applicationLogic()), worker=FakeWorker())
        yield work
        work.close()
        slicer.mrmlScene.Clear(0)


def volume(k: int, j: int, i: int) -> Volume:
    return Volume(phantom(k, j, i), np.diag((1.0, 1.0, 3.0, 1.0)), "head")


def give_result(work: Work, *extent) -> None:
    """Let the worker end its run, whose result repeats voxels."""
    work.start(MODEL, SCALE, *extent)
    while work.running:
        work.poll()


def test_a_linked_step_of_two_views_is_quick(work, capsys):
    """Both views of 512 x 512 pixels, of a volume of 512 x 512 x 24 voxels, moved and drawn through the page's call."""
    work.open(volume(24, 128, 128))
    give_result(work)
    sizes = {view: [512, 512] for view in ("bicubic", "sr")}
    for voxels in (True, False):
        work.show(Look(voxels=voxels))
        steps = np.array([timed_step(work, sizes, 1 if step % 8 < 4 else -1) for step in range(40)])
        how = "voxels as squares" if voxels else "smoothed"
        told = "median {:.0f} ms, of the processors {:.0f} ms".format(*np.median(steps, axis=0))
        with capsys.disabled():
            print(f"\nlinked step of two 512 x 512 views, {how}: {told}")
        assert steps[:, 1].min() < 120  # of the processors, which other programs may have meanwhile


def timed_step(work: Work, sizes: dict, steps: int) -> tuple[float, float]:
    """Milliseconds of one scroll step with both views drawn: as the clock says, and of all processors together."""
    began = time.perf_counter(), time.process_time()
    told = answer(work, {"sizes": sizes, "known": {}, "actions": [["scroll", "sr", steps]]})
    took = time.perf_counter() - began[0], time.process_time() - began[1]
    assert [len(frame["pixels"]) for frame in told["frames"]] == [512 * 512] * 2
    return 1000 * took[0], 1000 * took[1]


def test_views_are_drawn_only_when_they_changed(work):
    work.open(volume(4, 30, 40))
    give_result(work)
    first = answer(work, {})
    assert {frame["view"] for frame in first["frames"]} == {"input", "bicubic", "sr"}
    known = {frame["view"]: frame["stamp"] for frame in first["frames"]}
    assert answer(work, {"known": known})["frames"] == []
    moved = answer(work, {"known": known, "actions": [["scroll", "input", 1]]})
    assert {frame["view"] for frame in moved["frames"]} == {"input", "bicubic", "sr"}
    assert len(set(moved["offsets"].values())) == 1


@pytest.mark.parametrize(
    "request_",
    [
        {"sizes": {"nowhere": [10, 10], "input": "wide"}, "known": [1], "actions": [["scroll"], 7, ["scroll", "x", 1]]},
        {"actions": [["scroll", "input", "far"], ["zoom", "input", 0, 0, 0], ["erase", "input"], ["pan", "input", 1]]},
        {"sizes": {"input": [float("nan"), 5]}, "actions": [["zoom", "input", float("inf"), 0, 0]]},
        {"sizes": {"input": [True, 5]}, "actions": None},
    ],
)
def test_what_is_not_understood_is_passed_over(work, request_):
    work.open(volume(4, 30, 40))
    before = answer(work, {})
    assert answer(work, request_)["offsets"] == before["offsets"]
    assert work.views.frame("input").pixels == before["frames"][0]["pixels"]


def test_a_new_image_takes_the_place_of_all(work):
    work.open(volume(4, 30, 40))
    give_result(work)
    work.show(Look(difference=True))
    assert work.shown == ["input", "bicubic", "sr", "difference"]
    work.reference = work.volume
    work.open(volume(3, 20, 24))
    assert work.shown == ["input"]
    assert work.reference is None and work.report is None
    assert [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")] == ["head"]


def test_a_result_takes_the_place_of_the_last_one(work):
    work.open(volume(4, 30, 40))
    give_result(work)
    give_result(work)
    names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]
    assert names == ["head", "head SR x4", "head bicubic x4"]
    assert mrml.provenanceOf(work.sr_node)["Model"].startswith("span-general")


def test_a_part_is_scored_against_its_part_of_the_reference(work):
    work.open(volume(4, 30, 40))
    source = work.volume
    truth = source.array.repeat(SCALE, axis=1).repeat(SCALE, axis=2)
    truth[:, ::2] += 100
    work.set_reference(Volume(truth, refine(source.ijk_to_ras, (SCALE, SCALE, 1))))
    assert work.scoring() is None
    scores = []
    for region in (((5, 30), (2, 20), (1, 3)), ((0, 40), (0, 30), (1, 3))):
        give_result(work, "region", region)
        scores.append(work.scoring()())
    for score in scores:
        assert set(score) == {"bicubic", "sr"}
        assert 20 < score["sr"]["psnr"] < 40 and score["sr"]["ssim"] < 1
    assert scores[0] != scores[1]
    shifted = refine(source.ijk_to_ras, (SCALE, SCALE, 1)) @ np.array(np.eye(4) + np.eye(4, k=3) * 0.4)
    with pytest.raises(DataError, match="does not lie on the grid"):
        work.set_reference(Volume(truth, shifted))


def test_nothing_is_replaced_during_a_run(work):
    with pytest.raises(UsageError, match="No image is open"):
        work.start(MODEL, SCALE)
    work.open(volume(4, 30, 40))
    work.start(MODEL, SCALE)
    for refused in (lambda: work.open(volume(4, 30, 40)), lambda: work.start(MODEL, SCALE)):
        with pytest.raises(UsageError, match="A run is under way"):
            refused()
    work.cancel()
    assert not work.running
    work.open(volume(3, 20, 24))


@pytest.mark.parametrize(
    ("dtype", "most"), [(np.uint8, 255), (np.uint16, 50_000), (np.float32, 1.0)], ids=["8 bits", "16 bits", "fractions"]
)
def test_colors_are_shown_from_dark_to_light(work, dtype, most):
    channels = [np.linspace(0, share * most, 64 * 64).reshape(1, 64, 64) for share in (1, 0.5, 0.25)]
    work.open(Volume(np.stack(channels, axis=-1).astype(dtype), np.eye(4), "photo"))
    display = work.input_node.GetDisplayNode()
    ends = np.array([-0.5, 0.5]) * display.GetWindow() + display.GetLevel()
    if dtype == np.uint8:
        assert ends.tolist() == [0, 255]
    np.testing.assert_allclose(ends, (0, most), atol=0.02 * most)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_integers_that_the_views_cannot_show_are_refused(work, dtype):
    with pytest.raises(DataError, match="64-bit integers.*convert it to 32 bits"):
        work.open(Volume(np.ones((2, 8, 8), dtype), np.eye(4), "wide"))
    assert work.input_node is None


def test_an_image_without_values_is_refused(work):
    work.open(volume(4, 30, 40))
    nothing = Volume(np.full((1, 8, 8), np.nan, np.float32), np.eye(4), "nothing")
    with pytest.raises(DataError, match="no finite value"):
        work.open(nothing)
    assert [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")] == ["head"]
    assert work.shown == ["input"]
