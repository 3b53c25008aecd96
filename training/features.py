"""Features of images from classification networks: for the perceptual loss, and for a distance to judge by.

Weights are files that somebody else trained, never part of this project: torchvision's own, or Caffe-type ones. Each
kind wants its own preprocessing, so a file is recognised by its SHA-256; for an unknown file the kind has to be said.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from SuperResolutionLib.catalog import file_sha256
from SuperResolutionLib.errors import DataError, ModelError, UsageError

from .feature_networks import deepest_layer, depth_of, layer_index, network

#: File names looked for, in this order, and the start of the SHA-256 that each must have, with the kind it is.
KNOWN_FILES = {
    "vgg19": {
        "vgg19-dcbb9e9d.pth": ("dcbb9e9d", "torchvision"),
        "vgg19_features_conv1_1-conv3_4.pth": ("162b1b5ea99771b2", "caffe"),
    },
    "mobilenet_v2": {
        "mobilenet_v2-b0353104.pth": ("b0353104", "torchvision"),
        "mobilenet_v2-7ebf99e0.pth": ("7ebf99e0", "torchvision"),
    },
    "squeezenet1_1": {
        "squeezenet1_1-b8a52dc0.pth": ("b8a52dc0", "torchvision"),
        "squeezenet1_1-f364aa15.pth": ("f364aa15", "torchvision"),
        "squeezenet1_1_features_caffe.pth": ("75b7b1c7e6ec840b", "caffe"),
    },
}

#: What is subtracted and divided by, for RGB images in 0..1. Caffe's networks take B, G, R in 0..255 minus the means.
MEANS = {"torchvision": (0.485, 0.456, 0.406), "caffe": (123.68 / 255, 116.779 / 255, 103.939 / 255)}
DEVIATIONS = {"torchvision": (0.229, 0.224, 0.225), "caffe": (1 / 255,) * 3}

#: Features are multiplied by these. Caffe's inputs are some 58 times larger than torchvision's, hence its features too;
#: brought back, one weight of the loss suits both. (SRGAN, on such a network, divided by 12.75.)
FACTORS = {"torchvision": 1.0, "caffe": 1 / (255 * 0.226)}

#: The name of what ``perceptual_distance`` measures, for tables. It is not LPIPS, whose weights were fitted to people.
DISTANCE_NAME = "SqueezeNet 1.1 feature distance"

#: The activated maps that it compares: the first convolution's, and the fire modules' at their finest and after them.
DISTANCE_LAYERS = tuple(f"features.{index}" for index in (1, 4, 7, 9, 10, 11, 12))

WITHOUT_WEIGHTS = "or use the loss feature_matching, which needs none"


class Features(nn.Module):
    """A frozen network: images (n, 1 or 3, h, w), nominally 0..1, to a list of maps, one a layer, float32.

    Grey images are repeated to three channels. Gradients pass through to the image; the weights have none.

    Attributes:
        about: backbone, layers, file name, SHA-256 and preprocessing, for the model card.
    """

    def __init__(self, layers: nn.Sequential, depths: list[int], about: dict):
        super().__init__()
        self.layers = layers.requires_grad_(False)
        self.depths = depths
        self.about = about
        kind = about["preprocessing"]
        self.reverse = kind == "caffe"
        self.factor = FACTORS[kind]
        self.register_buffer("mean", torch.tensor(MEANS[kind]).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATIONS[kind]).view(1, 3, 1, 1))
        self.eval()

    def train(self, mode: bool = True):
        """Stays in evaluation mode whatever is asked for: its batch normalisation must not learn."""
        return super().train(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = (image.float().expand(-1, 3, -1, -1) - self.mean) / self.deviation
        x = x.flip(1) if self.reverse else x
        maps = {}
        for depth, layer in enumerate(self.layers, 1):
            x = layer(x)
            if depth in self.depths:
                maps[depth] = x.float() * self.factor
        return [maps[depth] for depth in self.depths]


def load_features(
    backbone: str,
    layers: tuple[str, ...] | list[str],
    weights: str | Path | None = None,
    folder: Path | None = None,
    preprocessing: str | None = None,
) -> Features:
    """Load the part of a network that the layers need.

    Args:
        backbone: vgg19, mobilenet_v2 or squeezenet1_1.
        layers: names as in ``feature_networks``.
        weights: name or path of the weight file; None for the first known file that reaches the deepest layer.
        folder: where files are looked for first; then ``weights`` in the folder that SUPERRESOLUTION_DATA names, then
            where torchvision keeps its downloads. A file here is the file.
        preprocessing: torchvision or caffe; None where the file is a known one.

    Raises:
        ModelError: if no weights are there, or they are not this network's, or not deep enough.
        UsageError: for an unknown or missing name, or a file of unknown preprocessing.
    """
    if preprocessing not in (None, *MEANS):
        raise UsageError(f"'preprocessing' is torchvision, caffe or left out, not {preprocessing!r}.")
    path, state = _find(backbone, layers, weights, folder)
    return _build(backbone, list(layers), state, path, preprocessing)


def feature_files(options: dict, layers: list[str], folder: Path | None = None) -> list[Path]:
    """The weight files that a loss with these options (``loss_terms``) would load; none where they are not at hand.

    Raises:
        UsageError: for an unknown backbone or layer.
    """
    try:
        return [_find(options["backbone"], layers, options["weights"], folder)[0]]
    except ModelError:
        return []


@torch.no_grad()
def perceptual_distance(sr: Tensor, hr: Tensor, features: Features) -> Tensor:
    """The SqueezeNet 1.1 feature distance of each pair, 0 for equal images, below 2 always; lower is more alike.

    At every point of every layer in ``DISTANCE_LAYERS`` the vector of channels is brought to length 1; the squared
    differences are summed over channels, and averaged over points and layers. No layer has a fitted weight: this is a
    measure of its own and compares only with itself, on the same weight file.

    Args:
        sr, hr: (n, c, h, w), c 1 or 3, nominally 0..1, equal shapes, 17 x 17 pixels or more.
        features: from ``distance_features``.

    Returns:
        (n,) float64.

    Raises:
        DataError: if the shapes differ.
    """
    if sr.shape != hr.shape:
        raise DataError(f"The images have the shapes {tuple(sr.shape)} and {tuple(hr.shape)}; give two alike.")
    return maps_distance(unit_maps(sr, features), unit_maps(hr, features))


@torch.no_grad()
def unit_maps(image: Tensor, features: Features) -> list[Tensor]:
    """The maps that ``perceptual_distance`` compares: every point's vector of channels brought to length 1."""
    return [nn.functional.normalize(single, dim=1) for single in features(image)]


@torch.no_grad()
def maps_distance(one: list[Tensor], other: list[Tensor]) -> Tensor:
    """``perceptual_distance`` from the ``unit_maps`` of both images."""
    total = torch.zeros(len(one[0]), dtype=torch.float64, device=one[0].device)
    for first, second in zip(one, other):
        total += (first - second).square_().sum(dim=1).mean(dim=(1, 2)).double()
    return total / len(one)


def distance_features(folder: Path | None = None) -> Features:
    """The network that ``perceptual_distance`` wants; errors as in ``load_features``."""
    features = load_features("squeezenet1_1", DISTANCE_LAYERS, folder=folder)
    features.layers.to(memory_format=torch.channels_last)  # twice as fast on a CPU
    return features


def _find(
    backbone: str, layers: list[str] | tuple[str, ...], weights: str | Path | None, folder: Path | None
) -> tuple[Path, dict[str, Tensor]]:
    """The first file that reaches the deepest layer, and what it holds."""
    if not layers:
        raise UsageError("Features need the name of one layer or more.")
    deepest = max(layers, key=lambda layer: depth_of(backbone, layer))
    depth, reach = depth_of(backbone, deepest), 0
    candidates = list(_candidates(backbone, weights, folder))
    for path in candidates:
        state = _read(path)
        reach = max((layer_index(key) + 1 for key in state), default=0)
        if reach >= depth or _needs_nothing_more(backbone, reach, depth):
            return path, state
    if candidates:
        raise ModelError(
            f"{candidates[-1].name} ends at {deepest_layer(backbone, reach)}, and the loss asks for {deepest}: name an "
            f"earlier layer, put torchvision's {next(iter(KNOWN_FILES[backbone]))} beside it, {WITHOUT_WEIGHTS}."
        )
    wanted = weights or next(iter(KNOWN_FILES[backbone]))
    looked = ", ".join(str(place) for place in _places(folder))
    raise ModelError(
        f"The weights {wanted} of {backbone} are in none of {looked}: put torchvision's file there, "
        f"name another with 'weights', {WITHOUT_WEIGHTS}."
    )


def _places(folder: Path | None) -> list[Path]:
    data = os.environ.get("SUPERRESOLUTION_DATA")
    places = [Path(folder)] if folder else []
    places += [Path(data) / "weights"] if data else []
    return [*places, Path(torch.hub.get_dir()) / "checkpoints"]


def _candidates(backbone: str, weights: str | Path | None, folder: Path | None) -> Iterator[Path]:
    """The files that exist, best first."""
    if folder and Path(folder).is_file():
        yield Path(folder)
        return
    names = [weights] if weights else KNOWN_FILES[backbone]
    paths = [place / name for name in names for place in _places(folder)]  # an absolute name stays what it is
    yield from (path for path in dict.fromkeys(paths) if path.is_file())


def _read(path: Path) -> dict[str, Tensor]:
    """The state of the feature part alone, whatever else the file holds."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        prefix = "features." if any(key.startswith("features.") for key in state) else ""
        state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        return {key: value for key, value in state.items() if key[:1].isdigit()}
    except Exception as error:  # torch.load raises a dozen kinds for a file that is not what it should be
        raise ModelError(f"{path} cannot be read as a file of weights: {error}") from error


def _needs_nothing_more(backbone: str, reach: int, depth: int) -> bool:
    """Whether the modules between the file's last and the layer's have no weights of their own."""
    return 0 < reach < depth and not any(list(layer.parameters()) for layer in network(backbone)[reach:depth])


def _build(
    backbone: str, layers: list[str], state: dict[str, Tensor], path: Path, preprocessing: str | None
) -> Features:
    depths = [depth_of(backbone, layer) for layer in layers]
    part = network(backbone)[: max(depths)]
    wanted = {key: value for key, value in state.items() if layer_index(key) < max(depths)}
    try:
        part.load_state_dict(wanted, assign=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise ModelError(f"{path} does not hold the weights of {backbone}: {first}") from error
    digest = file_sha256(path)
    about = {"backbone": backbone, "layers": layers, "file": path.name, "sha256": digest}
    return Features(part.float(), depths, about | {"preprocessing": preprocessing or _kind(backbone, path, digest)})


def _kind(backbone: str, path: Path, digest: str) -> str:
    for start, kind in KNOWN_FILES[backbone].values():
        if digest.startswith(start):
            return kind
    raise UsageError(
        f"{path} is not a file of weights that this program knows: set 'preprocessing' to torchvision or caffe."
    )
