"""What is constant in an image is computed once, and the result is the same."""

import numpy as np
import pytest
import torch

from SuperResolutionLib import upscaler
from SuperResolutionLib.backends.torch_backend import TorchModel
from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.skipping import NOTHING, Skipping, find_boxes
from SuperResolutionLib.upscaler import Options, upscale
from SuperResolutionLib.volume import Volume
from Testing.tiny_model import write_model
from Testing.unit.test_tiling import SMALL, build

#: All of a small slice.
WHOLE = ((0, 8), (0, 6))


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return ModelCatalog([write_model(tmp_path_factory.mktemp("models"), "edsr-ise-test-x2-psnr").parent]).cards[0]


def head(slices=4, side=120, dtype=np.int16, air=-1000):
    """Air around something that grows from slice to slice, and two slices of nothing but air."""
    array = np.full((slices, side, side), air, dtype)
    for number in range(2, slices):
        inside = np.random.default_rng(number).integers(-500, 1500, (4 + 10 * number, 30))
        array[number, 50 : 54 + 10 * number, 44:74] = inside
    return Volume(array, np.eye(4), "head")


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("backend", ["torch", "a library that gets ready for each size"])
def test_skipping_changes_nothing(card, name, dtype, backend, monkeypatch):
    volume = head(dtype=dtype)
    monkeypatch.setattr("SuperResolutionLib.pipeline.BATCH_PIXELS", volume.size[0] * volume.size[1])
    net = build(name, 2, bicubic_skip=name not in ("vdsr", "pgan"))
    with torch.no_grad():
        net.stages[-1].tail[-1 if name != "swift_srgan" else 0].apply(_weaken)
    model = TorchModel(net, 2, "cpu")
    sizes, enlarge = set(), model.enlarge
    monkeypatch.setattr(model, "enlarge", lambda planes, *rest: sizes.add(planes.shape[2:]) or enlarge(planes, *rest))
    monkeypatch.setattr(model, "use", lambda *_: setattr(model, "backend", backend))
    skipped, everything = (
        upscale(volume, card, Options(device="cpu", skip_constant=wanted), load=lambda *_: model)
        for wanted in (True, False)
    )
    largest = np.abs(skipped.sr.array.astype(np.float64) - everything.sr.array).max()
    assert largest <= (1 if dtype == np.int16 else 1e-5 * np.ptp(volume.array))
    share = skipped.report["skipped_share"]
    assert everything.report["skipped_share"] == 0 and skipped.sr.size == (240, 240, 4)
    if name in ("edsr_ise", "srgan_cbam"):  # a slice of air is as much work as another, but once
        assert share == 0.25
    elif name == "span":
        assert share > 0.4
        assert len(sizes) == (3 if backend == "torch" else 2), "air, and the parts of the two others"


def _weaken(layer):
    if isinstance(layer, torch.nn.Conv2d):
        layer.weight.mul_(0.1)


def twice(planes):
    return planes.repeat(2, axis=2).repeat(2, axis=3)


def test_constant_slices_cost_one():
    calls = []
    skipping = Skipping(lambda planes: calls.append(planes.shape) or twice(planes), 2, [NOTHING] * 2 + [WHOLE], 3)
    planes = np.zeros((3, 1, 8, 6), np.float32)
    planes[2] = np.random.default_rng(0).random((1, 8, 6))
    np.testing.assert_array_equal(skipping(planes, range(3)), twice(planes))
    assert calls == [(1, 1, 8, 6)] * 2 and skipping.pixels == 2 * 48
    np.testing.assert_array_equal(skipping(planes[:2], range(2))[1], 0)
    assert len(calls) == 2, "remembered from before"
    colors = skipping(np.concatenate([planes[:2], planes[:2] + 1]), range(2))
    np.testing.assert_array_equal(colors, twice(np.concatenate([planes[:2], planes[:2] + 1])))
    assert len(calls) == 3, "a component of a color is a plane of its own"


def test_a_box_is_what_is_not_constant_and_what_the_network_sees_around_it():
    slices = head().array[:, None]
    everything = ((0, 120), (0, 120))
    first, second = ((44, 80), (38, 80)), ((44, 90), (38, 80))
    assert find_boxes(slices, everything, 3) == [NOTHING, NOTHING, first, second]
    assert find_boxes(slices, ((40, 120), (0, 120)), 3)[2:] == [((4, 40), (38, 80)), ((4, 50), (38, 80))]
    assert find_boxes(slices, everything, 3, local=False) == [NOTHING, NOTHING, everything, everything]


def test_boxes_that_would_not_pay_for_their_constant_slice_are_left_out():
    slices, everything = head().array[:, None], ((0, 120), (0, 120))
    assert find_boxes(slices[1:3], everything, 40) == [everything] * 2
    assert find_boxes(slices[:1], everything, 3) == [everything], "it has to be enlarged once anyway"
    own_values = np.arange(8)[:, None, None, None] + 0 * slices[:1]
    assert find_boxes(own_values, everything, 3) == [everything] * 8
    twice_each = np.repeat(own_values, 2, axis=0)
    assert find_boxes(twice_each, everything, 3).count(NOTHING) == 8, "constant slices of four values are kept"
    noisy = np.random.default_rng(0).integers(0, 9, (2, 1, 50, 50))
    assert find_boxes(noisy, ((0, 50), (0, 50)), 3) == [((0, 50), (0, 50))] * 2


@pytest.mark.parametrize("air", [-np.inf, np.nan])
def test_slices_whose_corner_is_missing_are_computed(card, air):
    """What bridges a missing corner is another value in each slice."""
    volume = head(slices=6, dtype=np.float32, air=air)
    volume.array[:2] = volume.array[2:4]
    assert find_boxes(volume.array[:, None], ((0, 120), (0, 120)), 3) == [((0, 120), (0, 120))] * 6
    report = upscale(volume, card, Options(device="cpu", bicubic=False)).report
    assert report["skipped_share"] == 0 and report["missing_voxels"] > 6 * 100 * 120


def test_a_smaller_box_would_show(card, monkeypatch):
    """The surroundings are needed: without them the skipped result differs, so the equality above means something."""
    net = build("span", 2, bicubic_skip=True)
    volume = head(dtype=np.float32)
    boxes = find_boxes(volume.array[:, None], ((0, 120), (0, 120)), 0)

    def run(**options):
        return upscale(volume, card, Options(device="cpu", **options), load=lambda *_: TorchModel(net, 2, "cpu")).sr

    expected = run(skip_constant=False)
    monkeypatch.setattr("SuperResolutionLib.skipping.GRID", 1)
    monkeypatch.setattr("SuperResolutionLib.pipeline.find_boxes", lambda *_, **__: boxes)
    monkeypatch.setattr(Skipping, "_exact", lambda self, window, shape: window)
    assert np.abs(run().array - expected.array).max() > 1e-3 * np.ptp(volume.array)
    assert upscaler.CONSISTENCY_REACH > 0
