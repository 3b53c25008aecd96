"""What the scores come to: means, gains with intervals, a Markdown page, and entries for model cards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .bootstrap import RESAMPLES, paired_gain
from .candidates import ENSEMBLE, MODEL, UNCONSTRAINED
from .masks import RULES as REGION_RULES
from .protocols import BASELINES
from .protocols import RULES as PROTOCOL_RULES

METHODS = (*BASELINES, MODEL, UNCONSTRAINED, ENSEMBLE)
SCORES = ("psnr", "ssim", "distance")
DIGITS = {"psnr": 3, "ssim": 5, "distance": 5}


def summarize(rows: Sequence[dict]) -> list[dict]:
    """Rows of ``evaluate`` to one entry a set, model and protocol.

    Returns:
        ``set``, ``model``, ``scale``, ``protocol``, ``images``; ``regions``: region -> method -> score -> ``mean`` and
        ``sd`` over images (None for one image); ``gains``: region -> baseline -> score -> ``bootstrap.paired_gain`` of
        the model (made consistent where that was run) over that baseline.
    """
    entries: dict[tuple, dict] = {}
    for row in rows:
        key = (row["set"], row["model"], row["scale"], row["protocol"])
        entries.setdefault(key, {}).setdefault((row["region"], row["method"]), {})[row["image"]] = row
    return [_entry(key, cells) for key, cells in entries.items()]


def _entry(key: tuple, cells: dict) -> dict:
    regions: dict[str, dict] = {}
    for (region, method), images in cells.items():
        regions.setdefault(region, {})[method] = _means(images)
    main = MODEL if any(method == MODEL for _, method in cells) else UNCONSTRAINED
    gains = {
        region: {
            other: _gains(cells[region, main], cells[region, other]) for other in BASELINES if other in regions[region]
        }
        for region in regions
    }
    names = {image for images in cells.values() for image in images}
    about = dict(zip(("set", "model", "scale", "protocol"), key))
    return {**about, "images": len(names), "regions": regions, "gains": gains}


def _means(images: dict[str, dict]) -> dict:
    result = {}
    for score in SCORES:
        values = [row[score] for row in images.values() if row[score] is not None]
        if values:
            result[score] = {
                "mean": float(np.mean(values)),
                "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            }
    return result


def _gains(model: dict[str, dict], other: dict[str, dict]) -> dict:
    result = {}
    for score in SCORES:
        both = [name for name in model if name in other and None not in (model[name][score], other[name][score])]
        if both:
            result[score] = paired_gain([model[name][score] for name in both], [other[name][score] for name in both])
    return result


def card_entries(summary: Sequence[dict]) -> dict[str, list[dict]]:
    """Model -> what its card's ``measured`` holds: ``methods`` is the whole image, ``regions`` the others.

    ``gain`` is over bicubic made consistent, with the ends of its interval; ``uint8`` the older tables' protocol.
    """
    found: dict[str, dict[str, dict]] = {}
    for entry in summary:
        card = found.setdefault(entry["model"], {}).setdefault(entry["set"], {"set": entry["set"]})
        card["images"] = entry["images"]
        if entry["protocol"] != "ours":
            card[entry["protocol"]] = _plain(entry["regions"]["whole"])
            continue
        card["methods"] = _plain(entry["regions"]["whole"])
        card["regions"] = {name: _plain(methods) for name, methods in entry["regions"].items() if name != "whole"}
        gains = {region: others["bicubic consistent"]["psnr"] for region, others in entry["gains"].items()}
        card["gain"] = {
            region: {key: None if gain[key] is None else round(gain[key], 3) + 0.0 for key in ("mean", "low", "high")}
            for region, gain in gains.items()
        }
    return {model: list(sets.values()) for model, sets in found.items()}


def _plain(methods: dict) -> dict:
    return {
        name: {score: round(value["mean"], DIGITS[score]) for score, value in methods[name].items()}
        for name in METHODS
        if name in methods
    }


def markdown(summary: Sequence[dict], pictures: Sequence[Path] = ()) -> str:
    """The page: a table a set, protocol and scale, what its rows mean, and the pictures."""
    lines = ["# Evaluation", ""]
    groups: dict[tuple, list[dict]] = {}
    for entry in summary:
        groups.setdefault((entry["set"], entry["protocol"], entry["scale"]), []).append(entry)
    for (name, protocol, scale), entries in groups.items():
        count = entries[0]["images"]
        way = "" if protocol == "ours" else f", protocol {protocol}"
        lines += [f"## {name}, x{scale}{way}: {count} image{'s' * (count != 1)}", ""]
        for region in (name for name in REGION_RULES if name in entries[0]["regions"]):
            lines += [f"**{region}**", "", *_table(entries, region), ""]
    lines += legend(summary)
    lines += [f"![{path.stem}]({path.as_posix()})\n" for path in pictures]
    return "\n".join(lines).rstrip() + "\n"


def _table(entries: list[dict], region: str) -> list[str]:
    distances = any("distance" in cell for entry in entries for cell in entry["regions"].get(region, {}).values())
    heads = ["method", "PSNR (dB)", "SSIM", *(["feature distance"] if distances else [])]
    heads += ["gain over bicubic (dB)", "gain over bicubic consistent (dB)"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    first = entries[0]["regions"][region]
    for method in (name for name in BASELINES if name in first):
        lines.append(_row(method, first[method], distances, ["", ""]))
    for entry in entries:
        methods = entry["regions"].get(region, {})
        main = MODEL if MODEL in methods else UNCONSTRAINED
        for method in (name for name in METHODS if name in methods and name not in BASELINES):
            gains = entry["gains"][region] if method == main else {}
            words = [interval(gains.get(other, {}).get("psnr")) for other in ("bicubic", "bicubic consistent")]
            lines.append(_row(method.replace("model", entry["model"], 1), methods[method], distances, words))
    return lines


def _row(name: str, cell: dict, distances: bool, gains: list[str]) -> str:
    spread = "" if cell["psnr"]["sd"] is None else f" ± {cell['psnr']['sd']:.2f}"
    values = [f"{cell['psnr']['mean']:.2f}{spread}", f"{cell['ssim']['mean']:.4f}"]
    if distances:
        values.append(f"{cell['distance']['mean']:.4f}" if "distance" in cell else "")
    return "| " + " | ".join([name, *values, *gains]) + " |"


def interval(gain: dict | None) -> str:
    """A gain of ``paired_gain`` with the ends of its interval and the number of images on which the model is ahead."""
    if gain is None:
        return ""
    if gain["low"] is None:  # of one image, or not known any more
        return signed(gain["mean"]) + (" (one image)" if gain["images"] == 1 else "")
    mean, low, high = (signed(gain[key]) for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}], {gain['better']} of {gain['images']}"


def signed(value: float) -> str:
    """Two digits with a sign, which zero does not have."""
    text = f"{value:+.2f}"
    return "0.00" if text in ("-0.00", "+0.00") else text


def legend(summary: Sequence[dict], spread: bool = True) -> list[str]:
    """Lines that say what tables mean; ``spread``: whether they give standard deviations."""
    regions = {region for entry in summary for region in entry["regions"]}
    lines = ["## How it was measured", ""]
    lines += [
        f"- Protocol {name}: {PROTOCOL_RULES[name]}." for name in dict.fromkeys(entry["protocol"] for entry in summary)
    ]
    lines += [f"- Region **{name}**: {rule}." for name, rule in REGION_RULES.items() if name in regions]
    lines += [
        f"- Values are means over images{' ± their standard deviation where there are several' * spread}; an image's "
        "is the mean over its slices that span more than a tenth of the data range.",
        "- A model's row without another word is corrected to give the input back when it is shrunk, as users get it.",
        f"- Gains: mean over images with the 95 % percentile interval of {RESAMPLES} paired bootstrap resamples, and "
        "the number of images on which the model is ahead. The bootstrap resamples images, not patients: where "
        "patients have several images, the true uncertainty is larger.",
    ]
    if any("distance" in cell for entry in summary for cells in entry["regions"].values() for cell in cells.values()):
        from .features import DISTANCE_NAME

        lines.append(
            f"- Feature distance: {DISTANCE_NAME}, between the reference and the reference with the region replaced; "
            "lower is more alike, at most 16 slices of a volume. It is not LPIPS and compares only with itself."
        )
    return [*lines, ""]
