"""The whole study: images and models in, the filled page and its pictures out."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from SuperResolutionLib.errors import UsageError
from SuperResolutionLib.volume import Volume

from ..candidates import find_candidate
from ..splits import FILE
from . import BLOCKS, blocks, measures, objects, pictures
from .cases import BICUBIC, GAN, GENERAL, PSNR, Models, Planes, check_models, make_image, read_images
from .page import fill, read_page, write_all
from .squares import busiest_square, numbers_of, worst_square

PICTURES = ("same-input", "chart", "invention")


def study(
    psnr: str,
    gan: str,
    general: str,
    data: Path,
    own: str,
    others: Sequence[str],
    split: str,
    lists: Path | None,
    count: int | None,
    page: Path,
    device: str = "auto",
    log: Callable = print,
) -> list[Path]:
    """Measure, and fill the marked places of a page; pictures go into the folder ``limits`` beside it.

    Args:
        psnr, gan: models for images of the set ``own``, before and after training against a discriminator.
        general: model that saw the other sets' kind, too. All three are of one scale and grey.
        data, split, lists: as for ``evaluate``. count: of images a set, None for all.

    Returns:
        The files that were written, the page last.

    Raises:
        SuperResolutionError: if a model, a set or the page is not as it should be; nothing is then written.
    """
    text = read_page(page, BLOCKS)
    if count is not None and count < 1:
        raise UsageError(f"--images takes 1 or more, not {count}.")
    models = {role: find_candidate(name, device) for role, name in ((PSNR, psnr), (GAN, gan), (GENERAL, general))}
    scale = check_models(models)
    where = (data, split, lists or data / FILE)
    first = list(_images(where, own, models, count, log))
    if not first:
        raise UsageError(f"The {split} split of {own} is empty; name another with --split.")
    names = {BICUBIC: "bicubic made consistent"} | {role: candidate.name for role, candidate in models.items()}
    addresses = {name: f"limits/{name}.png" for name in PICTURES}
    about = blocks.About(names, scale, f"{own} {split}", len(first), addresses)
    two = {role: models[role] for role in (PSNR, GAN)}
    methods = (BICUBIC, PSNR, GAN)

    squares = busiest_square(first, scale), worst_square(first, scale)
    drawn, low, planes = _chart(two, scale)
    shown = {
        "same-input": pictures.draw_same_input(squares[0], scale),
        "chart": pictures.draw_chart(drawn, low, planes, names),
        "invention": pictures.draw_invention(squares[1], scale, names),
    }
    whole, inside = (measures.mean_scores(first, methods, region) for region in ("whole", "anatomy"))
    filled = {
        "same-input": blocks.same_input(about, measures.consistency(first, methods, scale)),
        "small-things": blocks.small_things(
            about,
            *objects.recovered(first, two, scale),
            objects.bars_recovered(lambda picture: _enlarged(picture, two), scale),
        ),
        "invention": blocks.invention(about, squares[1].image.name, numbers_of(squares[1], scale)),
        "disagreement": blocks.disagreement(
            about, measures.where_contested(first, scale), measures.pointers(first, scale)
        ),
        "anatomy": blocks.anatomy(about, measures.error_share(first), whole, inside),
        "spoiled": blocks.spoiled(about, measures.spoiled(first, two)),
        "how": blocks.how(about, _command(psnr, gan, general, own, others, split, count)),
    }
    sets = {f"{own} {split}": _judged(first, scale)}
    for name in others:
        sets[f"{name} {split}"] = _judged(list(_images(where, name, models, count, log)), scale)
    filled["domain"] = blocks.domain(about, sets, (PSNR, GAN, GENERAL))
    files = {page.parent / addresses[name]: content for name, content in shown.items()}
    files[page] = fill(text, filled).encode()
    write_all(files)
    return list(files)


def _images(where: tuple[Path, str, Path], name: str, models: Models, count: int | None, log: Callable):
    data, split, lists = where
    return read_images(data, name, split, lists, models, count, log)


def _judged(images: Sequence, scale: int) -> dict:
    return {
        "images": len(images),
        "psnr": measures.mean_scores(images, (BICUBIC, PSNR, GAN, GENERAL), "anatomy"),
        "contested": measures.contested_share(images, scale),
    }


def _chart(models: Models, scale: int) -> tuple[np.ndarray, np.ndarray, Planes]:
    """The chart, its input, and every method's result, (h, w)."""
    drawn = objects.chart(scale)
    image = make_image("chart", _picture(drawn), models)
    return drawn, image.case.low.array[0], {name: planes[0] for name, planes in image.planes.items()}


def _enlarged(picture: np.ndarray, models: Models) -> Planes:
    return {name: planes[0] for name, planes in make_image("bars", _picture(picture), models).planes.items()}


def _picture(array: np.ndarray) -> Volume:
    return Volume(array[None], np.eye(4), "picture", {"Spacing": "unknown"})


def _command(psnr: str, gan: str, general: str, own: str, others: Sequence[str], split: str, count: int | None) -> str:
    """What was typed, without the places of files on one computer."""
    named = [Path(name).name for name in (psnr, gan, general)]
    words = ["--psnr", named[0], "--gan", named[1], "--general", named[2], "--set", own, "--others", *others]
    words += [] if split == "test" else ["--split", split]
    words += [] if count is None else ["--images", str(count)]
    return f"python -m training limits DATA {shlex.join(words)}"
