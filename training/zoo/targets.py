"""What the models were to reach, and whether they did: read off the measurements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from SuperResolutionLib.catalog import ModelCard

from ..candidates import MODEL, UNCONSTRAINED
from ..report import signed
from .domains import DOMAINS, TestSet, is_home, is_judged_on, set_label

CONSISTENT, CUBIC = "bicubic consistent", "bicubic"


@dataclass(frozen=True)
class Target:
    """One number that models were to reach.

    Attributes:
        words: the target in words.
        models: ids, with wildcards; baselines never count. sets: names of test sets, each judged by itself.
        least: the number. score: psnr or ssim. region: where.
        over: the baseline that it is a gain over; None for the score itself, which has to exceed the number.
        always: whether it has to hold on every single image.
    """

    words: str
    models: tuple[str, ...]
    sets: tuple[str, ...]
    least: float
    score: str = "psnr"
    region: str = "whole"
    over: str | None = None
    always: bool = False


_CXR = ("*-cxr-x4-gan", "*-general-x4-psnr")
_RESIZED = ("mri3d_ds002748@128", "mri3d_misc@128")
_OCT = ("oct_duke_sdoct/*_average.png",)
_FUNDUS = ("fundus_hrf", "fundus_chase")
_FUNDUS_X8 = ("edsr-ise-fundus-x8-*", "p-gan-fundus-x8-*")

#: The PSNR phases of the fundus models are judged as well: an adversarial phase mostly costs PSNR, so what they miss
#: shows whether the network or the price of texture is the limit.
#: 40.32 dB, SSIM .9495 and, made consistent, 41.23 dB are what the checkpoint that the Swift-SRGAN project released
#: reaches on the same test images.
TARGETS = (
    Target("chest X-ray x4: above 40.32 dB", ("swift-srgan-cxr-x4-gan",), ("cxr_nih",), 40.32),
    Target("chest X-ray x4: SSIM above .9495", ("swift-srgan-cxr-x4-gan",), ("cxr_nih",), 0.9495, "ssim"),
    Target("chest X-ray x4: above 41.23 dB", ("srgan-cxr-x4-gan", "*-general-x4-psnr"), ("cxr_nih",), 41.23),
    Target("chest X-ray x4, anatomy: +0.3 dB", _CXR, ("cxr_nih",), 0.3, region="anatomy", over=CONSISTENT),
    Target("the same, never below", _CXR, ("cxr_nih",), 0.0, region="anatomy", over=CONSISTENT, always=True),
    Target("brain MR, 32 to 128: +1.0 dB", ("*-brain-x4-gan", "*-brain-x4-psnr"), _RESIZED, 1.0, over=CONSISTENT),
    Target("OCT x4: +1.0 dB", ("*-oct-x4-gan", "*-oct-x4-psnr"), _OCT, 1.0, over=CONSISTENT),
    Target("CT x2: +1.0 dB", ("*-ct-x2-psnr",), ("ct",), 1.0, over=CONSISTENT),
    Target("fundus x4: +2.6 dB over bicubic", ("edsr-ise-fundus-x4-*",), _FUNDUS, 2.6, over=CUBIC),
    Target("fundus x8: +2.0 dB over bicubic", _FUNDUS_X8, _FUNDUS, 2.0, over=CUBIC),
    Target("fundus x8: +4.5 dB over bicubic", _FUNDUS_X8, _FUNDUS, 4.5, over=CUBIC),
    Target("fundus x16: +1.5 dB over bicubic", ("edsr-ise-fundus-x16-*",), _FUNDUS, 1.5, over=CUBIC),
    Target("fundus x16: +5.0 dB over bicubic", ("edsr-ise-fundus-x16-*",), _FUNDUS, 5.0, over=CUBIC),
)

#: A GAN model's distance between features is to be lower than its own PSNR phase's by this share, at the price of at
#: most so many dB.
NEARER, PRICE = 0.30, 1.5

#: All bundled weights together in MiB, and the parameters of P-GAN, are to stay within these.
LARGEST_MIB, LARGEST_PGAN = 32, 2_000_000


@dataclass(frozen=True)
class Verdict:
    """Whether a model reached a target: words, model, set, what was measured, and the answer (None: not measured)."""

    words: str
    model: str
    where: str
    measured: str
    reached: bool | None


@dataclass(frozen=True)
class PhaseVerdict:
    """A GAN model beside its own PSNR phase on a set.

    Attributes:
        psnr, distance: of the model, of the phase. cubic: the distance of bicubic made consistent.
        price: dB that the phase is ahead. nearer: share by which the distance is lower; None without distances.
    """

    model: str
    where: str
    psnr: tuple[float, float]
    distance: tuple[float, float] | None
    cubic: float | None
    price: float
    nearer: float | None


def index(summary: Iterable[dict]) -> dict[tuple, dict]:
    """The entries of ``report.summarize`` by model, set and protocol."""
    return {(entry["model"], entry["set"], entry["protocol"]): entry for entry in summary}


def verdicts(found: dict[tuple, dict], cards: Sequence[ModelCard], bundled: Sequence[ModelCard]) -> list[Verdict]:
    """Every target, model and set; then whether each bundled PSNR model beats bicubic made consistent.

    Args:
        found: of ``index``. cards: of all models that were measured. bundled: of those that ship.
    """
    result = []
    for target in TARGETS:
        judged = [
            card.id for card in cards if not card.baseline and any(fnmatch(card.id, one) for one in target.models)
        ]
        pairs = [(name, where) for name in judged for where in target.sets]
        result += [_verdict(target, name, where, found.get((name, f"{where} test", "ours"))) for name, where in pairs]
        if not judged:
            result.append(Verdict(target.words, "", ", ".join(target.sets), "there is no such model", None))
    return result + [verdict for card in bundled for verdict in _own_domain(card, found)]


def _verdict(target: Target, model: str, where: str, entry: dict | None) -> Verdict:
    about = target.words, model, where
    if entry is None or target.region not in entry["regions"]:
        return Verdict(*about, "not measured", None)
    single = " (n = 1)" if entry["images"] == 1 else ""
    if target.over is None:
        value = main_scores(entry, target.region)[target.score]["mean"]
        words = f"{value:.2f} dB" if target.score == "psnr" else f"{value:.4f}"
        return Verdict(*about, words + single, value > target.least)
    gain = entry["gains"][target.region][target.over][target.score]
    if target.always:
        words = f"ahead on {gain['better']} of {gain['images']}, at worst {signed(gain['least'])} dB"
        return Verdict(*about, words, gain["least"] >= target.least)
    return Verdict(*about, f"{signed(gain['mean'])} dB{single}", gain["mean"] >= target.least)


def main_scores(entry: dict, region: str) -> dict:
    """Scores of the model as it is judged: made consistent, or in the protocol uint8 as it is."""
    methods = entry["regions"][region]
    return methods[MODEL if MODEL in methods else UNCONSTRAINED]


def _own_domain(card: ModelCard, found: dict) -> list[Verdict]:
    """Whether a PSNR model beats bicubic made consistent on every set of its domain; the worst sets are told."""
    if not card.family.endswith("-psnr") or card.baseline:
        return []
    entries = {one.name: found.get((card.id, set_label(one), "ours")) for one in home_sets(card)}
    gains = {name: entry["gains"]["whole"][CONSISTENT] for name, entry in entries.items() if entry}
    words = "ahead of bicubic made consistent on its domain, PSNR and SSIM"
    if not gains:
        return [Verdict(words, card.id, "", "not measured", None)]
    first = min(gains, key=lambda name: gains[name]["psnr"]["mean"])
    second = min(gains, key=lambda name: (gains[name]["ssim"]["mean"], name != first))
    psnr, ssim = gains[first]["psnr"]["mean"], gains[second]["ssim"]["mean"]
    where = ", ".join(dict.fromkeys([first, second]))
    return [Verdict(words, card.id, where, f"at least {signed(psnr)} dB, {ssim:+.4f}", psnr > 0 and ssim > 0)]


def home_sets(card: ModelCard) -> list[TestSet]:
    """The sets of the images that a model was made for."""
    pairs = [(domain, test_set) for domain in DOMAINS for test_set in domain.sets]
    return [one for domain, one in pairs if is_judged_on(card, domain, one) and is_home(card, domain, one)]


def phase_of(card: ModelCard, cards: Iterable[ModelCard]) -> ModelCard | None:
    """The PSNR phase that a GAN model began with, if it is among the cards."""
    name = card.id.removesuffix("-gan") + "-psnr"
    return next((other for other in cards if card.id.endswith("-gan") and other.id == name), None)


def phase_verdicts(found: dict[tuple, dict], cards: Sequence[ModelCard]) -> list[PhaseVerdict]:
    """Every GAN model whose PSNR phase is at hand, on every set of its domain."""
    result = []
    for card in cards:
        phase = phase_of(card, cards)
        for test_set in home_sets(card) if phase else []:
            entries = [found.get((one.id, set_label(test_set), "ours")) for one in (card, phase)]
            if None not in entries:
                result.append(_beside(card.id, test_set.name, *entries))
    return result


def _beside(model: str, where: str, own: dict, before: dict) -> PhaseVerdict:
    scores = [main_scores(entry, "full") for entry in (own, before)]
    psnr = tuple(score["psnr"]["mean"] for score in scores)
    distance = tuple(score["distance"]["mean"] for score in scores if "distance" in score)
    if len(distance) < 2:
        return PhaseVerdict(model, where, psnr, None, None, psnr[1] - psnr[0], None)
    cubic = own["regions"]["full"][CONSISTENT]["distance"]["mean"]
    return PhaseVerdict(model, where, psnr, distance, cubic, psnr[1] - psnr[0], 1 - distance[0] / distance[1])
