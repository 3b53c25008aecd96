"""Patches: aligned pairs, where they come from, one stream for all processes, and a state that is exact."""

from itertools import pairwise
from threading import Event, current_thread

import numpy as np
import pytest
import torch

from SuperResolutionLib.resampling import bicubic_downsample
from training.dataset import AUGMENTATIONS, PatchSampler, describe_augmentations, shrink
from training.degradations import Degradation
from training.packed import PackedSet, PackWriter, pack
from training.places import BACKGROUND_SPAN, find_places
from training.resident import ResidentSets

RANDOM = np.random.default_rng(0)


def sampler(folder, *names, scale=2, patch=8, hard=0.0, seed=0, **options) -> PatchSampler:
    options.setdefault("workers", 0)
    sets = {name: (PackedSet(folder, name), 1.0) for name in names or ("s",)}
    return PatchSampler(sets, scale, patch, hard, seed, **options)


@pytest.fixture
def noise(tmp_path):
    pack(tmp_path, "s", [RANDOM.integers(0, 256, shape, dtype=np.uint8) for shape in ((64, 83), (71, 64), (96, 96))])
    return tmp_path


def edges(height, width):
    y, x = np.mgrid[:height, :width]
    return ((np.sin((x + 2 * y) / 5) > 0) * 0.8 + 0.1).astype(np.float32)


@pytest.mark.parametrize(("scale", "channels"), [(2, 1), (4, 3)])
def test_a_pair_is_cut_from_the_whole_slice_and_its_reduction(tmp_path, scale, channels):
    image = RANDOM.integers(0, 256, (97, 110, channels), dtype=np.uint8)
    pack(tmp_path, "s", [image])
    low, high = sampler(tmp_path, scale=scale, augment=()).batch(12)
    assert low.shape == (12, channels, 8, 8) and high.shape == (12, channels, 8 * scale, 8 * scale)
    assert low.dtype == high.dtype == torch.float32
    height, width = (length - length % scale for length in image.shape[:2])
    whole = torch.from_numpy(np.moveaxis(image[:height, :width] / np.float32(255), -1, 0).copy())[None]
    reduced = bicubic_downsample(whole, scale).clamp(0, 1)  # as 8 bits end
    for one, other in zip(low, high):
        y, x = find(whole[0], other)
        assert y % scale == x % scale == 0
        there = reduced[0, :, y // scale : y // scale + 8, x // scale : x // scale + 8]
        assert torch.allclose(one, there, atol=1e-6), "low resolution sees what lies beyond the patch"


def find(whole, part):
    side = part.shape[-1]
    for y in range(whole.shape[-2] - side + 1):
        for x in range(whole.shape[-1] - side + 1):
            if torch.allclose(whole[:, y, x], part[:, 0, 0], atol=1e-7):
                if torch.allclose(whole[:, y : y + side, x : x + side], part, atol=1e-7):
                    return y, x
    raise AssertionError("the patch is nowhere in the slice")


def test_every_border_is_seen(tmp_path):
    numbers = np.arange(45 * 53).reshape(45, 53) / (45 * 53)
    pack(tmp_path, "s", [numbers.astype(np.float16).astype(np.float32)])
    _, high = sampler(tmp_path, augment=()).batch(400)
    flat = PackedSet(tmp_path, "s").slice(0)[..., 0]
    seen = {round(float(patch[0, 0, 0]), 5) for patch in high}
    assert round(float(flat[0, 0]), 5) in seen, "the first corner"
    assert round(float(flat[44 - 16, 52 - 16]), 5) in seen, "the last corner, of the part that is a multiple of 2"


def test_background_is_drawn_as_often_as_asked_and_hard_patches_more(tmp_path):
    image = np.zeros((256, 256), np.float32)
    image[:64, :64] = edges(64, 64)
    image[128:, 128:] = 0.03 * RANDOM.random((128, 128))
    pack(tmp_path, "s", [image])

    def spans(**options):
        return np.ptp(sampler(tmp_path, **options).batch(300)[1].numpy(), axis=(1, 2, 3))

    assert (spans() > 0).all(), "jitter of a quarter leaves something of every place in sight"
    assert 0.3 < (spans(background=0.5) <= BACKGROUND_SPAN).mean() < 0.6
    assert (spans(hard=1.0) > 0.2).mean() > 1.5 * (spans() > 0.2).mean()


def test_sets_are_drawn_by_their_shares(tmp_path):
    pack(tmp_path, "dark", [edges(64, 64) * 0.1])
    pack(tmp_path, "light", [edges(64, 64)])
    sets = {name: (PackedSet(tmp_path, name), share) for name, share in (("dark", 3.0), ("light", 1.0))}
    _, high = PatchSampler(sets, 2, 8, 0.0, 0, augment=(), workers=0).batch(400)
    assert 0.68 < (high.amax((1, 2, 3)) < 0.2).float().mean() < 0.82


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_ranks_share_the_stream_of_one_process(noise, workers):
    whole = sampler(noise, hard=0.5)
    ranks = [sampler(noise, hard=0.5, rank=rank, world=2, workers=workers) for rank in range(2)]
    for _ in range(3):
        together = [torch.cat(parts) for parts in zip(*(one.batch(3) for one in ranks))]
        for one, other in zip(whole.batch(6), together):
            assert torch.equal(one, other)
    assert [one.state()["drawn"] for one in (whole, *ranks)] == [18, 18, 18]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_state_goes_on_exactly_whatever_was_made_ahead(noise, workers):
    first = sampler(noise, seed=5, workers=workers)
    first.batch(4)
    state = first.state()
    assert state == {"seed": 5, "drawn": 4}
    expected = [first.batch(4)[0], first.batch(2)[0]]
    later = sampler(noise, seed=5, workers=workers)
    later.batch(3)
    later.load(state)
    assert torch.equal(later.batch(4)[0], expected[0]) and torch.equal(later.batch(2)[0], expected[1])
    first.load(state)
    first.close()
    assert torch.equal(first.batch(4)[0], expected[0])
    with pytest.raises(ValueError, match="seed 5, not 6"):
        sampler(noise, seed=6).load(state)


def test_sets_that_lie_on_a_device_give_the_same_pairs(noise):
    pack(noise, "t", [RANDOM.random((52, 61)).astype(np.float32)])
    names, plain = ("s", "t"), sampler(noise, "s", "t", hard=0.3)
    cut = ResidentSets([PackedSet(noise, name) for name in names], 2, 8, torch.device("cpu"))
    resident = sampler(noise, "s", "t", hard=0.3, workers=2, cut=cut)
    for _ in range(8):
        for one, other in zip(plain.batch(8), resident.batch(8)):
            assert one.shape == other.shape and other.dtype == torch.float32
            assert torch.allclose(one, other, atol=1e-6)
    assert plain.state() == resident.state()


def test_batches_differ_and_seeds_do(noise):
    one = sampler(noise)
    batches = [one.batch(2)[0] for _ in range(4)]
    assert not any(torch.equal(a, b) for a, b in pairwise(batches))
    assert not torch.equal(batches[0], sampler(noise, seed=1).batch(2)[0])


def test_augmentations_treat_both_images_alike(noise):
    plain, turned = sampler(noise, augment=()), sampler(noise, augment=("flips", "quarter_turns"))
    contrast = sampler(noise, augment=("contrast",))
    (low, high), (low_turned, high_turned) = plain.batch(40), turned.batch(40)
    low_contrast, high_contrast = contrast.batch(40)
    seen = set()
    for index in range(40):
        fits = [
            (turns, flip)
            for turns in range(4)
            for flip in (False, True)
            if torch.equal(move(high[index], turns, flip), high_turned[index])
        ]
        assert len(fits) == 1 and torch.allclose(move(low[index], *fits[0]), low_turned[index], atol=1e-6)
        seen.add(fits[0])
    assert len(seen) == 8
    gains = high_contrast.sum((1, 2, 3)) / high.sum((1, 2, 3))
    assert torch.allclose(low_contrast, low * gains[:, None, None, None], atol=1e-5)
    gains = gains.numpy()
    assert 0.6 <= gains.min() < 0.75 and 1.05 < gains.max() <= 1.2
    assert describe_augmentations(AUGMENTATIONS) == ["flips", "quarter turns", "contrast x0.6 to x1.2"]


def move(image, turns, flip):
    image = torch.rot90(image, turns, (1, 2))
    return image.flip(2) if flip else image


def test_a_degradation_gets_the_patch_with_its_surroundings(noise):
    sides = []

    def dark(image, scale, random):
        sides.append(image.shape)
        return shrink(image, scale) * 0.5 + np.float32(random.random() * 1e-6)

    pack(noise, "grey", [RANDOM.integers(90, 160, shape, dtype=np.uint8) for shape in ((64, 83), (71, 64))])
    low, high = sampler(noise, "grey", degrade=dark, augment=()).batch(20)
    plain = sampler(noise, "grey", augment=()).batch(20)
    assert torch.equal(high, plain[1]) and torch.allclose(low, plain[0] * 0.5, atol=2e-6)
    assert max(sides) == (32, 32, 1) and min(sides)[0] < 32, "less of it at the slice's edge"


@pytest.mark.parametrize("scale", [2, 3])
def test_what_is_degraded_is_the_augmented_patch(tmp_path, scale):
    pack(tmp_path, "s", [RANDOM.random((73, 95)).astype(np.float32)])
    low, high = sampler(tmp_path, scale=scale, degrade=lambda image, s, random: image[::s, ::s]).batch(60)
    assert torch.equal(low, high[..., ::scale, ::scale]), "every first pixel, whatever was turned and flipped"


def test_a_degradation_is_as_it_is_configured_whatever_the_augmentation(tmp_path):
    pack(tmp_path, "s", [RANDOM.random((128, 128)).astype(np.float32)])
    pack(tmp_path, "flat", [np.pad(np.full((96, 96), 0.4, np.float32), 8)])
    low, _ = sampler(tmp_path, patch=32, degrade=Degradation({"slice_profile": [4, 4]})).batch(60)
    assert (low.diff(dim=2).abs().mean((1, 2, 3)) < 0.7 * low.diff(dim=3).abs().mean((1, 2, 3))).all(), "along rows"
    noisy = Degradation({"noise": [0.05, 0.05]})
    low, high = sampler(tmp_path, "flat", patch=24, degrade=noisy, augment=("contrast",)).batch(60)
    spread = (low - bicubic_downsample(high, 2))[..., 3:-3, 3:-3].std((1, 2, 3))
    assert 0.04 < spread.min() and spread.max() < 0.06, "of dark and of bright ones alike"
    low, high = sampler(tmp_path, patch=24, degrade=Degradation({"jpeg": [80, 80]})).batch(60)
    assert (low * 255 - (low * 255).round()).abs().max() < 1e-4, "whole levels"
    assert high.min() >= 0 and high.max() == 1, "neither does the high resolution go beyond what JPEG holds"


def test_low_resolution_of_8_bits_ends_where_they_do(tmp_path):
    letters = np.kron(np.indices((12, 12)).sum(0) % 2, np.ones((8, 8)))
    pack(tmp_path, "bytes", [(255 * letters).astype(np.uint8)])
    pack(tmp_path, "floats", [letters.astype(np.float32)])
    (low, high), (free, _) = (sampler(tmp_path, name, augment=("contrast",)).batch(40) for name in ("bytes", "floats"))
    gains = high.amax((1, 2, 3), keepdim=True)
    assert low.min() == 0 and (low <= gains).all()
    assert free.min() < -0.02 and (free / gains).max() > 1.02, "nothing is known of other types"
    assert torch.allclose(low, free.clamp(min=0).minimum(gains), atol=1e-6)
    cut = ResidentSets([PackedSet(tmp_path, "bytes")], 2, 8, torch.device("cpu"))
    resident, _ = sampler(tmp_path, "bytes", augment=("contrast",), cut=cut).batch(40)
    assert torch.allclose(resident, low, atol=1e-6) and resident.min() == 0
    scaled = PackWriter(tmp_path, "scaled", 1)
    with scaled:
        scaled.add(np.uint8([[0, 255]]), 2 / 255, -0.5)
    assert PackedSet(tmp_path, "scaled").limits(0) == pytest.approx((-0.5, 1.5))


def test_batches_are_made_ahead_in_the_background(noise):
    makers, three_more = [], Event()

    def noted(image, scale, random):
        makers.append(current_thread().name)
        if len(makers) >= 4:
            three_more.set()
        return shrink(image, scale)

    ahead = sampler(noise, degrade=noted, workers=1)
    ahead.batch(1)
    assert three_more.wait(20), "without another call"
    assert all(name.startswith("patches") for name in makers)
    ahead.close()


def test_where_patches_may_lie_is_remembered_while_the_set_stays_the_same(noise):
    packed = PackedSet(noise, "s")
    before = find_places(packed, 2, 8)
    path = noise / "s.x2-p8.npz"
    written = path.stat().st_mtime_ns
    again = find_places(packed, 2, 8)
    assert path.stat().st_mtime_ns == written
    np.testing.assert_array_equal(before.corners, again.corners)
    np.testing.assert_array_equal(before.errors, again.errors)
    path.write_bytes(b"damaged")
    np.testing.assert_array_equal(find_places(packed, 2, 8).corners, before.corners)
    pack(noise, "s", [edges(64, 64)])
    assert len(find_places(PackedSet(noise, "s"), 2, 8).corners) < len(before.corners)


def test_sets_that_cannot_be_sampled_are_named(tmp_path):
    for name, image in (("empty", np.zeros((64, 64), np.float32)), ("small", edges(8, 8))):
        pack(tmp_path, name, [image])
        with pytest.raises(ValueError, match=f"set {name} has no patch of 16 x 16"):
            sampler(tmp_path, name)
    pack(tmp_path, "grey", [edges(32, 32)])
    pack(tmp_path, "color", [np.stack([edges(32, 32)] * 3, axis=-1)])
    with pytest.raises(ValueError, match="same number of channels"):
        sampler(tmp_path, "grey", "color")
    with pytest.raises(ValueError, match="no augmentation noise"):
        sampler(tmp_path, "grey", augment=("noise",))


def test_places_are_measured_anew_for_other_pixels_of_the_same_sizes(tmp_path):
    picture = np.zeros((40, 40), np.float32)
    picture[:, :20] = np.random.default_rng(0).random((40, 20))
    pack(tmp_path, "s", [picture])
    before = find_places(PackedSet(tmp_path, "s"), 2, 8)
    pack(tmp_path, "s", [picture[:, ::-1].copy()])
    after = find_places(PackedSet(tmp_path, "s"), 2, 8)
    assert not np.array_equal(before.background, after.background)
