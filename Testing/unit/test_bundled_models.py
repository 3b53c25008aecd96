"""The models that ship keep their promise on real test images: better than bicubic made consistent with the input."""

import json

import pytest

from SuperResolutionLib.catalog import BUNDLED, ModelCatalog
from SuperResolutionLib.compare import compare
from SuperResolutionLib.files import read_volume
from SuperResolutionLib.geometry import slice_axis
from SuperResolutionLib.upscaler import Options

#: Set, which test image, and the gain over bicubic in dB that the general models were built for.
CASES = [
    ("cxr_nih", 0, 0.6),
    ("mri3d_ds002748", 0, 1.0),
    ("mri3d_misc", 0, 1.0),
    ("mri3d_misc", 1, 1.0),
    ("ct", 0, 1.0),
]
SLICES = 4


def middle_slices(volume):
    """The region of a few slices in the middle of a volume."""
    axis = slice_axis(volume.size, volume.spacing)
    ranges = [(0, length) for length in volume.size]
    middle = volume.size[axis] // 2
    ranges[axis] = (max(0, middle - SLICES // 2), min(volume.size[axis], middle + SLICES // 2) or 1)
    return tuple(ranges)


@pytest.mark.parametrize("model", ["edsr-ise-general-x4-psnr", "span-general-x4-psnr"])
@pytest.mark.parametrize(("name", "index", "gain"), CASES)
def test_general_models_on_test_images(data_folder, model, name, index, gain):
    splits = json.loads((data_folder / "splits.json").read_text())
    volume = read_volume(data_folder / name / splits[name]["test"][index])
    card = ModelCatalog([BUNDLED]).find(model)
    methods = compare(volume, card, Options(device="cpu", region=middle_slices(volume)))["methods"]
    assert methods["model"]["psnr"] > methods["bicubic"]["psnr"] + gain
    assert methods["model"]["psnr"] > methods["bicubic consistent"]["psnr"]
    assert methods["model"]["ssim"] > methods["bicubic consistent"]["ssim"]


def test_what_the_cards_say_reached_the_targets():
    for card in ModelCatalog([BUNDLED]).cards:
        if card.family.endswith("-psnr") and not card.baseline:
            for entry in card.measured:
                model, other = entry["methods"]["model"], entry["methods"]["bicubic consistent"]
                assert model["psnr"] > other["psnr"] and model["ssim"] > other["ssim"], f"{card.id} on {entry['set']}"
