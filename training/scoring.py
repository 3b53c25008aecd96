"""PSNR, SSIM and distances between features of what methods make of one test image, region by region."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from SuperResolutionLib.compare import channels_last
from SuperResolutionLib.metrics import EMPTY_SPAN, ssim_map, ssim_margin
from SuperResolutionLib.metrics import psnr as psnr_of

from .candidates import MODEL
from .masks import regions
from .protocols import BASELINES, Case

#: PSNR of a region without any error, so that means stay finite.
LARGEST_PSNR = 100.0

#: Regions and methods for which distances between features are measured, and how many slices of a volume at most.
DISTANCE_REGIONS = ("full", "anatomy", "fine")
DISTANCE_METHODS = (*BASELINES, MODEL)
DISTANCE_SLICES = 16

#: Regions that the protocol uint8 is scored in.
UINT8_REGIONS = ("whole", "mask")


class Scorer:
    """Scores methods against one case; what depends on the case alone, its baselines' scores too, is computed once.

    Args:
        case: the test image at one scale. scale: that scale. features: from ``features.distance_features``, or None.
        protocol: ``ours`` has all regions, ``uint8`` has ``UINT8_REGIONS``.
    """

    def __init__(self, case: Case, scale: int, features=None, protocol: str = "ours"):
        self.case, self.scale, self.features, self.protocol = case, scale, features, protocol
        self.planes = channels_last(case.reference)
        spans = np.array([float(plane.max()) - float(plane.min()) for plane in self.planes])
        full = np.flatnonzero(spans > EMPTY_SPAN * case.peak)
        #: The slices that show something; all if none does.
        self.chosen = full if len(full) else np.arange(len(self.planes))

    @cached_property
    def areas(self) -> dict[int, dict[str, np.ndarray]]:
        """The regions of the chosen slices, see ``masks.regions``."""
        bicubic = channels_last(self.case.images["bicubic"])
        about = (self.scale, self.case.peak, self.case.floor)
        return {index: regions(self.planes[index], bicubic[index], *about) for index in self.chosen}

    @cached_property
    def baselines(self) -> list[dict]:
        """The scores of the case's own images."""
        return self._scores(self.case.images)

    def scores(self, images: dict[str, np.ndarray]) -> list[dict]:
        """``method``, ``region``, ``psnr``, ``ssim``, ``distance`` and ``slices`` of every method and region.

        Args:
            images: method -> planes (n, c, h, w); the case's own images are scored whether they are there or not.
        """
        return self.baselines + self._scores({name: image for name, image in images.items() if name not in BASELINES})

    def _scores(self, images: dict[str, np.ndarray]) -> list[dict]:
        found: dict[tuple, list] = {}
        for index in self.chosen:
            areas, judge = self.areas[index], self._judges.get(index)
            areas = areas if self.protocol == "ours" else {name: areas[name] for name in UINT8_REGIONS if name in areas}
            for method, stack in images.items():
                image = channels_last(stack[index : index + 1])[0]
                similarity = ssim_map(self.planes[index], image, self.case.peak)
                for region, area in areas.items():
                    entry = self._score_region(index, image, similarity, area, region)
                    if judge and region in DISTANCE_REGIONS and method in DISTANCE_METHODS:
                        entry["distance"] = judge.distance(image, area)
                    found.setdefault((method, region), []).append(entry)
        return [_mean(method, region, entries) for (method, region), entries in found.items()]

    def _score_region(self, index: int, image, similarity, area, region: str) -> dict:
        """A region's scores on one slice. SSIM counts where its window lies inside the slice or the cropped slice."""
        margin = ssim_margin(area.shape) + (0 if region == "whole" else self.scale)
        inner = np.zeros(area.shape, bool)
        inner[margin : area.shape[0] - margin, margin : area.shape[1] - margin] = True
        inner &= area
        error = psnr_of(self.planes[index], image, self.case.peak, area)
        mean = float(similarity[inner].mean()) if inner.any() else float(similarity[area].mean())
        return {"psnr": min(error, LARGEST_PSNR), "ssim": mean}

    @cached_property
    def _judges(self) -> dict[int, _Judge]:
        if self.features is None or self.protocol != "ours":
            return {}
        places = np.unique(np.linspace(0, len(self.chosen) - 1, DISTANCE_SLICES).round().astype(int))
        return {index: _Judge(self.case, self.planes[index], self.features) for index in self.chosen[places]}


class _Judge:
    """Distances between features from one slice, whose own features are computed once."""

    def __init__(self, case: Case, reference: np.ndarray, features):
        self.case, self.reference, self.features = case, reference, features

    @cached_property
    def _maps(self):
        from .features import unit_maps

        return unit_maps(self._network_range(self.reference), self.features)

    def distance(self, image: np.ndarray, area: np.ndarray) -> float:
        """Of the reference with a region taken from the image, so that only the region counts."""
        from .features import maps_distance, unit_maps

        where = area if image.ndim == 2 else area[..., None]
        mixed = self._network_range(np.where(where, image, self.reference))
        return float(maps_distance(unit_maps(mixed, self.features), self._maps))

    def _network_range(self, plane: np.ndarray):
        import torch

        array = np.moveaxis(np.atleast_3d(self.case.intensity.to_network(plane)), -1, 0)
        return torch.from_numpy(np.ascontiguousarray(array))[None]


def _mean(method: str, region: str, entries: list[dict]) -> dict:
    distances = [entry["distance"] for entry in entries if "distance" in entry]
    return {
        "method": method,
        "region": region,
        "psnr": float(np.mean([entry["psnr"] for entry in entries])),
        "ssim": float(np.mean([entry["ssim"] for entry in entries])),
        "distance": float(np.mean(distances)) if distances else None,
        "slices": len(entries),
    }
