"""What ``superres bench`` does with its options."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from .backends.torch_backend import resolve_device
from .cli_bench import bench
from .cli_bench_network import network_to_measure
from .cli_bench_report import draw, rows, series_rows
from .cli_bench_series import memory, scaling, skipping
from .cli_output import check_names, print_table, to_json
from .errors import DataError, UsageError
from .output import check_place, write_text

SERIES = ("scaling", "memory", "skipping")


def run_bench(
    model: str,
    scale: int | None,
    device: str,
    size: str,
    dtype: str,
    peers: bool,
    repeats: int,
    peer_slices: int,
    series: str | None,
    image: Path | None,
    backend: str,
    output: Path | None,
    plot: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Measure, print a table or JSON, and write what was asked for.

    Raises:
        UsageError: if the options do not fit together. DataError: if a file cannot be written, or nothing was measured.
        DeviceError: if the device is not there. ModelError: if there is no such model, or its architecture has no such
            scale.
    """
    voxels = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", size)
    if voxels is None:
        raise UsageError(f"--size reads IxJxK in voxels, for example 256x256x16, not '{size}'.")
    if dtype not in ("uint8", "int16", "float32"):
        raise UsageError(f"--type is uint8, int16 or float32, not '{dtype}'.")
    if series is not None and series not in SERIES:
        raise UsageError(f"--series is one of {', '.join(SERIES)}, not '{series}'.")
    if (series == "skipping") != (image is not None):
        raise UsageError("--image goes with --series skipping, and the other way round.")
    _check_files(output, plot, image, overwrite)
    place = resolve_device(device)
    with network_to_measure(model, scale) as (card, weights):
        if weights is not None:
            _tell(f"weights: {weights}")
        if series == "scaling":
            result = scaling(card, place, backend, repeats, _tell)
        elif series == "memory":
            result = memory(card, place, backend, _tell)
        elif series == "skipping":
            result = skipping(card, place, backend, image, repeats, _tell)
        else:
            result = bench(card, tuple(map(int, voxels.groups())), dtype, place, peers, repeats, peer_slices, _tell)
    if weights is not None:
        result["weights"] = weights
    text = to_json(result)
    problems = [way.get("problem") for way in result.get("ways", ()) if way["way"] == "upscale"]
    if problems and all(problems):
        raise DataError(f"Nothing could be measured: {problems[0].rstrip('.')}.")
    if output is not None:
        write_text(output, text + "\n", overwrite)
    if plot is not None and result["kind"] in ("speed", "scaling"):
        draw(result, plot)
    if as_json:
        print(text)
    else:
        print_table(*(rows(result) if result["kind"] == "speed" else series_rows(result)))


def _check_files(output: Path | None, plot: Path | None, image: Path | None, overwrite: bool) -> None:
    """What can be said of the files before anything is measured."""
    for path in (output, plot):
        if path is not None:
            check_place(path, overwrite)
    check_names(image, output, plot)
    if plot is not None:
        from matplotlib.backend_bases import FigureCanvasBase

        known = sorted(FigureCanvasBase.get_supported_filetypes())
        if plot.suffix.lower().lstrip(".") not in known:
            raise UsageError(f"--plot draws {', '.join(known)}; let the name of {plot} end in one of them.")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
