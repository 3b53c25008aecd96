"""The order in which models are offered: it follows the kind of image and what cards say was measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from SuperResolutionLib.catalog import BUNDLED, CARD, ModelCard, ModelCatalog
from SuperResolutionLib.errors import ModelError
from SuperResolutionLib.files import write_volume
from SuperResolutionLib.recommend import card_at, modality_in_name, ranked, recommend
from SuperResolutionLib.volume import Volume
from Testing.run_cli import run_here
from Testing.tiny_model import write_model

GENERAL = "general: chest X-ray, brain MR"


def measured(name: str, whole: float, anatomy: float | None = None) -> dict:
    """An entry of a card: the gains over bicubic made consistent on one test set, in dB."""

    def methods(gain: float) -> dict:
        return {
            "bicubic consistent": {"psnr": 30.0, "ssim": 0.9},
            "model": {"psnr": 30.0 + gain, "ssim": 0.9},
        }

    regions = {} if anatomy is None else {"regions": {"anatomy": methods(anatomy)}}
    return {"set": name, "images": 3, "methods": methods(whole), **regions}


def card(family: str, *entries: dict, domain: str = GENERAL, scale: int = 4, **details) -> ModelCard:
    """A card whose weights are there: any file will do."""
    stem, _, kind = family.rpartition("-")
    values = {"title": family, "description": "", "architecture": "span", "config": {}, "intensity": {}}
    values |= {"spacing_range": None, "license": "", "sha256": "", "card": {}, "channels": 1, "baseline": False}
    values |= {"id": f"{stem}-x{scale}-{kind}", "family": family, "scale": scale, "domain": domain}
    return ModelCard(**(values | {"measured": list(entries), "weights": Path(__file__)} | details))


def names(cards, modality: str, channels: int = 1, scale: int = 4) -> list[str]:
    return [each.family for each in ranked(cards, channels, modality, scale)]


@pytest.mark.parametrize(("gain", "first"), [(0.8, "s-brain-psnr"), (0.5, "s-brain-psnr"), (0.4, "a-general-psnr")])
def test_a_specialized_model_comes_first_only_if_it_is_as_good(gain, first):
    general = card("a-general-psnr", measured("mri3d test", 0.5), measured("ct test", 3.0))
    special = card("s-brain-psnr", measured("mri3d test", gain), domain="brain MR")
    assert names([general, special], "MR")[0] == first
    assert names([general, special], "CT") == ["a-general-psnr", "s-brain-psnr"]


def test_the_anatomy_counts_where_all_were_judged_there():
    letters = card("a-letters-psnr", measured("cxr_nih test", 3.0, anatomy=0.1))
    anatomy = card("b-anatomy-psnr", measured("cxr_nih test", 1.0, anatomy=0.4))
    whole = card("c-whole-psnr", measured("cxr_nih test", 2.0))
    for modality in ("CR", "DX"):
        assert names([letters, anatomy], modality) == ["b-anatomy-psnr", "a-letters-psnr"]
        assert names([letters, anatomy, whole], modality) == ["a-letters-psnr", "c-whole-psnr", "b-anatomy-psnr"]


def test_models_are_compared_on_the_test_sets_that_they_share():
    easy = card("a-easy-psnr", measured("mri easy", 4.0), measured("mri hard", 0.5))
    hard = card("b-hard-psnr", measured("mri hard", 0.9))
    assert names([easy, hard], "MR") == ["b-hard-psnr", "a-easy-psnr"]
    other = card("c-other-psnr", measured("mri other", 0.7))
    assert names([easy, hard, other], "MR") == ["a-easy-psnr", "b-hard-psnr", "c-other-psnr"], "none shared: its own"


def test_fidelity_comes_before_texture_and_before_that_what_does_no_harm():
    good = measured("oct_duke/*average* test", 2.0)
    gan = card("srgan-oct-gan", good, domain="retinal OCT")
    unmeasured = card("a-general-psnr")
    harmful = card("b-general-psnr", measured("oct_duke/*average* test", -0.3))
    assert names([gan, harmful, unmeasured], "OPT") == ["a-general-psnr", "srgan-oct-gan", "b-general-psnr"]
    assert names([gan, harmful], "OPT") == ["srgan-oct-gan", "b-general-psnr"]


def test_what_does_not_suit_is_last():
    cards = [
        card("a-gone-psnr", weights=Path("nowhere")),
        card("b-color-psnr", channels=3),
        card("c-old-psnr", measured("mri test", 9.0), baseline=True),
        card("d-chest-psnr", measured("ct test", 9.0), domain="chest CT"),
        card("e-small-psnr", measured("mri test", 9.0), scale=2),
        card("f-general-psnr"),
    ]
    order = ["f-general-psnr", "e-small-psnr", "d-chest-psnr", "c-old-psnr", "a-gone-psnr", "b-color-psnr"]
    assert names(cards, "MR") == order
    assert names(cards, "MR", scale=2)[0] == "e-small-psnr"
    assert names(cards, "MR", channels=3)[0] == "b-color-psnr"


def test_an_unknown_kind_of_image_gets_the_best_general_model():
    special = card("a-brain-psnr", measured("mri test", 5.0), domain="brain MR")
    mine = card("b-mine-psnr", measured("mine test", 5.0), domain="pictures of textures")
    fine = card("c-general-psnr", measured("mri test", 1.0), measured("ct test", 2.0))
    best = card("d-general-psnr", measured("mri test", 1.1), measured("ct test", 2.1))
    order = ["d-general-psnr", "c-general-psnr", "b-mine-psnr", "a-brain-psnr"]
    assert names([special, mine, fine, best], "") == order
    assert names([special, mine, fine, best], "XA") == order
    assert names([fine, best], "US") == ["d-general-psnr", "c-general-psnr"], "known, and nothing was measured there"


def test_a_set_without_a_known_word_belongs_to_the_domain_of_its_model():
    mine = card("z-mine-psnr", measured("my hospital test", 1.5), domain="knee MRI")
    general = card("a-general-psnr", measured("mri3d test", 1.0))
    assert names([general, mine], "MR") == ["z-mine-psnr", "a-general-psnr"]
    assert names([general, mine], "CT")[0] == "a-general-psnr"


@pytest.mark.parametrize(
    "strange",
    [
        {"gain": "large"},
        {"regions": 3},
        {"regions": {"anatomy": None}},
        {"regions": {"anatomy": {"model": {"psnr": "high"}, "bicubic consistent": 3}}},
        {"regions": {"anatomy": {"model": {"psnr": float("nan")}, "bicubic consistent": {"psnr": 30.0}}}},
        {"methods": {}},
        {"methods": {"model": {"psnr": 40.0, "ssim": 1.0}}},
    ],
    ids=str,
)
def test_cards_that_lack_something_say_nothing(strange):
    odd = card("z-odd-psnr", measured("mri test", 0.2) | strange)
    fine = card("a-fine-psnr", measured("mri test", 0.5))
    assert names([odd, fine], "MR") == ["a-fine-psnr", "z-odd-psnr"]
    assert names([odd], "") == ["z-odd-psnr"]


def test_the_scale_of_a_family():
    small, usual, large = (card("a-b-psnr", scale=scale) for scale in (2, 4, 8))
    assert card_at([small, usual, large], 8) is large
    assert card_at([small, usual], 16) is usual
    assert card_at([small, large], 4) is small


def test_names_of_samples():
    assert [modality_in_name(name) for name in ("MRHead", "CTChest", "CT-chest", "MR", "MRI scan")] == [
        "MR",
        "CT",
        "CT",
        "MR",
        "MR",
    ]
    assert [modality_in_name(name) for name in ("", "CTrl", "Mr Smith", "head CT")] == [""] * 4


def test_the_reason_says_what_was_measured():
    families = {"a-b-psnr": [card("a-b-psnr", measured("cxr_nih test", 3.0, anatomy=0.41), scale=4)]}
    reason = recommend(families, 1, "DX").reason
    assert reason.startswith("a-b-x4-psnr is the first choice for DX: +0.41 dB")
    assert "in the anatomy (cxr_nih test)" in reason
    assert "not measured" in recommend(families, 1, "MR").reason
    assert "kind of image is not known: +0.41 dB" in recommend(families, 1).reason


def test_no_recommendation():
    only_old = {"c-old-psnr": [card("c-old-psnr", baseline=True)], "b-color-psnr": [card("b-color-psnr", channels=3)]}
    with pytest.raises(ModelError, match="recommended for a scalar image;.*--model"):
        recommend(only_old, 1)
    assert recommend(only_old, 4).card.family == "b-color-psnr", "with transparency it is a color image"
    with pytest.raises(ModelError, match="color image at x8"):
        recommend(only_old, 3, scale=8)


def test_bundled_models_are_offered_for_what_they_were_made_for():
    families = ModelCatalog([BUNDLED]).families()
    for modality in ("", "MR", "CT", "DX", "US"):
        chosen = recommend(families, 1, modality).card
        assert chosen.scale == 4 and not chosen.baseline and chosen.family.endswith("-psnr"), modality


@pytest.mark.usefixtures("only_these_models")
def test_the_terminal_takes_the_recommended_model(models, tmp_path, monkeypatch):
    """Without --model it takes what the panel would preselect, says so, and names what is missing at other scales."""
    folder = write_model(tmp_path / "more", "edsr-ise-brain-x2-psnr")
    text = json.loads((folder / CARD).read_text())
    text |= {"domain": "brain MR", "measured": [measured("mri test", 0.7)]}
    (folder / CARD).write_text(json.dumps(text))
    monkeypatch.setenv("SUPERRESOLUTION_MODELS", f"{models}:{tmp_path / 'more'}")
    voxels = np.random.default_rng(0).integers(0, 900, (2, 20, 24)).astype(np.int16)
    source = write_volume(Volume(voxels, np.eye(4)), tmp_path / "MRHead.nrrd")

    report = json.loads(run_here("upscale", source, tmp_path / "a.nrrd", "--scale", 2, "--json").out)
    assert report["model"] == "edsr-ise-brain-x2-psnr"
    assert report["notices"][0].startswith("edsr-ise-brain-x2-psnr is the first choice for MR: +0.70 dB")
    ended = run_here("upscale", source, tmp_path / "b.nrrd")
    assert ended.out.startswith("edsr-ise-test-x4-psnr on cpu"), "the scale that is preselected counts first"
    assert "first choice" in ended.out
    ended = run_here("upscale", source, tmp_path / "c.nrrd", "--scale", 8)
    assert ended.status == 4 and "scalar image at x8" in ended.sentence()
