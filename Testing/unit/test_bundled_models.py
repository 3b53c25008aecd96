"""The models that ship keep their promise on real test images: better than bicubic made consistent with the input."""

import json

import pytest

from SuperResolutionLib.catalog import BUNDLED, ModelCatalog
from SuperResolutionLib.compare import compare
from SuperResolutionLib.files import read_volume
from SuperResolutionLib.geometry import slice_axis
from SuperResolutionLib.upscaler import Options

#: Set, how many of its test images, and the mean gain over bicubic in dB that the general models were built for.
CASES = [("cxr_nih", 3, 0.6), ("mri3d_ds002748", 2, 1.0), ("mri3d_misc", 2, 1.0), ("ct", 1, 1.0)]
SLICES = 4

GENERAL = ["edsr-ise-general-x4-psnr", "span-general-x4-psnr"]


def middle_slices(volume):
    """The region of a few slices in the middle of a volume."""
    axis = slice_axis(volume.size, volume.spacing)
    ranges = [(0, length) for length in volume.size]
    middle = volume.size[axis] // 2
    ranges[axis] = (max(0, middle - SLICES // 2), min(volume.size[axis], middle + SLICES // 2) or 1)
    return tuple(ranges)


@pytest.mark.parametrize("model", GENERAL)
@pytest.mark.parametrize(("name", "count", "gain"), CASES)
def test_general_models_on_test_images(data_folder, model, name, count, gain):
    splits = json.loads((data_folder / "splits.json").read_text())
    card = ModelCatalog([BUNDLED]).find(model)
    scores = []
    for file in splits[name]["test"][:count]:
        volume = read_volume(data_folder / name / file)
        scores.append(compare(volume, card, Options(device="cpu", region=middle_slices(volume)))["methods"])

    def mean(method, score):
        return sum(entry[method][score] for entry in scores) / count

    assert mean("model", "psnr") > mean("bicubic", "psnr") + gain
    assert mean("model", "psnr") > mean("bicubic consistent", "psnr")
    assert mean("model", "ssim") > mean("bicubic consistent", "ssim")


def test_what_the_cards_say_reached_the_targets():
    for card in ModelCatalog([BUNDLED]).cards:
        if card.family.endswith("-psnr") and not card.baseline:
            assert card.measured, f"{card.id} ships without measured results"
            for entry in card.measured:
                model, other = entry["methods"]["model"], entry["methods"]["bicubic consistent"]
                assert model["psnr"] > other["psnr"] and model["ssim"] > other["ssim"], f"{card.id} on {entry['set']}"
    for model in GENERAL:
        gains = {
            entry["set"].removesuffix(" test"): entry["methods"]["model"]["psnr"] - entry["methods"]["bicubic"]["psnr"]
            for entry in ModelCatalog([BUNDLED]).find(model).measured
        }
        assert all(gains[name] >= gain for name, _, gain in CASES)
