"""``docs/MODELS.md`` and the list of models in the README."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from SuperResolutionLib.catalog import ModelCard
from SuperResolutionLib.errors import DataError

from ..report import legend, summarize
from .domains import DOMAINS
from .facts import Facts, facts_lines, processor, weights_facts
from .gallery import Picture, failure_lines
from .measure import Zoo
from .tables import claim_lines, overview_lines, phase_lines, set_lines, table, verdict_lines
from .targets import LARGEST_MIB, LARGEST_PGAN, NEARER, PRICE, Verdict, phase_verdicts, verdicts

#: Around what is generated in the README.
BEGIN = "<!-- The list of models is written by python -m training zoo-report. -->"
END = "<!-- End of the list of models. -->"

INTRO = """# Models

This page is written by `make zoo-report`, all of it: every number of a bundled model comes from a measurement of the
file that ships, on test images that no model was trained on. Poor results stand here like good ones. Research use only:
a model can invent what was never in the patient, and no number on this page says anything about diagnosis.

Low-resolution images are made from the references by antialiased bicubic reduction, so these figures hold for images
that were blurred in just this way; on images of a real scanner with large pixels expect less.
"""

#: Said where there are such models.
_OTHERS = """Models that are *not bundled* stand here for comparison. What was measured of them is kept in
[models/others](models/others), because the next report may be made without their weights. A gain of theirs without an
interval is the difference of two means that were measured at different times.
"""

_FAILURES = (
    "Of every model that ships, the square of the anatomy in which it is worst against bicubic made consistent, among "
    "test images that may be shown here (among all, where none may); PSNR of the square's pixels in the anatomy."
)


def page(zoo: Zoo, facts: dict[str, Facts], pictures: dict[str, list[Picture]], folder: Path) -> str:
    """The text of the page.

    Args:
        facts: of every model by its id.
        pictures: key of a domain, or ``curves``, to its pictures. folder: where the page will be.
    """
    lines = [INTRO, *([] if zoo.bundled.issuperset(facts) else [_OTHERS]), *_targets(zoo)]
    for domain in DOMAINS:
        scales = sorted({card.scale for test_set in domain.sets for card in zoo.judged(domain, test_set)})
        tables = [line for one in domain.sets for scale in scales for line in set_lines(zoo, domain, one, scale)]
        if not tables:
            continue
        lines += [f"## {domain.title}", "", domain.note, "", *tables]
        claims = claim_lines(zoo, domain)
        if claims:
            lines += ["### By the protocol of older tables", "", *_claims_note(), *claims]
        lines += ["### Where models fail", "", _FAILURES, "", *failure_lines(zoo, domain)]
        lines += _shown(pictures.get(domain.key, []), folder)
        lines += [f"No pictures of `{one.name}`: {one.credit}." for one in domain.sets if not one.parts] + [""]
    lines += ["## General models on all grey images", "", *overview_lines(zoo)]
    lines += ["## GAN models beside their own PSNR phases", "", *_phases_note(), *phase_lines(zoo, _phases(zoo))]
    lines += ["## Size, speed and training", "", *facts_lines(zoo.cards, facts, processor())]
    if pictures.get("curves"):
        lines += ["## Curves of training", "", *_curves_note(), *_shown(pictures["curves"], folder)]
    lines += legend(summarize(zoo.rows), spread=False)
    return "\n".join(lines).rstrip() + "\n"


def _phases(zoo: Zoo):
    return phase_verdicts(zoo.found, zoo.cards)


def _targets(zoo: Zoo) -> list[str]:
    bundled = [card for card in zoo.cards if card.id in zoo.bundled]
    found = verdicts(zoo.found, zoo.cards, bundled)
    size = sum(weights_facts(card)[2] for card in bundled) / 2**20
    words = f"all bundled weights within {LARGEST_MIB} MiB"
    found.append(Verdict(words, "", "", f"{len(bundled)} models, {size:.1f} MiB", size <= LARGEST_MIB))
    for card in (card for card in bundled if card.architecture == "pgan"):
        count = weights_facts(card)[0]
        words = f"P-GAN under {LARGEST_PGAN:,} parameters"
        found.append(Verdict(words, card.id, "", f"{count:,}", count < LARGEST_PGAN))
    return [
        "## What was to be reached, and what was",
        "",
        "Targets that were set before the training. Gains are over bicubic made consistent with the input, in the",
        "whole image, where nothing else is said. 40.32 dB, SSIM .9495 and, made consistent, 41.23 dB are what the",
        "checkpoint that the Swift-SRGAN project released reaches on the same X-rays. What GAN models were to reach",
        "stands [below](#gan-models-beside-their-own-psnr-phases). Those for fundus were set for the EDSR-ISE GAN",
        "models; P-GAN and the PSNR phases are measured against the same numbers.",
        "",
        *verdict_lines(zoo, found),
    ]


def _claims_note() -> list[str]:
    return [
        "8-bit color, bicubic down and up by PIL, the whole image with no border cropped, results not made",
        "consistent. The gain is over bicubic. The claims are an older table's; it does not say which images they were",
        "measured on, so that a comparison with them shows the order of magnitude and no more.",
        "",
    ]


def _phases_note() -> list[str]:
    return [
        "A GAN model goes on from a model that was trained for fidelity alone, its PSNR phase. It is to be nearer to",
        f"the reference in features by {100 * NEARER:.0f} % or more, and to lose {PRICE} dB of PSNR at most, both in",
        "the region `full`. The last numbers of a line are differences between the input and the result shrunk again,",
        "in stored units: what 99.9 % of the pixels of an image stay below, and the largest. Rounding alone makes",
        "about half a unit; more stands where the result would leave the range of its type, for example below black.",
        "",
    ]


def _curves_note() -> list[str]:
    return [
        "Means over equal numbers of steps, at most 200 a run, from the tables in [models/curves](models/curves); a",
        "vertical line separates the phases. The loss of another phase is another sum.",
        "",
    ]


def _shown(pictures: Sequence[Picture], folder: Path) -> list[str]:
    lines = []
    for picture in pictures:
        path = picture.path.relative_to(folder).as_posix()
        lines += [f"![{picture.path.stem}]({path})", "", *([picture.caption, ""] if " " in picture.caption else [])]
    return lines


def model_list(cards: Sequence[ModelCard]) -> list[str]:
    """The families of some cards in a table, from the cards alone."""
    families: dict[str, list[ModelCard]] = {}
    for card in sorted(cards, key=lambda card: (card.baseline, card.family, card.scale)):
        families.setdefault(card.family, []).append(card)
    rows = []
    for family, members in families.items():
        scales = ", ".join(f"x{card.scale}" for card in members)
        color = "color" if members[0].channels == 3 else "grey"
        baseline = " For comparison only." if members[0].baseline else ""
        rows.append([f"`{family}`", scales, f"{members[0].domain}, {color}", members[0].description + baseline])
    return table(["family", "scales", "made for", "what it is"], rows, left=4)[:-1]


def with_list(path: Path, cards: Sequence[ModelCard]) -> str:
    """The text of a README with the list of models that the cards give.

    Raises:
        DataError: if it is not there, or has no place for the list.
    """
    try:
        before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    except OSError as error:
        raise DataError(f"{path} cannot be read; name the README with --readme.") from error
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DataError(f"{path} has no lines '{BEGIN}' and '{END}', between which the models are listed.")
    return "\n".join([before + begin, "", *model_list(cards), "", end + after])
