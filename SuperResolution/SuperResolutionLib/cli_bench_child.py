"""One way of enlarging a volume, in a process of its own, so that its peak of memory is its own too.

The parent (``cli_bench``) names the way in the arguments and writes a line for each run that it wants; this process
answers with one JSON object a line.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from .catalog import load_card
from .cli_bench import TF32
from .volume import Volume

#: Slices whose result is kept, so that ways can be compared.
KEPT = 2

#: Sides of the maps on which the ceiling is looked for, and how many convolutions are timed together. On a graphics
#: card they have to be worth a launch.
CEILING_SIDES, CEILING_SIDES_GPU = (64, 128, 256), (256, 512, 1024)
TOGETHER, TOGETHER_GPU = 2, 20

#: Side of the matrices whose product is looked at too on a graphics card, whose convolutions may stay below it.
MATRIX_SIDE_GPU = 8192

#: Voxels of a volume that are enlarged on a graphics card before a time is taken; on a CPU it is all of them.
WARM_VOXELS_GPU = 2**22


def phantom(size: tuple[int, int, int], dtype: str, channels: int = 1) -> Volume:
    """Soft shapes with noise everywhere, (k, j, i[, c]): anatomy in its spectrum, and no part of it is constant."""
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
    image = image if channels == 1 else np.repeat(image[..., None], channels, axis=-1)
    array = np.empty((k, *image.shape), dtype)
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
        _say({**about, "peak_bytes": peak_bytes(), "gpu_peak_bytes": _gpu_peak_bytes(request["device"])})


def _say(message: dict) -> None:
    sys.__stdout__.write(json.dumps(message) + "\n")
    sys.__stdout__.flush()


def peak_bytes() -> int:
    """The most memory that this process has had so far."""
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux ``ru_maxrss`` begins with what the parent has
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _gpu_peak_bytes(device: str) -> int:
    import torch

    return torch.cuda.max_memory_allocated(device) if device != "cpu" else 0


Run = Callable[[], tuple["np.ndarray | None", dict]]


def _prepare(request: dict) -> Run:
    import torch

    from .backends.threads import physical_cores

    torch.set_num_threads(physical_cores())
    rounded = request["precision"] == TF32  # float32 is float32 in all ways alike
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = rounded
    sys.stdout = sys.stderr  # libraries print
    if request["way"] == "ceiling":
        return _ceiling(request)
    card = load_card(Path(request["model"]))
    if request["way"] == "upscale":
        return _upscale(card, request)
    return _peer(card, request)


def _ceiling(request: dict) -> Run:
    """GFLOP/s of the quickest 3 x 3 convolution of 64 channels, or on a graphics card of a large matrix product where
    that is quicker; for it, seconds say nothing."""
    import torch

    device, on_cpu = request["device"], request["device"] == "cpu"
    dtype = torch.float32 if request["precision"] == TF32 else getattr(torch, request["precision"])
    layer = torch.nn.Conv2d(64, 64, 3, padding=1).to(device, dtype, memory_format=torch.channels_last)
    work = []  # a function and the floating-point operations that it does
    for side in CEILING_SIDES if on_cpu else CEILING_SIDES_GPU:
        image = torch.rand(1, 64, side, side, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        work.append((partial(layer, image), 2 * 64 * 64 * 9 * side * side))
    if not on_cpu:
        matrix = torch.rand(MATRIX_SIDE_GPU, MATRIX_SIDE_GPU, device=device, dtype=dtype)
        work.append((partial(torch.mm, matrix, matrix), 2 * MATRIX_SIDE_GPU**3))
    together = TOGETHER if on_cpu else TOGETHER_GPU

    @torch.inference_mode()
    def run():
        best = 0.0
        for compute, flops in work:
            compute()
            for _ in range(3):
                _wait(device)
                began = time.perf_counter()
                for _ in range(together):
                    compute()
                _wait(device)
                best = max(best, together * flops / (time.perf_counter() - began) / 1e9)
        return None, {"gflops": best}

    return run


def _wait(device: str) -> None:
    import torch

    if device != "cpu":
        torch.cuda.synchronize(device)


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
        volume = phantom(request["size"], request["type"], card.channels)
    options = Options(
        bicubic=request.get("bicubic", False),
        device=request["device"],
        backend=request["backend"],
        precision=request["precision"],
        skip_constant=request.get("skip_constant", False),
    )
    model = load(card, request["device"])

    def run(volume=volume):
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

    if request.get("warm", True):  # converts and compiles
        run(volume if request["device"] == "cpu" else _part_to_warm_up(volume))
    return run


def _part_to_warm_up(volume: Volume) -> Volume:
    slices = WARM_VOXELS_GPU // (volume.size[0] * volume.size[1])
    return volume.with_array(volume.array[: max(1, slices)])


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
    from .plan import slice_planes

    volume = phantom(request["size"], request["type"], card.channels)
    planes = choose_map(volume.array, card.intensity).to_network(slice_planes(volume.array, 2)[: request["slices"]])
    enlarge = PEERS[request["way"]](card, request)
    enlarge(planes[0])

    def run():
        return np.stack([enlarge(plane) for plane in planes])[:KEPT], {}

    return run
