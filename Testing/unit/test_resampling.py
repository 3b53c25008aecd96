"""One bicubic kernel both ways, and exact consistency."""

import numpy as np
import pytest
import torch
from PIL import Image

from SuperResolutionLib.resampling import bicubic_downsample, bicubic_upsample, make_consistent


def picture(height, width, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random((1, 1, height, width), dtype=np.float32))


def pil(image, size):
    return np.asarray(Image.fromarray(image[0, 0].numpy(), mode="F").resize(size[::-1], Image.Resampling.BICUBIC))


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_equals_pil_on_float_images(scale):
    image = picture(48, 72)
    np.testing.assert_allclose(
        bicubic_downsample(image, scale)[0, 0], pil(image, (48 // scale, 72 // scale)), atol=1e-5
    )
    np.testing.assert_allclose(bicubic_upsample(image, scale)[0, 0], pil(image, (48 * scale, 72 * scale)), atol=1e-5)


def test_constant_images_stay_constant():
    flat = torch.full((1, 2, 12, 8), 0.37)
    assert torch.allclose(bicubic_upsample(flat, 4), torch.tensor(0.37), atol=1e-6)
    assert torch.allclose(bicubic_downsample(flat, 4), torch.tensor(0.37), atol=1e-6)


def test_sides_that_are_no_multiple_are_refused():
    with pytest.raises(ValueError, match="not a multiple"):
        bicubic_downsample(picture(10, 12), 4)


@pytest.mark.parametrize("scale", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("size", [(4, 4), (9, 31), (128, 40)])
def test_consistency_is_exact_in_float(scale, size):
    low = picture(*size)
    arbitrary = picture(size[0] * scale, size[1] * scale, seed=1) * 3 - 1
    corrected = make_consistent(arbitrary, low)
    assert (bicubic_downsample(corrected, scale) - low).abs().max() < 2e-5
    again = make_consistent(corrected, low)
    assert (again - corrected).abs().max() < 2e-5


def test_consistency_keeps_what_is_consistent_and_restores_what_was_lost():
    high = picture(64, 64)
    low = bicubic_downsample(high, 4)
    assert (make_consistent(high, low) - high).abs().max() < 2e-6
    before, after = bicubic_upsample(low, 4), make_consistent(bicubic_upsample(low, 4), low)
    assert (after - high).square().mean() < (before - high).square().mean()


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_rounding_moves_the_shrunk_image_by_less_than_a_unit(scale):
    low = torch.from_numpy(np.random.default_rng(2).integers(0, 4096, (1, 1, 40, 40)).astype(np.float32))
    rounded = make_consistent(bicubic_upsample(low, scale), low).round()
    assert (bicubic_downsample(rounded, scale) - low).abs().max() < 0.8


@pytest.mark.parametrize("length", [257, 700])
def test_long_axes_are_solved_in_windows_as_exactly(length):
    low = picture(5, length)
    arbitrary = picture(10, 2 * length, seed=1)
    assert (bicubic_downsample(make_consistent(arbitrary, low), 2) - low).abs().max() < 2e-5
    tall, wide = make_consistent(arbitrary.mT, low.mT), make_consistent(arbitrary, low)
    assert torch.allclose(tall.mT, wide, atol=1e-6)


def test_what_inference_remembered_serves_gradients():
    low = picture(6, 13)
    with torch.inference_mode():
        make_consistent(picture(12, 26), low)
    image = picture(12, 26).requires_grad_()
    make_consistent(image, low).square().sum().backward()
    assert image.grad.abs().sum() > 0
