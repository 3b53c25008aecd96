"""Packed sets made small: as many lossless crops as fit into so many bytes, compressed, and unpacked again."""

from __future__ import annotations

import io
import json
import lzma
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .packed import TYPES, PackedSet, PackWriter

#: Least side of a crop in pixels where a whole set does not fit, and what it is a multiple of: every scale.
SIDE, STEP = 256, 16

#: Bytes left free for the share that was kept.
HEADER_SPARE = 32

#: Crops whose stored values span less than this share of their slice's are left out, except if all fit.
FLAT = 0.02


def crop_side(patch: int) -> int:
    """Side of the crops for training on patches whose high-resolution side is ``patch``."""
    return max(SIDE, -(-patch // STEP) * STEP)


def compress_set(packed: PackedSet, room: int, side: int = SIDE, seed: int = 0) -> bytes:
    """The whole set if it fits into ``room`` bytes, else crops drawn evenly over it until the room is full.

    What the set's JSON file says travels too; of a set that is cut it says as ``kept`` the share of the pixels, and the
    ``side`` of its crops.
    """
    room -= HEADER_SPARE
    whole = _fill(packed, [(index, None) for index in range(len(packed))], room, side)
    if whole is not None:
        return _with_header(packed, *whole)
    places = [(index, corner) for index in range(len(packed)) for corner in _corners(packed.shape(index), side)]
    order = np.random.default_rng(seed).permutation(len(places))
    filled = _fill(packed, [places[number] for number in order], room, side, stop_when_full=True)
    return _with_header(packed, *filled, side)


def expand_set(data: bytes, folder: Path) -> None:
    """Write what ``compress_set`` made as a packed set."""
    stream = io.BytesIO(data)
    about = json.loads(_read(stream))
    name, channels, intensity = (about.pop(key) for key in ("set", "channels", "intensity"))
    with PackWriter(folder, name, channels, intensity) as writer:
        while stream.tell() < len(data):
            row, pixels = json.loads(_read(stream)), lzma.decompress(_read(stream))
            plane = np.frombuffer(pixels, _counterpart(row["type"])).reshape(*row["shape"], channels)
            plane = np.cumsum(plane, axis=1, dtype=plane.dtype).view(TYPES[row["type"]])
            writer.add(plane, row["gain"], row["offset"], row["source"])
        writer.close(**about)


def read_about(data: bytes) -> dict:
    """What the JSON file of a set made by ``compress_set`` says, but for its slices."""
    return json.loads(_read(io.BytesIO(data)))


def cut_notes(abouts: Iterable[dict]) -> list[str]:
    """What is said of those sets that were cut, by what their JSON files say."""
    return [
        f"The set {about['set']} was cut to crops of {about.get('side', SIDE)} pixels, {100 * about['kept']:.3g} % of "
        "its pixels, to move between machines."
        for about in abouts
        if about.get("kept", 1) < 1
    ]


def _with_header(packed: PackedSet, parts: list[bytes], pixels: int, side: int | None = None) -> bytes:
    """``side``: of the crops, None for a set that is not cut."""
    about = _about(packed)
    if side is not None:
        before = sum(height * width for height, width in map(packed.shape, range(len(packed))))
        about["kept"] = round(about.get("kept", 1.0) * min(1.0, pixels / before), 6)
        about["side"] = min(side, about.get("side", side))
    return b"".join([_block(json.dumps(about).encode()), *parts])


def _about(packed: PackedSet) -> dict:
    """The fields of the set's JSON file that writing it again does not make anew."""
    return {key: value for key, value in packed.about.items() if key not in ("version", "bytes", "pixels", "slices")}


def _fill(packed: PackedSet, places: list, room: int, side: int, stop_when_full=False) -> tuple[list, int] | None:
    """The places that fit, in their order, and their pixels; None if they do not all fit and it should not stop."""
    parts, size, pixels = [], len(_block(json.dumps(_about(packed)).encode())), 0
    for index, corner in places:
        stored, row = packed.stored(index), packed.rows[index]
        if corner is not None:
            crop = stored[corner[0] : corner[0] + side, corner[1] : corner[1] + side]
            if float(np.ptp(crop)) <= FLAT * float(np.ptp(stored)):
                continue
            stored = crop
        about = {key: row[key] for key in ("type", "gain", "offset", "source")} | {"shape": list(stored.shape[:2])}
        part = _block(json.dumps(about).encode()) + _block(_squeeze(stored))
        size += len(part)
        if size > room:
            return (parts, pixels) if stop_when_full else None
        parts.append(part)
        pixels += stored.shape[0] * stored.shape[1]
    return parts, pixels


def _squeeze(stored: np.ndarray) -> bytes:
    """Differences along the rows, wrapping around, which compress better than the values."""
    whole = np.ascontiguousarray(stored).view(_counterpart(stored.dtype.name))
    return lzma.compress(np.diff(whole, axis=1, prepend=whole[:, :1] * 0).tobytes(), preset=1)


def _counterpart(name: str) -> type:
    """The unsigned integers of a storage type's size."""
    return np.uint8 if name == "uint8" else np.uint16


def _corners(shape: tuple[int, int], side: int) -> list[tuple[int, int]]:
    """Upper left corners that cover a slice; the last row and column of crops are moved inwards."""
    starts = [sorted({min(at, max(0, length - side)) for at in range(0, length, side)}) for length in shape]
    return [(row - row % STEP, column - column % STEP) for row in starts[0] for column in starts[1]]


def _block(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def _read(stream: io.BytesIO) -> bytes:
    return stream.read(struct.unpack("<I", stream.read(4))[0])
