"""A model folder as TorchScript or ONNX, for programs that do not run ours; each checked against the model."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import torch
from torch import nn

from SuperResolutionLib.backends.onnx_backend import quiet_exporter
from SuperResolutionLib.catalog import ModelCard
from SuperResolutionLib.errors import ModelError, UsageError
from SuperResolutionLib.networks import blocks

from .export import ONNX, TORCHSCRIPT, probe_images, replace_file

#: Largest difference from the model, as a share of the range.
PARITY = 1e-4

#: First version of ONNX with everything that the networks use.
OPSET = 18


class BicubicByConvolution(nn.Module):
    """The engine's bicubic enlargement by a whole factor out of convolutions, which every runtime has.

    Every output pixel is a sum over 5 x 5 inputs with weights that depend on its place in the input pixel; at the
    border the weights that fall outside are left out and the rest is divided by its sum.
    """

    def __init__(self, scale: int):
        super().__init__()
        self.shuffle = nn.PixelShuffle(scale)
        offsets = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
        taps = keys(torch.arange(-2, 3, dtype=torch.float64)[None] - offsets[:, None])
        kernel = torch.einsum("ay,bx->abyx", taps, taps).reshape(scale**2, 1, 5, 5)
        self.register_buffer("kernel", kernel.float())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        n, c, h, w = image.shape
        planes = image.reshape(n * c, 1, h, w)
        ones = torch.ones_like(planes)
        total, weights = (nn.functional.conv2d(x, self.kernel, padding=2) for x in (planes, ones))
        enlarged = self.shuffle(total) / self.shuffle(weights)
        return enlarged.reshape(n, c, enlarged.shape[-2], enlarged.shape[-1])


def keys(distance: torch.Tensor) -> torch.Tensor:
    """Keys' cubic kernel with a = -0.5."""
    x = distance.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def to_torchscript(card: ModelCard) -> tuple[Path, float]:
    """Write ``model.pt`` beside the weights; returns its path and the largest difference from the model.

    Raises:
        ModelError: if it does not do what the model does.
    """
    net, path = _network(card), card.weights.parent / TORCHSCRIPT
    with quiet_exporter(), _plain_bicubic(card.scale):
        traced = torch.jit.trace(net, probe_images(card.channels)[0], check_trace=False)

    return path, _write_checked(path, card, net, traced.save, _script)


def to_onnx(card: ModelCard) -> tuple[Path, float]:
    """Write ``model.onnx`` beside the weights, with free height and width; as ``to_torchscript``.

    Raises:
        UsageError: if onnx, onnxscript or onnxruntime is missing. ModelError: if it does not do what the model does.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError("ONNX needs onnx, onnxscript and onnxruntime; install them with pip.") from error
    net, path = _network(card), card.weights.parent / ONNX
    free = {2: torch.export.Dim("height", min=4), 3: torch.export.Dim("width", min=4)}

    def write(temporary: str) -> None:
        with quiet_exporter(), _plain_bicubic(card.scale):
            program = torch.onnx.export(
                net,
                (probe_images(card.channels)[0],),
                dynamo=True,
                opset_version=OPSET,
                input_names=["image"],
                output_names=["enlarged"],
                dynamic_shapes=(free,),
                verbose=False,
            )
        Path(temporary).write_bytes(program.model_proto.SerializeToString())

    return path, _write_checked(path, card, net, write, lambda name: _session(onnxruntime, name))


def _write_checked(path: Path, card: ModelCard, net: nn.Module, write, read) -> float:
    """Write a file under its name if what ``read`` makes of it does what the network does; the difference."""
    found = []

    def write_and_check(temporary: str) -> None:
        write(temporary)
        found.append(_check(card, net, read(temporary)))

    replace_file(path, write_and_check)
    return found[0]


def _network(card: ModelCard) -> nn.Module:
    from SuperResolutionLib.backends.torch_backend import load

    return load(card, "cpu").net.to(memory_format=torch.contiguous_format)


def _plain_bicubic(scale: int):
    """Let networks enlarge by convolutions while they are recorded."""
    layers = {factor: BicubicByConvolution(factor) for factor in (2, 3, 4, 8, 16, scale)}
    return mock.patch.object(blocks, "bicubic_upsample", lambda image, factor: layers[factor](image))


def _script(path: str):
    with quiet_exporter():
        return torch.jit.load(path)


def _session(onnxruntime, path: str):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(None, {"image": image.numpy()})[0])


@torch.inference_mode()
def _check(card: ModelCard, net, converted) -> float:
    """The largest difference on images of two sizes, neither of them known to the converter alone."""
    difference = max(float((net(image) - converted(image)).abs().max()) for image in probe_images(card.channels))
    if not difference < PARITY:
        raise ModelError(f"The converted {card.id} differs from the model by {difference:.1e} of the range.")
    return difference
