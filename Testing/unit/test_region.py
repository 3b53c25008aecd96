"""A region, or a single slice, gets the voxels that the whole volume would have there."""

import dataclasses

import numpy as np
import pytest
import torch

from SuperResolutionLib import upscaler
from SuperResolutionLib.backends.torch_backend import TorchModel
from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.networks.layout import reach
from SuperResolutionLib.resampling import bicubic_upsample, make_consistent
from SuperResolutionLib.upscaler import CONSISTENCY_REACH, Options, upscale
from SuperResolutionLib.volume import Volume
from Testing.tiny_model import write_model
from Testing.unit.test_tiling import SMALL, build

GATED = {"edsr_ise", "srgan_cbam"}
SIZE = 150


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_model(folder, "edsr-ise-test-x2-psnr")
    return ModelCatalog([folder]).cards[0]


def image(dtype=np.float32, slices=2, seed=0):
    """Noise from -1000 to 2000: the hardest image for whatever looks at neighbours."""
    voxels = np.random.default_rng(seed).random((slices, SIZE, SIZE)) * 3000 - 1000
    return Volume(voxels.astype(dtype), np.diag([1.0, 1.0, 4.0, 1.0]), "noise")


def run(volume, card, net, region=None, **choices):
    model = TorchModel(net, net.scale, "cpu")
    options = Options(device="cpu", region=region, **choices)
    fitting = dataclasses.replace(card, scale=net.scale)
    return upscale(volume, fitting, options, load=lambda *_: model)


def cut(array, region, scale):
    (i0, i1), (j0, j1), (k0, k1) = region
    return array[k0:k1, j0 * scale : j1 * scale, i0 * scale : i1 * scale]


@pytest.mark.parametrize(
    ("name", "scale"), [(name, 2) for name in sorted(set(SMALL) - GATED)] + [("span", 3), ("pgan", 4), ("rrdb", 4)]
)
def test_a_region_equals_the_whole(card, name, scale):
    net, volume = build(name, scale, bicubic_skip=name != "vdsr"), image()
    region = ((61, 80), (70, 77), (1, 2))
    whole, part = run(volume, card, net), run(volume, card, net, region)
    for one, other in ((part.sr, whole.sr), (part.bicubic, whole.bicubic)):
        expected = cut(other.array, region, scale)
        assert one.array.shape == expected.shape
        assert np.abs(one.array - expected).max() < 1e-5 * np.ptp(whole.sr.array)
    assert part.report["notices"] == []


@pytest.mark.parametrize(
    "region", [((0, 5), (140, 150), (0, 2)), ((149, 150), (0, 1), (0, 1)), ((0, 150), (3, 4), (1, 2))]
)
def test_at_the_border_and_thin(card, region):
    net, volume = build("span", 2, bicubic_skip=True), image()
    part, whole = run(volume, card, net, region), run(volume, card, net)
    np.testing.assert_allclose(part.sr.array, cut(whole.sr.array, region, 2), atol=1e-5 * np.ptp(whole.sr.array))


def test_a_slice_is_the_volumes_slice(card):
    net, volume = build("span", 2, bicubic_skip=True), image(np.int16, slices=3)
    region = ((0, SIZE), (0, SIZE), (2, 3))
    part, whole = run(volume, card, net, region), run(volume, card, net)
    np.testing.assert_array_equal(part.sr.array, whole.sr.array[2:])
    np.testing.assert_array_equal(part.bicubic.array, whole.bicubic.array[2:])


def test_integers_flip_by_at_most_one_unit_and_the_residual_is_the_same(card):
    net, volume = build("span", 2, bicubic_skip=True), image(np.uint8)
    region = ((50, 90), (60, 100), (0, 2))  # uint8 noise saturates: clipping and correcting repeat
    part, whole = run(volume, card, net, region), run(volume, card, net)
    difference = np.abs(part.sr.array.astype(int) - cut(whole.sr.array, region, 2))
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3
    assert whole.sr.array.max() == 255 and part.report["consistency"]["max"] <= whole.report["consistency"]["max"] + 1


def test_missing_voxels_around_a_region(card):
    net, volume = build("srgan", 2), image()
    volume.array[0, 60:64, 40:90] = np.nan  # wide enough for the slice's median to be used
    region = ((50, 80), (62, 90), (0, 1))
    part, whole = run(volume, card, net, region), run(volume, card, net)
    expected = cut(whole.sr.array, region, 2)
    np.testing.assert_allclose(part.sr.array, expected, atol=1e-5 * np.nanmax(np.abs(expected)))
    assert part.report["missing_voxels"] == 2 * 30


@pytest.mark.parametrize("name", sorted(GATED))
def test_global_gates_are_told(card, name):
    net, volume = build(name, 2), image()
    part = run(volume, card, net, ((70, 80), (70, 80), (0, 1)))
    assert any("means over the slice" in text for text in part.report["notices"])
    wide = run(volume, card, net, ((20, 130), (20, 130), (0, 1)))  # its surroundings are the whole slice
    assert not any("means over the slice" in text for text in wide.report["notices"])
    expected = cut(run(volume, card, net).sr.array, ((20, 130), (20, 130), (0, 1)), 2)
    np.testing.assert_allclose(wide.sr.array, expected, atol=1e-5 * np.ptp(expected))


def test_a_smaller_halo_would_show(card, monkeypatch):
    net, volume, region = build("span", 2), image(slices=1), ((70, 80), (70, 80), (0, 1))
    expected = cut(run(volume, card, net).sr.array, region, 2)
    monkeypatch.setattr(upscaler, "CONSISTENCY_REACH", -reach(net))
    part = run(volume, card, net, region)
    assert np.abs(part.sr.array - expected).max() > 1e-3 * np.ptp(expected)


def test_only_the_surroundings_are_computed(card):
    net, seen = build("span", 2), []
    model = TorchModel(net, 2, "cpu")
    inner = model.enlarge
    model.enlarge = lambda plane, *rest: seen.append(plane.shape) or inner(plane, *rest)
    options = Options(device="cpu", region=((70, 74), (0, 4), (1, 2)))
    upscale(image(), card, options, load=lambda *_: model)
    around = reach(net) + CONSISTENCY_REACH
    assert seen == [(1, 1, 4 + around, 4 + 2 * around)]


@pytest.mark.parametrize("name", sorted(set(SMALL) - GATED))
@pytest.mark.parametrize("scale", [2, 4])
def test_the_reach_is_what_the_network_sees(name, scale):
    """A change of one pixel spreads no further than the reach."""
    net = build(name, scale, bicubic_skip=name not in ("vdsr", "pgan")).double()
    far, size = reach(net), 2 * reach(net) + 9
    middle, change = torch.rand(1, 1, size, size).double(), torch.zeros(1, 1, size, size).double()
    change[..., size // 2, size // 2] = 1
    with torch.inference_mode():
        spread = (net(middle + change) - net(middle)).abs().amax(dim=(0, 1, 2)).nonzero().flatten() // scale
    assert max(size // 2 - spread.min(), spread.max() - size // 2) <= far


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_a_correction_fades(scale):
    """What CONSISTENCY_REACH says: beyond it, a change of an enlargement by its whole range is below 1e-6."""
    low = torch.rand(1, 1, 64, 64)
    high = bicubic_upsample(low, scale)
    other = high.clone()
    other[..., : 8 * scale] = torch.rand(1, 1, 64 * scale, 8 * scale)
    change = (make_consistent(other.double(), low.double()) - make_consistent(high.double(), low.double())).abs()
    assert change[..., (8 + CONSISTENCY_REACH) * scale :].max() < 1e-6
