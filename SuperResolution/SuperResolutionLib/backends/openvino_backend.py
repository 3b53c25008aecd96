"""OpenVINO under the parts of a network, on a CPU.

The convolutions of trunks compute in the precision that is asked for, what is between them and the tails in float32: a
network is converted for each precision, and OpenVINO computes in the types that it is given.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ..catalog import ModelCard
from ..errors import BackendError
from .conversions import backend_errors, converted, package_version, parts, plain_part
from .threads import physical_cores

#: Milliseconds between two polls, and how many compiled shapes are kept for each stage of a network: its trunk, and the
#: first, a middle and the last strips of its tail, for slices of two sizes.
POLL_MILLISECONDS, KEPT_SHAPES = 20, 8


class OpenVinoExecutor:
    """Executes the parts of one network; see ``tiling.Execute``.

    Args:
        card: of the network, by which it is converted. net: the network whose parts will be given.
        precision: of the trunks.

    Raises:
        BackendError: if OpenVINO is not installed or does not work, or this processor does not compute in that
            precision.
    """

    def __init__(self, card: ModelCard, net, precision: str):
        package_version("openvino")
        self._card, self._precision, self._parts = card, precision, parts(net)
        with self._errors():
            self._core = _core()
            capabilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        wanted = {"bfloat16": "BF16", "float16": "FP16"}.get(precision)
        if wanted is not None and wanted not in capabilities:
            raise BackendError(f"OpenVINO does not compute in {precision} on this processor.")
        self._kept = KEPT_SHAPES * len(net.stages)
        self._requests: dict[tuple, object] = {}  # those that were used last at the end

    def _errors(self):
        return backend_errors(f"OpenVINO cannot execute {self._card.id}")

    def __call__(self, module, x, poll):
        import torch

        if isinstance(module, torch.nn.Identity):
            return x
        part, shape = self._parts[id(module)], tuple(x.shape)
        request = self._request(part, shape)
        channels_last = np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())  # as maps lie in memory already
        try:
            with self._errors():
                request.start_async({0: channels_last}, share_inputs=True)
            while not self._is_done(request):
                poll(0)
        except BaseException:
            del self._requests[part, shape]  # one that was cancelled fails from then on
            request.cancel()
            raise
        poll(len(_layers(module)))
        made = torch.from_numpy(request.get_output_tensor(0).data).permute(0, 3, 1, 2)
        return made if part.startswith("trunk") else made.clone()  # the next strip overwrites the request's memory

    def _is_done(self, request) -> bool:
        with self._errors():
            return request.wait_for(POLL_MILLISECONDS)

    def _request(self, part: str, shape: tuple[int, ...]):
        request = self._requests.pop((part, shape), None)
        if request is None:
            while len(self._requests) >= self._kept:
                del self._requests[next(iter(self._requests))]
            with self._errors():
                request = self._compiled(part, shape).create_infer_request()
        self._requests[part, shape] = request
        return request

    def _compiled(self, part: str, shape: tuple[int, ...]):
        import openvino

        model = self._model(part)
        model.reshape({0: list(shape)})
        prepared = openvino.preprocess.PrePostProcessor(model)
        for end in (prepared.input(), prepared.output()):
            end.model().set_layout(openvino.Layout("NCHW"))
            end.tensor().set_layout(openvino.Layout("NHWC"))
        options = {
            "INFERENCE_PRECISION_HINT": "f32",  # of what has no shorter type of its own
            "INFERENCE_NUM_THREADS": physical_cores(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        return self._core.compile_model(prepared.build(), "CPU", options)

    def _model(self, part: str):
        precision = "float32" if part.startswith("tail") else self._precision
        return converted(
            self._card,
            f"{part}-{precision}",
            ".xml",
            ("openvino",),
            lambda path: _convert(self._card, part, precision, path),
            self._core.read_model,
        )


@cache
def _core():
    """The one core of this process, never released: its processor plugin gives the thread that loads it a stack for
    signals, and when a first plugin goes before a second that stack is gone, and the next signal ends the process."""
    import openvino

    return openvino.Core()


def _convert(card: ModelCard, part: str, precision: str, path) -> None:
    import openvino
    import torch

    from .torch_lean import shorten

    # OpenVINO 2026.4 makes NaN of sums of which some come from shorter types.
    module = plain_part(card, part, added_up=precision == "float32")
    layers = _layers(module)
    channels = layers[0].in_channels
    if precision != "float32":
        trunk = module[0] if part.startswith("stage") else module
        shorten(trunk, getattr(torch, precision), stays=layers[0])
    with torch.inference_mode(False), torch.no_grad():
        model = openvino.convert_model(
            module,
            example_input=torch.zeros(1, channels, 32, 32),
            input=[openvino.PartialShape([-1, channels, -1, -1])],
        )
    openvino.save_model(model, path, compress_to_fp16=False)


def _layers(module) -> list:
    from torch import nn

    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
