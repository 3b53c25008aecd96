"""What is constant in an image is computed once, and the result is the same."""

import numpy as np
import pytest
import torch

from SuperResolutionLib import upscaler
from SuperResolutionLib.backends.torch_backend import TorchModel
from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.skipping import Skipping, find_window
from SuperResolutionLib.upscaler import Options, upscale
from SuperResolutionLib.volume import Volume
from Testing.tiny_model import write_model
from Testing.unit.test_tiling import SMALL, build


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return ModelCatalog([write_model(tmp_path_factory.mktemp("models"), "edsr-ise-test-x2-psnr").parent]).cards[0]


def head(slices=3, side=120, dtype=np.int16, air=-1000):
    """Air around something in the middle, and a slice of nothing but air."""
    array = np.full((slices, side, side), air, dtype)
    inside = np.random.default_rng(1).integers(-500, 1500, (slices - 1, 24, 30))
    array[1:, 50:74, 44:74] = inside
    return Volume(array, np.eye(4), "head")


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_skipping_changes_nothing(card, name, dtype):
    volume = head(dtype=dtype)
    net = build(name, 2, bicubic_skip=name not in ("vdsr", "pgan"))
    with torch.no_grad():
        net.stages[-1].tail[-1 if name != "swift_srgan" else 0].apply(_weaken)
    results = [
        upscale(volume, card, Options(device="cpu", skip_constant=wanted), load=lambda *_: TorchModel(net, 2, "cpu"))
        for wanted in (True, False)
    ]
    skipped, everything = results
    largest = np.abs(skipped.sr.array.astype(np.float64) - everything.sr.array).max()
    assert largest <= (1 if dtype == np.int16 else 1e-5 * np.ptp(volume.array))
    share = skipped.report["skipped_share"]
    assert everything.report["skipped_share"] == 0 and skipped.sr.size == (240, 240, 3)
    if name in ("edsr_ise", "srgan_cbam"):  # a slice of air is as much work as another, but once
        assert share == 0
    elif name == "span":
        assert share > 0.1


def _weaken(layer):
    if isinstance(layer, torch.nn.Conv2d):
        layer.weight.mul_(0.1)


def test_constant_slices_cost_one():
    calls = []

    def enlarge(planes):
        calls.append(planes.shape)
        return planes.repeat(2, axis=2).repeat(2, axis=3)

    skipping = Skipping(enlarge, 2, None, 3)
    planes = np.zeros((4, 1, 8, 6), np.float32)
    planes[2] = np.random.default_rng(0).random((1, 8, 6))
    planes[3] = 7
    np.testing.assert_array_equal(skipping(planes), planes.repeat(2, axis=2).repeat(2, axis=3))
    assert calls == [(1, 1, 8, 6)] * 3 and skipping.pixels == 3 * 48
    np.testing.assert_array_equal(skipping(planes[:2])[1], 0)
    assert len(calls) == 3, "remembered from before"


def test_the_window_is_what_is_not_constant_and_what_the_network_sees_around_it():
    slices = head().array[:, None]
    assert find_window(slices, ((0, 120), (0, 120)), 3) == ((44, 80), (38, 80))
    assert find_window(slices, ((40, 120), (0, 120)), 3) == ((4, 40), (38, 80))
    assert find_window(slices, ((0, 120), (0, 120)), 40) is None, "nothing is left to skip"
    assert find_window(slices[:1], ((0, 120), (0, 120)), 3) is None
    noisy = np.random.default_rng(0).integers(0, 9, (2, 1, 50, 50))
    assert find_window(noisy, ((0, 50), (0, 50)), 3) is None


def test_a_smaller_window_would_show(card, monkeypatch):
    """The surroundings are needed: without them the skipped result differs, so the equality above means something."""
    net = build("span", 2, bicubic_skip=True)
    volume = head(dtype=np.float32)
    window = find_window(volume.array[:, None], ((0, 120), (0, 120)), 0)

    def run(**options):
        return upscale(volume, card, Options(device="cpu", **options), load=lambda *_: TorchModel(net, 2, "cpu")).sr

    expected = run(skip_constant=False)
    monkeypatch.setattr("SuperResolutionLib.pipeline.find_window", lambda *_: window)
    monkeypatch.setattr(Skipping, "_exact", lambda self, shape: self._window)
    assert np.abs(run().array - expected.array).max() > 1e-3 * np.ptp(volume.array)
    assert upscaler.CONSISTENCY_REACH > 0
