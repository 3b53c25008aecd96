"""Measurements that are kept: one file a model, test image and protocol, good as long as nothing that made it changes.

So a report can be interrupted and continued, and made again in seconds when a single model is new.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import numpy as np

from SuperResolutionLib.catalog import file_sha256
from SuperResolutionLib.fidelity import ConsistencyResidual
from SuperResolutionLib.plan import slice_planes

from .. import masks, protocols, resized, scoring
from ..candidates import ENSEMBLE, MODEL, Candidate
from ..splits import locate
from . import patches
from .patches import Patch, filled, reference_patches, result_patches

#: Counted up when the measurement itself changes and none of the texts below does.
VERSION = 2


class Store:
    """What ``evaluate`` takes as ``known``.

    Args:
        folder: where the files are. data: where the images are. features: of the distances, or None.
        shown: names of the sets, as tables have them, of which pictures are made.
    """

    def __init__(self, folder: Path, data: Path, features=None, shown=()):
        self.folder, self.data, self.features, self.shown = folder, data, features, set(shown)
        self._places: tuple[str, dict[str, Patch]] = "", {}

    def read(self, about: dict, candidate: Candidate, ensemble: bool) -> list[dict] | None:
        """The scores of an image, with the self-ensemble's if asked for; None if it has to be measured."""
        record = self.record(about, candidate)
        if record is None:
            return None
        complete = not ensemble or any(entry["method"] == ENSEMBLE for entry in record["scores"])
        return record["scores"] if complete else None

    def write(self, about: dict, candidate: Candidate, scores: list[dict], scorer, images: dict) -> None:
        """Keep the scores of an image, in our protocol also the residual and the parts for pictures."""
        record = {"key": self._key(about, candidate), "scores": scores}
        arrays = {}
        if about["protocol"] == "ours":
            record["residual"] = _residual(scorer, images[MODEL])
            found = result_patches(scorer, images)
            if about["set"] in self.shown:
                found = self._reference_patches(about, scorer) | found
            found = {name: filled(patch, scorer, images) for name, patch in found.items()}
            arrays = {f"{name}/{crop}": array for name, patch in found.items() for crop, array in patch.crops.items()}
            record["patches"] = {name: asdict(patch) | {"crops": list(patch.crops)} for name, patch in found.items()}
        path = self._path(about, candidate)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        with temporary.open("wb") as file:
            np.savez_compressed(file, record=json.dumps(record), **arrays)
        os.replace(temporary, path)

    def record(self, about: dict, candidate: Candidate) -> dict | None:
        """All that is kept of an image: ``scores``, and in our protocol ``residual`` and ``patches``."""
        try:
            with np.load(self._path(about, candidate)) as kept:
                record = json.loads(str(kept["record"]))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None
        return record if record.get("key") == self._key(about, candidate) else None

    def patch(self, about: dict, candidate: Candidate, name: str) -> Patch | None:
        """A part of an image with its crops; None if there is none."""
        record = self.record(about, candidate)
        if record is None or name not in record.get("patches", {}):
            return None
        fields = record["patches"][name]
        with np.load(self._path(about, candidate)) as kept:
            crops = {crop: kept[f"{name}/{crop}"] for crop in fields["crops"]}
        return Patch(**(fields | {"crops": crops, "shape": tuple(fields["shape"])}))

    def _reference_patches(self, about: dict, scorer) -> dict[str, Patch]:
        """The same at every scale, and for all models."""
        name = f"{about['set']} {about['image']}"
        if self._places[0] != name:
            self._places = name, reference_patches(scorer.planes, scorer.case.peak)
        return self._places[1]

    def _path(self, about: dict, candidate: Candidate) -> Path:
        name = re.sub(r"[^A-Za-z0-9@.]+", "-", f"{about['set']}-{about['image']}-{about['protocol']}")
        return self.folder / f"{candidate.name}-{candidate.card.sha256[:12]}" / f"{name}.npz"

    def basis(self, label: str, images: Iterable[str]) -> str:
        """What measurements on images of a set depend on besides the model, in one word."""
        return _word([*self._rules, [(image, self._image(label, image)) for image in sorted(images)]])

    def _key(self, about: dict, candidate: Candidate) -> str:
        """What the measurement depends on, in one word."""
        version, rules, features = self._rules
        parts = version, candidate.card.sha256, str(candidate.card.intensity), sorted(about.items()), rules, features
        return _word([*parts, about["set"] in self.shown, self._image(about["set"], about["image"])])

    @property
    def _rules(self) -> tuple:
        features = self.features.about["sha256"] if self.features is not None else None
        rules = masks.RULES, protocols.RULES, patches.RULES, scoring.DISTANCE_REGIONS, resized.__doc__
        return VERSION, rules, features

    def _image(self, label: str, image: str) -> str:
        return file_sha256(locate(self.data, label.rpartition(" ")[0]) / image)


def _word(parts: list) -> str:
    return sha256(json.dumps(parts).encode()).hexdigest()


def _residual(scorer, planes: np.ndarray) -> dict[str, float]:
    """How closely results, shrunk, give the input back, in stored units."""
    import torch

    from SuperResolutionLib.resampling import bicubic_downsample

    residual = ConsistencyResidual()
    low = slice_planes(scorer.case.low.array, "ijk".index(scorer.case.axis))
    for small, plane in zip(low, planes):
        shrunk = bicubic_downsample(torch.from_numpy(plane.astype(np.float64))[None], scorer.scale)[0].numpy()
        residual.add(shrunk - small)
    return residual.summary()
