"""PyTorch: the default way to execute a network."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from .. import tiling
from ..catalog import ModelCard
from ..errors import DeviceError, ModelError, ResourceError, UsageError
from ..networks import create
from ..networks.layout import has_global_gates, last_convolution, reach, tail_halo, widest_features, widest_map
from ..resampling import bicubic_downsample, bicubic_upsample, make_consistent

#: Bytes that the widest map of a strip may take when the number of rows is automatic.
STRIP_BYTES = 256 * 2**20


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
        precision: of the network's inner layers. The bicubic skip and each tail's last convolution, whose rounding
            would be seen, stay in float32.
        reach: input pixels on each side that an output pixel depends on.
        global_gates: whether it also depends on means over the whole slice.
    """

    def __init__(self, net: nn.Module, scale: int, device: str, precision: str = "float32"):
        self.device = device
        self.scale = scale
        self.precision = precision
        self.net = net.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
        self.reach = reach(net)
        self.global_gates = has_global_gates(net)
        if precision != "float32":
            for stage in self.net.stages:
                _keep_float32(last_convolution(stage.tail))

    def strip_rows(self, width: int, wanted: int) -> int:
        """Rows of a strip: as wanted, or with 0 as many as keep the tail's widest map within ``STRIP_BYTES``."""
        if wanted > 0:
            return wanted
        widest, scale = 1, 1
        for stage in self.net.stages:
            widest, scale = max(widest, 4 * widest_map(stage.tail) * width * scale), scale * stage.scale
        return max(8, STRIP_BYTES // widest)

    def polls(self, height: int, rows: int) -> int:
        """How often ``enlarge`` polls for a slice of this height, not counting the borders of gated tails."""
        return tiling.count_polls(self.net, height, rows)

    def working_bytes(self, channels: int, height: int, width: int, rows: int) -> int:
        """Rough upper estimate of the memory that one slice of an image takes while it is enlarged."""
        total = 0
        for stage in self.net.stages:
            strip_height = min(rows + 2 * tail_halo(stage.tail), height)
            features = widest_features(stage.trunk) * height * width
            strip = widest_map(stage.tail) * strip_height * width
            total = max(total, 4 * (6 * features + 3 * strip))
            height, width = height * stage.scale, width * stage.scale
        return total + 6 * 4 * height * width * channels

    @torch.inference_mode()
    def enlarge(self, plane: np.ndarray, rows: int, poll: Callable[[], None]) -> np.ndarray:
        """(c, h, w) float32 in the network's range to (c, h * scale, w * scale); ``poll`` may raise to stop it."""
        image = self._tensor(plane).contiguous(memory_format=torch.channels_last)
        try:
            # TensorFloat-32 would round to 10 bits where float32 was promised.
            with torch.backends.cudnn.flags(allow_tf32=False), self._autocast():
                enlarged = tiling.run(self.net, image, rows, poll)[0].float().cpu().numpy()
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            size = f"{plane.shape[2]} x {plane.shape[1]}"
            raise ResourceError(
                f"The memory of {self.device} does not suffice for slices of {size} voxels; upscale a region of the "
                "image, or use another device."
            ) from error
        if self.precision == "float16" and not np.isfinite(enlarged).all():
            raise UsageError("The range of float16 does not suffice for this model; choose bfloat16 or float32.")
        return enlarged

    @torch.inference_mode()
    def bicubic(self, plane: np.ndarray) -> np.ndarray:
        """Bicubic enlargement, shapes as ``enlarge``."""
        return bicubic_upsample(self._tensor(plane), self.scale)[0].cpu().numpy()

    @torch.inference_mode()
    def shrink(self, plane: np.ndarray) -> np.ndarray:
        """Antialiased bicubic reduction of (c, h * scale, w * scale) to (c, h, w), in the plane's type."""
        return bicubic_downsample(self._tensor(plane), self.scale)[0].cpu().numpy()

    @torch.inference_mode()
    def consistent(self, plane: np.ndarray, low: np.ndarray) -> np.ndarray:
        """Correct an enlargement (c, h * scale, w * scale) so that shrinking it gives ``low`` (c, h, w)."""
        return make_consistent(self._tensor(plane), self._tensor(low))[0].cpu().numpy()

    def _autocast(self):
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, getattr(torch, self.precision))

    def _tensor(self, plane: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(plane))[None].to(self.device)


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
    card.verify()
    net = create(card.architecture, **card.config)
    try:
        state = {name: tensor.float() for name, tensor in load_file(card.weights).items()}
        net.load_state_dict(state)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ModelError(
            f"The weights of {card.id} do not fit the network that its card describes; install the model again."
        ) from error
    return TorchModel(net, card.scale, place, precision)


def _keep_float32(layer: nn.Module) -> None:
    """Let a layer compute in float32 where autocast is on."""
    forward = layer.forward

    def in_float32(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return forward(x.float())

    layer.forward = in_float32


def _out_of_memory(error: RuntimeError) -> bool:
    # On a CPU torch raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
