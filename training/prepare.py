"""Pack the train split of a folder of images or volumes, and report what was found on the way.

The folder holds one subfolder a set, and ``splits.json`` (set -> split -> file names) if the splits are fixed; else
they are drawn by patient, over all files of all subfolders whichever of them a set takes, and written beside the pack.
Every file of every split is read once, so that what cannot be read or occurs twice is known before anything trains.
What one set of a configuration holds out does not train in another: not the same pixels, not the same patient.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import numpy as np

from SuperResolutionLib.errors import DataError, SuperResolutionError, UsageError

from .duplicates import exact_pairs, near_pairs, pixel_hash, thumbnail
from .packed import PackWriter
from .resized import split_size
from .slices import cut_slices, fit_channels, stacks
from .sources import RULES, Source, dicom_patients, find_sources, patient_scope, patients_of
from .splits import (
    FILE,
    SHARES,
    SPLITS,
    draw_together,
    files_of,
    locate,
    patients_in_two_splits,
    read_splits,
    set_folder,
    set_pattern,
)

REPORT = "report.json"


class Seen(NamedTuple):
    """What reading a file showed: a hash of its pixels, a thumbnail, and the spacing in plane, None if unknown."""

    source: Source
    pixels: str
    thumbnail: np.ndarray
    spacing: float | None


@dataclass
class Scan:
    """What reading some files showed; of ``unreadable`` ones ``file`` and ``why``."""

    readable: list[Seen] = field(default_factory=list)
    unreadable: list[dict] = field(default_factory=list)

    def of(self, name: str) -> Scan:
        """The part of a folder's files that a set takes.

        Raises:
            UsageError: if it takes none. DataError: if none can be read.
        """
        pattern = set_pattern(name)
        readable = [seen for seen in self.readable if fnmatch(seen.source.name, pattern)]
        unreadable = [entry for entry in self.unreadable if fnmatch(entry["file"], pattern)]
        if not readable and not unreadable:
            raise UsageError(f"No image in the folder {set_folder(name)} fits the pattern {pattern}.")
        if not readable:
            first = unreadable[0]
            raise DataError(
                f"None of the {len(unreadable)} images of {name} can be read; the first, {first['file']}: "
                f"{first['why']}"
            )
        return Scan(readable, unreadable)

    def pairs(self) -> tuple[list[tuple], list[tuple]]:
        """Files with the same pixels: first, repeated; and, of different patients, files that look alike: two files
        and their distance."""
        names = [seen.source.name for seen in self.readable]
        whose = {seen.source.name: seen.source.patient for seen in self.readable}
        exact = [(names[a], names[b]) for a, b in exact_pairs([seen.pixels for seen in self.readable])]
        found = near_pairs(np.array([seen.thumbnail for seen in self.readable]))
        near = [(names[a], names[b], round(d, 4)) for a, b, d in found]
        near = [(a, b, d) for a, b, d in near if (a, b) not in exact and (not whose[a] or whose[a] != whose[b])]
        return exact, near


class Taken(NamedTuple):
    """A set of a configuration: what reading its files showed, its splits, and how far its patients' names reach."""

    name: str
    scan: Scan
    parts: dict[str, list[str]]
    scope: str

    def labels(self) -> dict[str, str]:
        """Listed file, with its folder -> its split."""
        return {_label(self.name, file): split for split in SPLITS for file in self.parts.get(split, [])}


def prepare(
    config,
    data: Path,
    out: Path,
    rule: str = "auto",
    splits: Path | None = None,
    shares=SHARES,
    seed: int = 0,
    log=print,
) -> dict:
    """Pack the train splits of a configuration's sets under its card's intensity mapping.

    Args:
        config: names the sets (``data.sets``), ``channels`` and the ``intensity`` of its ``card``.
        data: folder with one subfolder a set; with a single set it may be the folder of the images itself.
        out: folder for the packed sets, ``report.json`` and ``splits.json``.
        rule: how a patient is known, see ``sources.find_sources``.
        splits: list of fixed splits; ``data/splits.json`` if None and it is there, else they are drawn.
        shares, seed: of drawn splits. log: called with a line of progress.

    Returns:
        The report: set -> what was found and packed; also written to ``out/report.json``.

    Raises:
        SuperResolutionError: for a configuration without a card, an empty folder, no readable image, too few patients,
            or patients that are not known.
    """
    if "intensity" not in config.card:
        raise UsageError("The configuration has no card whose intensity says how images are packed; add a card.")
    given = splits or (data / FILE if (data / FILE).is_file() else None)
    lists = read_splits(given) if given else {}
    names = list(config.data.sets)
    if given:
        taken = [_take_listed(lists, name, locate(data, name), given, rule, log) for name in names]
        written = {set_folder(name): lists[set_folder(name)] for name in names}
    else:
        taken, written = _take_drawn(names, data, out, rule, shares, seed, log)
    between = _united({one.name: (one.scan, one.scope) for one in taken}).pairs() if len(taken) > 1 else ([], [])
    splits_of = {file: split for one in taken for file, split in one.labels().items()}
    report = {}
    for one in taken:
        leaks = held_elsewhere(one, [other for other in taken if other is not one])
        report[one.name] = _prepare_set(config, one, leaks, _outward(one, between, splits_of), out, not given)
    _merge(out / REPORT, report)
    _merge(out / FILE, written)
    return report


def _label(name: str, file: str) -> str:
    return f"{set_folder(name)}/{file}"


def _united(scans: dict[str, tuple[Scan, str]]) -> Scan:
    """What the files of several sets or folders showed, each once, named with its folder; scans with their scopes."""
    seen = {}
    for name, (scan, scope) in scans.items():
        for one in scan.readable:
            label, patient = _label(name, one.source.name), one.source.patient
            source = replace(one.source, name=label, patient=f"{scope} {patient}" if patient else "")
            seen.setdefault(label, one._replace(source=source))
    return Scan(list(seen.values()))


def _take_listed(lists, name: str, folder: Path, given: Path, rule: str, log) -> Taken:
    """A set whose splits are given."""
    sources, parts = _listed(lists, name, folder, given, rule)
    scope = patient_scope([source.name for source in sources], rule, set_folder(name))
    return Taken(name, scan_sources(sources, name, log).of(name), parts, scope)


def _take_drawn(names, data: Path, out: Path, rule: str, shares, seed: int, log) -> tuple[list[Taken], dict]:
    """Sets whose splits are drawn, over all of their folders at once, and the splits."""
    scans, scopes = {}, {}
    for name in names:
        key = set_folder(name)
        if key not in scans:
            sources = find_sources(locate(data, name), rule)
            scans[key] = scan_sources(sources, key, log)
            scopes[key] = patient_scope([source.name for source in sources], rule, key)
    chosen = {name: scans[set_folder(name)].of(name) for name in names}
    whose = {
        key: {seen.source.name: (scopes[key], seen.source.patient) for seen in scan.readable}
        for key, scan in scans.items()
    }
    exact, near = _united({key: (scan, scopes[key]) for key, scan in scans.items()}).pairs()
    alike = [tuple(tuple(label.split("/", 1)) for label in pair[:2]) for pair in (*exact, *near)]
    kept = read_splits(out / FILE) if (out / FILE).is_file() else {}
    if kept.keys() & whose.keys():
        log(f"Images that {out / FILE} has in a split stay in it; delete it to draw anew.")
    written = draw_together(whose, alike, shares, seed, kept)
    for key, split in ((key, split) for key in kept.keys() & written.keys() for split in SPLITS[1:]):
        for file in sorted(set(kept[key].get(split, [])) & set(written[key]["train"])):
            log(f"{key}/{file} was in {split} and is in train now, as what belongs to it trained elsewhere.")
    parts = {
        name: {split: files_of(written, name, split, out / FILE, needed=split == "train") for split in SPLITS}
        for name in names
    }
    return [Taken(name, chosen[name], parts[name], scopes[set_folder(name)]) for name in names], written


def held_elsewhere(one: Taken, others: Sequence[Taken]) -> dict[str, str]:
    """Files of a set with the pixels or of a patient that another set validates or tests on -> why they must not train.

    A folder's file is in the same split in all sets that take it, as ``brain`` and ``brain@128`` do, and is no leak.
    """
    pixels, patients = {}, {}
    for other in others:
        held = {file for split in SPLITS[1:] for file in other.parts.get(split, [])}
        for seen in (seen for seen in other.scan.readable if seen.source.name in held):
            label = _label(other.name, seen.source.name)
            pixels.setdefault(seen.pixels, label)
            if seen.source.patient:
                patients.setdefault((other.scope, seen.source.patient), label)
    found = {}
    for seen in one.scan.readable:
        who = (one.scope, seen.source.patient)
        if seen.pixels in pixels:
            found[seen.source.name] = f"has the same pixels as {pixels[seen.pixels]}, which must not train"
        elif who in patients:
            found[seen.source.name] = f"is of the patient {who[1]}, as {patients[who]} is, which must not train"
    return found


def _outward(one: Taken, pairs: tuple[list, list], splits_of: dict[str, str]) -> tuple[list[dict], list[dict]]:
    """Of pairs of all sets those of a file of this set and one of another, as the report has them."""
    own = one.labels()
    result = ([], [])
    for entries, found in zip(pairs, result):
        for first, second, *distance in entries:
            if (first in own) == (second in own):
                continue
            mine, other = (first, second) if first in own else (second, first)
            about = {"files": [mine.split("/", 1)[1], other]} | ({"distance": distance[0]} if distance else {})
            found.append(about | {"splits": [splits_of.get(mine), splits_of.get(other)]})
    return result


def _merge(path: Path, entries: dict) -> None:
    """Put entries into a JSON file beside those of sets that were packed into the same folder before."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(before | entries, indent=1) + "\n", encoding="utf-8")


def _listed(lists, name, folder, given, rule) -> tuple[list[Source], dict[str, list[str]]]:
    """The sources of a given list, with patients where a rule finds them."""
    folder_name = set_folder(name)
    listed = [split for split in SPLITS if split in lists.get(folder_name, {"train": 0})]
    parts = {split: files_of(lists, name, split, given, needed=split == "train") for split in listed}
    names = sorted({file for files in parts.values() for file in files})
    if not names:
        raise DataError(f"{given} lists no file of {name}; add some, or remove the list and let the splits be drawn.")
    whose = _patients_listed(folder, names, rule)
    sources = [Source.listed(folder, file, whose.get(file, "")) for file in names]
    lost = [source.name for source in sources if not source.path.exists()]
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise DataError(
            f"{given} lists {lost[0]}{more} of {name}, but {folder} does not hold it; copy the images, "
            "or correct the list."
        )
    twice = patients_in_two_splits(parts, whose)
    if twice:
        raise DataError(
            f"{given} has the patient {twice[0]} of {name} in two splits; move all images into one, or say with "
            "--patient file that each image is of another patient."
        )
    return sources, parts


def _patients_listed(folder: Path, names: list[str], rule: str) -> dict[str, str]:
    """File -> patient for a given list: DICOM files say it themselves, unless a rule does."""
    headers = {}
    if rule in ("auto", "dicom"):
        headers = dicom_patients(folder)
    others = [name for name in names if name not in headers]
    return {name: headers[name] for name in names if name in headers} | (patients_of(others, rule) if others else {})


def _prepare_set(config, one: Taken, leaks: dict[str, str], outward: tuple, out: Path, drawn: bool) -> dict:
    name, scan, parts = one.name, one.scan, one.parts
    exact, near = scan.pairs()
    whose = {seen.source.name: seen.source.patient for seen in scan.readable}
    train, dropped = training_files(parts, exact, set(whose), leaks)
    packed = pack_sources(config, name, [seen.source for seen in scan.readable if seen.source.name in train], out)
    where = {file: split for split in SPLITS for file in parts.get(split, [])}
    counts = {split: len({whose[f] or f for f in parts.get(split, []) if f in whose}) for split in SPLITS}
    spacings = [seen.spacing for seen in scan.readable if seen.spacing is not None]
    return {
        "files": len(scan.readable) + len(scan.unreadable),
        "splits": "drawn by patient" if drawn else "given",
        "patients": counts if all(whose.values()) else "not known, the given list decides",
        "images": {split: sum(file in whose for file in parts.get(split, [])) for split in SPLITS},
        "spacing_mm": [min(spacings), max(spacings)] if spacings else None,
        **packed,
        "unreadable": scan.unreadable,
        "exact_duplicates": [{"files": pair, "splits": [where.get(file) for file in pair]} for pair in exact]
        + outward[0],
        "near_duplicates": [
            {"files": [a, b], "distance": d, "splits": [where.get(a), where.get(b)]} for a, b, d in near
        ]
        + outward[1],
        "left_out_of_training": dropped,
    }


def scan_sources(sources: list[Source], name: str, log=print) -> Scan:
    """Read every source once."""
    scan = Scan()
    for number, source in enumerate(sources, 1):
        if number % 500 == 0:
            log(f"{name}: {number} of {len(sources)} files read")
        try:
            volume = source.read()
        except SuperResolutionError as error:
            scan.unreadable.append({"file": source.name, "why": str(error)})
            continue
        spacing = None if volume.source.get("Spacing") == "unknown" else round(min(volume.spacing), 4)
        scan.readable.append(Seen(source, pixel_hash(volume.array), thumbnail(volume.array), spacing))
    return scan


def training_files(
    parts: dict, exact: list[tuple[str, str]], readable: set[str], leaks: dict[str, str] | None = None
) -> tuple[set[str], list[dict]]:
    """The readable files of the train split, without those whose pixels another split or an earlier file has.

    ``leaks``: files that another set forbids to train, and why; see ``held_elsewhere``.

    Returns:
        Their names, and for every readable file left out ``file`` and ``why``.
    """
    train = [file for file in parts.get("train", []) if file in readable]
    held = {file for split in SPLITS[1:] for file in parts.get(split, [])}
    same: dict[str, str] = {repeated: first for first, repeated in exact}
    kept, seen, dropped = set(), {}, []
    held_roots = {same.get(file, file): file for file in sorted(held)}
    for file in train:
        root = same.get(file, file)
        if root in held_roots:
            dropped.append({"file": file, "why": f"has the same pixels as {held_roots[root]}, which must not train"})
        elif file in (leaks or {}):
            dropped.append({"file": file, "why": leaks[file]})
        elif root in seen:
            dropped.append({"file": file, "why": f"has the same pixels as {seen[root]}"})
        else:
            kept.add(file)
            seen[root] = file
    return kept, dropped


def pack_sources(config, name: str, sources: list[Source], out: Path) -> dict:
    """Write the slices of some sources as one packed set; says what was packed.

    With a suffix ``@N`` that includes ``spacing_mm``, what the volumes' slices have after they are resized.
    """
    slices, blank, grey, problems, spacings = 0, 0, 0, [], []
    size = split_size(name)[1]
    with PackWriter(out, name, config.channels, config.card["intensity"]) as writer:
        for source in sources:
            volume = source.read()
            try:
                array, converted = fit_channels(volume.array, config.channels)
            except UsageError as error:
                problems.append({"file": source.name, "why": str(error)})
                continue
            grey += converted
            for stack, axes in stacks(volume.with_array(array), size):
                planes = cut_slices(stack.array, axes, config.card["intensity"])
                for plane, gain, offset in planes:
                    writer.add(plane, gain, offset, source.name)
                slices += len(planes)
                blank += sum(stack.array.shape[axis] for axis in axes) - len(planes)
                if size and volume.source.get("Spacing") != "unknown":
                    spacings += [round(stack.spacing[2 - axis], 4) for axis in {0, 1, 2} - {*axes}]
        if not slices:
            nothing = "nothing but empty slices was found" if sources else "no image of its train split may be used."
            why = problems[0]["why"] if problems else nothing
            raise DataError(f"There is nothing to train on in {name}: {why}")
    kinds = sorted({row["type"] for row in writer.rows})
    about = {"slices": slices, "bytes": writer.size, "stored_as": kinds, "channels": config.channels}
    about["intensity"] = config.card["intensity"]
    if size:
        about["spacing_mm"] = [min(spacings), max(spacings)] if spacings else None
    return about | {"blank_slices": blank, "color_to_grey": grey, "unfit": problems}


def table(report: dict) -> str:
    """The report as lines of text for a terminal."""
    heads = ("set", "files", "train / val / test", "slices", "blank", "MB", "unreadable", "unfit", "exact", "near")
    rows = [heads]
    for name, entry in report.items():
        images = " / ".join(str(entry["images"][split]) for split in SPLITS)
        found = [str(len(entry[key])) for key in ("unreadable", "unfit", "exact_duplicates", "near_duplicates")]
        size = f"{entry['bytes'] / 1e6:.1f}"
        counts = [str(entry[key]) for key in ("slices", "blank_slices")]
        rows.append((name, str(entry["files"]), images, *counts, size, *found))
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def add_parser(commands) -> None:
    """The sub-command ``prepare``."""
    parser = commands.add_parser("prepare", help="pack the train split of a folder of images or volumes")
    parser.add_argument("config", type=Path, help="YAML configuration, which names the sets")
    parser.add_argument("data", type=Path, help="folder with one subfolder a set, and splits.json if splits are fixed")
    parser.add_argument("packed", type=Path, help="folder to write")
    parser.add_argument("--splits", type=Path, metavar="FILE", help="fixed splits, instead of DATA/splits.json")
    rules = f"how patients are known: {', '.join(RULES)}, or a regular expression"
    parser.add_argument("--patient", default="auto", metavar="RULE", help=rules)
    shares = {"nargs": 3, "type": float, "default": SHARES, "metavar": ("TRAIN", "VAL", "TEST")}
    parser.add_argument("--shares", **shares, help="of the patients, where splits are drawn")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other splits")
    parser.set_defaults(run=_run)


def _run(options) -> None:
    from .config import load_config

    config = load_config(options.config)
    choices = {"shares": tuple(options.shares), "seed": options.seed}
    report = prepare(config, options.data, options.packed, options.patient, options.splits, **choices)
    print(table(report))
    print(f"Details are in {options.packed / REPORT}, the splits in {options.packed / FILE}.")
