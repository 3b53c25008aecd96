"""What the page on limits says of its measurements: tables and sentences, made from plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from SuperResolutionLib.fidelity import VISIBLE

from ..masks import RULES, WORST
from .cases import BICUBIC, GAN, PSNR, SLICES
from .measures import ERRORS, SEARCHED
from .objects import CONTRAST, LENGTH, SLANT, Kind
from .page import table
from .squares import SIDE


@dataclass(frozen=True)
class About:
    """What the measurements are of.

    Attributes:
        names: method -> what a reader calls it. weights: model -> how their SHA-256 begins. scale: of both models.
        own: set that the GAN was trained for, and split. images: how many of it.
        pictures: name of a picture -> its address on the page.
    """

    names: dict[str, str]
    weights: dict[str, str]
    scale: int
    own: str
    images: int
    pictures: dict[str, str]

    def heads(self, methods: Sequence[str]) -> list[str]:
        return [self.names[method] for method in methods]

    @property
    def counted(self) -> str:
        return f"{self.images} image{'s' * (self.images != 1)}"


def same_input(about: About, found: dict[str, dict[str, float]]) -> str:
    """``measures.consistency``."""
    names = about.names | {"reversed": "the truth with its detail reversed"}
    rows = [[names[name], f"{entry['residual']:.2f}", f"{entry['psnr']:.2f}"] for name, entry in found.items()]
    heads = ["image", "shrunk again it differs by at most", "PSNR in the anatomy (dB)"]
    return (
        f"![One input, three images that explain it]({about.pictures['same-input']})\n\n"
        f"*{SIDE} x {SIDE} pixels of an input, where the first image of {about.own} has most fine structure, and three "
        "images that all give exactly this input when they are shrunk.*\n\n"
        f"{table(heads, rows)}\n\n"
        f"{about.own}, {about.counted}, x{about.scale}. The differences are the largest of all images "
        "in the anatomy, in the input's units; rounding to whole units alone accounts for a part of one. Where values "
        "reach the limits of their type, as white letters do, more is left."
    )


def small_things(
    about: About,
    objects: dict[Kind, dict[str, float]],
    counts: dict[Kind, int],
    bars: dict[float, dict[str, tuple[float, float]]],
) -> str:
    """``objects.recovered`` and ``objects.bars_recovered``."""
    methods = (BICUBIC, PSNR, GAN)
    rows = [
        [kind.name, str(counts[kind]), *(_percent(objects[kind].get(method)) for method in methods)] for kind in objects
    ]
    pairs = [
        [f"{period:g}", *(f"{_percent(shares[m][0])} / {_percent(shares[m][1])}" for m in methods)]
        for period, shares in bars.items()
    ]
    return (
        f"{table(['size in input pixels', 'places', *about.heads(methods)], rows)}\n\n"
        f"How much of their contrast comes back, mean over all places. Discs and lines {LENGTH:g} pixels long, of "
        f"{100 * CONTRAST:g} % of the data range, were put into {about.counted} of {about.own} before "
        "they were shrunk. 100 % would be the thing as it was.\n\n"
        f"{table(['period in input pixels', *about.heads(methods)], pairs)}\n\n"
        f"Line pairs, turned by {SLANT:g} degrees: how much of them comes back / how strong a false pattern stands "
        "beside it or in its place. Two input pixels are one line pair, the limit of sampling.\n\n"
        f"![A chart, its input, and what comes back]({about.pictures['chart']})\n\n"
        "*A chart of line pairs, letters and discs, shrunk and enlarged again.*"
    )


def domain(about: About, sets: dict[str, dict]) -> str:
    """Set -> ``images``, ``contested`` (``measures.contested_share``), and the PSNR of each method in the anatomy."""
    methods, rows = (PSNR, GAN), []
    for name, entry in sets.items():
        gains = [_gain(entry["psnr"][method] - entry["psnr"][BICUBIC]) for method in methods]
        rows.append([name, str(entry["images"]), *gains, _percent(entry["contested"])])
    return (
        f"{table(['test images', 'n', *about.heads(methods), 'contested'], rows)}\n\n"
        f"Gain over bicubic made consistent in the anatomy, in dB, mean over images. {about.names[GAN]} was trained on "
        f"images like those of the first row alone, {about.names[PSNR]} on images like those of all rows. *Contested* "
        "is the share of the pixels where the two disagree by more than the detail that they share. Of volumes "
        f"{SLICES} slices, evenly spaced, were taken."
    )


def invention(about: About, found: dict[str, tuple[str, dict[str, float]]]) -> str:
    """Picture -> name of the image's file, and ``squares.numbers_of``; the worst image first, then the usual one."""
    gan, fidelity = about.names[GAN], about.names[PSNR]
    parts = [
        f"*{SIDE} x {SIDE} pixels of an input, where in the anatomy the error of {gan} exceeds that of {fidelity} most."
        f" Of {about.counted} of {about.own} first the one where it does so most, then the one in the middle of their "
        "order. Maps show how far the two disagree and each one's error, as local root mean squares, from dark (0) to "
        "bright.*"
    ]
    for picture, (name, numbers) in found.items():
        parts.append(f"![Detail of a GAN, and what is known of it]({about.pictures[picture]})")
        parts.append(
            f"{name}, maps up to {numbers['top']:.1f} units. The root mean square error of {gan} in this square is "
            f"{numbers[GAN]:.1f} units, that of {fidelity} {numbers[PSNR]:.1f}; the two differ by "
            f"{numbers['difference']:.1f} and are contested in {_percent(numbers['share'])} of it. Yet the GAN's "
            f"result, shrunk again, differs from the input there by at most {numbers['residual']:.2f} units."
        )
    return "\n\n".join(parts)


def pattern(about: About, shares: dict[str, float]) -> str:
    """``measures.pattern``."""
    names = about.names | {"truth": "the truth"}
    rows = [[names[name], _percent(share)] for name, share in shares.items()]
    return (
        f"{table(['image', 'of its detail repeats with every input pixel'], rows)}\n\n"
        f"Share of the power of what shrinking forgets, {about.own}, {about.counted}, mean."
    )


def disagreement(about: About, where: dict[str, dict[str, float]], maps: dict[str, dict[str, float]]) -> str:
    """``measures.where_contested`` and ``measures.pointers``."""
    heads = ["in the anatomy", "share", *(f"error of {about.names[m]}" for m in (PSNR, GAN))]
    heads.append(f"{about.names[PSNR]} nearer to the truth")
    rows = [
        [name, _percent(e["share"]), f"{e[PSNR]:.2f}", f"{e[GAN]:.2f}", _percent(e["nearer"])]
        for name, e in where.items()
    ]
    titles = {
        "disagreement": "disagreement of the two models",
        "gan": f"{about.names[GAN]} from bicubic made consistent",
        "psnr": f"{about.names[PSNR]} from bicubic made consistent",
    }
    found = [[titles[name], f"{e['correlation']:.2f}", _percent(e["found"])] for name, e in maps.items()]
    heads_of_maps = ["map", "rank correlation with the error", f"of the largest {100 * ERRORS:g} % of errors it finds"]
    return (
        f"{table(heads, rows)}\n\n"
        f"Root mean square errors in the input's units, {about.own}, {about.counted}. Contested is where both results "
        f"differ by more than {100 * VISIBLE:g} % of the image's contrast and by more than their common detail.\n\n"
        f"{table(heads_of_maps, found)}\n\n"
        f"How well a map points at the errors of {about.names[GAN]}: Spearman's correlation, and how many of the "
        f"largest errors lie in the strongest {100 * SEARCHED:g} % of the map. Without any knowledge it would be "
        f"{100 * SEARCHED:g} %."
    )


def anatomy(about: About, share: tuple[float, float, float], whole: dict[str, float], inside: dict[str, float]) -> str:
    """``measures.error_share``, and ``measures.mean_scores`` in the whole image and in the anatomy."""
    rows = [
        [
            about.names[name],
            f"{whole[name]:.2f} ({_gain(whole[name] - whole[BICUBIC])})",
            f"{inside[name]:.2f} ({_gain(inside[name] - inside[BICUBIC])})",
        ]
        for name in whole
    ]
    mean, least, most = (_percent(value) for value in share)
    return (
        f"On {about.counted} of {about.own}, {100 * WORST:g} % of the pixels hold {mean} of the "
        f"squared error of bicubic made consistent (between {least} and {most}).\n\n"
        f"{table(['method', 'whole image: PSNR (gain), dB', 'anatomy: PSNR (gain), dB'], rows)}\n\n"
        f"The anatomy here is {RULES['anatomy'].replace('of that mask', 'the body')}."
    )


def spoiled(about: About, found: dict[str, dict[str, float]]) -> str:
    """``measures.spoiled``."""
    rows = [
        [name, f"{entry[BICUBIC]:.2f}", *(_gain(entry[method] - entry[BICUBIC]) for method in (PSNR, GAN))]
        for name, entry in found.items()
    ]
    return (
        f"{table(['input', 'bicubic made consistent', *about.heads((PSNR, GAN))], rows)}\n\n"
        "PSNR in the anatomy of bicubic made consistent, in dB, and the models' gain over it, against the clean truth; "
        f"{about.own}, {about.counted}."
    )


def how(about: About, command: str) -> str:
    """Where the numbers come from."""
    models = ", ".join(f"{about.names[method]} {start}..." for method, start in about.weights.items())
    return (
        f"Every number and picture on this page was written by `{command}`. Models, and how the SHA-256 of their "
        f"weights begins: {models}. Images are shrunk x{about.scale} with antialiased bicubic interpolation and "
        "rounded to their type; results are made consistent with the input, as users get them. No test image trained "
        "a model. The rule that a square lies to 97 % in the anatomy was set after letters had filled squares of test "
        "images with trial models."
    )


def _percent(share: float | None) -> str:
    """Whole percents; one digit where that would say too little; what rounds to nothing is said to be there."""
    if share is None:
        return ""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.0f} %" if abs(share) >= 0.0995 else f"{round(100 * share, 1) + 0.0:.1f} %"


def _gain(value: float) -> str:
    """Decibels with a sign, which zero has only as a plus."""
    return f"{round(value, 2) + 0.0:+.2f}"
