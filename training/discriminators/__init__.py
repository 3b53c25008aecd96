"""Discriminators, one architecture a file. ``create_discriminator(name, channels, **config)`` builds any of them."""

from __future__ import annotations

from importlib import import_module

from SuperResolutionLib.errors import ModelError

DISCRIMINATORS = ("srgan", "swift", "ise_fusion", "esrgan", "pgan", "unet_sn")


def create_discriminator(name: str, channels: int, **config):
    """Build a discriminator (``torch.nn.Module``) with random weights, which answers with raw logits.

    ``d(x)`` takes (n, channels, h, w) and returns (n, 1), for ``unet_sn`` (n, 1, h, w). ``d.features(x)`` returns the
    maps on the way, and ``d.judge(maps)`` the logits that belong to them, so that ``d(x)`` is
    ``d.judge(d.features(x))``. ``pgan`` does the same with lists: one image, one list of maps, one logit a stage.

    Args:
        name: one of ``DISCRIMINATORS``.
        channels: of the images, 1 or 3.
        config: the architecture's own arguments, e.g. ``features``, ``pooling``, ``image_size``, ``stages``.

    Raises:
        ModelError: for an unknown architecture or arguments that it does not take.
    """
    if name not in DISCRIMINATORS:
        raise ModelError(f"Unknown discriminator '{name}'; known are {', '.join(sorted(DISCRIMINATORS))}.")
    low = [key for key, value in config.items() if isinstance(value, int | float) and value <= 0 and value is not False]
    if low:
        raise ModelError(f"{low[0]} of the discriminator '{name}' should be above 0, not {config[low[0]]}.")
    module = import_module(f".{name}", __name__)
    try:
        return getattr(module, name)(channels, **config)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise ModelError(f"The configuration does not fit the discriminator '{name}': {error}.") from error
