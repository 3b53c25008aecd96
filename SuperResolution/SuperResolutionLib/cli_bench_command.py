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
from .cli_output import print_table, to_json
from .errors import UsageError

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
    as_json: bool,
) -> None:
    """Measure, print a table or JSON, and write what was asked for.

    Raises:
        UsageError: if the options do not fit together. DeviceError: if the device is not there. ModelError: if there is
            no such model, or its architecture has no such scale.
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
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text + "\n", encoding="utf-8")
    if plot is not None and result["kind"] in ("speed", "scaling"):
        draw(result, plot)
    if as_json:
        print(text)
    else:
        print_table(*(rows(result) if result["kind"] == "speed" else series_rows(result)))


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
