"""How others run the same network: the ways that ``superres bench --peers`` measures beside ours.

Each is a function of a card and a request that returns a function from a plane (c, h, w) to (c, h * scale, w * scale).
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .backends.threads import physical_cores
from .backends.torch_backend import build
from .cli_bench import TF32
from .networks.layout import reach
from .resampling import bicubic_upsample


def _eager(card, request: dict, channels_last: bool):
    net = build(card).to(request["device"])
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = net.to(memory_format=layout)
    short = request["precision"] not in ("float32", TF32)

    @torch.inference_mode()
    def enlarge(plane: np.ndarray) -> np.ndarray:
        image = torch.from_numpy(plane)[None].to(request["device"]).contiguous(memory_format=layout)
        with torch.autocast(image.device.type, getattr(torch, request["precision"]) if short else None, enabled=short):
            return net(image)[0].float().cpu().numpy()

    return enlarge


def _tiles(card, request: dict):
    """Tiles with the exact halo around them, without the halo where the true border is."""
    net = build(card).to(request["device"], memory_format=torch.channels_last)
    side, halo, scale = request["tile"], reach(net), card.scale

    @torch.inference_mode()
    def enlarge(plane: np.ndarray) -> np.ndarray:
        image = torch.from_numpy(plane)[None].to(request["device"])
        height, width = plane.shape[1:]
        made = np.empty((plane.shape[0], height * scale, width * scale), np.float32)
        for y in range(0, height, side):
            for x in range(0, width, side):
                top, left = max(0, y - halo), max(0, x - halo)
                bottom, right = min(height, y + side + halo), min(width, x + side + halo)
                tile = net(image[..., top:bottom, left:right].contiguous(memory_format=torch.channels_last))[0]
                y1, x1 = min(height, y + side), min(width, x + side)
                part = tile[:, (y - top) * scale : (y1 - top) * scale, (x - left) * scale : (x1 - left) * scale]
                made[:, y * scale : y1 * scale, x * scale : x1 * scale] = part.cpu().numpy()
        return made

    return enlarge


def _monai(card, request: dict):
    from monai.inferers import sliding_window_inference

    net = build(card).to(request["device"], memory_format=torch.channels_last)

    @torch.inference_mode()
    def enlarge(plane: np.ndarray) -> np.ndarray:
        image = torch.from_numpy(plane)[None].to(request["device"])
        made = sliding_window_inference(image, (request["tile"],) * 2, 1, net, overlap=0.125)
        return made[0].cpu().numpy()

    return enlarge


class _Plain(nn.Module):
    """A network of one stage without its bicubic skip, whose antialiased kernel the converters do not know."""

    def __init__(self, net):
        super().__init__()
        if len(net.stages) > 1:
            raise ValueError("this network has several stages with a skip each")
        self.trunk, self.tail = net.stages[0].trunk, net.stages[0].tail

    def forward(self, x):
        return self.tail(self.trunk(x))


def _with_skip(net, detail: np.ndarray, plane: np.ndarray) -> np.ndarray:
    if not net.stages[0].bicubic_skip:
        return detail
    return detail + bicubic_upsample(torch.from_numpy(plane)[None], net.scale)[0].numpy()


def _openvino(card, request: dict):
    import openvino

    net = build(card)
    i, j, _ = request["size"]
    with torch.no_grad():
        model = openvino.convert_model(
            _Plain(net),
            example_input=torch.zeros(1, card.channels, 32, 32),
            input=[openvino.PartialShape([1, card.channels, j, i])],
        )
    hint = {"float32": "f32", "bfloat16": "bf16"}[request["precision"]]
    options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": physical_cores()}
    infer = openvino.Core().compile_model(model, "CPU", options).create_infer_request()

    def enlarge(plane: np.ndarray) -> np.ndarray:
        return _with_skip(net, infer.infer({0: plane[None]})[0][0], plane)

    return enlarge


def _onnxruntime(card, request: dict):
    import onnxruntime

    net = build(card)
    i, j, _ = request["size"]
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "net.onnx"
        torch.onnx.export(_Plain(net), (torch.zeros(1, card.channels, j, i),), path, dynamo=True, verbose=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = physical_cores(), 3
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def enlarge(plane: np.ndarray) -> np.ndarray:
        return _with_skip(net, session.run(None, {name: plane[None]})[0][0], plane)

    return enlarge


PEERS = {
    "eager": partial(_eager, channels_last=False),
    "channels_last": partial(_eager, channels_last=True),
    "tiles": _tiles,
    "monai": _monai,
    "openvino alone": _openvino,
    "onnxruntime alone": _onnxruntime,
}
