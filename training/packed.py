"""Packed slices on disk: one flat file of pixels, memory-mapped, and a JSON file that says what lies where.

``<name>.bin`` holds the slices end to end, each in its own storage type; ``<name>.json`` holds a row for each. A slice
whose source is an integer image is stored in integers, without loss; any other in float16, in the network's range.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np

from SuperResolutionLib.errors import UsageError

VERSION = 2

#: Storage types. Half precision is exact to 2^-12 of the range.
TYPES = {"uint8": np.uint8, "uint16": np.uint16, "float16": np.float16}

#: The intensity mapping of most cards, which file names do not mention.
AUTO = {"mapping": "auto"}


def file_stem(name: str, intensity: dict = AUTO) -> str:
    """What the files of a packed set are called: its name, with what no file name can hold replaced.

    An intensity mapping other than auto follows, so that one folder holds a set under several mappings.
    """
    return re.sub(r"[^A-Za-z0-9_.+@-]+", "_", name if intensity == AUTO else f"{name} {mapping_words(intensity)}")


def mapping_words(intensity: dict) -> str:
    """A card's intensity mapping in words: ``fixed -1024 3071``."""
    bounds = [f"{intensity[name]:.12g}" for name in ("low", "high") if name in intensity]
    return " ".join([intensity["mapping"], *bounds])


class PackedSet:
    """One set of one split, as ``PackWriter`` wrote it.

    Args:
        name: of the set. intensity: the mapping that it was packed under, as in a model card.

    Attributes:
        stem: of its files. channels: 1 or 3, the same for all slices.
        rows: a dictionary a slice: ``shape`` (h, w), ``type``, ``start`` in bytes, ``gain`` and ``offset``, which give
            the network's range as ``stored * gain + offset``, and ``source``, the file that it was cut from.
        about: what else the JSON file says.

    Raises:
        UsageError: if the set is not there, or was packed from another set, under another mapping or by another
            version, or its pixels are incomplete.
    """

    def __init__(self, folder: Path, name: str, intensity: dict = AUTO):
        self.name, self.folder, self.stem = name, Path(folder), file_stem(name, intensity)
        under = "" if intensity == AUTO else f" under the intensity mapping {mapping_words(intensity)}"
        try:
            self.about = json.loads((self.folder / f"{self.stem}.json").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UsageError(
                f"{folder} holds no packed set '{name}'{under}; run python -m training prepare first."
            ) from error
        if self.about.get("version") != VERSION:
            raise UsageError(
                f"{folder}/{self.stem}.json was packed by another version; run python -m training prepare."
            )
        if (self.about["set"], self.about["intensity"]) != (name, intensity):
            raise UsageError(
                f"{folder}/{self.stem}.json was packed from the set '{self.about['set']}' under the intensity mapping "
                f"{mapping_words(self.about['intensity'])}, and what is wanted is '{name}' under "
                f"{mapping_words(intensity)}; run python -m training prepare with this configuration, which replaces "
                "it, or into another folder."
            )
        self.rows, self.channels = self.about["slices"], self.about["channels"]
        path = self.folder / f"{self.stem}.bin"
        if not path.is_file() or path.stat().st_size != self.about["bytes"]:
            raise UsageError(f"{path} is missing or incomplete; run python -m training prepare again.")
        self._bytes = np.memmap(path, np.uint8, "r") if self.about["bytes"] else np.empty(0, np.uint8)

    def __len__(self) -> int:
        return len(self.rows)

    def shape(self, index: int) -> tuple[int, int]:
        """Height and width of slice ``index``."""
        height, width = self.rows[index]["shape"]
        return height, width

    def stored(self, index: int) -> np.ndarray:
        """Slice ``index`` as it is stored, (h, w, c), a view of the file."""
        row = self.rows[index]
        kind, (height, width) = np.dtype(TYPES[row["type"]]), row["shape"]
        size = height * width * self.channels * kind.itemsize
        flat = self._bytes[row["start"] : row["start"] + size].view(kind)
        return flat.reshape(height, width, self.channels)

    def window(self, index: int, rows: slice, columns: slice) -> np.ndarray:
        """A part of slice ``index`` in the network's range, (h, w, c) float32; only that part is read."""
        row = self.rows[index]
        part = self.stored(index)[rows, columns].astype(np.float32)
        return part if row["type"] == "float16" else part * np.float32(row["gain"]) + np.float32(row["offset"])

    def limits(self, index: int) -> tuple[float, float]:
        """What 8 bits can hold of slice ``index``, in the network's range: lowest and highest; endless if not of 8.

        What other slices were stored as in their files is not known here.
        """
        row = self.rows[index]
        if row["type"] != "uint8":
            return -np.inf, np.inf
        gain, offset = np.float32(row["gain"]), np.float32(row["offset"])
        return float(offset), float(np.float32(255) * gain + offset)

    def slice(self, index: int) -> np.ndarray:
        """All of slice ``index`` in the network's range, (h, w, c) float32."""
        return self.window(index, slice(None), slice(None))


class PackWriter:
    """Writes one set slice by slice; nothing is left if it does not come to ``close``.

    Use as a context manager: leaving it without an error closes the set, with one removes what was written.
    """

    def __init__(self, folder: Path, name: str, channels: int, intensity: dict = AUTO):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.name, self.channels, self.intensity = folder, name, channels, intensity
        self.stem = file_stem(name, intensity)
        self.rows: list[dict] = []
        self.size, self._pixels = 0, hashlib.sha256()
        self._path = folder / f"{self.stem}.bin.part"
        self._file = self._path.open("wb")

    def add(self, plane: np.ndarray, gain: float = 1.0, offset: float = 0.0, source: str = "") -> None:
        """Append (h, w) or (h, w, c): uint8 or uint16 with their map to the network's range, or floats in it.

        Raises:
            ValueError: for another number of channels than the set's, or another type.
        """
        plane = plane[..., None] if plane.ndim == 2 else plane
        if plane.shape[2] != self.channels:
            raise ValueError(f"The set {self.name} has {self.channels} channels and this slice {plane.shape[2]}.")
        if plane.dtype.kind == "f":
            plane = plane.astype(np.float16)
        if plane.dtype.name not in TYPES:
            raise ValueError(f"Slices are stored as {', '.join(TYPES)}, not as {plane.dtype.name}.")
        data = np.ascontiguousarray(plane).tobytes()
        data += b"\0" * (len(data) % 2)  # every slice starts at an even byte
        row = {"shape": list(plane.shape[:2]), "type": plane.dtype.name, "start": self.size}
        self.rows.append(row | {"gain": float(gain), "offset": float(offset), "source": source})
        self._file.write(data)
        self._pixels.update(data)
        self.size += len(data)

    def close(self, **about) -> None:
        """Finish the set under its name; ``about`` goes into its JSON file."""
        self._file.close()
        os.replace(self._path, self.folder / f"{self.stem}.bin")
        content = {"version": VERSION, "channels": self.channels, "bytes": self.size}
        content |= {"set": self.name, "intensity": self.intensity, **about}
        content |= {"pixels": self._pixels.hexdigest(), "slices": self.rows}
        temporary = self.folder / f"{self.stem}.json.part"
        temporary.write_text(json.dumps(content), encoding="utf-8")
        os.replace(temporary, self.folder / f"{self.stem}.json")

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(self, kind, value, trace) -> None:
        if self._file.closed:
            return
        if kind is None:
            self.close()
        else:
            self._file.close()
            self._path.unlink(missing_ok=True)


def pack(folder: Path, name: str, slices: list[np.ndarray]) -> None:
    """Write slices (h, w) or (h, w, c), floats in the network's range or uint8 for 0 to 1, as one packed set."""
    with PackWriter(folder, name, slices[0].shape[2] if slices[0].ndim == 3 else 1) as writer:
        for plane in slices:
            writer.add(plane, gain=1 / 255 if plane.dtype == np.uint8 else 1.0)
