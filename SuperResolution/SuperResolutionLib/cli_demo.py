"""``superres demo``: two real slices that come with pydicom, enlarged by a bundled model."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .catalog import ModelCard
from .cli_output import all_or_none, print_table
from .errors import DataError, reason
from .files import read_volume, write_volume
from .output import check_place
from .upscaler import NOTICE, Options, UpscaleResult, upscale
from .volume import Volume


@dataclass(frozen=True)
class Example:
    """A slice of pydicom's.

    Attributes:
        title, file, unit: what it is, pydicom's name of it, the unit of its values.
        window: lowest and highest value shown, None for the slice's own percentiles.
        detail: left, top and side of the square that is shown larger, in voxels of the slice.
    """

    title: str
    file: str
    unit: str
    window: tuple[float, float] | None
    detail: tuple[int, int, int]


EXAMPLES = (
    Example("CT", "CT_small.dcm", "HU", (-200.0, 600.0), (32, 34, 54)),
    Example("MR", "MR_small.dcm", "units", None, (30, 26, 32)),
)

Row = tuple[Example, Volume, UpscaleResult]


def run_demo(folder: Path, card: ModelCard, device: str) -> None:
    """Write SR and bicubic volumes and ``side-by-side.png`` into a folder, and print a table.

    Raises:
        SuperResolutionError: as ``upscale``; DataError if pydicom came without its examples or the folder is no place.
    """
    picture = folder / "side-by-side.png"
    check_folder(folder, picture.name)
    rows = []
    for example in EXAMPLES:
        volume = read_volume(example_file(example.file))
        rows.append((example, volume, upscale(volume, card, Options(device=device))))
    save(rows, card, folder, picture)
    lines = [
        (
            example.title,
            *(" x ".join(map(str, item.size[:2])) for item in (volume, result.sr)),
            f"{result.report['seconds']:.2f}",
            f"at most {result.report['consistency']['max']:.2f} {example.unit}",
        )
        for example, volume, result in rows
    ]
    print(card.id)
    print_table(("slice", "input", "output", "seconds", "shrunk again it differs by"), *lines)
    print(f"{NOTICE}.")
    print(f"Side by side: {picture}")


def example_file(name: str) -> Path:
    """One of the files that are part of the package pydicom.

    Raises:
        DataError: if this installation came without them.
    """
    from pydicom.data import get_testdata_file

    path = get_testdata_file(name, download=False)
    if path is None:
        raise DataError(f"The demo needs {name}, which this installation of pydicom lacks; install pydicom with pip.")
    return Path(path)


def check_folder(folder: Path, name: str) -> None:
    """Whether a folder, or what there is already of its path, can hold a file; nothing is created yet.

    Raises:
        DataError: if it cannot.
    """
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if not existing.is_dir():
        raise DataError(f"{existing} is a file, not a folder; choose another one with --output.")
    check_place(existing / name, overwrite=True)


def save(rows: list[Row], card: ModelCard, folder: Path, picture: Path) -> None:
    """Write all files of the demo, or none."""
    image = draw(rows, card.id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"The folder {folder} cannot be created: {reason(error)}.") from error
    volumes = {}
    for example, _, result in rows:
        stem = f"{example.title.lower()}-x{card.scale}"
        volumes[folder / f"{stem}-sr.nrrd"] = (result.sr, result.provenance)
        volumes[folder / f"{stem}-bicubic.nrrd"] = (result.bicubic, result.bicubic_provenance)
    with all_or_none([*volumes, picture], overwrite=True) as place:
        for path, (volume, provenance) in volumes.items():
            write_volume(volume, place(path), provenance)
        place(picture).write_bytes(image)


def draw(rows: list[Row], model: str) -> bytes:
    """PNG with one row a slice: the whole input, and a detail of input, bicubic and SR, all in one window."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(16, 4.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 4, squeeze=False)
    for line, (example, volume, result) in zip(axes, rows):
        images = [item.array[0].astype(float) for item in (volume, result.bicubic, result.sr)]
        low, high = example.window or np.percentile(images[0], [0.5, 99.5])
        scale = len(images[1]) // len(images[0])
        details = [crop(image, example.detail, s) for image, s in zip(images, (1, scale, scale))]
        names = [f"{example.title}: whole input", "input", f"bicubic x{scale}", model]
        for axis, image, name in zip(line, [images[0], *details], names):
            axis.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            axis.set_title(name, fontsize=15)
            axis.set_axis_off()
        left, top, side = example.detail
        line[0].add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, color="orange", lw=2))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def crop(image: np.ndarray, detail: tuple[int, int, int], scale: int) -> np.ndarray:
    """``Example.detail`` of an image (h, w) that is ``scale`` times as fine as the slice."""
    left, top, side = (scale * length for length in detail)
    return image[top : top + side, left : left + side]
