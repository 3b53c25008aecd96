"""Letters and frames on training patches: what they leave alone, what they add, and that chance alone decides."""

import numpy as np
import pytest
import torch

from SuperResolutionLib.errors import UsageError
from SuperResolutionLib.resampling import bicubic_downsample
from Testing.training.test_dataset import sampler
from Testing.training.tiny import CPU, fields
from training.burnt_in import burn_in, frame, letters
from training.config import make_config
from training.dataset import describe_augmentations
from training.packed import pack
from training.train import make_sampler

GREY = np.full((96, 120, 1), 0.3, np.float32)


@pytest.mark.parametrize("kind", [letters, frame, burn_in])
def test_what_is_drawn(kind):
    images = [kind(GREY, np.random.default_rng(seed)) for seed in range(60)]
    assert all(image.shape == GREY.shape and image.dtype == np.float32 for image in images)
    assert all(0 <= image.min() and image.max() <= 1 for image in images)
    changed = np.array([(np.abs(image - GREY) > 0.01).mean() for image in images])
    assert (changed > 0).mean() > 0.7 and (changed < 1).mean() > 0.9
    assert (GREY == np.float32(0.3)).all()
    again = kind(GREY, np.random.default_rng(5))
    np.testing.assert_array_equal(again, images[5])


def test_edges_are_those_of_a_reduced_image():
    """Neither stairs, which hold two values, nor blur: few pixels in between, and a little overshoot now and then."""
    images = [frame(GREY, np.random.default_rng(seed)) for seed in range(40)]
    between = [((image > 0.02) & (image < 0.28)).mean() for image in images if image.min() == 0]
    assert len(between) > 15 and 0 < np.mean(between) < 0.05
    assert any(0.3 < image.max() < 0.4 for image in images if image.min() == 0)


def test_some_letters_have_a_dark_rim():
    """Letters are brighter than this image, and what a reduction overshoots stays far from black."""
    dark = [letters(GREY, np.random.default_rng(seed)).min() < 0.05 for seed in range(200)]
    assert 0.06 < np.mean(dark) < 0.25


def test_colours_are_drawn_alike():
    drawn = burn_in(np.repeat(GREY, 3, axis=2), np.random.default_rng(2))
    np.testing.assert_array_equal(drawn[..., 0], drawn[..., 2])


@pytest.fixture
def folder(tmp_path):
    for name in ("plain", "radiographs"):
        pack(tmp_path, name, [np.random.default_rng(0).integers(90, 110, (96, 96), dtype=np.uint8)])
    return tmp_path


def test_pairs_fit_and_only_the_named_set_is_drawn_on(folder):
    low, high = sampler(folder, "radiographs", augment=(), drawings={"burnt_in": {"radiographs": 1.0}}).batch(30)
    reduced = bicubic_downsample(high, 2).clamp(0, 1)  # as 8 bits end
    inside = (slice(None), slice(None), slice(3, -3), slice(3, -3))
    assert (low - reduced)[inside].abs().max() < 1e-5, "the low resolution is that of what was drawn"
    assert ((high < 0.34) | (high > 0.44)).flatten(1).any(1).float().mean() > 0.4
    both = {"plain": 0.0, "radiographs": 1.0}
    plain = sampler(folder, "plain", augment=(), drawings=None)
    other = sampler(folder, "plain", augment=(), drawings={"burnt_in": {"plain": both["plain"]}})
    assert torch.equal(plain.batch(8)[1], other.batch(8)[1]), "without letters the stream stays as it was"


def test_the_share_is_kept(folder):
    _, high = sampler(
        folder, "radiographs", "plain", augment=(), drawings={"burnt_in": {"radiographs": 0.5}}, patch=16
    ).batch(300)
    drawn = ((high < 0.34) | (high > 0.44)).flatten(1).any(1).float().mean()
    assert 0.12 < drawn < 0.26, "about nine in ten of half of half"


def test_a_configuration_names_its_sets(folder):
    settings = fields(data={"sets": {"plain": 1.0}, "patch": 12, "burnt_in": {"radiograph": 0.5}})
    with pytest.raises(UsageError, match="burnt_in names radiograph, and the sets are plain"):
        make_sampler(make_config(settings), folder, CPU)
    with pytest.raises(UsageError, match="burnt_in"):
        make_config({**settings, "data": {**settings["data"], "burnt_in": {"plain": 1.5}}})


def test_a_card_says_so():
    assert describe_augmentations(("flips",), {"burnt_in": {"cxr_nih": 0.5}}) == [
        "flips",
        "letters and frames drawn on 50 % of the patches of cxr_nih",
    ]
