"""Stored values to the network's range and back."""

import numpy as np
import pytest

from SuperResolutionLib import intensity
from SuperResolutionLib.errors import DataError, ModelError
from SuperResolutionLib.intensity import IntensityMap, choose_map, limits, round_to, store
from SuperResolutionLib.missing import fill_missing, put_missing_back

TYPES = [np.uint8, np.int8, np.uint16, np.int16, np.float32, np.float64]


def to_stored(there: IntensityMap, network: np.ndarray) -> np.ndarray:
    return network.astype(np.float64) * there.width + there.offset


@pytest.mark.parametrize("dtype", TYPES)
def test_round_trip_is_exact(dtype):
    low, high = (0, 1) if np.dtype(dtype).kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    stored = np.linspace(low, high, 4096).astype(dtype).reshape(1, 64, 64)
    there = choose_map(stored, {"mapping": "auto"})
    back = round_to(to_stored(there, there.to_network(stored)), stored.dtype)
    tolerance = 1e-6 if np.dtype(dtype).kind == "f" else 0
    np.testing.assert_allclose(back.astype(float), stored.astype(float), atol=tolerance)


def test_hounsfield_units_survive():
    stored = np.random.default_rng(0).integers(-1024, 3072, (4, 32, 32), dtype=np.int16)
    for mapping in ({"mapping": "fixed", "low": -1024, "high": 3071}, {"mapping": "auto"}):
        there = choose_map(stored, mapping)
        np.testing.assert_array_equal(round_to(to_stored(there, there.to_network(stored)), stored.dtype), stored)


def test_bytes_map_by_their_type_and_others_by_percentile():
    assert choose_map(np.full((1, 4, 4), 7, np.uint8), {"mapping": "auto"}).width == 255
    ramp = np.arange(10001, dtype=np.float32)
    there = choose_map(ramp, {"mapping": "auto"})
    assert there.offset == pytest.approx(10) and there.width == pytest.approx(9980)
    assert choose_map(ramp, {"mapping": "percentile", "low": 0, "high": 100}).width == pytest.approx(10000)


def test_nothing_is_clipped():
    stored = np.concatenate([np.linspace(0, 1, 5000), [90.0, -90.0]]).astype(np.float32)
    mapped = choose_map(stored, {"mapping": "auto"}).to_network(stored)
    assert mapped.max() > 80 and mapped.min() < -80


@pytest.mark.parametrize("value", [0, 17, -5])
def test_constant_volume(value):
    stored = np.full((2, 8, 8), value, np.int16)
    there = choose_map(stored, {"mapping": "auto"})
    np.testing.assert_array_equal(there.to_network(stored), 0)
    np.testing.assert_array_equal(round_to(to_stored(there, there.to_network(stored)), stored.dtype), stored)


def test_almost_constant_volume_uses_its_span():
    stored = np.zeros((1, 100, 100), np.int16)
    stored[0, 3, 3] = 50
    assert choose_map(stored, {"mapping": "auto"}).width == 50


def test_rounding_noise_is_no_contrast():
    stored = np.random.default_rng(0).normal(7, 1e-9, (1, 100, 100))
    stored[0, 3, 3] = 1000
    assert choose_map(stored, {"mapping": "auto"}).width == pytest.approx(993)


@pytest.mark.parametrize("value", [1e6, -1e12, np.finfo(np.float32).max])
def test_one_hot_voxel_does_not_move_the_map(value):
    stored = np.random.default_rng(0).random((4, 50, 50)).astype(np.float32)
    without = choose_map(stored, {"mapping": "auto"})
    stored[0, 3, 3] = value
    there = choose_map(stored, {"mapping": "auto"})
    assert there.width == pytest.approx(without.width, rel=0.01) and there.offset == pytest.approx(0, abs=0.01)


def test_large_colour_volumes_are_sampled_in_every_component(monkeypatch):
    monkeypatch.setattr(intensity, "PERCENTILE_VOXELS", 1000)
    stored = np.zeros((10, 30, 30, 3), np.uint16)
    stored[..., 2] = 5000
    assert choose_map(stored, {"mapping": "auto"}).width == pytest.approx(5000)
    striped = np.zeros((10, 27, 27), np.uint16)
    striped[..., ::9] = 100
    assert choose_map(striped, {"mapping": "auto"}).width == 100


def test_missing_voxels_do_not_move_the_map():
    stored = np.random.default_rng(1).normal(size=(2, 32, 32)).astype(np.float32)
    expected = choose_map(stored, {"mapping": "percentile", "low": 0, "high": 100})
    stored_with = np.concatenate([stored.reshape(-1), [np.nan, np.inf, -np.inf]])
    assert choose_map(stored_with, {"mapping": "percentile", "low": 0, "high": 100}) == expected


def test_no_finite_voxel():
    with pytest.raises(DataError, match="no finite voxel"):
        choose_map(np.full((1, 4, 4), np.nan), {"mapping": "auto"})


def test_unknown_mapping():
    with pytest.raises(ModelError, match="unknown intensity mapping"):
        choose_map(np.zeros(4), {"mapping": "magic"})


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.uint64])
def test_saturation(dtype):
    low, high = limits(np.dtype(dtype))
    info = np.iinfo(dtype)
    assert info.min <= int(low) <= int(high) <= info.max
    np.testing.assert_array_equal(
        round_to(np.array([-1e30, 1e30]), np.dtype(dtype)), np.array([low, high]).astype(dtype)
    )


def test_rounding_is_to_the_nearest():
    np.testing.assert_array_equal(round_to(np.array([1.4, 1.6, -1.6]), np.dtype(np.int16)), [1, 2, -2])


def test_missing_voxels_are_bridged_by_their_neighbours_and_put_back():
    plane = np.full((1, 6, 6), 10.0, np.float32)
    plane[0, 0, 0], plane[0, 3, 3] = np.nan, np.inf
    filled, missing = fill_missing(plane)
    np.testing.assert_array_equal(filled, 10.0)
    assert missing.sum() == 2
    enlarged = put_missing_back(np.full((1, 12, 12), 10.0, np.float32), plane, missing, 2)
    assert np.isnan(enlarged[0, :2, :2]).all() and np.isposinf(enlarged[0, 6:8, 6:8]).all()
    assert np.isfinite(enlarged).sum() == 144 - 8


def test_a_plane_without_any_finite_voxel_is_bridged_too():
    filled, missing = fill_missing(np.full((1, 4, 4), np.nan))
    assert missing.all() and np.isfinite(filled).all()
    block = np.full((1, 9, 9), np.nan)
    block[0, 0, 0] = 5
    assert np.nanmax(fill_missing(block)[0]) == 5 and np.isfinite(fill_missing(block)[0]).all()


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
def test_what_torch_stores_is_what_numpy_rounds(dtype, monkeypatch):
    """Bit by bit, with ties and with values that the type cannot hold; also from an array with gaps."""
    monkeypatch.setattr("SuperResolutionLib.intensity.STORED_PIXELS", 16)
    dtype, halves = np.dtype(dtype), np.arange(-6, 6, 0.5)
    span = IntensityMap(3.25, 2.0**10 if dtype.kind == "f" else 2.0 ** (8 * dtype.itemsize - 4))
    network = np.concatenate([(halves - span.offset) / span.width, np.linspace(-20, 20, 26)])
    network = network.astype(np.float32).reshape(2, 5, 5)
    for given in (network, network.transpose(0, 2, 1), network[:, ::2]):
        stored = store(given, span, dtype)
        assert stored.dtype == dtype
        np.testing.assert_array_equal(stored, round_to(to_stored(span, given), dtype))
