"""What passes between a run's parent and its child as files: voxels as .npy, everything else as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from .catalog import ModelCard
from .errors import DataError, ResourceError, reason
from .plan import Job
from .sinks import FileSink, Open
from .upscaler import Options, UpscaleResult
from .volume import Volume

#: The names of the files in a run's folder.
REQUEST, INPUT, REPORT, SR, BICUBIC = "request.json", "input.npy", "report.json", "sr.npy", "bicubic.npy"


def write_request(
    folder: Path, volume: Volume, card: ModelCard, options: Options, stopped: Callable[[], bool] = lambda: False
) -> None:
    """The parent's part; ``stopped`` is asked between slabs and leaves the request unfinished.

    Raises:
        DataError: if the voxels are objects. ResourceError: if the folder cannot be written.
    """
    if volume.array.dtype.hasobject:
        raise DataError(f"Voxels of type {volume.array.dtype} cannot be enlarged; convert the image to float32.")
    request = {
        **_about(volume),
        "source": volume.source,
        "card": {**asdict(card), "weights": str(card.weights)},
        "options": asdict(options),
    }
    try:
        _write_array(folder / INPUT, volume.array, stopped)
        (folder / REQUEST).write_text(json.dumps(request), encoding="utf-8")
    except OSError as error:
        raise no_room(error, folder.parent) from None


def read_request(folder: Path) -> tuple[Volume, ModelCard, Options]:
    """The child's part: what ``upscale`` takes, the voxels as a map of the file."""
    request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    array = np.load(folder / INPUT, mmap_mode="r")
    volume = Volume(array, np.array(request["ijk_to_ras"]), request["name"], request["source"])
    card = {**request["card"], "weights": Path(request["card"]["weights"])}
    if card["spacing_range"] is not None:
        card["spacing_range"] = tuple(card["spacing_range"])
    options = dict(request["options"])
    if options["region"] is not None:
        options["region"] = tuple(tuple(part) for part in options["region"])
    return volume, ModelCard(**card), Options(**options)


def result_sinks(folder: Path) -> Open:
    """The child's answer begins: sinks that write voxels into the folder as they are computed.

    Raises, when one is opened:
        ResourceError: if the folder cannot be written.
    """

    def open_sink(kind: str, job: Job, _provenance: dict[str, str]) -> FileSink:
        path = folder / {"sr": SR, "bicubic": BICUBIC}[kind]
        try:
            with open(path, "wb") as file:
                _write_header(file, job.dtype, job.output_shape)
                start = file.tell()
            return FileSink(path, start, job)
        except OSError as error:
            raise no_room(error, folder.parent) from None

    return open_sink


def write_report(folder: Path, result: UpscaleResult) -> None:
    """The child's answer ends: what there is beside the voxels that ``result_sinks`` has written.

    Raises:
        ResourceError: if the folder cannot be written.
    """
    told = {
        "sr": _about(result.sr),
        "bicubic": _about(result.bicubic) if result.bicubic is not None else None,
        "source": result.sr.source,
        "provenance": result.provenance,
        "report": result.report,
    }
    try:
        (folder / REPORT).write_text(json.dumps(told), encoding="utf-8")
    except OSError as error:
        raise no_room(error, folder.parent) from None


def read_result(folder: Path) -> UpscaleResult:
    """The answer, its voxels as maps of the files; whoever writes into one changes a copy of that page."""
    told = json.loads((folder / REPORT).read_text(encoding="utf-8"))

    def volume(name: str, about: dict) -> Volume:
        array = np.load(folder / name, mmap_mode="c")
        return Volume(array, np.array(about["ijk_to_ras"]), about["name"], told["source"])

    bicubic = volume(BICUBIC, told["bicubic"]) if told["bicubic"] is not None else None
    return UpscaleResult(volume(SR, told["sr"]), bicubic, told["provenance"], told["report"])


def no_room(error: OSError, folder: Path) -> ResourceError:
    """What to say of a temporary folder that cannot be written."""
    return ResourceError(
        f"The temporary folder {folder} cannot be written: {reason(error)}; make room there or choose another one.",
        str(error),
    )


def _about(volume: Volume) -> dict:
    return {"ijk_to_ras": volume.ijk_to_ras.tolist(), "name": volume.name}


def _write_array(path: Path, array: np.ndarray, stopped: Callable[[], bool] = lambda: False) -> None:
    """Write a .npy file slab by slab. Not through a map: on a full disk that would kill the process."""
    with open(path, "wb") as file:
        _write_header(file, array.dtype, array.shape)
        for slab in array:
            if stopped():
                return
            file.write(np.ascontiguousarray(slab).reshape(-1).view(np.uint8))


def _write_header(file, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(file, header)
