"""What the models are judged on: domains, their test sets, whose images these are, and which may be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass

from SuperResolutionLib.catalog import ModelCard, split_id

#: The domain of models for all grey images.
GENERAL = "general"


@dataclass(frozen=True)
class TestSet:
    """A test set.

    Attributes:
        name: as ``evaluate`` takes it.
        title: for a heading.
        credit: whose images these are, and their license.
        parts: which of ``patches.RULES`` become pictures; none where no license allows it.
        general: whether general models are trained on such images.
        scales: at which it is used; None for those of the models.
        uint8: whether also by the older tables' protocol.
        split: of the set's list.
    """

    name: str
    title: str
    credit: str
    parts: tuple[str, ...] = ("detail",)
    general: bool = False
    scales: tuple[int, ...] | None = None
    uint8: bool = False
    split: str = "test"


@dataclass(frozen=True)
class Domain:
    """A kind of image.

    Attributes:
        key: what ids of its models name. sets: what its tables are of. note: said before them.
        color: whether its models take color.
        examples: sets that only give pictures.
    """

    key: str
    title: str
    sets: tuple[TestSet, ...]
    note: str = ""
    color: bool = False
    examples: tuple[TestSet, ...] = ()


_RESIZED = "every slice cropped to what it shows and resized to 128 x 128, so that models enlarge 32 x 32 pixels"
_DS002748 = "OpenNeuro ds002748 (Bezmaternykh et al. 2021), CC0"
_MISC = "M2208 T2w and contrast T1w, example images of NiiVue, no license of their own stated"

DOMAINS = (
    Domain(
        "cxr",
        "Chest X-ray",
        (
            TestSet(
                "cxr_nih",
                "NIH ChestX-ray14",
                "NIH ChestX-ray14 (Wang et al. 2017), provided by the NIH Clinical Center, no restrictions on use",
                general=True,
            ),
        ),
        "Letters and signs that are burnt in and the edges of the frame, about 1 % of the pixels, hold much of the "
        "squared error. The whole image therefore says little about the anatomy; look at both.",
    ),
    Domain(
        "brain",
        "Brain MR",
        (
            TestSet("mri3d_ds002748", "T1-weighted, OpenNeuro ds002748", _DS002748, general=True),
            TestSet("mri3d_misc", "T2-weighted and contrast T1-weighted", _MISC, parts=(), general=True),
            TestSet("mri3d_ds002748@128", "ds002748, 32 to 128 pixels", _DS002748, scales=(4,)),
            TestSet("mri3d_misc@128", "T2 and contrast T1, 32 to 128 pixels", _MISC, parts=(), scales=(4,)),
        ),
        f"Sets with the ending @128: {_RESIZED}.",
    ),
    Domain(
        "oct",
        "Retinal OCT",
        (
            TestSet(
                "oct_duke_sdoct/*_average.png",
                "Duke SD-OCT, averaged B-scans",
                "Duke SD-OCT (Fang et al. 2013), no license stated, research use",
                parts=(),
            ),
        ),
        "Averages of several registered B-scans are the references; a single noisy one would not do.",
    ),
    Domain(
        "ct",
        "Chest CT",
        (
            TestSet(
                "ct",
                "LungFCP-01-0001",
                "LungFCP-01-0001 of Lung-Fused-CT-Pathology (The Cancer Imaging Archive), CC BY",
                general=True,
            ),
        ),
        "A single volume: n = 1, so there is no interval and nothing is known about other patients. Its slices are "
        "2 mm thick and overlap.",
    ),
    Domain(
        "fundus",
        "Retinal fundus photographs",
        (
            TestSet(
                "fundus_hrf",
                "HRF, reduced 3x",
                "HRF (Budai et al. 2013, FAU Erlangen-Nürnberg), CC BY 4.0, reduced 3x",
                parts=("vessels",),
                uint8=True,
            ),
            TestSet(
                "fundus_chase",
                "CHASE_DB1",
                "CHASE_DB1 (Fraz et al. 2012, Kingston University), CC BY 4.0",
                parts=("vessels",),
                uint8=True,
            ),
            TestSet(
                "fundus_stare",
                "STARE, a collection of which no image was trained on",
                "STARE (Hoover and Goldbaum), no license stated, research use",
                parts=(),
                uint8=True,
            ),
        ),
        "The mask is the field of view of the camera.",
        color=True,
        examples=(
            TestSet(
                "fundus_hrf",
                "HRF, reduced 3x, validation split",
                "HRF (Budai et al. 2013, FAU Erlangen-Nürnberg), CC BY 4.0, reduced 3x; an image of the validation "
                "split, because no test image that may be shown has such spots",
                parts=("lesions",),
                split="val",
            ),
        ),
    ),
)


def domain_of(card: ModelCard) -> str:
    """The domain that a model's id names: ``fundus`` of ``edsr-ise-fundus-x4-gan`` and of a phase of it."""
    stem = split_id(card.id)[0].rpartition("-")[0]
    return re.sub(r"-phase[0-9]+$", "", stem).rpartition("-")[2]


def is_judged_on(card: ModelCard, domain: Domain, test_set: TestSet) -> bool:
    """Whether a model is measured on a set: its own domain's, and for a general model all grey ones."""
    fits = domain_of(card) == domain.key or (domain_of(card) == GENERAL and not domain.color)
    return fits and (card.channels == 3) == domain.color and (test_set.scales is None or card.scale in test_set.scales)


def is_home(card: ModelCard, domain: Domain, test_set: TestSet) -> bool:
    """Whether a set is of the images that a model was made for."""
    return domain_of(card) == domain.key or (domain_of(card) == GENERAL and test_set.general)


def set_label(test_set: TestSet) -> str:
    """The name of a set in tables and cards."""
    return f"{test_set.name} {test_set.split}"
