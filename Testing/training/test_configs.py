"""Every configuration of the repository loads, and trains two steps of each phase at reduced size."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest
import torch

from SuperResolutionLib.networks import create
from Testing.training.tiny import CPU, Patches
from training.config import load_config
from training.feature_networks import NETWORKS
from training.queue import load_zoo
from training.train import train_on

TRAINING = Path(__file__).resolve().parents[2] / "training"
CONFIGS = sorted((TRAINING / "configs").rglob("*.yaml"))

#: What networks are reduced to, and the sides of low-resolution patches by scale.
SMALLEST = {"features": 16, "growth": 4, "blocks": 1, "layers": 4}
PATCHES = {2: 16, 4: 8, 8: 8, 16: 4}

SYSTEMS = {
    "edsr-ise-fundus-x4-gan",
    "edsr-ise-fundus-x8-gan",
    "edsr-ise-fundus-x16-gan",
    "srgan-cxr-x4-gan",
    "swift-srgan-cxr-x4-gan",
    "srgan-cbam-brain-x4-gan",
    "srgan-oct-x4-gan",
    "srcnn-general-x4-psnr",
    "vdsr-general-x4-psnr",
    "edsr-general-x4-psnr",
    "rrdb-general-x4-gan",
    "p-gan-fundus-x8-gan",
    "span-general-x4-psnr",
}


class ColorPatches(Patches):
    """Patches of any number of channels."""

    def __init__(self, channels: int, **settings):
        super().__init__(**settings)
        self.channels = channels

    def batch(self, size: int):
        return tuple(images.expand(-1, self.channels, -1, -1).contiguous() for images in super().batch(size))


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    """Random weights under torchvision's names: what the losses do does not depend on what the weights learned."""
    folder = tmp_path_factory.mktemp("features")
    torch.manual_seed(0)
    for name in ("vgg19", "mobilenet_v2"):
        layers = NETWORKS[name]()
        torch.save({f"features.{key}": value for key, value in layers.state_dict().items()}, folder / f"{name}.pth")
    return folder


def reduced(config, features: Path):
    """The same systems and losses, small and short."""
    builder = getattr(import_module(f"SuperResolutionLib.networks.{config.architecture}"), config.architecture)
    smaller = {key: value for key, value in SMALLEST.items() if key in signature(builder).parameters}
    phases = []
    for phase in config.phases:
        losses = {name: _with_weights(value, features) for name, value in phase.losses.items()}
        discriminator = phase.discriminator and {**phase.discriminator, "features": 4}
        short = {"steps": 2, "warmup": min(phase.warmup, 1), "milestones": (), "schedule": "constant"}
        phases.append(replace(phase, losses=losses, discriminator=discriminator, **short))
    data = replace(config.data, batch=2, patch=PATCHES[config.scale], workers=0)
    return replace(
        config, network=config.network | smaller, data=data, phases=tuple(phases), sample_steps=0, start=None
    )


def _with_weights(value, features: Path):
    if not isinstance(value, dict) or "backbone" not in value:
        return value
    return {**value, "weights": str(features / f"{value['backbone']}.pth"), "preprocessing": "torchvision"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_configuration_trains_all_its_phases(path, tmp_path, features):
    config = load_config(path)
    assert (config.id, config.effort) == (path.stem, path.parent.name)
    small = reduced(config, features)
    patches = ColorPatches(config.channels, scale=config.scale, patch=PATCHES[config.scale])
    checkpoint = train_on(patches, small, tmp_path, CPU, lambda text: None)
    state = torch.load(checkpoint, weights_only=True)
    assert state["step"] == 2 * len(config.phases) and state["guard"]["rollbacks"] == 0
    assert any((state["net"][name] != value).any() for name, value in _initial(small).items())


def _initial(config) -> dict:
    torch.manual_seed(config.seed)
    return create(config.architecture, **config.arguments).state_dict()


def test_every_system_is_there_in_two_efforts():
    found = {(path.parent.name, path.stem) for path in CONFIGS}
    assert {(effort, name) for effort in ("small", "paper") for name in SYSTEMS} <= found


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_small_ones_need_only_vgg19_up_to_conv3_4(path):
    losses = [value for phase in load_config(path).phases for value in phase.losses.values()]
    named = [value["layer"] for value in losses if isinstance(value, dict) and "layer" in value]
    layers = {name for layer in named for name in ([layer] if isinstance(layer, str) else layer)}
    if path.parent.name == "small":
        assert layers <= {"conv3_4", "relu1_2", "relu2_2", "relu3_3"}
    else:
        assert not layers & {"conv3_4"}


def test_the_zoo_trains_a_scale_before_what_starts_from_it():
    seen = set()
    for config in load_zoo(TRAINING / "zoo.yaml"):
        assert config.start is None or config.start.partition("/")[0] in seen, config.id
        seen.add(config.id)
    assert len(seen) == 17
