"""How a network is executed.

``torch_backend.load(card, device)`` gives a model that runs in PyTorch. ``TorchModel.use`` puts another library under
its trunks and tails (``openvino_backend``, ``onnx_backend``, ``torch_compiled``), and ``choice.choose`` finds the
quickest that agrees with PyTorch in float32 on the very volume.
"""

#: Every way to execute, in the order in which they are tried; "auto" stands for the one that ``choice`` finds.
BACKENDS = ("torch", "openvino", "onnxruntime", "compile")
