"""Which patients train, validate and test: given by a list, or drawn by patient, never by image."""

from __future__ import annotations

import hashlib
import json
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
            for files in (parts[split] for split in SPLITS if split in parts):
                if not all(isinstance(file, str) for file in files):
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
    if len(shares) != len(SPLITS) or min(shares) < 0 or sum(shares) <= 0:
        raise UsageError(f"The shares of {', '.join(SPLITS)} are three numbers of 0 or more, not {shares}.")
    groups = _groups(patients, same)
    wanted = [split for split, share in zip(SPLITS, shares) if share > 0]
    if len(groups) < len(wanted):
        raise DataError(
            f"There are too few patients: {len(groups)} for {', '.join(wanted)}. Add images of other patients, or "
            "leave a split out with --shares, for example --shares 1 0 0."
        )
    order = sorted(groups, key=lambda group: hashlib.sha256(f"{seed} {group}".encode()).hexdigest())
    counts = _counts(len(order), shares)
    result, start = {}, 0
    for split, count in zip(SPLITS, counts):
        chosen = order[start : start + count]
        result[split] = sorted(file for group in chosen for file in groups[group])
        start += count
    return result


def _groups(patients: dict[str, str], same: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Patients that belong together -> their files; a group is named after its first patient."""
    leader = {patient: patient for patient in patients.values()}

    def find(patient: str) -> str:
        while leader[patient] != patient:
            patient = leader[patient]
        return patient

    for a, b in same:
        first, second = sorted((find(patients[a]), find(patients[b])))
        leader[second] = first
    groups: dict[str, list[str]] = defaultdict(list)
    for file, patient in patients.items():
        groups[find(patient)].append(file)
    return groups


def _counts(total: int, shares) -> list[int]:
    """How many of ``total`` each share gets: the nearest whole numbers, at least 1 for a share above 0."""
    exact = [total * share / sum(shares) for share in shares]
    counts = [max(round(value), 1) if value > 0 else 0 for value in exact]
    while sum(counts) != total:  # the largest split gives or takes what rounding left
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
