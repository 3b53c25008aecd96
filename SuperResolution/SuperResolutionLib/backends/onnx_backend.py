"""ONNX Runtime under the parts of a network, on a CPU, in float32."""

from __future__ import annotations

import logging
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager

import numpy as np

from ..catalog import ModelCard
from ..errors import BackendError
from .conversions import backend_errors, converted, package_version, parts, plain_part
from .threads import physical_cores

# Read when onnxruntime is imported, which else keeps a file of its sessions in the temporary folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

#: Seconds between two polls.
POLL_SECONDS = 0.02

OPSET = 18


class OnnxExecutor:
    """Executes the parts of one network; see ``tiling.Execute``.

    Args:
        card: of the network, by which it is converted. net: the network whose parts will be given.
        precision: "float32".

    Raises:
        BackendError: if ONNX Runtime is not installed or does not work, or another precision is asked for.
    """

    def __init__(self, card: ModelCard, net, precision: str):
        package_version("onnxruntime")
        if precision != "float32":
            raise BackendError(f"ONNX Runtime computes in float32 here, not in {precision}.")
        self._card, self._parts = card, parts(net)
        with self._errors():
            import onnxruntime
        self._library = onnxruntime
        self._sessions: dict[str, object] = {}
        self._thread = ThreadPoolExecutor(1)

    def _errors(self):
        return backend_errors(f"ONNX Runtime cannot execute {self._card.id}")

    def __call__(self, module, x, poll):
        import torch

        if isinstance(module, torch.nn.Identity):
            return x
        with self._errors():
            session, options = self._session(self._parts[id(module)]), self._library.RunOptions()
        feed = {"map": np.ascontiguousarray(x.numpy())}
        running = self._thread.submit(session.run, None, feed, options)
        try:
            while not wait_for([running], POLL_SECONDS).done:
                poll(0)
        except BaseException:
            options.terminate = True
            wait_for([running])
            raise
        with self._errors():
            made = torch.from_numpy(running.result()[0])
        poll(sum(isinstance(layer, torch.nn.Conv2d) for layer in module.modules()))
        return made

    def _session(self, part: str):
        if part not in self._sessions:
            options = self._library.SessionOptions()
            options.log_severity_level, options.intra_op_num_threads = 3, physical_cores()
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            self._sessions[part] = converted(
                self._card,
                part,
                ".onnx",
                ("onnxruntime", "onnx", "onnxscript"),
                lambda to: _convert(self._card, part, to),
                lambda path: self._library.InferenceSession(path, options, providers=["CPUExecutionProvider"]),
            )
        return self._sessions[part]


def _convert(card: ModelCard, part: str, path) -> None:
    import torch

    module = plain_part(card, part)
    channels = next(layer.in_channels for layer in module.modules() if isinstance(layer, torch.nn.Conv2d))
    free = {0: torch.export.Dim("images"), 2: torch.export.Dim("height", min=4), 3: torch.export.Dim("width", min=4)}
    with torch.inference_mode(False), torch.no_grad(), quiet_exporter():
        program = torch.onnx.export(
            module,
            (torch.zeros(2, channels, 32, 24),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["map"],
            output_names=["made"],
            dynamic_shapes=(free,),
            verbose=False,
        )
    path.write_bytes(program.model_proto.SerializeToString())


@contextmanager
def quiet_exporter():
    """The exporters warn of packages that are not needed, and of what a check afterwards finds out."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
