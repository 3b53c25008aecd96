"""Domains and targets: which models are judged on what, and that an answer follows from the numbers alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from SuperResolutionLib.catalog import load_card
from Testing.tiny_model import write_model
from training.candidates import MODEL, UNCONSTRAINED
from training.report import summarize
from training.zoo.domains import DOMAINS, domain_of, set_label
from training.zoo.targets import TARGETS, home_sets, index, phase_of, phase_verdicts, verdicts

CONFIGS = Path(__file__).resolve().parents[2] / "training" / "configs" / "small"


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return load_card(write_model(tmp_path_factory.mktemp("models"), "edsr-ise-test-x4-psnr"))


def named(card, name, channels=1, baseline=False):
    """The card as that of another model."""
    scale = int(name.rpartition("-x")[2].partition("-")[0])
    family = name.replace(f"-x{scale}", "")
    return replace(card, id=name, family=family, scale=scale, channels=channels, baseline=baseline)


def rows(model, set_name, psnr, ssim=0.9, distance=None, cubic=30.0, region="whole", images="abc"):
    """Rows of ``evaluate`` with these scores; ``psnr`` and ``cubic`` may be lists, an entry an image."""
    about = {"set": f"{set_name} test", "model": model, "scale": 4, "protocol": "ours", "region": region}
    listed = [value if isinstance(value, list) else [value] * len(images) for value in (psnr, cubic)]
    result = []
    for image, own, other in zip(images, *listed):
        for method, score in {
            MODEL: own,
            UNCONSTRAINED: own,
            "bicubic": other - 1,
            "bicubic consistent": other,
        }.items():
            measured = {"psnr": score, "ssim": ssim if method == MODEL else 0.89, "distance": distance}
            result.append(about | {"image": image, "method": method} | measured)
    return result


def judge(cards, *measured, bundled=()):
    found = verdicts(index(summarize([row for part in measured for row in part])), cards, bundled)
    return [(one.model, one.where, one.reached) for one in found if one.model], found


def test_ids_name_their_domain(card):
    names = ("edsr-ise-fundus-x4-gan", "p-gan-fundus-phase1-x8-psnr", "span-general-x2-psnr", "span-ct-x2-psnr")
    assert [domain_of(named(card, name)) for name in names] == ["fundus", "fundus", "general", "ct"]


def test_every_model_of_the_zoo_is_judged_on_what_it_was_made_for(card):
    configs = [yaml.safe_load(path.read_text()) for path in CONFIGS.glob("*.yaml")]
    assert len(configs) >= 17
    for config in configs:
        homes = {one.name for one in home_sets(named(card, config["id"], config["network"]["channels"]))}
        trained = set(config["data"]["sets"])
        assert homes and trained <= homes, config["id"]
    general = {one.name for one in home_sets(named(card, "span-general-x4-psnr"))}
    assert general == {"cxr_nih", "mri3d_ds002748", "mri3d_misc", "ct"}
    assert not home_sets(named(card, "span-textures-x2-psnr"))
    assert not home_sets(named(card, "span-fundus-x4-psnr", channels=1)), "a grey model is not judged on color"


def test_targets_name_sets_that_there_are():
    known = {one.name for domain in DOMAINS for one in domain.sets}
    assert {name for target in TARGETS for name in target.sets} <= known
    assert len({set_label(one) for domain in DOMAINS for one in domain.sets}) == len(known)


@pytest.mark.parametrize(("psnr", "reached"), [(40.33, True), (40.32, False), (40.0, False)])
def test_a_score_has_to_exceed_its_target(card, psnr, reached):
    cards = [named(card, "swift-srgan-cxr-x4-gan")]
    answers, found = judge(cards, rows("swift-srgan-cxr-x4-gan", "cxr_nih", psnr))
    assert answers[0] == ("swift-srgan-cxr-x4-gan", "cxr_nih", reached) and found[0].measured == f"{psnr:.2f} dB"
    assert answers[1][2] is False, "an SSIM of .9 is below .9495"


def test_gains_and_never_below(card):
    cards = [named(card, "srgan-cxr-x4-gan")]
    some = rows("srgan-cxr-x4-gan", "cxr_nih", [31.0, 31.0, 29.9], region="anatomy")
    _, found = judge(cards, some)
    gain, never = (next(one for one in found if one.words == words) for words in (TARGETS[3].words, TARGETS[4].words))
    assert gain.reached and gain.measured == "+0.63 dB"
    assert never.reached is False and never.measured == "ahead on 2 of 3, at worst -0.10 dB"
    single = rows("srgan-cxr-x4-gan", "cxr_nih", 30.2, region="anatomy", images="a")
    gain = next(one for one in judge(cards, single)[1] if one.words == TARGETS[3].words)
    assert gain.reached is False and gain.measured == "+0.20 dB (n = 1)"


def test_baselines_and_missing_models_are_not_judged(card):
    cards = [named(card, "vdsr-general-x4-psnr", baseline=True)]
    answers, found = judge(cards, rows("vdsr-general-x4-psnr", "cxr_nih", 50.0), bundled=cards)
    assert answers == [] and len(found) == len(TARGETS)
    assert {one.measured for one in found} == {"there is no such model"} and {one.reached for one in found} == {None}


def test_a_psnr_model_has_to_be_ahead_on_every_set_of_its_domain(card):
    cards = [named(card, "span-general-x4-psnr")]
    sets = [rows("span-general-x4-psnr", name, 31.0) for name in ("cxr_nih", "mri3d_ds002748", "mri3d_misc")]
    answers, _ = judge(cards, *sets, rows("span-general-x4-psnr", "ct", 30.5, images="a"), bundled=cards)
    assert answers[-1] == ("span-general-x4-psnr", "ct", True)
    answers, _ = judge(cards, *sets, rows("span-general-x4-psnr", "ct", 29.9, images="a"), bundled=cards)
    assert answers[-1] == ("span-general-x4-psnr", "ct", False)
    less_like = rows("span-general-x4-psnr", "mri3d_misc", 31.0, ssim=0.5)
    answers, _ = judge(cards, *sets[:2], less_like, rows("span-general-x4-psnr", "ct", 30.5, images="a"), bundled=cards)
    assert answers[-1] == ("span-general-x4-psnr", "ct, mri3d_misc", False)
    worse = rows("span-general-x4-psnr", "ct", 31.0, ssim=0.88, images="a")
    assert judge(cards, *sets, worse, bundled=cards)[0][-1][2] is False, "SSIM counts as well"


def test_gans_beside_their_phases(card):
    gan, phase = named(card, "srgan-oct-x4-gan"), named(card, "srgan-oct-x4-psnr")
    name = home_sets(gan)[0].name
    assert phase_of(gan, [gan, phase]) is phase and phase_of(gan, [gan]) is None and phase_of(phase, [phase]) is None
    near = rows(gan.id, name, 31.0, distance=0.06, region="full")
    far = rows(phase.id, name, 32.0, distance=0.10, region="full")
    (one,) = phase_verdicts(index(summarize([*near, *far])), [gan, phase])
    assert one.nearer == pytest.approx(0.4) and one.price == pytest.approx(1.0)
    without = [row | {"distance": None} for row in [*near, *far]]
    assert phase_verdicts(index(summarize(without)), [gan, phase])[0].nearer is None
    assert phase_verdicts(index(summarize(near)), [gan, phase]) == []
