"""Scores: equal to scikit-image's and to what users see, in regions whose rules are kept to, with intervals."""

import csv
import json
import shutil
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from SuperResolutionLib.catalog import BUNDLED, load_card
from SuperResolutionLib.compare import compare
from SuperResolutionLib.errors import DataError, ModelError, UsageError
from SuperResolutionLib.upscaler import Options
from SuperResolutionLib.volume import Volume
from Testing.tiny_model import write_model
from training.__main__ import main
from training.bootstrap import paired_gain
from training.candidates import (
    ENSEMBLE,
    MODEL,
    UNCONSTRAINED,
    Candidate,
    Community,
    Remembering,
    SelfEnsemble,
    find_candidate,
)
from training.evaluate import FIELDS, all_images, evaluate, write_cards
from training.masks import regions, strongest
from training.protocols import our_case, uint8_case
from training.report import card_entries, markdown, summarize
from training.scoring import Scorer

RANDOM = np.random.default_rng(0)
GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def body(height=96, width=120, seed=0) -> np.ndarray:
    """A bright disc with texture in a black frame, with two burnt-in bars."""
    y, x = np.mgrid[:height, :width]
    inside = ((y - height / 2) / (0.42 * height)) ** 2 + ((x - width / 2) / (0.42 * width)) ** 2 < 1
    texture = (
        110 + 50 * np.sin(x / 3 + seed) * np.cos(y / 4) + np.random.default_rng(seed).normal(0, 6, (height, width))
    )
    picture = np.where(inside, np.clip(texture, 40, 240), 0)
    picture[20:26, 50:53] = picture[20:26, 56:59] = 255
    return picture.astype(np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models"), "edsr-ise-test-x4-psnr")


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data" / "mine").mkdir(parents=True)
    for number in range(3):
        sitk.WriteImage(sitk.GetImageFromArray(body(seed=number)), str(tmp_path / "data" / "mine" / f"{number}.png"))
    lists = {"mine": {"train": [], "val": [], "test": ["0.png", "1.png", "2.png"]}}
    (tmp_path / "data" / "splits.json").write_text(json.dumps(lists))
    return tmp_path / "data"


def picture(array) -> Volume:
    return Volume(array[None], np.eye(4), "p", {"Spacing": "unknown"})


def values(entries, method, region):
    return next(entry for entry in entries if (entry["method"], entry["region"]) == (method, region))


@pytest.mark.parametrize("color", [False, True])
def test_the_numbers_are_scikit_images(model, color):
    image = np.stack([body(seed=k) for k in range(3)], axis=-1) if color else body()
    case = our_case(picture(image), load_card(model))
    entries = Scorer(case, 4).scores(case.images)
    for method, stack in case.images.items():
        result = np.moveaxis(stack[0], 0, -1)
        result, channels = (result, 2) if color else (result[..., 0], None)
        whole, full = values(entries, method, "whole"), values(entries, method, "full")
        both = image.astype(float), result.astype(float)
        inner = tuple(part[4:-4, 4:-4] for part in both)
        assert whole["psnr"] == pytest.approx(peak_signal_noise_ratio(*both, data_range=255))
        assert full["psnr"] == pytest.approx(peak_signal_noise_ratio(*inner, data_range=255))
        options = {"data_range": 255, "channel_axis": channels, **GAUSSIAN}
        assert whole["ssim"] == pytest.approx(structural_similarity(*both, **options), abs=1e-9)
        assert full["ssim"] == pytest.approx(structural_similarity(*inner, **options), abs=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_the_whole_image_is_scored_as_users_see_it(model, dtype):
    array = np.stack([body(seed=k).astype(dtype) for k in range(3)])
    volume = Volume(array, np.diag([0.7, 0.7, 3.0, 1.0]), "v")
    candidate = find_candidate(str(model), "cpu")
    case = our_case(volume, candidate.card)
    images = case.images | {name: result[:, None] for name, result in candidate.run(case.low, case.axis).items()}
    entries = Scorer(case, 4).scores(images)
    expected = compare(volume, candidate.card, Options(device="cpu"))["methods"]
    for method, scores in expected.items():
        found = values(entries, method, "whole")
        # Not equal to the last bit: there the network takes several slices at once.
        assert found["psnr"] == pytest.approx(scores["psnr"], abs=1e-4)
        assert found["ssim"] == pytest.approx(scores["ssim"], abs=1e-4)
    expected = compare(volume, candidate.card, Options(consistent=False, device="cpu"))["methods"]["model"]
    assert values(entries, UNCONSTRAINED, "whole")["psnr"] == pytest.approx(expected["psnr"], abs=1e-4)


def test_regions_keep_to_their_rules():
    image = body()
    bicubic = np.clip(image.astype(int) + RANDOM.integers(-9, 10, image.shape), 0, 255).astype(np.uint8)
    found = regions(image, bicubic, 4, 255.0, 0.0)
    y, x = np.mgrid[:96, :120]
    disc = ((y - 48) / (0.42 * 96)) ** 2 + ((x - 60) / (0.42 * 120)) ** 2 < 1
    assert found["whole"].all() and found["full"].sum() == 88 * 112
    assert (found["mask"] == disc & found["full"]).mean() > 0.999
    anatomy = found["anatomy"]
    assert not (anatomy & ~disc).any() and not anatomy[12:34, 42:67].any(), "marks are left out with their surroundings"
    edge = disc & ~np.roll(disc, 8, axis=0)
    assert not (anatomy & edge).any(), "so is the outline"
    assert anatomy.sum() == pytest.approx(0.99 * found["fine"].sum() / 0.05, rel=0.02)
    assert strongest(np.arange(20.0).reshape(4, 5), np.arange(20).reshape(4, 5) < 10, 0.2).nonzero()[1].tolist() == [
        3,
        4,
    ]
    letters = np.where(y < 60, 128, 128 + 60 * ((x + y) % 2)).astype(np.uint8)
    fine = regions(letters, letters, 4, 255.0, 0.0)["fine"]
    assert not fine[:52].any() and fine.any()


def test_a_bright_lesion_in_color_is_no_mark_and_stray_light_no_field_of_view():
    image = np.stack([body(), body() // 2, body() // 4], axis=-1)
    image[20:26, 50:59] = 255
    image[50:56, 50:59] = (255, 230, 90)
    image[:10] += 25
    found = regions(image, image, 4, 255.0, 0.0)
    assert not found["anatomy"][18:28, 48:61].any() and found["anatomy"][50:56, 50:59].mean() > 0.5
    assert not found["mask"][:6].any() and found["mask"][48, 60]


def test_regions_without_pixels_are_left_out():
    empty = np.zeros((40, 40), np.uint8)
    assert set(regions(empty, empty, 4, 255.0, 0.0)) == {"whole", "full", "mask", "anatomy"}
    tiny = np.zeros((40, 40), np.uint8)
    tiny[20, 20] = 200
    assert set(regions(tiny, tiny, 4, 255.0, 0.0)) == {"whole", "full"}


def test_intervals():
    gains = RANDOM.normal(1.0, 0.5, 40)
    result = paired_gain(list(gains + 30), [30.0] * 40)
    assert result["mean"] == pytest.approx(gains.mean()) and result["images"] == 40
    spread = gains.std() / np.sqrt(40)
    assert result["low"] == pytest.approx(gains.mean() - 1.96 * spread, abs=0.25 * spread)
    assert result["high"] == pytest.approx(gains.mean() + 1.96 * spread, abs=0.25 * spread)
    assert result == paired_gain(list(gains + 30), [30.0] * 40) and result["better"] == (gains > 0).sum()
    assert paired_gain([2.0], [1.0])["low"] is None


def test_zero_has_no_sign_and_one_image_no_spread():
    about = {"set": "s test", "model": "m", "scale": 2, "protocol": "ours", "region": "whole", "ssim": 0.9}
    methods = {"bicubic": 30.0, "bicubic consistent": 30.004, MODEL: 30.001}
    rows = [
        about | {"image": "a", "method": method, "psnr": psnr, "distance": None} for method, psnr in methods.items()
    ]
    text = markdown(summarize(rows))
    assert "| m | 30.00 | 0.9000 | 0.00 (one image) | 0.00 (one image) |" in text
    assert "resamples images, not patients" in text
    two = markdown(summarize([*rows, *(row | {"image": "b"} for row in rows)]))
    assert "30.00 ± 0.00" in two and "0.00 [0.00, 0.00]" in two and "-0.00" not in two


def test_the_older_protocol_is_pil_on_bytes(model):
    from PIL import Image

    image = body()
    case = uint8_case(picture(image), load_card(model))
    small = Image.fromarray(image).resize((30, 24), Image.BICUBIC)
    np.testing.assert_array_equal(case.low.array[0], np.asarray(small))
    np.testing.assert_array_equal(case.images["bicubic"][0, 0], np.asarray(small.resize((120, 96), Image.BICUBIC)))
    volume = uint8_case(Volume(image[None].astype(np.int16) * 9, np.eye(4)), load_card(model))
    assert volume.reference.dtype == np.uint8 and volume.reference.max() == 255


def test_a_missing_value_does_not_empty_the_older_protocol(model):
    image = body()[None].astype(np.float32) * 9
    broken = image.copy()
    broken[0, 50, 60] = np.nan
    whole, bridged = (uint8_case(Volume(array, np.eye(4)), load_card(model)) for array in (image, broken))
    changed = whole.reference != bridged.reference
    assert bridged.reference.std() > 20 and changed.sum() <= 1


def test_hounsfield_units_of_a_card_do_not_count_for_bytes(model):
    plain = find_candidate(str(model), "cpu")
    fixed = Candidate(replace(plain.card, intensity={"mapping": "fixed", "low": -1024, "high": 3071}), plain.model)
    case = uint8_case(Volume(body()[None].astype(np.int16) * 9, np.eye(4)), fixed.card)
    expected, found = (all_images(one, case, False, "uint8")[UNCONSTRAINED] for one in (plain, fixed))
    assert np.array_equal(found, expected)
    assert not np.array_equal(fixed.run(case.low, "k")[UNCONSTRAINED], expected[:, 0])


def test_a_plane_is_enlarged_once_and_the_ensemble_turns_back():
    class Model:
        scale, calls = 2, 0

        def enlarge(self, plane, rows, poll):
            self.calls += 1
            return plane.repeat(2, 1).repeat(2, 2) + np.linspace(0, 1, plane.shape[2] * 2, dtype=np.float32)

    model, plane = Model(), RANDOM.random((1, 5, 7)).astype(np.float32)
    once = Remembering(model)
    np.testing.assert_array_equal(once.enlarge(plane, 0, None), once.enlarge(plane.copy(), 0, None))
    assert model.calls == 1 and once.scale == 2
    mean = SelfEnsemble(model).enlarge(plane, 0, None)
    assert mean.shape == (1, 10, 14) and mean.dtype == np.float32
    np.testing.assert_allclose(mean, plane.repeat(2, 1).repeat(2, 2) + 0.5, atol=1e-6)


@pytest.mark.parametrize(("net_channels", "image_channels"), [(1, 1), (1, 3), (3, 1), (3, 3)])
def test_another_projects_network_takes_grey_and_color(model, net_channels, image_channels):
    class Descriptor:
        scale, input_channels = 4, net_channels

        def eval(self):
            return self

        def __call__(self, image):
            assert image.shape[1] == net_channels
            return image.repeat_interleave(4, 2).repeat_interleave(4, 3)

    card = replace(load_card(model), channels=net_channels, card={})
    candidate = Candidate(card, Community(Descriptor(), "cpu"))
    image = np.stack([body(seed=k) for k in range(3)], axis=-1) if image_channels == 3 else body()
    case = our_case(picture(image), candidate.card_for(image_channels))
    images = all_images(candidate, case, False, "ours")
    np.testing.assert_array_equal(images[UNCONSTRAINED], images["nearest"])
    assert images[MODEL].shape == case.reference.shape == (1, image_channels, 96, 120)


def test_several_models_tables_and_cards(model, data, tmp_path, monkeypatch):
    monkeypatch.setenv("SUPERRESOLUTION_MODELS", str(tmp_path / "models"))
    write_model(tmp_path / "models", "edsr-ise-other-x2-psnr")
    names = [str(model), "edsr-ise-other-psnr"]
    arguments = ["evaluate", *names, str(data), "--sets", "mine", "--out", str(tmp_path / "out"), "--panels", "1"]
    assert main([*arguments, "--uint8", "--ensemble", "--no-distance", "--write", "--device", "cpu"]) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "images.csv").open()))
    assert tuple(rows[0]) == FIELDS
    assert {row["method"] for row in rows} >= {
        "nearest",
        "bicubic",
        "bicubic consistent",
        MODEL,
        UNCONSTRAINED,
        ENSEMBLE,
    }
    assert {row["model"] for row in rows} == {"edsr-ise-test-x4-psnr", "edsr-ise-other-x2-psnr"}
    text = (tmp_path / "out" / "report.md").read_text()
    assert "## mine test, x4: 3 images" in text and "**anatomy**" in text and "paired bootstrap" in text
    assert "protocol uint8" in text and "worst" not in text and "1 % of the pixels" in text.replace("\n", " ")
    schema = json.loads((BUNDLED / "schema.json").read_text())
    for folder in (model, tmp_path / "models" / "edsr-ise-other-x2-psnr"):
        card = load_card(folder)
        jsonschema.validate(card.card, schema)
        entry = card.measured[0]
        assert (entry["set"], entry["images"]) == ("mine test", 3)
        assert set(entry["regions"]) == {"full", "mask", "anatomy", "fine"} and "bicubic" in entry["uint8"]
        mean = np.mean(
            [
                float(row["psnr"])
                for row in rows
                if (row["model"], row["protocol"], row["method"], row["region"]) == (card.id, "ours", MODEL, "whole")
            ]
        )
        assert entry["methods"][MODEL]["psnr"] == pytest.approx(mean, abs=6e-4)
        gain = entry["methods"][MODEL]["psnr"] - entry["methods"]["bicubic consistent"]["psnr"]
        assert entry["gain"]["whole"]["mean"] == pytest.approx(gain, abs=2e-3)
        assert entry["gain"]["whole"]["low"] <= entry["gain"]["whole"]["mean"] <= entry["gain"]["whole"]["high"]
    pictures = sorted(path.name for path in (tmp_path / "out").rglob("*.png"))
    assert pictures == [
        "gains-mine-test-x2.png",
        "gains-mine-test-x4.png",
        "mine-test-x2-0-png.png",
        "mine-test-x4-0-png.png",
    ]


def test_distances_count_only_the_region(model, data, data_folder):
    from training.features import distance_features

    features = distance_features(data_folder / "weights")
    candidate = find_candidate(str(model), "cpu")
    rows = evaluate([candidate], data, ["mine/0.png"], features=features, log=lambda text: None)
    by_region = {row["region"]: row["distance"] for row in rows if row["method"] == "nearest"}
    assert by_region["full"] > by_region["fine"] > 0 and by_region["whole"] is None
    text = markdown(summarize(rows))
    assert "SqueezeNet" in text and "not LPIPS" in text
    entries = card_entries(summarize(rows))["edsr-ise-test-x4-psnr"]
    assert entries[0]["regions"]["full"][MODEL]["distance"] > 0 and "distance" not in entries[0]["methods"][MODEL]


def test_files_of_the_same_name_count_in_joined_sets(model, data):
    shutil.copytree(data / "mine", data / "yours")
    for number in range(2):
        sitk.WriteImage(sitk.GetImageFromArray(body(seed=5 + number)), str(data / "yours" / f"{number}.png"))
    lists = {name: {"test": ["0.png", "1.png"]} for name in ("mine", "yours")}
    (data / "splits.json").write_text(json.dumps(lists))
    candidate, drawn = find_candidate(str(model), "cpu"), []
    options = {"on_case": lambda *case: drawn.append(case[1]), "log": lambda text: None}
    rows = evaluate([candidate], data, ["mine+yours"], **options)
    whole = [row for row in rows if (row["method"], row["region"]) == (MODEL, "whole")]
    names = ["mine/0.png", "mine/1.png", "yours/0.png", "yours/1.png"]
    assert [row["image"] for row in whole] == drawn == names
    entry = summarize(rows)[0]
    assert entry["images"] == entry["gains"]["whole"]["bicubic"]["psnr"]["images"] == 4
    mean = np.mean([row["psnr"] for row in whole])
    assert entry["regions"]["whole"][MODEL]["psnr"]["mean"] == pytest.approx(mean)
    alone = evaluate([candidate], data, ["mine/*.png"], log=lambda text: None)
    assert {row["image"] for row in alone} == {"0.png", "1.png"}, "as measurements were kept so far"


def test_what_cannot_be_evaluated(model, data, tmp_path):
    candidate = find_candidate(str(model), "cpu")
    with pytest.raises(UsageError, match="lists no set 'other'"):
        evaluate([candidate], data, ["other"])
    with pytest.raises(UsageError, match="Two models are called"):
        evaluate([candidate, candidate], data, ["mine"])
    with pytest.raises(DataError, match="no .*splits.json"):
        evaluate([candidate], tmp_path, ["mine"])
    with pytest.raises(ModelError, match="There is no model"):
        find_candidate("no-such-model-x4-psnr")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="spandrel"):
        find_candidate(str(tmp_path / "other.pth"))
    stranger = Candidate(load_card(model), candidate.model)
    object.__setattr__(stranger.card, "card", {})
    with pytest.raises(ModelError, match="no model card to write to"):
        write_cards([stranger], {})


def test_what_a_card_says_of_other_sets_stays(tmp_path):
    folder = write_model(tmp_path, "edsr-ise-test-x2-psnr")

    def entry(name: str, psnr: float) -> dict:
        return {"set": name, "images": 1, "methods": {MODEL: {"psnr": psnr, "ssim": 0.5}}}

    def measured() -> list[tuple]:
        return [(one["set"], one["methods"][MODEL]["psnr"]) for one in load_card(folder).measured]

    candidate = find_candidate(str(folder), "cpu")
    for name, psnr in (("a test", 1.0), ("b test", 2.0), ("a test", 3.0)):
        write_cards([candidate], {candidate.name: [entry(name, psnr)]}, keep=True)
    assert measured() == [("a test", 3.0), ("b test", 2.0)]
    write_cards([candidate], {candidate.name: [entry("c test", 4.0)]})
    assert measured() == [("c test", 4.0)]
    card = load_card(folder).card
    (folder / "card.json").write_text(json.dumps(card | {"sha256": "0" * 64}))
    with pytest.raises(ModelError, match="has other weights than when it was loaded; measure it again"):
        write_cards([candidate], {candidate.name: [entry("a test", 5.0)]}, keep=True)


def test_shipped_numbers_come_out_again(data_folder):
    """One image of the set that the bundled model was measured on, against the terminal's own comparison."""
    from SuperResolutionLib.files import read_volume

    candidate = find_candidate("span-general-x4-psnr", "cpu")
    splits = json.loads((data_folder / "splits.json").read_text())
    file = splits["mri3d_ds002748"]["test"][0]
    volume = read_volume(data_folder / "mri3d_ds002748" / file)
    few = Volume(volume.array[60:63], volume.ijk_to_ras, "few", {})
    case = our_case(few, candidate.card)
    images = case.images | {MODEL: candidate.run(case.low, "k")[MODEL][:, None]}
    entries = Scorer(case, 4).scores(images)
    expected = compare(few, candidate.card, Options(device="cpu", axis="k"))["methods"]
    # A user's slices go through the network several at once, which rounds otherwise.
    assert values(entries, MODEL, "whole")["psnr"] == pytest.approx(expected["model"]["psnr"], abs=1e-6)
    assert values(entries, MODEL, "anatomy")["psnr"] > values(entries, "bicubic consistent", "anatomy")["psnr"]
