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
from .cases import BICUBIC, GAN, PSNR, Image, Models, Planes, check_models, make_image, read_images
from .page import fill, read_page, write_all
from .squares import Square, busiest_square, numbers_of, worst_squares

PICTURES = ("same-input", "chart", "invention", "invention-usual")


def study(
    psnr: str,
    gan: str,
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
        psnr: model for images of all the sets, trained for fidelity.
        gan: model for images of the set ``own``, trained against a discriminator. Both are of one scale and grey.
        data, split, lists: as for ``evaluate``. count: of images a set, None for all.

    Returns:
        The files that were written, the page last.

    Raises:
        SuperResolutionError: if a model, a set or the page is not as it should be; nothing is then written.
    """
    text = read_page(page, BLOCKS)
    if count is not None and count < 1:
        raise UsageError(f"--images takes 1 or more, not {count}.")
    models = {role: find_candidate(name, device) for role, name in ((PSNR, psnr), (GAN, gan))}
    scale = check_models(models)
    where = (data, split, lists or data / FILE)
    first = list(_images(where, own, models, count, log))
    if not first:
        raise UsageError(f"The {split} split of {own} is empty; name another with --split.")
    names = {BICUBIC: "bicubic made consistent"} | {role: candidate.name for role, candidate in models.items()}
    weights = {role: candidate.card.sha256[:12] for role, candidate in models.items()}
    addresses = {name: f"limits/{name}.webp" for name in PICTURES}
    about = blocks.About(names, weights, scale, f"{own} {split}", len(first), addresses)
    sets = {f"{own} {split}": _judged(first, scale)}
    for name in others:
        sets[f"{name} {split}"] = _judged(list(_images(where, name, models, count, log)), scale)
    worst = worst_squares(first, scale)
    # The image in the middle is another one than the worst as soon as there are two.
    squares = {"invention": worst[0], "invention-usual": worst[len(worst) // 2]}
    filled = _texts(about, first, models, squares) | {
        "domain": blocks.domain(about, sets),
        "how": blocks.how(about, _command(psnr, gan, own, others, split, count)),
    }
    files = {page.parent / about.pictures[name]: webp for name, webp in _drawn(about, first, models, squares).items()}
    files[page] = fill(text, filled).encode()
    write_all(files)
    return list(files)


def _texts(about: blocks.About, images: Sequence[Image], models: Models, squares: dict[str, Square]) -> dict[str, str]:
    """The places of the page that speak of the first set's images."""
    methods, scale = (BICUBIC, PSNR, GAN), about.scale
    whole, inside = (measures.mean_scores(images, methods, region) for region in ("whole", "anatomy"))
    bars = objects.bars_recovered(lambda picture: _enlarged(picture, models), scale)
    numbers = {name: (square.image.name, numbers_of(square, scale)) for name, square in squares.items()}
    contested, pointers = measures.where_contested(images, scale), measures.pointers(images, scale)
    return {
        "small-things": blocks.small_things(about, *objects.recovered(images, models, scale), bars),
        "same-input": blocks.same_input(about, measures.consistency(images, methods, scale)),
        "invention": blocks.invention(about, numbers),
        "pattern": blocks.pattern(about, measures.pattern(images, methods, scale)),
        "disagreement": blocks.disagreement(about, contested, pointers),
        "anatomy": blocks.anatomy(about, measures.error_share(images), whole, inside),
        "spoiled": blocks.spoiled(about, measures.spoiled(images, models)),
    }


def _drawn(
    about: blocks.About, images: Sequence[Image], models: Models, squares: dict[str, Square]
) -> dict[str, bytes]:
    chart, low, planes = _chart(models, about.scale)
    return {
        "same-input": pictures.draw_same_input(busiest_square(images, about.scale), about.scale),
        "chart": pictures.draw_chart(chart, low, planes, about.names),
        **{name: pictures.draw_invention(square, about.scale, about.names) for name, square in squares.items()},
    }


def _images(where: tuple[Path, str, Path], name: str, models: Models, count: int | None, log: Callable):
    data, split, lists = where
    return read_images(data, name, split, lists, models, count, log)


def _judged(images: Sequence, scale: int) -> dict:
    return {
        "images": len(images),
        "psnr": measures.mean_scores(images, (BICUBIC, PSNR, GAN), "anatomy"),
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


def _command(psnr: str, gan: str, own: str, others: Sequence[str], split: str, count: int | None) -> str:
    """What was typed, without the places of files on one computer."""
    named = [Path(name).name for name in (psnr, gan)]
    words = ["--psnr", named[0], "--gan", named[1], "--set", own, "--others", *others]
    words += [] if split == "test" else ["--split", split]
    words += [] if count is None else ["--images", str(count)]
    return f"python -m training limits DATA {shlex.join(words)}"
