"""Sets of one size: what is cut out, where it lands, what it is stored as, and that both commands keep to the name."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from SuperResolutionLib.errors import UsageError
from SuperResolutionLib.volume import Volume
from Testing.tiny_model import write_model
from training.__main__ import main
from training.candidates import find_candidate
from training.config import make_config
from training.evaluate import evaluate
from training.packed import PackedSet
from training.prepare import prepare
from training.resized import check_size, content, resize_slices, split_size

from .tiny import fields

RANDOM = np.random.default_rng(0)


def head(shape=(44, 60, 50), dtype=np.int16) -> np.ndarray:
    """A textured ellipsoid off the middle of a dark volume, (k, j, i), with a speck in a corner of every slice."""
    axes = np.meshgrid(*(np.linspace(-1, 1, length) for length in shape), indexing="ij")
    inside = sum(((axis - 0.1) / 0.7) ** 2 for axis in axes) < 1
    array = np.where(inside, 600 + 100 * RANDOM.random(shape), 10)
    array[:, :3, :3] = 700
    return array.astype(dtype)


def block(dtype, rows=slice(4, 44), columns=slice(10, 30), shape=(5, 64, 48)) -> np.ndarray:
    """A bright box of 40 x 20 pixels in every slice but the first, which is empty."""
    array = np.full(shape, 20, dtype)
    array[1:, rows, columns] = 200
    return array


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
@pytest.mark.parametrize("size", [20, 64])
def test_content_is_centred_and_keeps_aspect_and_type(dtype, size):
    volume = Volume(block(dtype), np.diag([0.5, 0.5, 3.0, 1.0]), "v", {"Modality": "MR"})
    result = resize_slices(volume, 2, size)
    assert result.array.shape == (5, size, size) and result.array.dtype == dtype and result.source == volume.source
    shown = result.array[1].astype(float) > 110
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    assert (rows[0], rows[-1]) == (0, size - 1), "the longer side fills the square"
    assert (columns[0], columns[-1]) == (size // 4, size - size // 4 - 1), "the shorter is half as long, in the middle"
    assert abs(float(result.array[1, size // 2, 0]) - 20) <= size / 20, "padded with the background"
    np.testing.assert_allclose(result.array[0], 20, atol=1e-4)
    assert result.spacing == pytest.approx((0.5 * 40 / size, 0.5 * 40 / size, 3.0))


def test_a_slice_of_the_size_stays_as_it_is_and_color_is_kept():
    array = RANDOM.integers(100, 250, (2, 32, 32, 3)).astype(np.uint8)
    array[1, :2] = array[1, -2:] = array[0, 0, 0] = 0
    volume = Volume(array, np.eye(4))
    result = resize_slices(volume, 2, 32).array
    np.testing.assert_array_equal(result[0], array[0])
    np.testing.assert_array_equal(result[1, 8:24, 0] > 50, True)
    assert result.shape == array.shape


def test_shrinking_is_the_engines_kernel():
    import torch

    from SuperResolutionLib.resampling import bicubic_downsample

    array = RANDOM.uniform(10, 20, (1, 64, 64)).astype(np.float32)
    array[0, 20:24, 20:24] = 0
    expected = bicubic_downsample(torch.from_numpy(array)[None].double(), 2)[0].numpy()
    np.testing.assert_allclose(resize_slices(Volume(array, np.eye(4)), 2, 32).array, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_axis_can_be_the_slices(axis):
    array = head()
    volume = Volume(array, np.eye(4))
    turned = Volume(np.ascontiguousarray(np.moveaxis(array, 2 - axis, 0)), np.eye(4))
    result = resize_slices(volume, axis, 24).array
    assert result.shape == tuple(array.shape[n] if n == 2 - axis else 24 for n in range(3))
    np.testing.assert_array_equal(np.moveaxis(result, 2 - axis, 0), resize_slices(turned, 2, 24).array)


def test_specks_are_no_content_and_parts_belong_together():
    plane = np.zeros((50, 60))
    plane[0, 0] = plane[45:48, 1:5] = 1
    assert content(plane, 0.5) == (slice(0, 50), slice(0, 60), False)
    plane[10:20, 20:30] = plane[25:33, 40:50] = 1
    assert content(plane, 0.5) == (slice(10, 33), slice(20, 50), True)


def test_missing_values_are_bridged():
    array = head(dtype=np.float32)
    array[20, 30, 25] = np.nan
    assert np.isfinite(resize_slices(Volume(array, np.eye(4)), 2, 32).array).all()


def test_suffixes():
    assert split_size("a/b*@128") == ("a/b*", 128) and split_size("a+b@64") == ("a+b", 64)
    assert split_size("brain") == ("brain", None)
    check_size("brain", 4)
    check_size("brain@16", 4)


@pytest.mark.parametrize("name", ["a@0", "a@abc", "a@", "a@-8", "a@1.5", "a@8@8", "a@64+b@64", "@64", "a@٣"])
def test_what_is_no_size_is_refused(name):
    with pytest.raises(UsageError, match="no usable size; write @N once, at the end"):
        split_size(name)


@pytest.mark.parametrize("size", [126, 12])
def test_a_size_has_to_fit_the_scale(size):
    with pytest.raises(UsageError, match=f"slices of {size} pixels, which x4 cannot use; take a multiple of 4 .* 16"):
        check_size(f"a@{size}", 4)


@pytest.mark.parametrize(("name", "words"), [("s@31", "x2 cannot use"), ("s@abc", "no usable size")])
def test_a_configuration_with_such_a_set_is_refused(name, words):
    data = {"sets": {name: 1.0}, "batch": 2, "patch": 12, "workers": 0}
    with pytest.raises(UsageError, match=f"data.sets: .*{words}"):
        make_config(fields(data=data))
    assert make_config(fields(data=data | {"sets": {"s@32": 1.0}})).data.sets == {"s@32": 1.0}


@pytest.fixture
def data(tmp_path):
    """Two sets of volumes: isotropic ones, and thick slices."""
    parts = (("train", 0), ("val", 1), ("test", 2))
    lists = {name: {part: [f"{name}{n}.nii.gz"] for part, n in parts} for name in ("fine", "thick")}
    lists["thick"]["val"] = []
    for name, spacing, shape in (("fine", (1, 1, 1), (44, 60, 50)), ("thick", (0.5, 4.0, 0.5), (60, 12, 50))):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(3):
            image = sitk.GetImageFromArray(head(shape))
            image.SetSpacing(spacing)
            sitk.WriteImage(image, str(tmp_path / "data" / name / f"{name}{number}.nii.gz"))
    (tmp_path / "data" / "splits.json").write_text(json.dumps(lists))
    return tmp_path / "data"


def test_prepare_packs_squares_under_the_sets_name(data, tmp_path):
    names = ["fine/fine0*@32", "thick@32"]
    card = {"intensity": {"mapping": "auto"}}
    config = SimpleNamespace(data=SimpleNamespace(sets=dict.fromkeys(names, 1.0)), channels=1, card=card)
    report = prepare(config, data, tmp_path / "packed", log=lambda text: None)
    assert (tmp_path / "packed" / "fine_fine0_@32.bin").is_file() and (tmp_path / "packed" / "thick@32.bin").is_file()
    for name, most in zip(names, (44 + 60 + 50, 12)):
        packed = PackedSet(tmp_path / "packed", name)
        assert {packed.shape(index) for index in range(len(packed))} == {(32, 32)}
        assert {row["type"] for row in packed.rows} == {"uint16"}
        assert 0.6 * most < len(packed) <= most
        assert report[name]["slices"] + report[name]["blank_slices"] == most
        assert report[name]["images"] == {"train": 1, "val": 0, "test": int(name == "thick@32")}
    middle = PackedSet(tmp_path / "packed", "thick@32").slice(6)[..., 0]
    assert middle[[1, 30], 16].min() > 0.5 and middle[16, [5, 26]].min() > 0.5, "the body fills the square"
    assert middle[16, [0, 31]].max() < 0.1, "as far as its aspect lets it"
    low, high = report["thick@32"]["spacing_mm"]
    assert low == high and 0.5 * 30 / 32 < low < 0.5 * 50 / 32
    assert set(json.loads((tmp_path / "packed" / "splits.json").read_text())) == {"fine", "thick"}


def test_evaluate_scores_the_resized_slices(data, tmp_path):
    model = write_model(tmp_path / "models", "edsr-ise-test-x4-psnr")
    arguments = ["evaluate", str(model), str(data), "--sets", "fine+thick@32", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--uint8", "--no-distance", "--device", "cpu"]) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "images.csv").open()))
    assert {row["set"] for row in rows} == {"fine+thick@32 test"} and len({row["protocol"] for row in rows}) == 2
    assert "## fine+thick@32 test, x4: 2 images" in (tmp_path / "out" / "report.md").read_text()
    seen = {}
    candidate = find_candidate(str(model), "cpu")
    evaluate(
        [candidate],
        data,
        ["fine@32", "thick/thick2*@32"],
        on_case=lambda name, file, candidate, case, images: seen.update({name: case}),
        log=lambda text: None,
    )
    fine, thick = seen["fine@32 test"], seen["thick/thick2*@32 test"]
    assert (fine.axis, fine.reference.shape, fine.low.array.shape) == ("k", (44, 1, 32, 32), (44, 8, 8))
    assert (thick.axis, thick.reference.shape, thick.low.array.shape) == ("j", (12, 1, 32, 32), (8, 12, 8))
    for name, words in (("fine@30", "x4 cannot use"), ("fine@0", "no usable size")):
        with pytest.raises(UsageError, match=words):
            evaluate([candidate], data, [name])
