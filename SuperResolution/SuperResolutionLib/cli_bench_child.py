"""One way of enlarging a volume, in a process of its own, so that its peak of memory is its own too.

The parent (``cli_bench``) names the way in the arguments and writes a line for each run that it wants; this process
answers with one JSON object a line.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .catalog import ModelCatalog
from .volume import Volume

#: Slices whose result is kept, so that ways can be compared.
KEPT = 2

#: Sides of the maps on which the ceiling is looked for.
CEILING_SIDES = (64, 128, 256)


def phantom(size: tuple[int, int, int], dtype: str) -> Volume:
    """Soft shapes with noise everywhere, (k, j, i): anatomy in its spectrum, and no part of it is constant."""
    random = np.random.default_rng(7)
    i, j, k = size
    y, x = np.mgrid[0:j, 0:i] / max(i, j)
    image = np.zeros((j, i))
    for _ in range(60):
        centre, width, height = random.random(2), *random.uniform(0.02, 0.25, 2)
        distance = ((x - centre[0]) / width) ** 2 + ((y - centre[1]) / height) ** 2
        image += random.uniform(-1, 1) / (1 + np.exp(np.minimum((distance - 1) * 8, 50)))
    image = 0.1 + 0.8 * (image - image.min()) / np.ptp(image)
    top = {"uint8": 255, "int16": 1500, "float32": 1.0}[dtype]
    array = np.empty((k, j, i), dtype)
    for index in range(k):
        array[index] = (np.clip(image + random.normal(0, 0.02, image.shape), 0, 1) * top).astype(dtype)
    return Volume(array, np.diag([3.0, 3.0, 3.0, 1.0]), "phantom")


def main() -> None:
    """Prepare the way that the first argument describes, and run it once for each line of stdin."""
    request = json.loads(sys.argv[1])
    try:
        run = _prepare(request)
        _say({"ready": True})
    except Exception as error:  # whatever it is, the parent says it
        _say({"problem": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"[:200]})
        return
    for number, _line in enumerate(sys.stdin):
        began = time.perf_counter()
        made, about = run()
        about["seconds"] = about.get("seconds", time.perf_counter() - began)
        if number == 0 and made is not None:
            np.save(Path(request["folder"]) / f"{request['number']}.npy", made[:KEPT])
        _say({**about, "peak_bytes": peak_bytes(), "gpu_peak_bytes": _gpu_peak_bytes()})


def _say(message: dict) -> None:
    sys.__stdout__.write(json.dumps(message) + "\n")
    sys.__stdout__.flush()


def peak_bytes() -> int:
    """The most memory that this process has had so far."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _gpu_peak_bytes() -> int:
    torch = sys.modules.get("torch")
    return torch.cuda.max_memory_allocated() if torch is not None and torch.cuda.is_available() else 0


Run = Callable[[], tuple["np.ndarray | None", dict]]


def _prepare(request: dict) -> Run:
    import torch

    from .backends.threads import physical_cores

    torch.set_num_threads(physical_cores())
    sys.stdout = sys.stderr  # libraries print
    if request["way"] == "ceiling":
        return _ceiling(request)
    card = ModelCatalog.default().find(request["model"])
    if request["way"] == "upscale":
        return _upscale(card, request)
    return _peer(card, request)


def _ceiling(request: dict) -> Run:
    """GFLOP/s of the quickest 3 x 3 convolution of 64 channels; for it, seconds say nothing."""
    import torch

    device, dtype = request["device"], getattr(torch, request["precision"])
    layer = torch.nn.Conv2d(64, 64, 3, padding=1).to(device, dtype, memory_format=torch.channels_last)
    maps = [torch.rand(1, 64, side, side, device=device, dtype=dtype) for side in CEILING_SIDES]
    maps = [image.contiguous(memory_format=torch.channels_last) for image in maps]

    @torch.inference_mode()
    def run():
        best = 0.0
        for image in maps:
            layer(image)
            for _ in range(3):
                _wait(device)
                began = time.perf_counter()
                for _ in range(2):
                    layer(image)
                _wait(device)
                flops = 2 * 2 * 64 * 64 * 9 * image.shape[2] * image.shape[3]
                best = max(best, flops / (time.perf_counter() - began) / 1e9)
        return None, {"gflops": best}

    return run


def _wait(device: str) -> None:
    import torch

    if device != "cpu":
        torch.cuda.synchronize()


def _upscale(card, request: dict) -> Run:
    """The whole of ``upscale``, from voxels to voxels; the model stays loaded, as in Slicer."""
    from .backends.torch_backend import load
    from .intensity import choose_map
    from .plan import slice_planes
    from .upscaler import Options, upscale

    if "path" in request:
        from .files import read_volume

        volume = read_volume(request["path"])
    else:
        volume = phantom(request["size"], request["type"])
    options = Options(
        bicubic=request.get("bicubic", False),
        device=request["device"],
        backend=request["backend"],
        precision=request["precision"],
        skip_constant=request.get("skip_constant", False),
    )
    model = load(card, request["device"])

    def run():
        began = time.perf_counter()
        result = upscale(volume, card, options, load=lambda *_: model, **_destination(request))
        about = {"seconds": time.perf_counter() - began}
        kept = ("network_seconds", "skipped_share", "execution")
        about |= {key: result.report[key] for key in kept}
        network = choose_map(volume.array, card.intensity).to_network
        planes = slice_planes(volume.array, "ijk".index(result.report["slice_axis"]))[:KEPT]
        rows = model.strip_rows(planes.shape[3], 0)
        if not request.get("compared", True):
            return None, about
        return np.stack([model.enlarge(network(plane), rows, lambda *_: None) for plane in planes]), about

    if request.get("warm", True):
        run()  # converts and compiles
    return run


def _destination(request: dict) -> dict:
    """Where ``upscale`` puts its result: into memory, or into files that are written as it goes."""
    if not request.get("to_file"):
        return {}
    from .raw_output import raw_sinks

    folder = Path(request["folder"])
    return {
        "open_sink": raw_sinks({"sr": folder / "sr.nrrd", "bicubic": folder / "bicubic.nrrd"}),
        "fits_memory": False,
    }


def _peer(card, request: dict) -> Run:
    """The network alone, slice by slice, as others run it; planes in and out are float32 in network range."""
    from .cli_bench_peers import PEERS
    from .intensity import choose_map

    volume = phantom(request["size"], request["type"])
    planes = choose_map(volume.array, card.intensity).to_network(volume.array[: request["slices"]])[:, None]
    enlarge = PEERS[request["way"]](card, request)
    enlarge(planes[0])

    def run():
        return np.stack([enlarge(plane) for plane in planes])[:KEPT], {}

    return run
