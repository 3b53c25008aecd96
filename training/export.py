"""A trained checkpoint to a model folder: averaged weights in the form for inference, checked against it."""

from __future__ import annotations

import json
import os
import pickle
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from SuperResolutionLib.backends.torch_weights import is_rounded, stored_kernel
from SuperResolutionLib.catalog import BUNDLED, CARD, WEIGHTS, file_sha256, load_card, split_id, user_folder
from SuperResolutionLib.errors import DataError, ModelError, UsageError
from SuperResolutionLib.networks import create, span
from SuperResolutionLib.networks.blocks import fold_batch_norm

from .about import training_entry
from .dataset import describe_augmentations
from .reached import as_trained, find_checkpoint, progress
from .rounding import round_weights

#: Largest difference from the checkpoint's network, as a share of the range: of weights in fp16, and in fp32.
HALF_PARITY, PARITY = 2.5e-4, 1e-4

#: The same model for programs that do not run ours, see ``convert``.
TORCHSCRIPT, ONNX = "model.pt", "model.onnx"

#: Architectures with batch normalisation.
NORMALIZED = ("srgan", "srgan_cbam", "swift_srgan", "pgan")


def export(config, checkpoint: Path, folder: Path | None = None, trust_config: bool = False) -> Path:
    """Write ``<folder>/<id>/card.json`` and ``weights.safetensors`` from the averaged weights of a run.

    The id is the configuration's, and of a checkpoint from before the last phase that of ``reached.phase_id``.

    Args:
        config: what was trained; ``config.card`` describes it.
        checkpoint: ``checkpoint.pt`` of the run, or the one with which a phase ended.
        folder: where models are kept; the user's own folder if None.
        trust_config: believe ``config`` where the checkpoint does not say which network it holds.

    Returns:
        The model's folder. An earlier model of the same id is replaced, and with it what was measured of it and what
        it was converted to; it stays as it is if the new one turns out not to work.

    Raises:
        ModelError: if id and network do not agree, or the exported network does not do what the trained one did.
        UsageError: if the configuration has no card. DataError: if the checkpoint cannot be read.
    """
    scale = split_id(config.id)[1]
    if config.scale != scale:
        raise ModelError(f"{config.id} says x{scale} and its network x{config.scale}; make them agree.")
    if not config.card:
        raise UsageError(f"The configuration of {config.id} has no card, which describes the model; add one.")
    state = read_weights(checkpoint)
    config = as_trained(config, state, trust_config)
    trained = create(config.architecture, **config.arguments)
    try:
        trained.load_state_dict(state["average"])
    except RuntimeError as error:
        raise ModelError(f"{checkpoint} does not hold the network that {config.id} describes.") from error
    if config.weight_bits <= 8:
        round_weights(trained, config.weight_bits)
    weights, network = inference_form(config.architecture, config.arguments, trained.eval())
    parameters = sum(tensor.numel() for tensor in weights.values())
    weights, difference = smallest_weights(config.architecture, network, weights, trained, config.weight_bits)
    card = {
        "id": config.id,
        "title": config.card["title"],
        "description": config.card["description"],
        "architecture": config.architecture,
        "config": network,
        "domain": config.card["domain"],
        "intensity": config.card["intensity"],
        "spacing_mm": config.card["spacing_mm"],
        "augmentations": describe_augmentations(config.data.augment, config.data.drawings),
        **training_entry(config, state, checkpoint.parent),
        "parameters": parameters,
        "precision": precision_of(weights),
        "parity": float(f"{difference:.2g}"),
        "measured": [],
        **({"baseline": True} if config.card.get("baseline") else {}),
        "license": config.card["license"],
    }
    return write_model(folder or user_folder(), card, weights, trained)


def read_weights(checkpoint: Path) -> dict:
    """A checkpoint of this version or an earlier one; ``average`` are the weights, ``step`` how many steps they took.

    Raises:
        DataError: if it is not there, cannot be read, or is something else.
    """
    try:
        state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    except FileNotFoundError as error:
        raise DataError(f"There is no checkpoint {checkpoint}; train first, or name the folder of the run.") from error
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(f"The checkpoint {checkpoint} is damaged; train again, or name another run.") from error
    if not isinstance(state, dict) or not {"average", "step"} <= set(state):
        raise DataError(f"{checkpoint} is not a checkpoint of this training; name the folder of a run.")
    return state


def inference_form(architecture: str, network: dict, trained: torch.nn.Module) -> tuple[dict, dict]:
    """Weights and configuration for inference: SPAN's factors multiplied out, batch normalisation folded in."""
    if network.get("fused"):
        return dict(trained.state_dict()), dict(network)
    if architecture == "span":
        return span.fuse(trained.state_dict()), {**network, "fused": True}
    if architecture in NORMALIZED:
        return fold_batch_norm(trained), {**network, "fused": True}
    return dict(trained.state_dict()), dict(network)


def smallest_weights(architecture: str, network: dict, weights: dict, trained, bits: int = 16) -> tuple[dict, float]:
    """The weights in fp16, where the result stays within ``HALF_PARITY`` of the trained network's.

    Where it does not, tensors stay in fp32, the one first whose rounding alone changes the result most, until it does.

    Args:
        bits: 8 or 6 for kernels that are whole numbers times a step each channel, and are stored so.

    Returns:
        The weights as they are stored, and the largest difference from the trained network on ``probe_images``.

    Raises:
        ModelError: if not even fp32 does what the trained network did.
    """

    def rounded(names) -> dict:
        return {
            name: tensor.detach().to(torch.float16 if name in names else torch.float32).contiguous()
            for name, tensor in weights.items()
        }

    def difference(names) -> float:
        net = create(architecture, **network).eval()
        net.load_state_dict({name: tensor.float() for name, tensor in rounded(names).items()})
        return largest_difference(net, trained)

    halves = dict.fromkeys(name for name, tensor in weights.items() if bits == 16 or not is_rounded(tensor))
    found = difference(halves)
    if found >= HALF_PARITY:
        effects = {name: difference([name]) for name in halves}
        for name in sorted(effects, key=effects.get, reverse=True):
            del halves[name]
            found = difference(halves)
            if found < (HALF_PARITY if halves else PARITY):
                break
        else:
            raise ModelError(
                f"The network for inference differs from the trained one by {found:.1e} of the range; it was not "
                "exported."
            )
    stored = rounded(halves)
    for name in [name for name, tensor in weights.items() if bits <= 8 and is_rounded(tensor)]:
        stored |= stored_kernel(name, weights[name], bits)
    return stored, found


def precision_of(weights: dict) -> str:
    """The type that weights are stored in: int8 or int6 if kernels are, "mixed" for several other ones."""
    kinds = {str(tensor.dtype).removeprefix("torch.") for tensor in weights.values()}
    for kind, name in (("int8", "int8"), ("uint8", "int6")):
        if kind in kinds:
            return name
    return kinds.pop() if len(kinds) == 1 else "mixed"


def probe_images(channels: int) -> list[torch.Tensor]:
    """White noise around grey, and a smooth pattern with edges, of odd sizes, the same every time.

    The noise has a standard deviation of a tenth of the range: more than any image that a model is meant for.
    """
    noise = 0.5 + 0.1 * torch.randn(1, channels, 37, 48, generator=torch.Generator().manual_seed(0))
    y, x = torch.meshgrid(torch.arange(51.0), torch.arange(44.0), indexing="ij")
    pattern = 0.5 + 0.3 * torch.sin(x / 5) * torch.cos(y / 7) + 0.2 * ((x + 2 * y) % 23 > 11)
    return [noise, pattern.clamp(0, 1).expand(1, channels, -1, -1).contiguous()]


@torch.inference_mode()
def largest_difference(one, other) -> float:
    """Between two networks, or anything that is called like one, on ``probe_images``; NaN counts as infinite."""
    channels = next(net.channels for net in (one, other) if hasattr(net, "channels"))
    differences = [(one(image) - other(image)).abs().max() for image in probe_images(channels)]
    return float(torch.stack(differences).nan_to_num(float("inf")).max())


def write_model(folder: Path, card: dict, weights: dict, trained) -> Path:
    """Write the model ``<folder>/<id>``; an earlier one, with what it was converted to, is replaced when the engine has
    shown that it makes the trained network of the new one.

    Args:
        card: its ``sha256`` is filled in.
        trained: the network that the weights have to equal.

    Raises:
        ModelError: as ``check_folder``.
    """
    target = folder / card["id"]
    folder.mkdir(parents=True, exist_ok=True)
    # One level deeper than models lie, so that no catalog finds it there.
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as beside:
        place = Path(beside) / card["id"]
        place.mkdir()
        save_file(weights, place / WEIGHTS)
        os.chmod(place / WEIGHTS, 0o644)  # safetensors lets nobody but the owner read
        write_card(place, card | {"sha256": file_sha256(place / WEIGHTS)})
        check_folder(place, trained)
        target.mkdir(exist_ok=True)
        for name in (TORCHSCRIPT, ONNX):
            (target / name).unlink(missing_ok=True)
        for name in (WEIGHTS, CARD):
            os.replace(place / name, target / name)
    return target


def check_folder(folder: Path, trained) -> float:
    """The difference between what the engine makes of a model folder and the trained network.

    Raises:
        ModelError: if it exceeds ``HALF_PARITY``, or the folder cannot be loaded.
    """
    from SuperResolutionLib.backends.torch_backend import load

    net = load(load_card(folder), "cpu").net
    difference = largest_difference(net, trained)
    if difference >= HALF_PARITY:
        raise ModelError(
            f"{folder.name} differs from the trained network by {difference:.1e} of the range; it was not exported."
        )
    return difference


def write_card(folder: Path, card: dict) -> None:
    """Replace a model folder's card at once."""
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    replace_file(folder / CARD, lambda path: Path(path).write_text(text, encoding="utf-8"))


def replace_file(path: Path, write) -> None:
    """``write`` to a temporary name, then rename; nothing half-written is left."""
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    os.close(handle)
    try:
        write(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def add_parser(commands) -> None:
    """The sub-command ``export``."""
    parser = commands.add_parser("export", help="write a trained run as a model folder")
    parser.add_argument("config", type=Path, help="YAML configuration of the run")
    parser.add_argument("run_folder", type=Path, metavar="run", help="folder of the run")
    parser.add_argument("--phase", metavar="N", help="what this phase, by number or name, ended with, as its own model")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--bundle", action="store_true", help="into the package instead of the user's folder")
    where.add_argument("--to", type=Path, metavar="FOLDER", help="into this folder of models")
    parser.add_argument("--torchscript", action="store_true", help="also as model.pt, checked against the model")
    parser.add_argument("--onnx", action="store_true", help="also as model.onnx, checked against the model")
    trust = "believe the configuration about the network of a checkpoint that does not name its own"
    parser.add_argument("--trust-config", action="store_true", help=trust)
    parser.set_defaults(run=_run)


def _run(options) -> None:
    from .config import load_config
    from .convert import to_onnx, to_torchscript

    folder = BUNDLED if options.bundle else options.to
    config = load_config(options.config)
    checkpoint = find_checkpoint(options.run_folder, config, options.phase)
    target = export(config, checkpoint, folder, options.trust_config)
    card = load_card(target)
    step, steps = progress(config, read_weights(checkpoint))
    if step < steps:
        print(f"The run is not finished: step {step} of {steps}")
    print(f"{target}: {card.card['parameters']} parameters, {card.card['precision']}, parity {card.card['parity']:.1e}")
    for wanted, convert in ((options.torchscript, to_torchscript), (options.onnx, to_onnx)):
        if wanted:
            written, difference = convert(card)
            print(f"{written}: differs from the model by {difference:.1e} of the range")
