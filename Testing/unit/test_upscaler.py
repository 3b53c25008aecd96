"""The main job, with small networks of random weights."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from SuperResolutionLib.backends.torch_backend import TorchModel
from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.errors import (
    Cancelled,
    DataError,
    DeviceError,
    ModelError,
    OutputTooLarge,
    ResourceError,
    UsageError,
)
from SuperResolutionLib.files import read_volume
from SuperResolutionLib.geometry import bounds
from SuperResolutionLib.networks.composition import linear_steps
from SuperResolutionLib.networks.layout import last_convolution
from SuperResolutionLib.raw_output import raw_sinks
from SuperResolutionLib.resampling import bicubic_downsample, bicubic_upsample
from SuperResolutionLib.upscaler import Options, upscale
from SuperResolutionLib.volume import Volume
from Testing.tiny_model import write_model
from Testing.unit.test_geometry import random_matrix
from Testing.unit.test_tiling import SMALL, build

CPU = {"device": "cpu"}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for channels in (1, 3):
        write_model(folder / str(channels), "edsr-ise-test-x4-psnr", channels)
    write_model(folder / "1", "edsr-ise-test-x2-psnr")
    return {1: ModelCatalog([folder / "1"]), 3: ModelCatalog([folder / "3"])}


@pytest.fixture
def grey(catalog):
    return next(card for card in catalog[1].cards if card.scale == 4)


def volume(dtype, shape=(3, 20, 24), matrix=None, seed=0):
    random = np.random.default_rng(seed)
    smooth = np.cumsum(np.cumsum(random.normal(size=shape), axis=1), axis=2)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    low, high = {"u": (0, 200), "i": (-1000, 2000), "f": (-3, 7)}[np.dtype(dtype).kind]
    return Volume(
        (smooth * (high - low) + low).astype(dtype), np.diag([0.8, 0.8, 3.0, 1.0]) if matrix is None else matrix, "v"
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_type_geometry_and_range_are_kept(grey, dtype):
    source = volume(dtype, matrix=random_matrix(1))
    result = upscale(source, grey, Options(**CPU, axis="k"))
    for produced in (result.sr, result.bicubic):
        assert produced.array.dtype == dtype and produced.array.shape == (3, 80, 96)
        np.testing.assert_allclose(
            bounds(produced.ijk_to_ras, produced.size), bounds(source.ijk_to_ras, source.size), atol=1e-6
        )
        assert abs(produced.array.astype(float).mean() - source.array.astype(float).mean()) < 5


@pytest.mark.parametrize("kind", ["i2", "f4"])
def test_the_order_of_bytes_changes_nothing(grey, tmp_path, kind):
    source, results = volume(f"<{kind}"), []
    for number, order in enumerate("<>"):
        given = source.with_array(source.array.astype(order + kind))
        sinks = raw_sinks({"sr": tmp_path / f"{number}.nrrd"})
        for sink in (None, sinks):
            result = upscale(given, grey, Options(**CPU, bicubic=False), open_sink=sink, fits_memory=sink is None)
            results.append(np.array(result.sr.array))
        results.append(read_volume(tmp_path / f"{number}.nrrd").array)
    for array in results:
        assert array.dtype == np.dtype(kind)
        np.testing.assert_array_equal(array, results[0])


def test_bicubic_is_bicubic(grey):
    source = volume(np.float32)
    expected = bicubic_upsample(torch.from_numpy(source.array)[:, None], 4)[:, 0].numpy()
    result = upscale(source, grey, Options(**CPU))
    np.testing.assert_allclose(result.bicubic.array, expected, atol=1e-5)
    assert upscale(source, grey, Options(**CPU, bicubic=False)).bicubic is None


@pytest.mark.parametrize("axis", ["i", "j", "k"])
def test_slices_are_stacked_along_the_axis(grey, axis):
    source = volume(np.int16, shape=(12, 13, 14))
    result = upscale(source, grey, Options(**CPU, axis=axis))
    size = [n if name == axis else 4 * n for name, n in zip("ijk", source.size)]
    assert list(result.sr.size) == size
    place = 2 - "ijk".index(axis)
    turned = Volume(np.moveaxis(source.array, place, 0), np.diag([1.0, 1, 1, 1]), "v")
    same = upscale(turned, grey, Options(**CPU, axis="k"))
    np.testing.assert_array_equal(np.moveaxis(result.sr.array, place, 0), same.sr.array)


def test_consistency_in_floats_and_integers(grey):
    def shrunk(result):
        return bicubic_downsample(torch.from_numpy(result.sr.array.astype(np.float64))[:, None], 4)[:, 0].numpy()

    exact = upscale(volume(np.float32), grey, Options(**CPU))
    assert np.abs(shrunk(exact) - volume(np.float32).array).max() < 1e-4
    rounded = upscale(volume(np.int16), grey, Options(**CPU))
    residual = np.abs(shrunk(rounded) - volume(np.int16).array)
    report = rounded.report["consistency"]
    assert report["applied"] and residual.max() < 0.7
    assert report["max"] == pytest.approx(residual.max(), abs=1e-3)
    assert report["p99_9"] <= report["max"] and report["share_above_one_unit"] == 0
    free = upscale(volume(np.int16), grey, Options(**CPU, consistent=False))
    assert not free.report["consistency"]["applied"]
    assert free.report["consistency"]["max"] > report["max"]


def test_types_that_saturate_stay_in_range_and_the_residual_is_told(grey):
    array = (np.random.default_rng(3).random((1, 24, 24)) > 0.5).astype(np.uint8) * 255
    result = upscale(Volume(array, np.eye(4)), grey, Options(**CPU))
    shrunk = bicubic_downsample(torch.from_numpy(result.sr.array.astype(np.float64))[:, None], 4)[0, 0].numpy()
    residual = np.abs(shrunk - array[0])
    assert result.report["consistency"]["max"] == pytest.approx(residual.max(), abs=1e-3)
    assert result.report["consistency"]["share_above_one_unit"] == pytest.approx((residual > 1).mean(), abs=1e-6)


def test_a_region_uses_the_whole_volumes_map_and_place(grey):
    source = volume(np.int16, shape=(6, 24, 24))
    source.array[5] += 3000
    whole = upscale(source, grey, Options(**CPU))
    part = upscale(source, grey, Options(**CPU, region=((4, 20), (8, 24), (1, 3))))
    assert part.report["intensity"] == whole.report["intensity"]
    assert part.sr.size == (64, 64, 2)
    np.testing.assert_array_equal(part.bicubic.array[:, 16:-16, 16:-16], whole.bicubic.array[1:3, 48:80, 32:64])
    np.testing.assert_allclose(part.sr.ijk_to_ras @ [0, 0, 0, 1], whole.sr.ijk_to_ras @ [16, 32, 1, 1], atol=1e-6)


def test_a_thin_region_does_not_turn_the_slices(grey):
    sagittal = volume(np.int16, shape=(20, 20, 8), matrix=np.diag([5.0, 1, 1, 1]))
    result = upscale(sagittal, grey, Options(**CPU, region=((0, 8), (0, 20), (3, 15))))
    assert result.report["slice_axis"] == "i"
    thin = ((0, 8), (0, 20), (5, 6))
    alone = upscale(sagittal, grey, Options(**CPU, region=thin))
    assert alone.report["slice_axis"] == "i" and alone.sr.size == (8, 80, 4)


def test_spacings_outside_training_are_told(grey):
    seen = dataclasses.replace(grey, spacing_range=(0.5, 1.0))
    assert upscale(volume(np.int16), seen, Options(**CPU)).report["notices"] == []
    other = dataclasses.replace(grey, spacing_range=(2.0, 4.0))
    flat = dataclasses.replace(volume(np.int16), source={"Spacing": "unknown"})
    assert upscale(flat, other, Options(**CPU)).report["notices"] == []
    notice = upscale(volume(np.int16), other, Options(**CPU)).report["notices"][0]
    assert "0.8 x 0.8 mm" in notice and "2 to 4 mm" in notice


def test_strips_do_not_change_the_result(grey):
    source = volume(np.int16, shape=(2, 37, 21))
    whole = upscale(source, grey, Options(**CPU))
    strips = upscale(source, grey, Options(**CPU, strip_rows=5))
    assert np.abs(whole.sr.array.astype(int) - strips.sr.array).max() <= 1


def test_bfloat16_is_close_told_and_leaves_the_skip_alone(grey):
    source = volume(np.float32)
    exact = upscale(source, grey, Options(**CPU))
    rough = upscale(source, grey, Options(**CPU, precision="bfloat16"))
    difference = np.abs(rough.sr.array - exact.sr.array).max() / np.ptp(source.array)
    assert 1e-7 < difference < 5e-3
    assert rough.report["precision"] == "bfloat16" and exact.report["precision"] == "float32"
    assert json.loads(rough.provenance["Options"])["precision"] == "bfloat16"
    np.testing.assert_array_equal(rough.bicubic.array, exact.bicubic.array)
    with pytest.raises(UsageError, match="'float8'.*bfloat16"):
        upscale(source, grey, Options(**CPU, precision="float8"))


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_network_ends_in_float32(name):
    net = build(name, 2)
    with torch.inference_mode():
        exact = net(torch.rand(1, 1, 8, 8))
    model = TorchModel(net, 2, "cpu", "bfloat16")
    ends = []
    last = last_convolution(model._running.stages[-1].tail)
    last.register_forward_hook(lambda _layer, _inputs, output: ends.append(output))
    rough = model.enlarge(np.zeros((1, 8, 8), np.float32), 3, lambda: None)
    strips = 1 if linear_steps(net.stages[-1].tail) else 3
    assert {end.dtype for end in ends} == {torch.float32} and len(ends) == strips
    assert np.isfinite(rough).all() and rough.shape == exact.shape[1:]


def test_float16_that_overflows_is_told(grey):
    net = build("span", 2)
    model = TorchModel(net, 2, "cpu", "float16")
    with pytest.raises(UsageError, match="float16 does not suffice"):
        model.enlarge(np.full((1, 8, 8), 1e6, np.float32), 0, lambda: None)


def test_constant_volume_stays_constant(grey):
    result = upscale(Volume(np.full((1, 8, 8), 42, np.int16), np.eye(4)), grey, Options(**CPU))
    np.testing.assert_array_equal(result.bicubic.array, 42)
    assert np.abs(result.sr.array.astype(int) - 42).max() <= 1


def test_missing_voxels_are_put_back_and_counted(grey):
    source = volume(np.float32)
    source.array[1, 4, 5], source.array[2, 0, 0] = np.nan, np.inf
    result = upscale(source, grey, Options(**CPU))
    assert result.report["missing_voxels"] == 2 and any(
        "2 voxels without a measurement" in text for text in result.report["notices"]
    )
    for produced in (result.sr, result.bicubic):
        assert np.isnan(produced.array[1, 16:20, 20:24]).all() and np.isinf(produced.array[2, :4, :4]).all()
        assert (~np.isfinite(produced.array)).sum() == 32


def test_colour(catalog, grey):
    colour = np.stack([volume(np.uint8, seed=s).array for s in range(3)], axis=-1)
    source = Volume(colour, np.eye(4), "rgb")
    by_colour = upscale(source, catalog[3].cards[0], Options(**CPU))
    assert by_colour.sr.array.shape == (3, 80, 96, 3) and by_colour.report["notices"] == []
    by_grey = upscale(source, grey, Options(**CPU))
    assert by_grey.sr.array.shape == (3, 80, 96, 3) and "each color channel" in by_grey.report["notices"][0]
    single = upscale(Volume(np.ascontiguousarray(colour[..., 1]), np.eye(4)), grey, Options(**CPU))
    np.testing.assert_array_equal(by_grey.sr.array[..., 1], single.sr.array)
    alpha = Volume(np.concatenate([colour, colour[..., :1]], axis=-1), np.eye(4))
    assert any("alpha" in text for text in upscale(alpha, grey, Options(**CPU)).report["notices"])
    with pytest.raises(ModelError, match="color model"):
        upscale(volume(np.uint8), catalog[3].cards[0], Options(**CPU))
    with pytest.raises(DataError, match="2 components"):
        upscale(Volume(colour[..., :2], np.eye(4)), grey, Options(**CPU))


def test_report_and_provenance(grey):
    result = upscale(volume(np.int16), grey, Options(**CPU))
    assert json.loads(json.dumps(result.report)) == result.report
    assert result.provenance["Model"] == grey.id and result.provenance["WeightsSHA256"] == grey.sha256
    assert "esearch use only" in result.provenance["Notice"]
    assert all(isinstance(value, str) for value in result.provenance.values())
    assert "Model" not in result.bicubic_provenance
    assert result.report["output"]["size"] == [96, 80, 3]


def test_progress_rises_to_one(grey):
    seen = []
    upscale(volume(np.int16), grey, Options(**CPU), lambda *args: seen.append(args))
    fractions = [fraction for fraction, _, _ in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and len(set(fractions)) > 6
    assert seen[-1][1] == "slice 3 of 3" and seen[-1][2] == 0


def test_cancel_takes_effect_between_layers(grey):
    polls = []

    def cancelled():
        polls.append(None)
        return len(polls) > 5

    with pytest.raises(Cancelled):
        upscale(volume(np.int16), grey, Options(**CPU), cancelled=cancelled)
    assert len(polls) == 6


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 30), (5, 30, 2)])
def test_images_that_are_too_small(grey, shape):
    with pytest.raises(DataError, match="at least 4 x 4"):
        upscale(Volume(np.zeros(shape, np.int16), np.eye(4)), grey, Options(**CPU, axis="k"))


def test_other_impossible_requests(grey):
    with pytest.raises(DataError, match="no finite voxel"):
        upscale(Volume(np.full((1, 8, 8), np.nan, np.float32), np.eye(4)), grey, Options(**CPU))
    with pytest.raises(UsageError, match="leaves the image"):
        upscale(volume(np.int16), grey, Options(**CPU, region=((0, 99), (0, 8), (0, 1))))
    with pytest.raises(DataError, match="complex64"):
        upscale(Volume(np.zeros((1, 8, 8), np.complex64), np.eye(4)), grey, Options(**CPU))


def test_devices_that_do_not_exist(grey):
    for device in ("cuda:99", "tpu", "cuda:x"):
        with pytest.raises(DeviceError, match=device):
            upscale(volume(np.int16), grey, Options(device=device))


def test_memory_that_would_not_suffice(grey, monkeypatch):
    import types

    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=10_000))
    with pytest.raises(ResourceError, match=r"The network needs .* slices of 24 x 20 pixels.*region"):
        upscale(volume(np.int16), grey, Options(**CPU))
    monkeypatch.setattr("SuperResolutionLib.upscaler.working_bytes", lambda *_: 100)
    with pytest.raises(OutputTooLarge, match=r"The output of 96 x 80 x 3 .*region"):
        upscale(volume(np.int16), grey, Options(**CPU))
    upscale(volume(np.int16), grey, Options(**CPU), fits_memory=False)


def test_weights_of_another_architecture(grey, tmp_path):
    card = write_model(tmp_path, "edsr-ise-test-x4-psnr")
    other = json.loads((card / "card.json").read_text())
    other["config"]["features"] += 8
    (card / "card.json").write_text(json.dumps(other))
    with pytest.raises(ModelError, match="do not fit"):
        upscale(volume(np.int16), ModelCatalog([tmp_path]).cards[0], Options(**CPU))


def test_memory_that_runs_out_in_torch_is_a_resource_error(grey, monkeypatch):
    from SuperResolutionLib import tiling

    def fail(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes.")

    monkeypatch.setattr(tiling, "run", fail)
    with pytest.raises(ResourceError, match="24 x 20"):
        upscale(volume(np.int16), grey, Options(**CPU))
