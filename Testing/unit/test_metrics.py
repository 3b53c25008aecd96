"""PSNR, SSIM and the comparison against a reference."""

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.compare import compare, degrade
from SuperResolutionLib.errors import DataError
from SuperResolutionLib.geometry import bounds
from SuperResolutionLib.metrics import data_range, psnr, ssim, volume_scores
from SuperResolutionLib.plan import plan
from SuperResolutionLib.upscaler import Options
from SuperResolutionLib.volume import Volume
from Testing.tiny_model import write_model

RANDOM = np.random.default_rng(0)


def test_psnr_and_ssim_agree_with_scikit_image():
    reference = RANDOM.integers(0, 256, (40, 50), dtype=np.uint8)
    noisy = np.clip(reference + RANDOM.normal(0, 9, reference.shape), 0, 255).astype(np.uint8)
    assert psnr(reference, noisy, 255) == pytest.approx(peak_signal_noise_ratio(reference, noisy, data_range=255))
    expected = structural_similarity(
        reference, noisy, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(reference, noisy, 255) == pytest.approx(expected, abs=1e-6)


def test_equal_images_and_small_images():
    image = RANDOM.random((8, 9))
    assert psnr(image, image, 1.0) == math.inf and ssim(image, image, 1.0) == pytest.approx(1.0)
    assert ssim(image, 1 - image, 1.0) < 0.5
    colour = RANDOM.random((16, 16, 3))
    assert ssim(colour, colour, 1.0) == pytest.approx(1.0)


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e200])
def test_an_error_beyond_all_numbers(value):
    image = np.array([[1.0, value]])
    with np.errstate(over="ignore", invalid="ignore"):
        assert psnr(np.zeros((1, 2)), image, 1.0) == -math.inf
        assert psnr(np.zeros((1, 2)), image, 1e200) == -math.inf


def test_unsigned_bytes_do_not_wrap():
    assert psnr(np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8), 255) == pytest.approx(0.0)


def test_data_range():
    assert data_range(np.zeros((2, 2), np.uint8)) == 255
    assert data_range(np.array([-1000, 400], np.int16)) == 4096
    assert data_range(np.array([0, 400], np.int16), "CT") == 4096
    assert data_range(np.linspace(0, 1000, 100001).astype(np.float32)) == pytest.approx(998, abs=0.1)
    assert data_range(np.full(5, 3.0)) == 1.0


def test_empty_slices_do_not_count():
    reference = np.zeros((3, 16, 16))
    reference[1] = RANDOM.random((16, 16))
    scores = volume_scores(reference, reference + 0.1, 1.0)
    assert scores["slices"] == 1 and scores["psnr"] == pytest.approx(20.0)


def test_wide_integers_do_not_look_empty():
    reference = np.zeros((2, 16, 16), np.int16)
    reference[0, 0, 0], reference[0, 1, 1] = -30000, 30000
    reference[1] = RANDOM.integers(0, 4000, (16, 16))
    assert volume_scores(reference, reference + 1, 4096)["slices"] == 2


def test_missing_voxels_are_bridged_before_scoring(card):
    source = reference_volume((2, 32, 32), np.float32)
    source.array[0, 5, 5] = np.nan
    scores = compare(source, card, Options(device="cpu"))
    assert all(np.isfinite(entry["psnr"]) for entry in scores["methods"].values())


@pytest.fixture
def card(tmp_path):
    write_model(tmp_path, "edsr-ise-test-x4-psnr")
    return ModelCatalog([tmp_path]).cards[0]


def reference_volume(shape, dtype=np.int16):
    smooth = np.cumsum(np.cumsum(RANDOM.normal(size=shape), axis=1), axis=2)
    return Volume((smooth * 50).astype(dtype), np.diag([0.7, 0.7, 3.0, 1.0]), "hr")


def test_compare_crops_degrades_and_ranks(card):
    scores = compare(reference_volume((3, 66, 71)), card, Options(device="cpu"))
    methods = {name: entry["psnr"] for name, entry in scores["methods"].items()}
    assert methods["bicubic consistent"] > methods["bicubic"] > methods["nearest"]
    assert np.isfinite(methods["model"]) and scores["slices"] == 3 and scores["scale"] == 4
    assert all(0 < entry["ssim"] <= 1 for entry in scores["methods"].values())


def test_degraded_volume_lies_where_its_pixels_were(card):
    source = reference_volume((2, 66, 71))
    low, planes = degrade(plan(source, card))
    assert low.size == (17, 16, 2) and planes.shape == (2, 1, 64, 68) and low.array.dtype == np.int16
    np.testing.assert_allclose(bounds(low.ijk_to_ras, low.size), bounds(source.ijk_to_ras, (68, 64, 2)), atol=1e-9)


def test_compare_colour_and_too_small(card):
    colour = RANDOM.integers(0, 255, (1, 32, 32, 3), dtype=np.uint8)
    assert compare(Volume(colour, np.eye(4)), card, Options(device="cpu"))["slices"] == 1
    with pytest.raises(DataError, match="at least 16 x 16"):
        compare(reference_volume((1, 15, 40)), card, Options(device="cpu"))


def test_slices_of_one_pixel_across_have_a_similarity():
    thin = np.linspace(1, 9, 9).reshape(1, 9)
    assert ssim(thin, thin, 10.0) == pytest.approx(1)
    assert ssim(thin, thin + 5, 10.0) < 0.9
