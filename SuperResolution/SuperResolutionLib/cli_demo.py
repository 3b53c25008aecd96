"""``superres demo``: two real slices that come with pydicom, enlarged by a bundled model."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .catalog import ModelCard
from .cli_output import all_or_none, print_table
from .errors import DataError
from .files import read_volume, write_volume
from .upscaler import NOTICE, Options, UpscaleResult, upscale
from .volume import Volume


@dataclass(frozen=True)
class Example:
    """A slice of pydicom's.

    Attributes:
        title, file, unit: what it is, pydicom's name of it, the unit of its values.
        window: lowest and highest value shown, None for the slice's own percentiles.
        detail: left, top and side of the square that is shown larger, as shares of the slice's side.
    """

    title: str
    file: str
    unit: str
    window: tuple[float, float] | None
    detail: tuple[float, float, float]


EXAMPLES = (
    Example("CT", "CT_small.dcm", "HU", (-200.0, 500.0), (0.25, 0.27, 0.42)),
    Example("MR", "MR_small.dcm", "units", None, (0.5, 0.4, 0.5)),
)

Row = tuple[Example, Volume, UpscaleResult]


def run_demo(folder: Path, card: ModelCard, device: str) -> None:
    """Write SR and bicubic volumes and ``side-by-side.png`` into a folder, and print a table.

    Raises:
        SuperResolutionError: as ``upscale``; DataError if pydicom came without its examples or the folder is no place.
    """
    rows = []
    for example in EXAMPLES:
        volume = read_volume(example_file(example.file))
        rows.append((example, volume, upscale(volume, card, Options(device=device))))
    picture = folder / "side-by-side.png"
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


def save(rows: list[Row], card: ModelCard, folder: Path, picture: Path) -> None:
    """Write all files of the demo, or none."""
    image = draw(rows, card.id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"The folder {folder} cannot be created: {(error.strerror or 'refused').lower()}.") from error
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
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(rows), 4, figsize=(16, 4.3 * len(rows)), layout="constrained", squeeze=False)
    for line, (example, volume, result) in zip(axes, rows):
        images = [item.array[0].astype(float) for item in (volume, result.bicubic, result.sr)]
        low, high = example.window or np.percentile(images[0], [0.5, 99.5])
        details = [crop(image, example.detail) for image in images]
        names = [f"{example.title}: whole input", "input", "bicubic", model]
        for axis, image, name in zip(line, [images[0], *details], names):
            axis.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            axis.set_title(name, fontsize=15)
            axis.set_axis_off()
        left, top, side = (share * len(images[0]) for share in example.detail)
        line[0].add_patch(pyplot.Rectangle((left - 0.5, top - 0.5), side, side, fill=False, color="orange", lw=2))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    pyplot.close(figure)
    return buffer.getvalue()


def crop(image: np.ndarray, detail: tuple[float, float, float]) -> np.ndarray:
    """The square of an (h, w) image that ``Example.detail`` names."""
    left, top, side = (round(share * len(image)) for share in detail)
    return image[top : top + side, left : left + side]
