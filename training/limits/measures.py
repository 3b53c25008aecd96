"""What is measured for the page on limits: plain numbers from images and the models' results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from SuperResolutionLib.compare import consistent_bicubic
from SuperResolutionLib.fidelity import disagreement, local_strength
from SuperResolutionLib.intensity import limits, round_to
from SuperResolutionLib.plan import plan, slice_planes
from SuperResolutionLib.resampling import bicubic_downsample, make_consistent
from SuperResolutionLib.volume import Volume

from ..masks import WORST, strongest
from ..protocols import Case
from .cases import BICUBIC, GAN, PSNR, Image, Models, enlarge, mean_psnr

#: A map is asked for the largest errors, this share of the anatomy, in its own largest values, that share.
ERRORS, SEARCHED = 0.05, 0.20

#: What is done to inputs: standard deviation of noise as a share of the data range, and qualities of JPEG.
NOISE, JPEG = (0.01, 0.03), (90, 50)


def reversed_detail(reference: np.ndarray, scale: int) -> np.ndarray:
    """A slice (h, w) with everything that shrinking forgets turned over: bright for dark; float64.

    It shrinks to what the slice shrinks to, exactly.
    """
    return reference - 2 * detail(reference, scale)


def detail(plane: np.ndarray, scale: int) -> np.ndarray:
    """What shrinking forgets of a slice (h, w): its part in the null space; float64."""
    image = torch.from_numpy(plane.astype(np.float64))[None, None]
    return make_consistent(image, torch.zeros_like(bicubic_downsample(image, scale)))[0, 0].numpy()


def residual(plane: np.ndarray, low: np.ndarray, scale: int) -> np.ndarray:
    """Distance of a slice (h, w), shrunk, from its input, at every pixel of that, in the input's units."""
    shrunk = bicubic_downsample(torch.from_numpy(plane.astype(np.float64))[None, None], scale)[0, 0].numpy()
    return np.abs(shrunk - low)


def unclipped(low: np.ndarray, area: np.ndarray, scale: int) -> np.ndarray:
    """The input's pixels (h, w) all of whose pixels of the result are in an area, far from the limits of their type.

    There, at the white of letters or the black of the frame, shrinking itself was cut off.
    """
    from scipy import ndimage

    height, width = low.shape
    inside = area.reshape(height, scale, width, scale).all(axis=(1, 3))
    bottom, top = limits(low.dtype)
    return inside & ~ndimage.binary_dilation((low <= bottom) | (low >= top), np.ones((7, 7), bool))


def consistency(images: Sequence[Image], methods: Sequence[str], scale: int) -> dict[str, dict[str, float]]:
    """Method -> ``residual``, the largest of all images, and ``psnr``, mean over images; both in the anatomy.

    To the methods comes ``reversed``, the reference with its detail turned over.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for image in images:
        low = slice_planes(image.case.low.array, "ijk".index(image.case.axis))[:, 0]
        turned = np.stack([reversed_detail(plane, scale) for plane in image.reference])
        for method in (*methods, "reversed"):
            planes = turned if method == "reversed" else image.planes[method]
            entry = found.setdefault(method, {"residual": [], "psnr": []})
            for plane, small, area in zip(planes, low, image.areas):
                where = unclipped(small, area.get("anatomy", area["whole"]), scale)
                entry["residual"].append(float((residual(plane, small, scale) * where).max()))
            score = mean_psnr(image.reference, planes, image.case.peak, image.areas, "anatomy")
            entry["psnr"] += [] if score is None else [score]
    return {name: {"residual": max(e["residual"]), "psnr": float(np.mean(e["psnr"]))} for name, e in found.items()}


def mean_scores(images: Sequence[Image], methods: Sequence[str], region: str) -> dict[str, float]:
    """Method -> PSNR in a region, mean over the images that have it."""
    scores = {method: [image.score(method, region) for image in images] for method in methods}
    return {name: float(np.mean([score for score in values if score is not None])) for name, values in scores.items()}


def error_share(images: Sequence[Image]) -> tuple[float, float, float]:
    """Share of bicubic's squared error in the ``WORST`` part of the pixels, 0 to 1: mean, least and most of images."""
    shares = []
    for image in images:
        error = (image.reference.astype(np.float64) - image.planes[BICUBIC].astype(np.float64)) ** 2
        worst = strongest(error, np.ones(error.shape, bool), WORST)
        shares.append(float(error[worst].sum() / max(error.sum(), 1e-12)))
    return float(np.mean(shares)), min(shares), max(shares)


def pattern(images: Sequence[Image], methods: Sequence[str], scale: int) -> dict[str, float]:
    """Method -> ``regular_share``, mean over slices, 0 to 1; ``truth`` is that of the references."""
    shares: dict[str, list[float]] = {}
    for image in images:
        for name, planes in {"truth": image.reference, **{method: image.planes[method] for method in methods}}.items():
            shares.setdefault(name, []).extend(regular_share(plane, scale) for plane in planes)
    return {name: float(np.mean(values)) for name, values in shares.items()}


def regular_share(plane: np.ndarray, scale: int) -> float:
    """Share of the power of a slice's detail (h, w) that repeats with every pixel of the input, 0 to 1.

    Such a pattern lies at the multiples of the input's sampling frequency. Neighbours count, over which the window that
    hides the slice's borders spreads them.
    """
    window = np.outer(*map(np.hanning, plane.shape))
    power = np.abs(np.fft.fft2(detail(plane, scale) * window)) ** 2
    multiples = np.ix_(*((np.arange(length) + 1) % (length // scale) <= 2 for length in plane.shape))
    return float(power[multiples].sum() / max(power.sum(), 1e-12))


def contested_share(images: Sequence[Image], scale: int) -> float:
    """Share of the voxels where the models disagree (``fidelity.disagreement``), mean over images, 0 to 1."""
    return float(np.mean([disagree(image, scale).summary["share_contested"] for image in images]))


def disagree(image: Image, scale: int):
    """``fidelity.disagreement`` of the two models' results of one image, slices along k."""
    fidelity, gan = (Volume(image.planes[name], np.eye(4)) for name in (PSNR, GAN))
    return disagreement(fidelity, gan, scale, 2)


def pointers(images: Sequence[Image], scale: int) -> dict[str, dict[str, float]]:
    """How well maps that need no reference point at the GAN's errors in the anatomy; means over images.

    Map -> ``correlation``, the rank correlation (Spearman) of the map with the local error, and ``found``, the share of
    the largest errors (``ERRORS`` of the pixels) among the largest values of the map (``SEARCHED`` of them). All are
    local strengths, taken at every ``scale``-th pixel: the disagreement of both models, and how far each went from
    bicubic made consistent.
    """
    from scipy.stats import rankdata

    found: dict[str, dict[str, list[float]]] = {}
    for image in images:
        pairs = {"disagreement": (PSNR, GAN), "gan": (BICUBIC, GAN), "psnr": (BICUBIC, PSNR)}
        for index, area in enumerate(image.areas):
            if "anatomy" not in area:
                continue
            grid = np.zeros(area["anatomy"].shape, bool)
            grid[scale // 2 :: scale, scale // 2 :: scale] = True
            chosen = area["anatomy"] & grid
            error = _difference(image.reference[index], image.planes[GAN][index], scale)[chosen]
            for name, pair in pairs.items():
                values = _difference(*(image.planes[method][index] for method in pair), scale)[chosen]
                entry = found.setdefault(name, {"correlation": [], "found": []})
                entry["correlation"].append(float(np.corrcoef(rankdata(error), rankdata(values))[0, 1]))
                entry["found"].append(_found(error, values))
    return {name: {key: float(np.mean(values)) for key, values in entry.items()} for name, entry in found.items()}


def where_contested(images: Sequence[Image], scale: int) -> dict[str, dict[str, float]]:
    """``contested`` and ``elsewhere`` in the anatomy -> ``share`` of it, root mean square error of each model (in the
    input's units) and ``nearer``: the share of the pixels where the PSNR model's local error is the smaller one.
    """
    sums = {"contested": np.zeros(4), "elsewhere": np.zeros(4)}
    for image in images:
        contested = disagree(image, scale).contested
        for index, area in enumerate(image.areas):
            if "anatomy" not in area:
                continue
            errors = [_difference(image.reference[index], image.planes[name][index], scale) for name in (PSNR, GAN)]
            for name, where in (("contested", contested[index]), ("elsewhere", ~contested[index])):
                first, second = (error[area["anatomy"] & where] for error in errors)
                sums[name] += [len(first), (first**2).sum(), (second**2).sum(), (first < second).sum()]
    total = sum(values[0] for values in sums.values())
    return {
        name: {
            "share": count / total,
            PSNR: float(np.sqrt(first / max(count, 1))),
            GAN: float(np.sqrt(second / max(count, 1))),
            "nearer": nearer / max(count, 1),
        }
        for name, (count, first, second, nearer) in sums.items()
    }


def spoiled(images: Sequence[Image], models: Models) -> dict[str, dict[str, float]]:
    """What was done to the inputs -> PSNR of bicubic made consistent and of every model against the clean reference.

    In the anatomy, mean over images. JPEG is for 8-bit inputs of one slice; with others it is left out.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for number, image in enumerate(images):
        for name, low in _spoiled_inputs(image.case, number):
            case = with_input(image.case, low, models)
            planes = image.planes if low is image.case.low else enlarge(case, models)
            for method in (BICUBIC, *models):
                score = mean_psnr(image.reference, planes[method], case.peak, image.areas, "anatomy")
                found.setdefault(name, {}).setdefault(method, []).extend([] if score is None else [score])
    return {name: {method: float(np.mean(scores)) for method, scores in entry.items()} for name, entry in found.items()}


def with_input(case: Case, low: Volume, models: Models) -> Case:
    """The case with another input, and bicubic made consistent with that."""
    job = plan(low, models[PSNR].card, None, case.axis)
    return replace(case, low=low, images=case.images | {BICUBIC: consistent_bicubic(job.planes, job)})


def _spoiled_inputs(case: Case, number: int):
    clean, dtype = case.low.array, case.low.array.dtype
    yield "as it is", case.low
    for share in NOISE:
        noise = np.random.default_rng(number).normal(0, share * case.peak, clean.shape)
        yield f"noise of {100 * share:g} % of the range", case.low.with_array(round_to(clean + noise, dtype))
    if dtype == np.uint8 and 1 in clean.shape:
        for quality in JPEG:
            yield f"JPEG, quality {quality}", case.low.with_array(_through_jpeg(clean, quality))


def _through_jpeg(array: np.ndarray, quality: int) -> np.ndarray:
    import io

    from PIL import Image as Picture

    buffer = io.BytesIO()
    Picture.fromarray(array.squeeze()).save(buffer, "JPEG", quality=quality)
    return np.asarray(Picture.open(buffer)).reshape(array.shape)


def _difference(first: np.ndarray, second: np.ndarray, scale: int) -> np.ndarray:
    """Local strength of the difference of two slices (h, w)."""
    return local_strength((second.astype(np.float64) - first)[None], scale)


def _found(error: np.ndarray, values: np.ndarray) -> float:
    everything = np.ones(error.shape, bool)
    wrong, searched = strongest(error, everything, ERRORS), strongest(values, everything, SEARCHED)
    return float((wrong & searched).sum() / max(wrong.sum(), 1))
