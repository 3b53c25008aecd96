"""``superres bench``: how fast a model is on this machine, and beside the ways in which others run the same network.

Each way runs in a process of its own, so that its peak of memory is its own; the processes take turns, so that whatever
else the machine does meets all of them alike. Figures are medians.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median

import numpy as np

from .catalog import ModelCard

#: What a child executes; the package's folder comes first on the path.
_BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from SuperResolutionLib.cli_bench_child import main; main()"

#: The way that the others' results are compared with: the whole slice through the network as it was trained.
REFERENCE = "eager, float32"

TILES = (128, 192, 256)

#: What PyTorch does by itself with float32 in convolutions on a graphics card: it rounds to 10 bits.
TF32 = "tf32"


def ways(device: str, peers: bool) -> list[dict]:
    """What is measured on a device: each way's label and what ``cli_bench_child`` needs to know of it."""
    on_cpu = device == "cpu"
    short = "bfloat16" if on_cpu else "float16"
    pairs = [("torch", "float32"), ("torch", short)]
    pairs += [("openvino", "float32"), ("onnxruntime", "float32"), ("openvino", "bfloat16")] if on_cpu else []
    pairs += [] if on_cpu else [("compile", "float32"), ("compile", short)]
    ceilings = ("float32", short) if on_cpu or not peers else ("float32", TF32, short)
    found = [{"label": f"ceiling, {precision}", "way": "ceiling", "precision": precision} for precision in ceilings]
    found += [{"label": f"upscale, {b}, {p}", "way": "upscale", "backend": b, "precision": p} for b, p in pairs]
    if not peers:
        return found
    alone = [("eager", "float32"), ("channels_last", "float32"), ("channels_last", short)]
    alone += [] if on_cpu else [("eager", TF32)]
    alone += [("openvino alone", "float32"), ("openvino alone", "bfloat16")] if on_cpu else []
    alone += [("onnxruntime alone", "float32")] if on_cpu else []
    found += [{"label": f"{way}, {p}", "way": way, "precision": p} for way, p in alone]
    for way in ("tiles", "monai"):
        found += [
            {"label": f"{way} {side}, float32", "way": way, "precision": "float32", "tile": side} for side in TILES
        ]
    return found


def bench(
    card: ModelCard,
    size: tuple[int, int, int],
    dtype: str,
    device: str,
    peers: bool,
    repeats: int,
    peer_slices: int,
    tell: Callable[[str], None] = lambda _text: None,
) -> dict:
    """Measure a model.

    Args:
        card: the model. size: voxels of the input along i, j, k. dtype: of the voxels.
        device: "cpu", "cuda" or "cuda:N". peers: also the ways of others.
        repeats: of each way. peer_slices: how many slices the others enlarge; their time is given per slice.
        tell: told what is being done.

    Returns:
        JSON-ready; see ``cli_bench_report``.
    """
    requests = ways(device, peers)
    flops = network_flops(card, size[1], size[0])
    with tempfile.TemporaryDirectory(prefix="superresolution-bench-") as folder:
        children = []
        for number, way in enumerate(requests):
            slices = size[2] if way["way"] == "upscale" else min(size[2], peer_slices)
            common = {"folder": folder, "number": number, "type": dtype, "device": device}
            common["model"] = str(card.weights.parent)
            way["slices"] = slices
            tell(f"preparing {way['label']}")
            children.append(Child({**way, **common, "size": size}))
            if device == "cpu":  # where they would take the cores and the memory from each other
                children[-1].wait_until_ready()
        for child in children:
            child.wait_until_ready()
        for turn in range(repeats):
            for way, child in zip(requests, children):
                if not child.problem:
                    tell(f"round {turn + 1} of {repeats}: {way['label']}")
                    child.run()
                if turn == repeats - 1:
                    child.close()
        entries = [_entry(way, child, flops) for way, child in zip(requests, children)]
        _compare(entries, Path(folder))
    _relate(entries)
    about = {"kind": "speed", "model": card.id, "scale": card.scale, "size": list(size), "type": dtype}
    about |= {"device": device, "repeats": repeats}
    computed = network_flops(card, size[1], size[0], as_computed=True)
    about |= {"gflop_a_slice": flops / 1e9, "computed_gflop_a_slice": computed / 1e9}
    return {**about, "machine": machine(device), "ways": entries}


def network_flops(card: ModelCard, height: int, width: int, as_computed: bool = False) -> int:
    """Floating-point operations of a network's convolutions for one slice: 2 for each product.

    Args:
        card, height, width: the network, and the size of the slice.
        as_computed: count a linear tail as ``upscale`` computes it, as one small convolution (the thin slabs along its
            border are left out); otherwise all counts as it was trained.
    """
    import torch

    from .networks import create
    from .networks.composition import REACH, linear_steps

    total = []
    with torch.device("meta"):
        net = create(card.architecture, **card.config).eval()
        linear = {stage: linear_steps(stage.tail) for stage in net.stages if as_computed and linear_steps(stage.tail)}
        composed = {layer for stage in linear for layer in stage.tail.modules()}

        def count(layer, _inputs, output):
            products = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
            total.append(2 * output.numel() * products)

        def count_linear(stage, _inputs, output):
            total.append(2 * output.numel() * linear[stage][0].conv.in_channels * (2 * REACH + 1) ** 2)

        for layer in net.modules():
            if isinstance(layer, torch.nn.Conv2d) and layer not in composed:
                layer.register_forward_hook(count)
            elif layer in linear:
                layer.register_forward_hook(count_linear)
        with torch.inference_mode():
            net(torch.empty(1, card.channels, height, width))
    return sum(total)


def machine(device: str) -> dict:
    """What the figures were measured on."""
    import torch

    from .backends.conversions import package_version
    from .backends.threads import physical_cores
    from .errors import BackendError

    versions = {}
    for name in ("torch", "openvino", "onnxruntime", "monai"):
        try:
            versions[name] = package_version(name)
        except BackendError:
            versions[name] = None
    card = torch.cuda.get_device_name(device) if device != "cpu" else None
    return {"processor": _processor(), "cores": physical_cores(), "graphics_card": card, "versions": versions}


def _processor() -> str:
    names = []
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


class Child:
    """One way in its process: what it said for each run, or why it cannot run. It prepares itself at once."""

    def __init__(self, request: dict):
        package = str(Path(__file__).resolve().parents[1])
        self._request, self._ready = request, False
        self.number, self.answers, self.problem = request["number"], [], ""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, package, json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def wait_until_ready(self) -> None:
        if not self._ready:
            self.problem, self._ready = self._answer().get("problem", ""), True

    def run(self) -> None:
        try:
            self._process.stdin.write("run\n")
            self._process.stdin.flush()
        except OSError:
            self.problem = "its process ended"
            return
        answer = self._answer()
        self.problem = answer.get("problem", "") or _other_way(self._request, answer.get("execution"))
        if not self.problem:
            self.answers.append(answer)

    def close(self) -> None:
        with suppress(OSError):  # it ended by itself, and what was written last was never read
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        return json.loads(line) if line.strip() else {"problem": "its process ended"}


def _other_way(asked: dict, execution: dict | None) -> str:
    """What is wrong if something else executed the network than what was asked for; nothing if not."""
    if execution is None or all(asked[key] in ("auto", execution[key]) for key in ("backend", "precision")):
        return ""
    return f"{execution['backend']} in {execution['precision']} executed it: {execution['reason']}"


def _entry(way: dict, child: Child, flops: int) -> dict:
    entry = {key: way[key] for key in ("label", "way", "precision", "slices")}
    if child.problem or not child.answers:
        return {**entry, "problem": child.problem}
    entry |= {key: max(answer[key] for answer in child.answers) for key in ("peak_bytes", "gpu_peak_bytes")}
    if way["way"] == "ceiling":
        return {**entry, "gflops": max(answer["gflops"] for answer in child.answers)}
    seconds = median(answer["seconds"] for answer in child.answers)
    entry |= {"seconds": seconds, "rounds": [round(answer["seconds"], 4) for answer in child.answers]}
    entry |= {"seconds_a_slice": seconds / way["slices"], "gflops": flops * way["slices"] / seconds / 1e9}
    if "network_seconds" in child.answers[0]:
        around = [1 - answer["network_seconds"] / answer["seconds"] for answer in child.answers]
        entry |= {"around_the_network": median(around), "skipped_share": child.answers[0]["skipped_share"]}
    return {**entry, "number": child.number}


def _compare(entries: list[dict], folder: Path) -> None:
    """Largest difference of each way's first slices from the reference's, in network range."""

    def made(entry: dict) -> np.ndarray | None:
        path = folder / f"{entry.pop('number', None)}.npy"
        return np.load(path) if path.is_file() else None

    results = {entry["label"]: made(entry) for entry in entries}
    reference = results.get(REFERENCE)
    if reference is None:
        reference = results.get("upscale, torch, float32")
    for entry in entries:
        result = results[entry["label"]]
        if reference is not None and result is not None:
            entry["largest_difference"] = float(np.abs(result - reference).max())


def _relate(entries: list[dict]) -> None:
    """Each way's share of the ceiling of its precision."""
    ceilings = {entry["precision"]: entry.get("gflops") for entry in entries if entry["way"] == "ceiling"}
    for entry in entries:
        ceiling = ceilings.get(entry["precision"])
        if "seconds" in entry and ceiling:
            entry["share_of_ceiling"] = entry["gflops"] / ceiling
