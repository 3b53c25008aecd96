"""Which patients train, validate and test: given by a list, or drawn by patient, never by image."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

from SuperResolutionLib.errors import DataError, UsageError

from .resized import split_size
from .sources import holds_images

SPLITS = ("train", "val", "test")
SHARES = (0.8, 0.1, 0.1)
FILE = "splits.json"

#: A patient's name, after what says which names mean the same patient (``sources.patient_scope``).
Patient = tuple[str, str]

#: Folder and file.
File = tuple[str, str]


def set_folder(name: str) -> str:
    """The folder of a set: ``folder/pattern`` is a set of the files of ``folder`` whose names fit the pattern.

    A suffix ``@N`` says how large its slices become (``resized.py``), and plays no part in where it is.
    """
    return split_size(name)[0].partition("/")[0]


def set_pattern(name: str) -> str:
    """What the file names of a set fit, ``*`` if it takes all of its folder."""
    return split_size(name)[0].partition("/")[2] or "*"


def locate(data: Path, name: str) -> Path:
    """The folder of a set's images: ``data/<set>``, or ``data`` itself where images lie in it and no list of sets.

    Raises:
        DataError: if there is neither.
    """
    folder = data / set_folder(name)
    if not data.is_dir():
        raise DataError(f"There is no folder {data}; check the name.")
    if folder.is_dir():
        return folder
    if not (data / FILE).is_file() and holds_images(data):
        return data
    there = sorted(path.name for path in data.iterdir() if path.is_dir() and not path.name.startswith("."))
    known = f"there are {', '.join(there)}" if there else f"{data} has no folder"
    raise DataError(f"There is no folder {folder} for the set {set_folder(name)}; {known}. Check the names.")


def read_splits(path: Path) -> dict[str, dict[str, list[str]]]:
    """The lists of a file: set -> split -> file names.

    Raises:
        DataError: if it cannot be read or is no such list.
    """
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
        for name, parts in splits.items():
            if not isinstance(parts, dict):
                raise ValueError(f"{name} does not name its splits")
            for files in (parts[split] for split in SPLITS if split in parts):
                if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
                    raise ValueError(f"{name} does not list file names")
        return splits
    except FileNotFoundError as error:
        raise DataError(f"There is no {path}; run python -m training prepare, which writes one.") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no list of splits (set -> train, val, test -> file names): {error}.") from error


def files_of(splits: dict, name: str, split: str, where: Path, needed: bool = True) -> list[str]:
    """The files of a set's split; where they are not ``needed``, a pattern may fit none.

    Raises:
        UsageError: if the list does not know the set or the split, or no file of it fits the set's pattern.
    """
    folder, pattern = set_folder(name), set_pattern(name)
    if folder not in splits:
        raise UsageError(f"{where} lists no set '{folder}'; it has {', '.join(sorted(splits))}.")
    if split not in splits[folder]:
        raise UsageError(f"{where} lists no split '{split}' of {folder}; it has {', '.join(splits[folder])}.")
    files = [file for file in splits[folder][split] if fnmatch(file, pattern)]
    if needed and not files and splits[folder][split]:
        raise UsageError(f"No file of the {split} split of {folder} fits the pattern {pattern}.")
    return files


def draw_splits(
    patients: dict[str, str], same: Iterable[tuple[str, str]] = (), shares=SHARES, seed: int = 0
) -> dict[str, list[str]]:
    """Splits by patient.

    Args:
        patients: file -> patient.
        same: pairs of files that look alike; their patients go together, as if they were one.
        shares: of train, val and test; a share of 0 leaves a split empty, any other gets at least one patient.
        seed: another seed draws other splits; the order of the files plays no part.

    Returns:
        Split -> sorted files. Adding patients later moves few of those that were there.

    Raises:
        DataError: for fewer patients than splits.
        UsageError: for shares that are no shares.
    """
    alone = {"": {file: ("", patient) for file, patient in patients.items()}}
    return draw_together(alone, [(("", a), ("", b)) for a, b in same], shares, seed)[""]


def draw_together(
    patients: dict[str, dict[str, Patient]],
    same: Iterable[tuple[File, File]] = (),
    shares=SHARES,
    seed: int = 0,
    kept: dict[str, dict[str, list[str]]] | None = None,
) -> dict[str, dict[str, list[str]]]:
    """Splits of several folders by patient: whoever has images in two of them lies in one split.

    Folders that share nobody are split as each would be alone. In another one, those whom a folder before it in the
    alphabet has placed stay there, and the others make up the shares as far as they can.

    Args:
        patients: folder -> file -> patient. same: pairs of files that look alike, of any folders.
        shares, seed: as in ``draw_splits``, for every folder.
        kept: splits of an earlier time; whoever is in them stays there, and who trained in one folder trains in all.

    Returns:
        Folder -> split -> sorted files.

    Raises:
        SuperResolutionError: as ``draw_splits``, for the patients of any folder.
    """
    if len(shares) != len(SPLITS) or min(shares) < 0 or not 0 < sum(shares) < math.inf:
        raise UsageError(f"The shares of {', '.join(SPLITS)} are three numbers of 0 or more, not {shares}.")
    everyone = {(folder, file): who for folder, whose in patients.items() for file, who in whose.items()}
    groups = _groups(everyone, same)
    before = {
        (folder, file): split
        for folder, parts in (kept or {}).items()
        for split in reversed(SPLITS)
        for file in parts.get(split, [])
    }
    placed: dict[Patient, str] = {}
    for group, files in groups.items():
        found = [before[file] for file in files if file in before]
        if found:
            placed[group] = min(found, key=SPLITS.index)
    for folder in sorted(patients):
        _place(
            [group for group, files in groups.items() if any(file[0] == folder for file in files)], placed, shares, seed
        )
    result = {folder: {split: [] for split in SPLITS} for folder in patients}
    for group, files in groups.items():
        for folder, file in files:
            result[folder][placed[group]].append(file)
    return {folder: {split: sorted(files) for split, files in parts.items()} for folder, parts in result.items()}


def _place(groups: list[Patient], placed: dict[Patient, str], shares, seed: int) -> None:
    """Give each of a folder's groups that has no split yet one."""
    wanted = [split for split, share in zip(SPLITS, shares) if share > 0]
    if len(groups) < len(wanted):
        raise DataError(
            f"There are too few patients: {len(groups)} for {', '.join(wanted)}. Add images of other patients, or "
            "leave a split out with --shares, for example --shares 1 0 0."
        )
    before = [placed[group] for group in groups if group in placed]
    free = [group for group in groups if group not in placed]
    order = sorted(free, key=lambda group: (hashlib.sha256(f"{seed} {group[1]}".encode()).hexdigest(), group))
    held = {split: before.count(split) for split in wanted}
    if sum(count == 0 for count in held.values()) > len(free):
        lacking = ", ".join(split for split, count in held.items() if not count)
        raise DataError(
            f"Nobody is left for {lacking}: all were placed by splits of an earlier time. Delete that list to draw "
            "anew, or add images of other patients."
        )
    counts = [max(count - before.count(split), 0) for split, count in zip(SPLITS, _counts(len(groups), shares))]
    start = 0
    for split, count in zip(SPLITS, _with_sum(counts, len(order))):
        placed.update(dict.fromkeys(order[start : start + count], split))
        start += count


def _groups(patients: dict[File, Patient], same: Iterable[tuple[File, File]]) -> dict[Patient, list[File]]:
    """Patients that belong together -> their files; a group is named after its first patient."""
    leader = {patient: patient for patient in patients.values()}

    def find(patient: Patient) -> Patient:
        while leader[patient] != patient:
            patient = leader[patient]
        return patient

    for a, b in same:
        first, second = sorted((find(patients[a]), find(patients[b])))
        leader[second] = first
    groups: dict[Patient, list[File]] = defaultdict(list)
    for file, patient in patients.items():
        groups[find(patient)].append(file)
    return groups


def _counts(total: int, shares) -> list[int]:
    """How many of ``total`` each share gets: the nearest whole numbers, at least 1 for a share above 0."""
    exact = [total * share / sum(shares) for share in shares]
    return _with_sum([max(round(value), 1) if value > 0 else 0 for value in exact], total)


def _with_sum(counts: list[int], total: int) -> list[int]:
    """Counts that come to ``total``: the largest gives or takes what is too much or too little."""
    while sum(counts) != total:
        counts[counts.index(max(counts))] += 1 if sum(counts) < total else -1
    return counts


def patients_in_two_splits(splits: dict[str, list[str]], patients: dict[str, str]) -> list[str]:
    """Patients that a given list has in more than one split."""
    seen: dict[str, set[str]] = defaultdict(set)
    for split in SPLITS:
        for file in splits.get(split, []):
            if file in patients:
                seen[patients[file]].add(split)
    return sorted(patient for patient, found in seen.items() if len(found) > 1)
