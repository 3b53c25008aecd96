"""What the terminal door leaves behind: output files, all of them or none, and what it says meanwhile."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from .errors import DataError, ResourceError, UsageError, reason
from .output import check_output, check_place, disk_free, sidecar_path
from .plan import Job


def check_places(images: list[Path], report: Path | None, source: Path, overwrite: bool) -> None:
    """What can be said of the outputs before the input is read: their names and their folders.

    Raises:
        UsageError: if two of the files have one name.
        DataError: if one could not be written.
    """
    for path in images:
        check_output(path, overwrite=overwrite)
    if report is not None:
        check_place(report, overwrite)
    check_names(source, *images, *map(sidecar_path, images), report)


def check_names(*paths: Path | None) -> None:
    """Raise UsageError if two of an input and its outputs are the same file; None is left out."""
    names = [os.path.realpath(path) for path in paths if path is not None]  # Path.resolve fails at a loop of links
    if len(set(names)) < len(names):
        raise UsageError("The input and the outputs need different names; two of them are the same file.")


def check_sizes(images: list[Path], job: Job, overwrite: bool, maps: Sequence[Path] = ()) -> None:
    """What can be said of the images once the input is known: whether their formats and the disk can hold them.

    Args:
        maps: of the same size, with one float32 value a voxel.

    Raises:
        DataError: if a format cannot.
        ResourceError: if the disk cannot.
    """
    size = [n * s for n, s in zip(job.source.size, job.scale_per_axis)]
    kinds = {path: (job.dtype, job.planes.shape[1]) for path in images} | {path: (np.dtype("f4"), 1) for path in maps}
    needs: Counter[int] = Counter()
    for path, (dtype, channels) in kinds.items():
        check_output(path, 1 in size, overwrite, dtype, channels)
        needs[os.stat(path.parent).st_dev] += math.prod(size) * channels * dtype.itemsize
    for path in kinds:
        needed, free = needs[os.stat(path.parent).st_dev], disk_free(path)
        if needed > free:
            raise ResourceError(
                f"The output of {' x '.join(map(str, size))} voxels may need {_bytes(needed)} and the disk of {path} "
                f"has {_bytes(free)} free; upscale a part of the image with --region or choose another disk."
            )


def _bytes(count: int) -> str:
    unit, size = next(((unit, size) for unit, size in (("GB", 1e9), ("MB", 1e6)) if count >= size), ("kB", 1e3))
    return f"{count / size:.1f} {unit}"


@contextmanager
def all_or_none(paths: list[Path], overwrite: bool) -> Iterator[Callable[[Path], Path]]:
    """Let several files appear together once all are complete; after an error there are none, and old ones stay.

    Yields a function from the place of a file to the name that it is to be written under: the same one in a hidden
    folder beside its place, which may also hold the file's sidecar.

    Raises:
        DataError: if a file cannot be written, or appeared meanwhile and may not be replaced.
    """
    hidden = {}
    try:
        with ExitStack() as stack:
            for folder in {path.parent for path in paths}:
                temporary = TemporaryDirectory(prefix=".superresolution-", dir=folder, ignore_cleanup_errors=True)
                hidden[folder] = Path(stack.enter_context(temporary))
            yield lambda path: hidden[path.parent] / path.name
            for path in paths:
                check_place(path, overwrite)
            for folder, temporary in hidden.items():
                for file in temporary.iterdir():
                    os.replace(file, folder / file.name)
    except (DataError, ResourceError) as error:
        text = str(error)
        for folder, temporary in hidden.items():
            text = text.replace(f"{temporary}{os.sep}", f"{folder}{os.sep}")
        raise type(error)(text) from error
    except OSError as error:
        names = ", ".join(map(str, paths))
        raise DataError(f"{names} cannot be written: {reason(error)}; choose another place.") from error


def to_json(data) -> str:
    """JSON text; a figure that is not finite (the PSNR of equal images) becomes null, which every program reads."""
    return json.dumps(_finite(data), indent=2, allow_nan=False)


def _finite(data):
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def print_table(*rows: tuple[str, ...]) -> None:
    """Columns as wide as their widest cell, never cut: people copy names from them."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def print_report(report: dict, images: list[Path]) -> None:
    """A report in a few lines for a person, and where the images are."""
    size, spacing = (" x ".join(f"{n:g}" for n in report["output"][key]) for key in ("size", "spacing_mm"))
    print(f"{report['model']} on {report['device']}, {report['seconds']:.1f} s: {size} voxels of {spacing} mm")
    print(consistency_text(report["consistency"]))
    if "disagreement" in report:
        print(disagreement_text(report["disagreement"]))
    for text in [*report["notices"], f"{report['provenance']['Notice']}."]:
        print(text)
    for path in images:
        print(path)


def consistency_text(found: dict) -> str:
    """A report's entry ``consistency`` in a sentence."""
    if not math.isfinite(found["max"]):
        return (
            "shrunk again it is NaN or infinite, or differs from the input beyond all bounds; look for voxels with "
            "extreme values in the input"
        )
    return (
        f"shrunk again it differs from the input by at most {found['max']:.3g} of its units, by more than one unit "
        f"in {100 * found['share_above_one_unit']:.3g} % of the voxels"
    )


def disagreement_text(found: dict) -> str:
    """A report's entry ``disagreement`` in a sentence."""
    return (
        f"it differs from {found['model']} by {found['mean']:.3g} of the input's units on average, by more than "
        f"{found['p99']:.3g} in 1 % of the voxels; in {100 * found['share_contested']:.3g} % by more than "
        f"{found['threshold']:.3g} and more than the detail that both share"
    )


def part_of(advance: Callable, index: int, count: int) -> Callable:
    """The progress callback of one of several runs of equal length."""
    return lambda fraction, stage, left: advance((index + fraction) / count, stage, left)


@contextmanager
def progress_bar(shown: bool) -> Iterator:
    """A bar on stderr where that is a terminal; yields the engine's progress callback."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    console = Console(stderr=True)
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not (shown and console.is_terminal)
    ) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda fraction, stage, left: bar.update(task, completed=fraction, description=stage)
