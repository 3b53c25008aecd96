"""A model between two of one family: weights in between a PSNR-oriented and an adversarial generator's."""

from __future__ import annotations

from pathlib import Path

import torch

from SuperResolutionLib.backends.torch_weights import load_weights
from SuperResolutionLib.catalog import ModelCard, split_id, user_folder
from SuperResolutionLib.errors import ModelError, UsageError
from SuperResolutionLib.networks import create

from .export import precision_of, smallest_weights, write_model


def interpolate(
    psnr: ModelCard, gan: ModelCard, factor: float, folder: Path | None = None, name: str | None = None
) -> Path:
    """Write the model whose weights are (1 - factor) of the one's and factor of the other's.

    Both have to come from one network, the adversarial one trained on from the other: elsewhere the weights in between
    mean nothing.

    Args:
        psnr, gan: cards of models with the same architecture, configuration and intensity mapping.
        factor: 0 is the first model, 1 the second.
        folder: where models are kept; the user's own folder if None.
        name: the new model's id; if None, that of gan with ``mix<percent>`` before the scale.

    Returns:
        The new model's folder. Its weights are in fp16 where ``export.smallest_weights`` would store them so.

    Raises:
        UsageError: for a factor outside 0 to 1. ModelError: for models that do not fit together or are damaged, and for
            a name that is no model id, or that of another scale.
    """
    if name and split_id(name)[1] != gan.scale:
        raise ModelError(f"{name} says another scale than {gan.id}; give it an id with x{gan.scale}.")
    if not 0 <= factor <= 1:
        raise UsageError(f"The factor lies between 0 and 1, not at {factor:g}.")
    if name in (psnr.id, gan.id):
        raise UsageError(f"{name} is one of the two models; give the mixture an id of its own.")
    for what in ("architecture", "config", "intensity"):
        one, other = getattr(psnr, what), getattr(gan, what)
        if one != other:
            raise ModelError(f"{psnr.id} and {gan.id} differ in {what}; only models of one network can be mixed.")
    psnr.verify()
    gan.verify()
    first, second = load_weights(psnr.weights), load_weights(gan.weights)
    if set(first) != set(second):
        raise ModelError(f"{psnr.id} and {gan.id} do not hold the same layers; export both again.")
    mixed = {key: torch.lerp(first[key], second[key], factor) for key in first}
    network = create(gan.architecture, **gan.config).eval()
    network.load_state_dict(mixed)
    mixed, difference = smallest_weights(gan.architecture, gan.config, mixed, network)
    words = f"A mixture: {percent(factor)}% of the way from {psnr.id} to the weights of its adversarial training."
    changes = {
        "id": name or mixed_id(gan.id, factor),
        "title": gan.title if name else f"{gan.title}, {percent(factor)}% adversarial",
        "description": f"{gan.description} {words}",
        "measured": [],
        "mixed": {"models": [psnr.id, gan.id], "sha256": [psnr.sha256, gan.sha256], "factor": factor},
        "precision": precision_of(mixed),
        "parity": float(f"{difference:.2g}"),
    }
    return write_model(folder or user_folder(), gan.card | changes, mixed, network)


def mixed_id(model_id: str, factor: float) -> str:
    """``edsr-ise-fundus-x4-gan`` at 0.25 is ``edsr-ise-fundus-mix25-x4-gan``; at 0.124 ``mix12p4``."""
    scale = split_id(model_id)[1]
    stem, _, kind = model_id.rpartition(f"-x{scale}-")
    return f"{stem}-mix{percent(factor).replace('.', 'p')}-x{scale}-{kind}"


def percent(factor: float) -> str:
    """A factor in percent with all its digits up to the ninth, so that two factors share no name."""
    return f"{100 * factor:.7f}".rstrip("0").rstrip(".")


def add_parser(commands) -> None:
    """The sub-command ``interpolate``."""
    parser = commands.add_parser("interpolate", help="write a model between a PSNR and a GAN generator of one family")
    parser.add_argument("psnr", help="id, or path of a model folder")
    parser.add_argument("gan", help="id, or path of a model folder, trained on from the first")
    parser.add_argument("factor", type=float, help="0 is the first, 1 the second")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="into this folder of models")
    parser.add_argument("--id", metavar="ID", help="id of the new model, instead of the second's with mix<percent>")
    parser.set_defaults(run=_run)


def _run(options) -> None:
    from .candidates import find_card

    print(interpolate(find_card(options.psnr), find_card(options.gan), options.factor, options.to, options.id))
