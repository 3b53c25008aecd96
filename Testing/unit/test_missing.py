"""Voxels without a measurement: padding and fill values are told from measurements, and ruin nothing around them."""

from __future__ import annotations

import numpy as np
import pytest

from SuperResolutionLib import pipeline
from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.compare import compare
from SuperResolutionLib.fidelity import visible_difference
from SuperResolutionLib.intensity import choose_map
from SuperResolutionLib.metrics import CT_RANGE, data_range
from SuperResolutionLib.missing import Gaps, fill_missing, find_padding
from SuperResolutionLib.plan import plan
from SuperResolutionLib.upscaler import Options, upscale
from SuperResolutionLib.volume import Volume
from Testing.tiny_model import write_model

CPU = Options(device="cpu")
SCALE, FRAME = 4, 12


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_model(folder, "edsr-ise-test-x4-psnr")
    return ModelCatalog([folder]).cards[0]


def tissue(dtype=np.int16) -> np.ndarray:
    """Smooth values between 0 and 800, (2, 60, 60), of all sizes in between."""
    y, x = np.mgrid[:60, :60]
    wave = 400 + 300 * np.sin(x / 5) * np.cos(y / 7) + np.random.default_rng(0).normal(0, 20, (2, 60, 60))
    return wave.clip(0, 800).astype(dtype)


def padded(value: float, dtype=np.int16) -> np.ndarray:
    array = tissue(dtype)
    array[:, :, :FRAME] = value
    return array


def inside(array: np.ndarray) -> np.ndarray:
    """What is made of the tissue, far from the padding."""
    return array[:, :, SCALE * (FRAME + 8) :].astype(np.float64)


@pytest.mark.parametrize("value", [-32768, -9000, 30000])
def test_padding_is_found(value):
    assert find_padding(padded(value)) == (value,)
    assert choose_map(padded(value), {"mapping": "auto"}).width == pytest.approx(data_range(tissue()), rel=0.1)
    assert visible_difference(padded(value)) == pytest.approx(visible_difference(tissue()), rel=0.1)
    assert data_range(padded(value)) == pytest.approx(data_range(tissue()), rel=0.1)


def test_two_fill_values_are_found():
    array = padded(-32768)
    array[:, :5] = 32767
    assert set(find_padding(array)) == {-32768, 32767}


@pytest.mark.parametrize(
    "array",
    [
        tissue(),
        padded(0),
        padded(-1000),  # within ten spans: a masked organ, or the air of CT
        padded(0).astype(np.uint8),
        np.where(np.arange(3600).reshape(1, 60, 60) % 2, 0, 255).astype(np.int16),  # a mask of two values
        np.full((1, 60, 60), -32768, np.int16),
    ],
    ids=["tissue", "black frame", "near", "8 bits", "mask", "constant"],
)
def test_what_is_no_padding(array):
    assert find_padding(array) == ()


def test_a_single_far_value_is_no_padding_of_integers():
    array = tissue()
    array[0, 3, 3] = -32768
    assert find_padding(array) == ()


def test_padding_that_the_file_states_need_not_lie_far(card):
    ct = padded(-2000) - np.int16(400)
    ct[:, :, :FRAME] = -2000
    assert find_padding(ct) == () and find_padding(ct, stated=(-2000,)) == (-2000,)
    assert find_padding(padded(0), stated=(0,)) == (), "but it does lie apart from the tissue"
    stated = Volume(ct, np.eye(4), "ct", {"Padding": "-2000 -1999"})
    assert plan(stated, card).gaps.padding == (-2000,)
    assert upscale(stated, card, CPU).report["missing_voxels"] == 2 * 60 * FRAME


@pytest.mark.parametrize("value", [-32768, 30000])
def test_padding_does_no_harm_and_is_put_back(card, value):
    """The tissue comes out as it does beside a dark frame, and the frame keeps its value."""
    result = upscale(Volume(padded(value), np.eye(4)), card, CPU)
    beside = upscale(Volume(padded(tissue().mean()), np.eye(4)), card, CPU)
    for produced, expected in ((result.sr, beside.sr), (result.bicubic, beside.bicubic)):
        assert (produced.array[:, :, : SCALE * FRAME] == value).all()
        assert produced.array[:, :, SCALE * FRAME :].min() >= -150 and produced.array[:, :, SCALE * FRAME :].max() < 950
        assert np.abs(inside(produced.array) - inside(expected.array)).max() <= 1
    assert result.report["consistency"]["max"] < 1
    assert result.report["missing_voxels"] == 2 * 60 * FRAME
    assert any(f"padding of {value}" in notice for notice in result.report["notices"])


@pytest.mark.parametrize("value", [-3.4028235e38, 1e30, 1e20])
def test_a_fill_value_does_no_harm(card, value):
    """One voxel is not padding, yet float32 could not hold both it and its surroundings."""
    source = tissue(np.float32)
    expected = upscale(Volume(source.copy(), np.eye(4)), card, CPU).sr.array
    source[0, 30, 30] = value
    result = upscale(Volume(source, np.eye(4)), card, CPU)
    around = np.s_[0, SCALE * 30 : SCALE * 31, SCALE * 30 : SCALE * 31]
    assert (result.sr.array[around] == np.float32(value)).all()
    assert result.report["missing_voxels"] == 1 and result.report["consistency"]["max"] < 0.1
    assert np.abs(result.sr.array[0, :80] - expected[0, :80]).max() < 1


def test_constant_air_beside_padding_is_not_skipped_wrongly(card):
    source = np.zeros((6, 200, 200), np.int16)
    source[:, 90:110, 90:110] = tissue()[0, :20, :20]
    source[:, :20] = -32768
    skipped, whole = (upscale(Volume(source, np.eye(4)), card, Options(device="cpu", skip_constant=s)) for s in (1, 0))
    np.testing.assert_array_equal(skipped.sr.array, whole.sr.array)


def test_scores_do_not_count_padding(card):
    clean, spoiled = (compare(Volume(array, np.eye(4)), card, CPU) for array in (padded(400), padded(-32768)))
    assert spoiled["data_range"] == pytest.approx(clean["data_range"], rel=0.1)
    assert spoiled["methods"]["bicubic"]["psnr"] > 20


def test_ranges_of_ct_and_of_sparse_images():
    ct = tissue() - np.int16(1000)
    ct[:, :, :FRAME] = -3024
    assert data_range(ct) == CT_RANGE
    sparse = np.zeros((1, 100, 100), np.float32)
    sparse[0, 5, 5] = 0.003
    assert data_range(sparse) == pytest.approx(0.003)


@pytest.mark.parametrize("value", [1e-9, 0.0, -4e5])
def test_a_constant_floating_image_stays_constant(card, value):
    result = upscale(Volume(np.full((1, 16, 16), value, np.float32), np.eye(4)), card, CPU)
    assert np.abs(result.sr.array - np.float32(value)).max() <= 1e-6 * abs(value) + 1e-29


def test_integers_are_bridged_by_rounded_means():
    plane = np.array([[[1, 2], [2, -9]]], np.int16)
    filled, missing = fill_missing(plane, Gaps((-9,)))
    assert filled[0, 1, 1] == 2 and missing.sum() == 1 and filled.dtype == np.int16


def test_large_color_slices_go_one_component_at_a_time(card, monkeypatch):
    """Their memory is planned for one; the result is that of all at once."""
    source = Volume(np.stack([tissue(np.uint8)] * 3, axis=-1), np.eye(4))
    expected, sizes = upscale(source, card, CPU).sr.array, []
    monkeypatch.setattr(pipeline, "BATCH_PIXELS", 60 * 60)
    enlarge = pipeline.Pipeline._through_network

    def watched(self, planes):
        def counted(part, *more):
            sizes.append(len(part))
            return original(part, *more)

        original = self._model.enlarge
        with monkeypatch.context() as patched:
            patched.setattr(self._model, "enlarge", counted)
            return enlarge(self, planes)

    monkeypatch.setattr(pipeline.Pipeline, "_through_network", watched)
    np.testing.assert_allclose(upscale(source, card, CPU).sr.array, expected, atol=1)
    assert sizes == [1] * 6


def test_every_kind_that_is_missing_is_told():
    assert Gaps().told() == "NaN, infinite or out of all reach"
    assert Gaps((-9000.0,)).told() == "padding of -9000"
    assert Gaps((-9000.0,), -1e6, 1e6).told() == "padding of -9000; or NaN, infinite or out of all reach"


def test_a_gap_is_filled_ring_by_ring():
    plane = np.full((1, 9, 9), np.nan)
    plane[:, :, :2] = 5.0
    plane[:, 0, 8] = 100.0
    once, _ = fill_missing(plane)
    assert once[0, 8, 2] == 5 and once[0, 8, 5] == np.median(plane[np.isfinite(plane)])
    far, _ = fill_missing(plane, far=9)
    assert far[0, 8, 2:6].tolist() == [5.0] * 4 and np.isfinite(far).all()
    assert far.max() == 100 and 5 < far[0, 1, 7] <= 100


def test_stated_padding_is_not_in_the_range_of_scores():
    brain = tissue().astype(np.uint16)
    near = brain.copy()
    near[:, :8] = int(1.5 * brain.max())
    assert data_range(near) > 1.2 * data_range(brain)
    assert data_range(near, stated=[float(near.max())]) == pytest.approx(data_range(brain), rel=0.05)
    wide, narrow = (visible_difference(near, each) for each in ((), [float(near.max())]))
    assert narrow == pytest.approx(visible_difference(brain), rel=0.05) and wide > 1.2 * narrow
