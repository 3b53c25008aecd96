"""Where two results of one input disagree: found where detail was invented, and nowhere else."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from SuperResolutionLib.errors import DataError
from SuperResolutionLib.fidelity import (
    ConsistencyResidual,
    compare_details,
    disagreement,
    local_strength,
    visible_difference,
)
from SuperResolutionLib.files import read_volume, write_volume
from SuperResolutionLib.resampling import bicubic_downsample, bicubic_upsample, make_consistent
from SuperResolutionLib.volume import Volume
from Testing.run_cli import listing, run_here
from Testing.tiny_model import write_model

SCALE, SIDE = 4, 96
X2, GAN = "edsr-ise-test-x2-psnr", "edsr-ise-test-x2-gan"


def smooth(seed: int = 0) -> np.ndarray:
    """What a cautious model gives: an enlarged small image, (h, w), values of some hundreds."""
    low = torch.from_numpy(np.random.default_rng(seed).normal(500, 100, (1, 1, SIDE // SCALE, SIDE // SCALE)))
    return make_consistent(bicubic_upsample(low, SCALE), low)[0, 0].numpy()


def texture(seed: int = 1) -> np.ndarray:
    """Detail that is nothing when it is shrunk, (h, w), with a root mean square of 1."""
    noise = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, 1, SIDE, SIDE)))
    detail = make_consistent(noise, torch.zeros(1, 1, SIDE // SCALE, SIDE // SCALE, dtype=torch.float64))[0, 0].numpy()
    return detail / np.sqrt(np.mean(detail**2))


def shrunk(image: np.ndarray) -> np.ndarray:
    return bicubic_downsample(torch.from_numpy(image)[None, None], SCALE)[0, 0].numpy()


def volume(*planes: np.ndarray, axis: int = 2, dtype=np.float64) -> Volume:
    stack = np.moveaxis(np.stack(planes), 0, 2 - axis)
    return Volume(np.rint(stack).astype(dtype) if np.dtype(dtype).kind != "f" else stack.astype(dtype), np.eye(4))


def test_invented_texture_is_found_where_it_is():
    """Detail in one corner that only one of the results has; the input says nothing about it."""
    fidelity, invented = smooth(), np.zeros((SIDE, SIDE))
    invented[:48, :48] = 40 * texture()[:48, :48]
    zero = torch.zeros(1, 1, SIDE // SCALE, SIDE // SCALE, dtype=torch.float64)
    invented = make_consistent(torch.from_numpy(invented)[None, None], zero)[0, 0].numpy()
    assert np.abs(shrunk(fidelity + invented) - shrunk(fidelity)).max() < 1e-9, "the input cannot tell them apart"

    found = disagreement(volume(fidelity), volume(fidelity + invented), SCALE, 2)
    inside, outside = np.s_[0, 8:40, 8:40], np.s_[0, 60:, 60:]
    assert found.contested[inside].all() and not found.contested[outside].any()
    assert 30 < found.map.array[inside].mean() < 50 and found.map.array[outside].max() < 0.1
    assert found.map.array.dtype == np.float32
    expected = {
        "mean": found.map.array.mean(),
        "p99": np.percentile(found.map.array, 99),
        "max": found.map.array.max(),
        "max_voxel": np.abs(invented).max(),
        "threshold": 0.01 * np.ptp(np.percentile(fidelity, [0.1, 99.9])),
        "share_above_threshold": np.mean(found.map.array > found.summary["threshold"]),
        "share_contested": found.contested.mean(),
    }
    assert found.summary.pop("max_shrunk") < 1e-9
    assert found.summary == pytest.approx(expected, rel=1e-5)


def test_shared_detail_is_not_contested():
    """Both have the same detail, one of them stronger: they differ, and agree on more than they differ by."""
    base, detail = smooth(), 40 * texture()
    found = disagreement(volume(base + detail), volume(base + 1.6 * detail), SCALE, 2)
    assert found.summary["share_above_threshold"] == 1.0
    assert found.summary["share_contested"] == 0.0
    assert found.map.array.mean() == pytest.approx(24, rel=0.05)


@pytest.mark.parametrize(("correlation", "share"), [(0.9, 0.0), (0.3, 1.0)])
def test_equally_strong_details_are_contested_if_they_are_hardly_correlated(correlation, share):
    first, other = texture(1), texture(2)
    second = correlation * first + np.sqrt(1 - correlation**2) * other
    found = disagreement(volume(smooth() + 40 * first), volume(smooth() + 40 * second), SCALE, 2)
    assert found.summary["share_contested"] == pytest.approx(share, abs=0.02)


def test_what_the_input_could_settle_is_told_apart():
    """Of a result that does not give the input back the shrunk difference is reported."""
    assert disagreement(volume(smooth()), volume(smooth() + 7), SCALE, 2).summary["max_shrunk"] == pytest.approx(7)
    same = disagreement(volume(smooth()), volume(smooth()), SCALE, 2)
    assert (same.summary["max"], same.summary["share_contested"], same.summary["max_shrunk"]) == (0, 0, 0)


def test_shared_detail_shrinks_to_nothing():
    first, second = smooth(3) + 9 * texture(3), smooth(4)
    difference, shared, rest = compare_details(first[None], second[None], SCALE)
    assert np.abs(shrunk(shared[0])).max() < 1e-9
    np.testing.assert_allclose(difference[0], second - first)
    np.testing.assert_allclose(rest[0], shrunk(second) - shrunk(first), atol=1e-9)
    np.testing.assert_allclose(shared[0], 4.5 * texture(3), atol=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_residuals_that_are_not_finite_win(bad):
    residual = ConsistencyResidual()
    residual.add(np.full((1, 4, 4), 0.5))
    residual.add(np.array([[[0.25, bad], [0.0, 2.0]]]))
    assert residual.summary() == {"max": np.inf, "p99_9": np.inf, "share_above_one_unit": 2 / 20}


def test_local_strength():
    point = np.zeros((1, 9, 9))
    point[0, 0, 0] = 6.0
    strength = local_strength(point, 1)
    assert strength[0, 0] == 3.0 and strength[1, 1] == 2.0 and strength[2, 2] == 0.0
    assert local_strength(np.stack([point[0], 0 * point[0]]), 1)[0, 0] == pytest.approx(3 / np.sqrt(2))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_along_any_axis(axis):
    planes = smooth(0), smooth(1)
    other = planes[0], planes[1] + 30 * texture()
    found = disagreement(volume(*planes, axis=axis), volume(*other, axis=axis), SCALE, axis)
    assert found.map.array.shape == found.contested.shape == volume(*planes, axis=axis).array.shape
    maps = np.moveaxis(found.map.array, 2 - axis, 0)
    assert maps[0].max() == 0 and maps[1].min() > 10


def test_color_integers_and_what_is_not_finite():
    planes = np.stack([smooth(seed) / 5 for seed in range(3)], axis=-1)[None]
    color = Volume(np.clip(np.rint(planes), 0, 255).astype(np.uint8), np.eye(4))
    found = disagreement(color, color.with_array(color.array ^ 1), SCALE, 2)
    assert found.map.array.shape == (1, SIDE, SIDE)
    assert found.map.array == pytest.approx(np.ones((1, SIDE, SIDE)))
    assert found.summary["threshold"] >= 1 and found.summary["share_above_threshold"] == 0, "rounding is no news"

    first = volume(smooth())
    first.array[0, 8:12, 8:12] = np.nan
    found = disagreement(first, volume(smooth() + 30 * texture()), SCALE, 2)
    assert np.isnan(found.map.array).sum() == 16 == np.isnan(found.map.array[0, 8:12, 8:12]).sum()
    assert np.isfinite(list(found.summary.values())).all()


def test_threshold():
    assert visible_difference(np.linspace(0, 500, 1001)) == pytest.approx(4.99)
    assert visible_difference(np.arange(50)) == 1.0 and visible_difference(np.arange(50) / 10) < 0.05
    found = disagreement(volume(smooth()), volume(smooth() + 30 * texture()), SCALE, 2, threshold=1000)
    assert found.summary["threshold"] == 1000 and found.summary["share_above_threshold"] == 0


def test_results_that_do_not_belong_together():
    with pytest.raises(DataError, match="differ in size"):
        disagreement(volume(smooth()), volume(smooth()[:48]), SCALE, 2)
    moved = Volume(volume(smooth()).array, np.diag([1.0, 1, 1, 1]) + np.eye(4, k=3))
    with pytest.raises(DataError, match="place"):
        disagreement(volume(smooth()), moved, SCALE, 2)
    with pytest.raises(DataError, match="no results at x7"):
        disagreement(volume(smooth()), volume(smooth()), 7, 2)
    with pytest.raises(DataError, match="no voxel is finite"):
        disagreement(volume(np.full((SIDE, SIDE), np.nan)), volume(smooth()), SCALE, 2, threshold=1)


@pytest.fixture
def source(models, tmp_path, monkeypatch):
    """A volume, and a GAN beside the tiny models, which differs from them by its weights."""
    write_model(tmp_path / "more", GAN, features=6)
    monkeypatch.setenv("SUPERRESOLUTION_MODELS", f"{models}:{tmp_path / 'more'}")
    voxels = np.random.default_rng(0).integers(0, 900, (2, 20, 24)).astype(np.int16)
    return write_volume(Volume(voxels, np.diag([0.5, 0.5, 2.0, 1.0])), tmp_path / "in.nrrd")


@pytest.mark.usefixtures("only_these_models")
def test_terminal_writes_the_map(source, tmp_path):
    sr, other, where = (tmp_path / name for name in ("sr.nrrd", "other.nrrd", "map.nrrd"))
    ended = run_here("upscale", source, sr, "--model", GAN, "--disagreement", where)
    assert (ended.status, ended.err) == (0, "")
    assert f"differs from {X2} by" in ended.out and str(where) in ended.out
    assert run_here("upscale", source, other, "--model", X2).status == 0
    gan, fidelity, found = read_volume(sr), read_volume(other), read_volume(where)
    expected = disagreement(fidelity, gan, 2, 2, visible_difference(read_volume(source).array))
    np.testing.assert_array_equal(found.array, expected.map.array)
    np.testing.assert_allclose(found.ijk_to_ras, gan.ijk_to_ras, atol=1e-9)
    assert b"SuperResolution.SecondModel:=" + X2.encode() in where.read_bytes()

    report = tmp_path / "report.json"
    again = ("upscale", source, tmp_path / "a.nrrd", "--model", X2, "--disagreement", tmp_path / "m.nrrd")
    assert run_here(*again, "--against", GAN, "--report", report).status == 0
    said = json.loads(report.read_text())["disagreement"]
    assert said.pop("model") == GAN and len(said.pop("weights_sha256")) == 64
    assert said == pytest.approx(expected.summary), "the same pair, named the other way round"
    np.testing.assert_array_equal(read_volume(tmp_path / "m.nrrd").array, found.array)

    part = ("upscale", source, tmp_path / "p.nrrd", "--model", GAN, "--disagreement", tmp_path / "n.nrrd")
    said = json.loads(run_here(*part, "--region", "4:12,4:12,0:1", "--json").out)["disagreement"]
    assert said["threshold"] == expected.summary["threshold"], "of the whole image"
    assert said["max_shrunk"] <= expected.summary["max_shrunk"], "as consistent as all of it"
    region = read_volume(tmp_path / "n.nrrd")
    np.testing.assert_allclose(region.array[0], found.array[0, 8:24, 8:24], rtol=1e-3)
    np.testing.assert_allclose(region.ijk_to_ras, read_volume(tmp_path / "p.nrrd").ijk_to_ras)


@pytest.mark.usefixtures("only_these_models")
@pytest.mark.parametrize(
    ("status", "model", "options", "words"),
    [
        (4, GAN, ["--against", GAN], ["cannot be compared with itself"]),
        (4, GAN, ["--against", "edsr-ise-test-x4-psnr"], ["x4, not x2"]),
        (4, X2, [], ["No second model at x2", "--against"]),
        (4, GAN, ["--against", "edsr-ise-colour-x2-psnr"], ["color model", "scalar"]),
    ],
)
def test_terminal_refuses_a_second_model(source, tmp_path, status, model, options, words):
    before = listing(tmp_path)
    command = ("upscale", source, tmp_path / "sr.nrrd", "--model", model, "--disagreement", tmp_path / "map.nrrd")
    ended = run_here(*command, *options)
    assert ended.status == status
    assert all(word in ended.sentence() for word in words)
    assert listing(tmp_path) == before


@pytest.mark.usefixtures("only_these_models")
def test_terminal_refuses_to_compare_nothing(source, tmp_path):
    voxels = np.random.default_rng(0).random((2, 20, 24)).astype(np.float32)
    voxels[0] = np.nan
    write_volume(Volume(voxels, np.eye(4)), source, overwrite=True)
    before = listing(tmp_path)
    command = ("upscale", source, tmp_path / "sr.nrrd", "--model", GAN, "--disagreement", tmp_path / "map.nrrd")
    ended = run_here(*command, "--region", "0:8,0:8,0:1")
    assert ended.status == 3 and "No voxel of the region is finite" in ended.sentence()
    assert listing(tmp_path) == before


@pytest.mark.usefixtures("only_these_models")
def test_terminal_refuses_a_map_that_cannot_be_written(source, tmp_path):
    before = listing(tmp_path)
    command = ("upscale", source, tmp_path / "sr.nrrd", "--model", GAN, "--disagreement")
    ended = run_here(*command, tmp_path / "sr.nrrd")
    assert ended.status == 2 and "different names" in ended.sentence()
    ended = run_here(*command, tmp_path / "map.png")
    assert ended.status == 3 and "PNG" in ended.sentence()
    assert listing(tmp_path) == before


@pytest.mark.usefixtures("only_these_models")
def test_terminal_refuses_a_comparison_that_memory_could_not_hold(source, tmp_path, monkeypatch):
    monkeypatch.setattr("SuperResolutionLib.cli_disagreement.free_memory", lambda: 1000)
    before = listing(tmp_path)
    command = ("upscale", source, tmp_path / "sr.nrrd", "--model", GAN, "--disagreement", tmp_path / "map.nrrd")
    ended = run_here(*command)
    assert ended.status == 5 and "Comparing two results needs" in ended.sentence() and "--region" in ended.sentence()
    assert listing(tmp_path) == before


def test_a_gap_hides_nothing_of_its_neighbours_and_adds_nothing():
    base = np.zeros((SIDE, SIDE))
    base[:, 48:] = 1000.0  # the median of the slice is far from what is around the gap
    first, second = (base + 30 * texture(seed) for seed in (1, 2))
    whole = disagreement(volume(first), volume(second), SCALE, 2, 5.0)
    for each in (first, second):
        each[40:44, 72:76] = np.nan
    holed = disagreement(volume(first), volume(second), SCALE, 2, 5.0)
    around = np.s_[0, 28:56, 60:88]
    known = np.isfinite(holed.map.array[around])
    assert known.sum() == 28 * 28 - 16 and not holed.contested[around][~known].any()
    assert np.mean(holed.contested[around][known]) == pytest.approx(np.mean(whole.contested[around]), abs=0.03)
    np.testing.assert_allclose(holed.map.array[around][known], whole.map.array[around][known], rtol=0.35)


def test_residuals_beyond_float32_are_finite():
    residual = ConsistencyResidual()
    residual.add(np.array([1e93, 0.5]))
    assert residual.summary()["max"] == 1e93
