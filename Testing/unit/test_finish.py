"""What follows the network, on tensors, beside the same in numpy; and on a card that is pretended."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from SuperResolutionLib import intensity
from SuperResolutionLib.backends import torch_backend
from SuperResolutionLib.backends.torch_finish import finish
from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.intensity import IntensityMap, limits, round_to
from SuperResolutionLib.plan import plan
from SuperResolutionLib.resampling import bicubic_downsample, bicubic_upsample, make_consistent
from SuperResolutionLib.upscaler import Options, upscale
from SuperResolutionLib.volume import Volume
from Testing.tiny_model import write_model
from Testing.unit.test_execution import nothing, pretend_a_card
from Testing.unit.test_intensity import to_stored

TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_model(folder, "edsr-ise-test-x4-psnr")
    write_model(folder, "edsr-ise-colour-x4-psnr", channels=3)
    return {card.channels: card for card in ModelCatalog([folder]).cards}


def volume(dtype, slices=3, channels=()):
    """Values up to the limits of a type, so that an enlargement overshoots them; of a floating one NaN and infinity."""
    dtype, random = np.dtype(dtype), np.random.default_rng(4).random((slices, 24, 28, *channels))
    low, high = (-1e3, 1e3) if dtype.kind == "f" else limits(dtype)
    array = round_to(low + (high - low) * np.clip(1.6 * random - 0.3, 0, 1), dtype)
    if dtype.kind == "f":
        array[-1, 3, 4], array[-1, 20, 5] = np.nan, np.inf
    return Volume(array, np.eye(4), "v")


def in_numpy(enlarged, low, job, consistent):
    """``finish`` spelled out slice by slice, with every rounding where it was before tensors stayed where they are."""
    if consistent:
        bottom, top = (job.intensity.to_network(np.array(limit)) for limit in limits(job.dtype))
        for _ in range(3):
            enlarged = make_consistent(torch.from_numpy(enlarged), torch.from_numpy(low)).numpy()
            if enlarged.min() >= bottom and enlarged.max() <= top:
                break
            enlarged = np.clip(enlarged, bottom, top)
    stored = round_to(to_stored(job.intensity, enlarged), job.dtype)
    exact = np.float32 if job.dtype.itemsize <= 2 else np.float64
    shrunk = bicubic_downsample(torch.from_numpy(stored.astype(exact)), job.scale).numpy()
    cubic = bicubic_upsample(torch.from_numpy(low), job.scale).numpy()
    return stored, shrunk, round_to(to_stored(job.intensity, cubic), job.dtype)


@pytest.mark.parametrize("consistent", [True, False])
@pytest.mark.parametrize("dtype", TYPES)
def test_it_is_what_numpy_says(cards, monkeypatch, dtype, consistent):
    """Bit by bit, with values that have to be clipped."""
    monkeypatch.setattr(intensity, "STORED_PIXELS", 1000)
    job = plan(volume(dtype, slices=1), cards[1])
    low = job.intensity.to_network(np.nan_to_num(job.slices, posinf=0))
    enlarged = bicubic_upsample(torch.from_numpy(low), 4).numpy()
    enlarged += np.random.default_rng(1).normal(0, 0.05, enlarged.shape).astype(np.float32)
    given = enlarged.copy()
    made = finish(torch.from_numpy(enlarged), torch.from_numpy(low), job, consistent, True, nothing)
    np.testing.assert_array_equal(enlarged, given, "what the network gave is not changed")
    for tensor, wanted in zip(made, in_numpy(enlarged, low, job, consistent)):
        assert tensor.numpy().dtype == wanted.dtype
        np.testing.assert_array_equal(tensor.numpy(), wanted)
    if job.dtype.kind != "f":
        reached = made[0].numpy().astype(np.float64)
        assert (reached.min(), reached.max()) == pytest.approx(limits(job.dtype), rel=1e-6), "nothing had to be clipped"
    assert finish(torch.from_numpy(enlarged), torch.from_numpy(low), job, consistent, False, nothing)[2] is None


@pytest.mark.parametrize("dtype", ["f4", "i2"])
def test_only_the_limits_of_integers_are_looked_at(cards, monkeypatch, dtype):
    """To look at numbers is to wait for the card."""
    looked, inner = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: looked.append(tensor) or inner(tensor))
    job = replace(plan(volume(dtype, slices=1), cards[1]), intensity=IntensityMap(0.0, 1000.0))
    low = torch.zeros(1, 1, 24, 28)
    finish(bicubic_upsample(low, 4), low, job, True, True, nothing)
    assert len(looked) == (1 if dtype == "i2" else 0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"consistent": False, "bicubic": False},
        {"skip_constant": False},
        {"region": ((4, 20), (2, 19), (0, 3))},
        {"precision": "float16"},
    ],
)
@pytest.mark.parametrize("dtype", ["u1", "u2", "i8", "f4", "f8"])
def test_a_pretended_card_gives_what_the_cpu_gives(cards, monkeypatch, dtype, changes):
    """The path of a card, with threads and slices in flight: the same voxels, report and missing values, every time."""
    source, options = volume(dtype, slices=7), Options(**{"backend": "torch", "precision": "float32", **changes})
    source.array[:, :, :6] = 3
    expected = upscale(source, cards[1], replace(options, device="cpu"))
    model = torch_backend.load(cards[1], "cpu")
    pretend_a_card(model, monkeypatch)
    for _ in range(2):
        made = upscale(source, cards[1], options, load=lambda *_: model)
        np.testing.assert_array_equal(made.sr.array, expected.sr.array)
        assert (made.bicubic is None) == (expected.bicubic is None)
        if made.bicubic is not None:
            np.testing.assert_array_equal(made.bicubic.array, expected.bicubic.array)
        for key in ("consistency", "missing_voxels", "skipped_share", "notices"):
            assert made.report[key] == expected.report[key]


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_on_a_pretended_card(cards, monkeypatch, channels):
    """A grey model's images are a slice's channels; a colour model's are slices, whose channels may lie together."""
    source, options = volume("u1", channels=(3,)), Options(skip_constant=False, backend="torch", precision="float32")
    expected = upscale(source, cards[channels], replace(options, device="cpu"))
    model = torch_backend.load(cards[channels], "cpu")
    pretend_a_card(model, monkeypatch)
    made = upscale(source, cards[channels], options, load=lambda *_: model)
    np.testing.assert_array_equal(made.sr.array, expected.sr.array)
    np.testing.assert_array_equal(made.bicubic.array, expected.bicubic.array)
