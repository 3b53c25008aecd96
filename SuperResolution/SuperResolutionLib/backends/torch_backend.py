"""PyTorch: the default way to execute a network."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from .. import linear_tail, tiling
from ..catalog import ModelCard
from ..errors import BackendError, DeviceError, ModelError, ResourceError, UsageError
from ..networks import create
from ..networks.composition import linear_steps
from ..networks.layout import has_global_gates, reach, tail_halo, widest_features, widest_map
from ..plan import Job
from . import BACKENDS
from .memory import out_of_memory
from .torch_finish import finish
from .torch_lean import LeanTrunk, make_lean, shortened
from .torch_transfer import begin_download, download, now, seconds_between, to_host
from .torch_weights import load_weights

#: Bytes that the widest map of a strip may take when the number of rows is automatic. On a CPU it should stay in the
#: cache, on a graphics card it should be worth a launch.
STRIP_BYTES, STRIP_BYTES_GPU = 16 * 2**20, 256 * 2**20

#: Maps as large as a trunk's largest that are alive at once, with oneDNN's own copies of what it convolves.
ALIVE, ALIVE_IN_SPAN = 6, 10

#: Strips are not made lower than this to save memory.
LEAST_ROWS = 8

#: What the user is told where a graphics card's memory sufficed for the network only.
FINISHED_ON_CPU = "The graphics card's memory did not always suffice for what follows the network; the CPU took over."

#: What the user is told where the range of float16 sufficed for a part of the image only.
REST_IN_FLOAT32 = "The range of float16 did not suffice for all of the image; the rest was computed in float32."

#: Waits for what a graphics card may still be computing; gives it, where it is, and the seconds that it took.
Wait = Callable[[], tuple["torch.Tensor | np.ndarray", float]]

#: Waits as well; gives a slice (c, h * scale, w * scale) in stored values, what it shrinks to (c, h, w) in a floating
#: type, and its bicubic twin in stored values, None if not asked for.
WaitForSlice = Callable[[], tuple[np.ndarray, np.ndarray, "np.ndarray | None"]]


def resolve_device(name: str) -> str:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N`` to the device that will be used.

    Raises:
        DeviceError: if it is not there, or the name is none of these.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda:0" if count else "cpu"
    if name == "cpu":
        return name
    kind, _, index = name.partition(":")
    if kind != "cuda" or not (index.isdigit() or name == "cuda"):
        raise DeviceError(f"There is no device '{name}'; choose auto, cpu, cuda or cuda:N.")
    if int(index or 0) >= count:
        there = "PyTorch finds no CUDA device here" if count == 0 else f"this machine has cuda:0 to cuda:{count - 1}"
        raise DeviceError(f"The device '{name}' is not available: {there}; choose auto or cpu.")
    return f"cuda:{int(index or 0)}"


class TorchModel:
    """A generator with its weights on a device, in evaluation mode.

    Attributes:
        backend, precision: what executes the trunks and tails, and the precision of the network's inner layers. The
            bicubic skip and each tail's last convolution, whose rounding would be seen, stay in float32. See ``use``.
        device: moves to "cpu" for good when the memory of a graphics card does not suffice.
        reach: input pixels on each side that an output pixel depends on.
        global_gates: whether it also depends on means over the whole slice.
        takes_batches: whether ``enlarge`` also takes several planes at once.
        insists: whether float16 that overflows is an error; otherwise what overflows and all that follows is computed
            in float32.
        notices: sentences for the user about what had to be changed meanwhile.
    """

    backend = "torch"
    takes_batches = False
    insists = True

    #: The context in which what follows the network is computed.
    _beside = staticmethod(nullcontext)

    def __init__(self, net: nn.Module, scale: int, device: str, precision: str = "float32", card=None):
        self.device, self.scale, self.card = device, scale, card
        self.net = net.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
        make_lean(self.net)
        if device != "cpu":
            # What follows the network would wait behind all that is queued for the slices after it.
            self._beside = partial(torch.cuda.stream, torch.cuda.Stream(device, priority=-1))
        self.reach = reach(net)
        self.global_gates = has_global_gates(net)
        self.takes_batches = True
        self.notices: list[str] = []
        self._executors: dict[tuple[str, str], tiling.Execute] = {}
        self._shortened: dict[str, nn.Module] = {}
        self._rows_at_most = 2**31
        self._computing = threading.Lock()  # a thread that waits for a graphics card may have to compute once more
        self.use("torch", precision)

    def use(self, backend: str, precision: str) -> None:
        """Execute with one of ``BACKENDS`` in a precision from now on; what was converted once is kept.

        Raises:
            BackendError: if it is not installed, or cannot take this network.
        """
        key = (backend, precision)
        if key not in self._executors:
            self._executors[key] = _executor(backend, precision, self)
        self.backend, self.precision, self._execute = backend, precision, self._executors[key]
        if backend == "torch" and precision != "float32" and precision not in self._shortened:
            self._shortened[precision] = shortened(self.net, getattr(torch, precision))
        # Others shorten the parts that they execute by themselves.
        self._running = self._shortened.get(precision, self.net) if backend == "torch" else self.net

    @property
    def adds_bicubic(self) -> bool:
        """Whether the result is the input's bicubic enlargement and a detail. What makes a detail alone consistent
        with the input adds that enlargement, so that it need not be there before."""
        return len(self.net.stages) == 1 and self.net.stages[0].bicubic_skip

    def strip_rows(self, width: int, wanted: int) -> int:
        """Rows of a strip: as wanted, or with 0 as many as keep the tail's widest map within ``STRIP_BYTES``."""
        if wanted > 0:
            return wanted
        widest, scale = 1, 1
        for stage in self.net.stages:
            widest, scale = max(widest, 4 * widest_map(stage.tail) * width * scale), scale * stage.scale
        return max(LEAST_ROWS, (STRIP_BYTES if self.device == "cpu" else STRIP_BYTES_GPU) // widest)

    def polls(self, height: int, rows: int) -> int:
        """How often ``enlarge`` polls for a slice of about this height."""
        return tiling.count_polls(self.net, height, height, rows)

    def working_bytes(self, images: int, height: int, width: int, rows: int) -> int:
        """Rough upper estimate of the memory that the network takes for so many images at once."""
        total = 0
        for stage in self.net.stages:
            if linear_steps(stage.tail):
                strip_height = min(4 * linear_tail.DEPTH, height)  # the slabs along the four borders
            else:
                strip_height = min(rows + 2 * tail_halo(stage.tail), height)
            features = widest_features(stage.trunk) * height * width
            strip = widest_map(stage.tail) * strip_height * width
            alive = ALIVE_IN_SPAN if isinstance(stage.trunk, LeanTrunk) else ALIVE
            total = max(total, 4 * (alive * features + 3 * strip))
            height, width = height * stage.scale, width * stage.scale
        return total * images

    @torch.inference_mode()
    def enlarge(self, planes: np.ndarray, rows: int, poll: Callable[..., None], detail: bool = False) -> np.ndarray:
        """Enlarge in the network's range, float32.

        Where memory runs out, fewer planes are taken at once, then fewer rows, then the CPU.

        Args:
            planes: (c, h, w), or (n, c, h, w) if the model takes batches.
            rows: of a strip. poll: called between layers; may raise to stop it.
            detail: leave out the bicubic enlargement that the network adds in the end; see ``adds_bicubic``.

        Returns:
            (c, h * scale, w * scale), or as many of them.

        Raises:
            ResourceError: if all that does not help. UsageError: if float16 overflows and the model insists on it.
        """
        enlarged, _seconds = self.begin(planes if planes.ndim == 4 else planes[None], rows, poll, detail)()
        enlarged = download(enlarged)
        return enlarged if planes.ndim == 4 else enlarged[0]

    @torch.inference_mode()
    def begin(self, batch: np.ndarray, rows: int, poll: Callable[..., None], detail: bool = False) -> Wait:
        """``enlarge`` for several planes, (n, c, h, w), that returns while a graphics card computes.

        Meanwhile the next may begin; then it does not stand still while results are copied and planes are prepared.
        The result stays on the card.
        """
        began = time.perf_counter()
        try:
            return self._begin(batch, min(rows, self._rows_at_most), poll, detail)
        except Exception as error:
            if not out_of_memory(error):
                raise
            problem = error.with_traceback(None)  # its frames hold the maps
        self._release()
        if len(batch) > 1:
            enlarged = np.concatenate([self.enlarge(plane[None], rows, poll, detail) for plane in batch])
        elif self._take_less(rows, batch.shape[2]):
            enlarged = self.enlarge(batch, rows, poll, detail)
        else:
            size = f"{batch.shape[3]} x {batch.shape[2]}"
            raise ResourceError(
                f"The memory of {self.device} does not suffice for slices of {size} voxels; upscale a region of the "
                "image, or use another device."
            ) from problem
        seconds = time.perf_counter() - began
        return lambda: (enlarged, seconds)

    @torch.inference_mode()
    def finish(
        self,
        enlarged: torch.Tensor | np.ndarray,
        low: np.ndarray,
        job: Job,
        consistent: bool,
        bicubic: bool,
        check: Callable[[], None],
    ) -> WaitForSlice:
        """What follows the network, see ``torch_finish``; on a graphics card it returns while that computes.

        Where the card's memory does not suffice for it, it is computed on the CPU.

        Args:
            enlarged: (c, h * scale, w * scale) as ``begin`` has given it, unchanged until the result was waited for.
            low: (c, h, w) in network range. job, consistent, bicubic, check: see ``torch_finish.finish``.
        """
        if self.device != "cpu":
            try:
                with self._beside():
                    image = enlarged if isinstance(enlarged, torch.Tensor) else self._upload(enlarged)
                    small = self._upload(low).to(image.device)
                    return begin_download(finish(image[None], small[None], job, consistent, bicubic, check))
            except Exception as error:
                if not out_of_memory(error):
                    raise
            # The network stays on the card: another thread may just be queueing slices there.
            if FINISHED_ON_CPU not in self.notices:
                self.notices.append(FINISHED_ON_CPU)
            self._release()
        with self._beside():
            image, small = (torch.from_numpy(download(given))[None] for given in (enlarged, low))
        return begin_download(finish(image, small, job, consistent, bicubic, check))

    def _begin(self, batch: np.ndarray, rows: int, poll: Callable[..., None], detail: bool) -> Wait:
        # TensorFloat-32 would round to 10 bits where float32 was promised. Unless told, ``flags`` switches cuDNN off.
        with self._computing, torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            image = self._upload(batch).contiguous(memory_format=torch.channels_last)
            start = now(image)
            enlarged = tiling.run(self._running, image, rows, poll, self._execute, detail).contiguous()
            # A NaN is among the extremes wherever there is one.
            extremes = to_host(torch.stack(enlarged.aminmax())) if self.precision == "float16" else None
            stop = now(enlarged)

        def wait() -> tuple[torch.Tensor | np.ndarray, float]:
            seconds = seconds_between(start, stop)
            if extremes is None or extremes.isfinite().all():
                return enlarged, seconds
            self._leave_float16()
            # Without polls: perhaps this is not the thread in which progress is told.
            again, more = self.begin(batch, rows, lambda *_: None, detail)()
            return again, seconds + more

        return wait

    def _leave_float16(self) -> None:
        if self.insists:
            raise UsageError("The range of float16 does not suffice for this model; choose bfloat16 or float32.")
        with self._computing:
            if self.precision == "float16":
                self.use("torch", "float32")
                self.notices.append(REST_IN_FLOAT32)

    def _take_less(self, rows: int, height: int) -> bool:
        """Halve the strips, or leave the graphics card; False if neither can be done."""
        rows = min(rows, self._rows_at_most, height)
        if rows > LEAST_ROWS and not all(linear_steps(stage.tail) for stage in self.net.stages):
            self._rows_at_most = max(LEAST_ROWS, rows // 2)
        elif self.device != "cpu":
            self._leave_card()
        else:
            return False
        return True

    def _leave_card(self) -> None:
        self.notices.append(f"The memory of {self.device} did not suffice; the rest was computed on the CPU.")
        self.device, self._rows_at_most = "cpu", 2**31
        self.net.to("cpu")
        self._executors.clear()
        self._shortened.clear()
        self.use("torch", "float32")
        self._release()

    def _release(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _upload(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.device == "cpu":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)


def load(card: ModelCard, device: str, precision: str = "float32") -> TorchModel:
    """Build the card's network with its verified weights.

    Args:
        card: the model. device: see ``resolve_device``.
        precision: ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        ModelError: if the weights are missing or damaged or do not fit the architecture.
        DeviceError: see ``resolve_device``.
    """
    place = resolve_device(device)
    return TorchModel(build(card), card.scale, place, precision, card)


def build(card: ModelCard) -> nn.Module:
    """The card's network with its verified weights, as it was trained.

    Raises:
        ModelError: if the weights are missing or damaged or do not fit the architecture.
    """
    card.verify()
    net = create(card.architecture, **card.config)
    try:
        net.load_state_dict(load_weights(card.weights))
    except (SafetensorError, RuntimeError, OSError, KeyError, ValueError) as error:
        raise ModelError(
            f"The weights of {card.id} do not fit the network that its card describes; install the model again."
        ) from error
    return net.eval().requires_grad_(False)


def _executor(backend: str, precision: str, model: TorchModel) -> tiling.Execute | None:
    """What ``tiling.run`` takes to execute trunks and tails; None lets it call them."""
    if backend == "torch":
        return None
    if backend not in BACKENDS:
        raise UsageError(f"There is no backend '{backend}'; choose auto, {', '.join(BACKENDS)}.")
    if model.card is None:
        raise BackendError(f"{backend} takes a model with a card, by which it is kept.")
    if backend == "compile":
        from .torch_compiled import CompiledExecutor

        return CompiledExecutor(model.card, model.net, model.device, precision)
    if model.device != "cpu":
        raise BackendError(f"{backend} is used on the CPU only.")
    if backend == "openvino":
        from .openvino_backend import OpenVinoExecutor

        return OpenVinoExecutor(model.card, model.net, precision)
    from .onnx_backend import OnnxExecutor

    return OnnxExecutor(model.card, model.net, precision)
