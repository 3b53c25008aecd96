"""From high to low resolution, each step against a library or a property that it must have."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from SuperResolutionLib.errors import DataError, UsageError
from SuperResolutionLib.resampling import bicubic_downsample
from training.degradations import (
    NOISES,
    Degradation,
    convolve,
    gaussian_kernel,
    jpeg,
    profile_matrix,
    shrink_axis,
)


def rng():
    return np.random.default_rng(7)


def picture(height=48, width=64, channels=1):
    """Smooth structure with edges, in 0..1."""
    y, x = np.mgrid[:height, :width] / 10
    planes = [0.5 + 0.2 * np.sin(x + c) * np.cos(y) + 0.2 * (x > y + c) for c in range(channels)]
    return np.stack(planes, -1).astype(np.float32)


def bicubic(image, scale):
    return bicubic_downsample(torch.from_numpy(image).movedim(-1, 0)[None], scale)[0].movedim(0, -1).numpy()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("spec", [None, {}, {"blur": None}])
def test_the_engines_bicubic_is_the_default(channels, spec):
    image = picture(channels=channels)
    low = Degradation(spec)(image, 4, rng())
    assert low.dtype == np.float32 and low.flags.c_contiguous
    np.testing.assert_array_equal(low, bicubic(image, 4))


def test_blur_is_scipys():
    image = picture()
    ours = convolve(image, gaussian_kernel(1.7, 1.7, 0.3))
    theirs = ndimage.gaussian_filter(image[..., 0].astype(np.float64), 1.7, mode="mirror", truncate=4)
    np.testing.assert_allclose(ours[..., 0], theirs, atol=1e-6)


@pytest.mark.parametrize("angle, rows_sigma, columns_sigma", [(0.0, 1.0, 2.5), (np.pi / 2, 2.5, 1.0)])
def test_anisotropic_blur_is_scipys_along_the_axes(angle, rows_sigma, columns_sigma):
    image = picture()
    ours = convolve(image, gaussian_kernel(2.5, 1.0, angle))
    theirs = ndimage.gaussian_filter(image[..., 0].astype(np.float64), (rows_sigma, columns_sigma), mode="mirror")
    np.testing.assert_allclose(ours[..., 0], theirs, atol=1e-4)


def test_anisotropic_blur_has_the_covariance_asked_for():
    kernel, angle = gaussian_kernel(3.0, 1.5, np.pi / 6), np.pi / 6
    radius = kernel.shape[0] // 2
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    assert np.sum(kernel * along**2) == pytest.approx(9, rel=0.02)
    assert np.sum(kernel * across**2) == pytest.approx(2.25, rel=0.02)
    assert np.sum(kernel * along * across) == pytest.approx(0, abs=0.02)


def test_blur_means_the_same_at_every_scale():
    """Sigma counts low-resolution pixels: an image four times as fine gives nearly the same low resolution."""
    spec = {"blur": [1.0, 1.0]}
    fine = np.kron(picture(48, 64)[..., 0], np.ones((4, 4)))[..., None].astype(np.float32)
    coarse = np.kron(picture(48, 64)[..., 0], np.ones((2, 2)))[..., None].astype(np.float32)
    wanted = Degradation(spec)(coarse, 8, rng())
    assert np.abs(Degradation(spec)(fine, 16, rng()) - wanted).max() < 4e-3
    assert np.abs(Degradation({"blur": [0.5, 0.5]})(fine, 16, rng()) - wanted).max() > 0.02  # as in fixed pixels


def test_box_profile_as_wide_as_a_pixel_is_the_mean_of_its_pixels():
    image = picture()
    matrix = profile_matrix(48, 4, 1.0, "box")
    np.testing.assert_allclose(matrix @ image[..., 0], image[..., 0].reshape(12, 4, 64).mean(1), atol=1e-6)


def test_gaussian_profile_is_scipys_filter_sampled_at_the_centers():
    image, scale, fwhm = picture(75, 20)[..., 0].astype(np.float64), 5, 1.2
    sigma = fwhm * scale / 2.354820045
    theirs = ndimage.gaussian_filter1d(image, sigma, axis=0, mode="constant")[2::5]
    theirs /= ndimage.gaussian_filter1d(np.ones_like(image), sigma, axis=0, mode="constant")[2::5]
    np.testing.assert_allclose(profile_matrix(75, scale, fwhm, "gaussian") @ image, theirs, atol=3e-3)


@pytest.mark.parametrize("shape", ["gaussian", "box"])
@pytest.mark.parametrize("fwhm", [0.75, 1.5, 3.0])
def test_profiles_have_the_width_asked_for(shape, fwhm):
    line = profile_matrix(640, 16, fwhm, shape)[20].astype(np.float64)
    assert line.sum() == pytest.approx(1, abs=1e-6)
    assert np.sum(line * np.arange(640)) == pytest.approx(20.5 * 16 - 0.5)  # the pixel's center: no shift
    assert np.count_nonzero(line >= line.max() / 2) / 16 == pytest.approx(fwhm, abs=1.5 / 16)


@pytest.mark.parametrize("axis", [0, 1])
def test_slice_profile_replaces_bicubic_along_its_axis_alone(axis):
    image = picture(channels=3)
    low = Degradation({"slice_profile": {"fwhm": [1, 1], "shape": "box", "axis": axis}})(image, 4, rng())
    turned = np.moveaxis(image, axis, 0)
    means = turned.reshape(-1, 4, *turned.shape[1:]).mean(1)
    np.testing.assert_allclose(low, shrink_axis(np.moveaxis(means, 0, axis), 4, 1 - axis), atol=1e-6)
    both = shrink_axis(shrink_axis(image, 4, 0), 4, 1)
    np.testing.assert_allclose(both, bicubic(image, 4), atol=1e-6)


@pytest.mark.parametrize(
    "spec", [{"blur": [1, 2]}, {"slice_profile": [1, 2]}, {"slice_profile": {"fwhm": [1, 1], "shape": "box"}}]
)
def test_what_is_constant_stays_so(spec):
    low = Degradation(spec)(np.full((32, 32, 1), 0.3, np.float32), 4, rng())
    np.testing.assert_allclose(low, 0.3, atol=1e-6)


def test_gaussian_noise_has_its_moments():
    noisy = NOISES["gaussian"](np.full((300, 300, 1), 0.4, np.float32), 0.05, rng())
    assert noisy.mean() == pytest.approx(0.4, abs=1e-3)
    assert noisy.std() == pytest.approx(0.05, rel=0.01)


@pytest.mark.parametrize("value", [0.2, 1.0])
def test_poisson_noise_has_a_variance_in_proportion_to_the_value(value):
    noisy = NOISES["poisson"](np.full((300, 300, 1), value, np.float32), 0.05, rng())
    assert noisy.mean() == pytest.approx(value, rel=0.01)
    assert noisy.var() == pytest.approx(0.05**2 * value, rel=0.02)


def test_poisson_noise_leaves_values_below_zero_alone():
    image = np.full((4, 4, 1), -0.1, np.float32)
    np.testing.assert_allclose(NOISES["poisson"](image, 0.05, rng()), image, atol=1e-7)
    np.testing.assert_array_equal(NOISES["poisson"](picture(), 0.0, rng()), picture())


def test_rician_noise_is_rayleigh_without_signal_and_lifts_a_strong_one_a_little():
    dark = NOISES["rician"](np.zeros((300, 300, 1), np.float32), 0.05, rng())
    assert dark.min() >= 0
    assert dark.mean() == pytest.approx(0.05 * np.sqrt(np.pi / 2), rel=0.01)
    bright = NOISES["rician"](np.full((300, 300, 1), 0.5, np.float32), 0.05, rng())
    assert np.square(bright).mean() == pytest.approx(0.5**2 + 2 * 0.05**2, rel=0.005)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows(channels):
    image = picture(channels=channels)
    stored = np.round(image * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(stored.squeeze()).save(buffer, "JPEG", quality=40)
    theirs = np.asarray(Image.open(buffer), dtype=np.float32).reshape(image.shape) / 255
    np.testing.assert_array_equal(jpeg(image, 40), theirs)


def test_jpeg_of_lower_quality_is_further_off():
    errors = [np.abs(jpeg(picture(), quality) - picture()).mean() for quality in (95, 50, 10)]
    assert errors[0] < errors[1] < errors[2]
    with pytest.raises(DataError, match="1 or 3 channels"):
        jpeg(np.zeros((8, 8, 2), np.float32), 50)


def test_the_same_generator_gives_the_same_image_and_ranges_are_drawn_from():
    spec = {
        "blur": {"sigma": [0.2, 0.8], "anisotropic": True},
        "slice_profile": [0.8, 1.2],
        "noise": {"sigma": [0.0, 0.05], "kind": "rician"},
        "jpeg": [30, 95],
    }
    degrade, generator = Degradation(spec), rng()
    first, second = (degrade(picture(channels=3), 4, generator) for _ in range(2))
    assert first.shape == (12, 16, 3) and first.dtype == np.float32
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(degrade(picture(channels=3), 4, rng()), first)


def test_a_card_is_told_what_was_done_in_its_order():
    spec = {"jpeg": [30, 95], "noise": [0.01, 0.01], "blur": {"sigma": [0, 0.5], "anisotropic": True}}
    spec["slice_profile"] = {"fwhm": [0.8, 1.2], "axis": 1}
    lines = Degradation(spec).describe().split("; ")
    assert lines[:2] == ["anisotropic Gaussian blur, sigma 0 to 0.5 low-resolution pixels", "antialiased bicubic"]
    assert lines[2].startswith("gaussian slice profile from column to column in place of bicubic")
    assert lines[3:] == ["Gaussian noise, sigma 0.01 of the range", "JPEG, quality 30 to 95"]
    assert Degradation({"jpeg": [30, 95]}).describe() == "antialiased bicubic; JPEG, quality 30 to 95"


@pytest.mark.parametrize(
    "spec, message",
    [
        ({"blurr": [0, 1]}, "did you mean 'blur'"),
        ({"blur": {"sigma": [0, 1], "isotropic": True}}, "did you mean 'anisotropic'"),
        ({"blur": [1, 0]}, "sigma of the degradation blur is a range"),
        ({"blur": 0.5}, "is a range"),
        ({"noise": {"kind": "rician"}}, "sigma of the degradation noise is a range"),
        ({"noise": {"sigma": [0, 0.1], "kind": "ricean"}}, "kind of the degradation noise is one of"),
        ({"jpeg": [0, 50]}, "within 1 to 100"),
        ({"blur": ["a", "b"]}, "is a range"),
        ({"blur": [0, None]}, "is a range"),
    ],
)
def test_a_bad_specification_is_named(spec, message):
    with pytest.raises(UsageError, match=message):
        Degradation(spec)


def test_a_size_that_is_no_multiple_is_refused():
    with pytest.raises(DataError, match="crop"):
        Degradation()(np.zeros((30, 32, 1), np.float32), 4, rng())


def test_jpeg_without_pillow_is_a_clear_error(monkeypatch):
    monkeypatch.setattr("training.degradations.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pillow"):
        Degradation({"jpeg": [50, 90]})


@pytest.mark.parametrize("spec", [{"blur": [4, 4]}, {"slice_profile": [6, 6]}, {}])
def test_what_a_patch_sees_beyond_its_border_is_what_its_degradation_looks_at(spec):
    degradation, scale, side = Degradation(spec), 2, 120
    image = rng().random((side * scale, side * scale, 1), np.float32)
    whole = degradation(image, scale, rng())
    reach, start, patch = degradation.reach, 50, 10
    first, last = (start - reach) * scale, (start + patch + reach) * scale
    part = degradation(image[first:last, first:last], scale, rng())[reach:-reach, reach:-reach]
    np.testing.assert_allclose(part, whole[start : start + patch, start : start + patch], atol=2e-4)
