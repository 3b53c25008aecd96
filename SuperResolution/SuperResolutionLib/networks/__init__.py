"""Generator architectures, one a file. ``create(name, **config)`` builds any of them."""

from __future__ import annotations

from importlib import import_module

from ..errors import ModelError

ARCHITECTURES = (
    "srcnn",
    "vdsr",
    "edsr",
    "edsr_ise",
    "srgan",
    "swift_srgan",
    "srgan_cbam",
    "rrdb",
    "pgan",
    "span",
)


def create(name: str, **config):
    """Build a generator (``torch.nn.Module``) with random weights.

    Args:
        name: one of ``ARCHITECTURES``.
        config: the architecture's own arguments, e.g. ``scale``, ``channels``, ``features``.

    Raises:
        ModelError: for an unknown architecture or arguments that it does not take.
    """
    if name not in ARCHITECTURES:
        raise ModelError(f"Unknown architecture '{name}'; known are {', '.join(sorted(ARCHITECTURES))}.")
    module = import_module(f".{name}", __name__)
    try:
        return getattr(module, name)(**config)
    except (TypeError, ValueError) as error:
        raise ModelError(f"The configuration does not fit the architecture '{name}': {error}.") from error
