"""A queue's state and data in a few files, to move it between machines: at most 8 of under 16 MiB.

The files are the parts of one zip archive: a small checkpoint a run, the newest rows of its tables, the feature
networks' weights, and in what room is left the training images, whole or in crops.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
import re
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError

import torch

from SuperResolutionLib.errors import DataError

from .compact import grow, shrink, shrink_finished
from .config import Config
from .crops import compress_set, crop_side, cut_notes, expand_set, read_about
from .features import feature_files
from .loss_terms import read_losses
from .packed import PackedSet
from .train import CHECKPOINT, FEATURES, STATUS

#: Largest file, all of them in MiB, and what is left free for the archive's own entries.
PART, LARGEST, SPARE = 16 * 2**20 - 2**16, 63.0, 2**18

#: Rows of a table that travel: where there are more, every second, third, ... of them.
ROWS = 4000

#: Share of the room up to which discriminators travel.
STATE_SHARE = 0.6

#: What damage inside an entry leads to.
_DAMAGE = (KeyError, ValueError, TypeError, EOFError, RuntimeError, struct.error, lzma.LZMAError, UnpicklingError)

#: What entries are called: a file of the packed sets or of the features, or one of a run; "." and ".." are no files.
_PART = r"(?!\.\.?(?:/|$))[^/\\:]+"
_ENTRY = re.compile(rf"(?:packed|{FEATURES})/{_PART}|runs/{_PART}/{_PART}")


def pack_bundle(folder: Path, configs: list[Config], packed: Path, runs: Path, mib: float = LARGEST) -> dict:
    """Write ``part-<n>-of-<m>.bin`` files.

    Args:
        configs: the experiments.
        packed, runs: folders of the packed sets and of the runs.
        mib: how large all files may be together; at most ``LARGEST``.

    Returns:
        Bytes of the ``states``, of the ``data``, and in all (``bytes``); ``notes``: sentences on sets that were cut.

    Raises:
        DataError: if the states alone are too large.
    """
    room = int(min(mib, LARGEST) * 2**20) - SPARE
    entries = _states(configs, runs, True)
    if _size(entries) > STATE_SHARE * room:
        entries = _states(configs, runs, False)
    open_configs = [config for config in configs if not is_finished(runs / run_name(config))]
    for path in _feature_files(open_configs, packed):
        entries[f"{FEATURES}/{path.name}"] = path.read_bytes()
    states = _size(entries)
    if states > room:
        raise DataError(
            f"The runs take {states / 2**20:.0f} MiB, and there is room for {room / 2**20:.0f}; pack fewer."
        )
    sets = dict(_data(open_configs, packed, room - states))
    entries |= {f"packed/{stem}": data for stem, data in sets.items()}
    _write_parts(folder, entries)
    sizes = {"states": states, "data": _size(entries) - states, "bytes": _size(entries)}
    return sizes | {"notes": cut_notes(map(read_about, sets.values()))}


def unpack_bundle(folder: Path, packed: Path, runs: Path) -> list[str]:
    """Restore what ``pack_bundle`` wrote; a run that is further here than in the bundle is left alone.

    Returns:
        Names of what was written.

    Raises:
        DataError: if parts are missing or damaged, or an entry's place is not in these folders.
    """
    done = []
    with _read_parts(folder) as archive:
        for name in archive.namelist():
            try:
                done += _unpack_entry(archive, name, packed, runs)
            except _DAMAGE as error:
                raise DataError(f"{name} in the bundle {folder} is damaged; copy or pack it again.") from error
    return done


def _unpack_entry(archive: zipfile.ZipFile, name: str, packed: Path, runs: Path) -> list[str]:
    """Restore an entry, and with a status its run; names of what was written."""
    kind, _, rest = name.partition("/")
    if kind == "packed":
        if (packed / f"{rest}.json").exists():
            return []
        expand_set(archive.read(name), packed)
        return [name]
    if kind == FEATURES:
        _put(packed / FEATURES / rest, archive.read(name))
    elif rest.endswith(STATUS) and _unpack_run(archive, rest.rpartition("/")[0], runs):
        return [rest.rpartition("/")[0]]
    return []


def run_name(config: Config) -> str:
    """Name of a run's folder."""
    return config.id if config.effort == "small" else f"{config.id}.{config.effort}"


def read_status(run: Path) -> dict:
    """What a run's status.json says; an empty mapping without one."""
    path = run / STATUS
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def is_finished(run: Path) -> bool:
    """Whether a run has done all its steps."""
    return bool(read_status(run).get("finished"))


def note_cut_sets(run: Path, config: Config, packed: Path, begun: int) -> None:
    """Put into the notes of a run, which its model card shows, which of its sets are cut to crops.

    Args:
        begun: step from which on they were used; what a phase before it ended with stays as it is.
    """
    said = cut_notes(PackedSet(packed, name, config.intensity).about for name in config.data.sets)
    for path in [*run.glob("phase-*.pt"), run / CHECKPOINT] if said else []:
        if not path.exists():
            continue
        state = torch.load(path, weights_only=True, map_location="cpu")
        new = [note for note in said if note not in state["notes"]]
        if new and state["step"] > begun:
            state["notes"] = [*state["notes"], *new]
            _put(path, _tensor_bytes(state))
    status = read_status(run)
    new = [note for note in said if note not in status.get("notes", [])]
    if new and status.get("step", 0) > begun:
        status["notes"] = [*status.get("notes", []), *new]
        _put(run / STATUS, json.dumps(status).encode())


def _states(configs: Iterable[Config], runs: Path, with_discriminator: bool) -> dict[str, bytes]:
    entries = {}
    for config in configs:
        run = runs / run_name(config)
        if not (run / CHECKPOINT).exists() or not (run / STATUS).exists():  # killed before the first was complete
            continue
        state = torch.load(run / CHECKPOINT, weights_only=True, map_location="cpu")
        small = shrink_finished(state) if is_finished(run) else shrink(state, with_discriminator)
        name = f"runs/{run.name}"
        entries[f"{name}/{CHECKPOINT}"] = _tensor_bytes(small)
        for path in sorted(run.glob("phase-*.pt")):
            phase = torch.load(path, weights_only=True, map_location="cpu")
            entries[f"{name}/{path.name}"] = _tensor_bytes(shrink_finished(phase))
        for table in ("steps.csv", "epochs.csv"):
            if (run / table).exists():
                entries[f"{name}/{table}"] = _thinned((run / table).read_text(encoding="utf-8")).encode()
        entries[f"{name}/{STATUS}"] = (run / STATUS).read_bytes()
    return entries


def _unpack_run(archive: zipfile.ZipFile, name: str, runs: Path) -> bool:
    status = json.loads(archive.read(f"runs/{name}/{STATUS}"))
    if read_status(runs / name).get("step", -1) >= status["step"]:
        return False
    for entry in sorted(archive.namelist(), key=lambda entry: entry.endswith(STATUS)):
        if not entry.startswith(f"runs/{name}/"):
            continue
        data = archive.read(entry)
        if entry.endswith(".pt"):
            data = _tensor_bytes(grow(torch.load(io.BytesIO(data), weights_only=True)))
        _put(runs / name / entry.rpartition("/")[2], data)
    return True


def _data(configs: list[Config], packed: Path, room: int):
    """(stem, compressed set) of every set that is still needed; small ones leave their share to large ones."""
    sets, patches = {}, {}  # stem -> set, and the largest side of a high-resolution patch
    for config in configs:
        for name in config.data.sets:
            one = PackedSet(packed, name, config.intensity)
            sets[one.stem] = one
            patches[one.stem] = max(patches.get(one.stem, 0), config.data.patch * config.scale)
    ordered = sorted(sets.values(), key=lambda one: (one.about["bytes"], one.stem))
    for left, one in zip(range(len(ordered), 0, -1), ordered):
        data = compress_set(one, room // left - 256, crop_side(patches[one.stem]))
        room -= len(data) + 256
        yield one.stem, data


def _feature_files(configs: list[Config], packed: Path) -> list[Path]:
    """Weight files that the losses of some experiments need."""
    found = set()
    for term in [t for c in configs for phase in c.phases for t in read_losses(phase.losses)]:
        if term.options.get("backbone"):
            found |= set(feature_files(term.options, list(term.layers()), packed / FEATURES))
    return sorted(found)


def _tensor_bytes(state: dict) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _thinned(table: str) -> str:
    """Every n-th row, with the times of those that it stands for."""
    rows = list(csv.DictReader(io.StringIO(table)))
    every = -(-len(rows) // ROWS) or 1
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0] if rows else [])
    writer.writeheader()
    for last in range(every - 1, len(rows), every):
        group = rows[last - every + 1 : last + 1]
        sums = {name: f"{sum(float(row[name]) for row in group):.4f}" for name in ("waiting", "seconds")}
        writer.writerow(rows[last] | sums)
    return text.getvalue()


def _size(entries: dict[str, bytes]) -> int:
    return sum(len(data) + 2 * len(name) + 200 for name, data in entries.items())


def _write_parts(folder: Path, entries: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data, zipfile.ZIP_DEFLATED if name.endswith(".csv") else zipfile.ZIP_STORED)
    whole = buffer.getvalue()
    parts = [whole[start : start + PART] for start in range(0, len(whole), PART)]
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("part-*-of-*.bin"):
        path.unlink()
    for number, part in enumerate(parts, 1):
        _put(folder / f"part-{number}-of-{len(parts)}.bin", part)


def _read_parts(folder: Path) -> zipfile.ZipFile:
    paths = sorted(folder.glob("part-*-of-*.bin"))
    if not paths or str(len(paths)) != paths[0].stem.rpartition("-")[2]:
        raise DataError(f"{folder} does not hold all parts of a bundle; copy them again.")
    try:
        archive = zipfile.ZipFile(io.BytesIO(b"".join(path.read_bytes() for path in paths)))
        damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise DataError(f"{folder} holds a truncated or damaged bundle; copy its parts again.") from error
    if damaged:
        raise DataError(f"{folder} holds a damaged bundle: {damaged} does not match its checksum; copy it again.")
    strange = [name for name in archive.namelist() if not _ENTRY.fullmatch(name)]
    if strange:
        raise DataError(f"{folder} holds '{strange[0]}', which is no part of a bundle; nothing was unpacked.")
    return archive


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data)
    temporary.replace(path)
