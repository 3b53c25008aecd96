"""What a training run is made of: a YAML file with exactly these fields."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import yaml

from SuperResolutionLib.catalog import split_id
from SuperResolutionLib.errors import ModelError, UsageError
from SuperResolutionLib.networks import ARCHITECTURES, create

from .card import card_faults
from .dataset import AUGMENTATIONS
from .degradations import Degradation
from .discriminators import DISCRIMINATORS
from .loss_terms import read_losses
from .packed import AUTO
from .resized import check_size
from .schema import STRICT, Range, check

Count = Annotated[int, Range(low=1)]
Steps = Annotated[int, Range(low=0)]
Rate = Annotated[float, Range(above=0)]
Share = Annotated[float, Range(low=0, high=1)]
Weight = Annotated[float, Range(low=0)]
Beta = Annotated[float, Range(low=0, high=0.999999)]


@dataclass(frozen=True)
class Data:
    """Which pairs of patches a step sees.

    Attributes:
        sets: packed set -> share of the patches; shares need not sum to 1. ``set@N``: see ``resized.py``.
        batch: pairs a step, over all processes.
        patch: side of a low-resolution patch in pixels.
        hard: part of the patches drawn in proportion to bicubic's error, 0 to 1.
        background: part of the patches that may be background, 0 to 1.
        augment: any of flips, quarter_turns, contrast.
        burnt_in: packed set -> part of its patches on which letters and frames are drawn, see ``burnt_in.py``.
        edges: packed set -> part of its patches that are laid at an image's edge, see ``image_edges.py``.
        degradation: beside the engine's bicubic, see ``degradations.py``: blur, noise, jpeg, slice_profile.
        workers: batches made at a time in the background; 0 makes them in the loop.
    """

    __pydantic_config__ = STRICT

    sets: dict[str, Rate]
    batch: Count = 16
    patch: Count = 48
    hard: Share = 0.0
    background: Share = 0.0
    augment: tuple[Literal[tuple(AUGMENTATIONS)], ...] = tuple(AUGMENTATIONS)
    burnt_in: dict[str, Share] = field(default_factory=dict)
    edges: dict[str, Share] = field(default_factory=dict)
    degradation: dict = field(default_factory=dict)
    workers: Steps = 1

    @property
    def drawings(self) -> dict[str, dict[str, float]]:
        """What is drawn on patches: kind -> packed set -> share, without kinds that are not."""
        kinds = {"burnt_in": self.burnt_in, "edges": self.edges}
        return {kind: shares for kind, shares in kinds.items() if shares}


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own losses, optimisers and schedule, counted in steps of the generator.

    Attributes:
        name: in logs, in the card and in the name of a file: letters, digits, hyphens and underscores.
        steps: its length.
        learning_rate, discriminator_learning_rate: at the end of the warm-up; the second is the first if null.
        schedule: cosine to a hundredth, halving at each of the ``milestones``, or constant.
        milestones: steps of this phase.
        warmup: steps over which the rate rises from zero.
        losses: name -> weight, or a mapping with ``weight`` and the loss's own settings, see ``losses.py``.
        discriminator: mapping with ``name`` and its own settings, see ``discriminators.py``; null for a PSNR phase. Of
            two phases in a row with equal discriminators the second goes on with the first one's.
        optimizer, betas, weight_decay: of both networks.
        d_steps: steps of the discriminator for one of the generator.
        stage: of a generator of several stages, train only this one (1 is the first): those before it are frozen, those
            after it do not run.
        freeze: layers that keep their weights and running statistics, each by its name or that of a layer around it,
            such as ``stages.0.trunk``: what is left is tuned, at less cost a step.
        parameters: all that is not frozen, or of it the biases alone (Ben Zaken et al., ACL 2022), which leaves every
            kernel as it is: for a small correction that changes little of a file.
        on_collapse: what follows when the discriminator wins or gives up: warn, or also pause the one that is ahead.
    """

    __pydantic_config__ = STRICT

    name: str
    steps: Count
    learning_rate: Rate
    discriminator_learning_rate: Rate | None = None
    schedule: Literal["cosine", "steps", "constant"] = "cosine"
    milestones: tuple[Count, ...] = ()
    warmup: Steps = 0
    losses: dict[str, Weight | dict] = field(default_factory=lambda: {"l1": 1.0})
    discriminator: dict | None = None
    optimizer: Literal["adam", "adamw"] = "adam"
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    weight_decay: Weight = 0.0
    d_steps: Count = 1
    stage: Count | None = None
    freeze: tuple[str, ...] = ()
    parameters: Literal["all", "biases"] = "all"
    on_collapse: Literal["warn", "pause"] = "warn"


@dataclass(frozen=True)
class Config:
    """A training run.

    Attributes:
        id: id of the model, ``<architecture>-<domain>-x<scale>-<psnr|gan>``.
        effort: small (hours on a CPU) or paper (as published).
        network: ``architecture``, and what ``SuperResolutionLib.networks.create`` takes: ``scale``, ``channels``, ...
        data, phases: see there.
        start: a model folder or a run's checkpoint whose weights are taken as far as they fit, or null.
        ema: decay of the averaged weights, which are the ones exported.
        clip: largest norm of a network's gradient.
        precision: auto, float32, bfloat16 or float16, of the forward and backward passes; weights stay float32.
        channels_last: memory layout of the feature maps.
        weight_bits: of what is exported. With 8 or 6 the network is trained with kernels rounded to so many bits a
            number, see ``rounding.py``; with 16 they are rounded at the end, as far as that cannot be seen.
        seed: of the initial weights and the patches.
        log_steps: steps between two lines of the log; what is not finite is found then.
        checkpoint_minutes: between two checkpoints.
        sample_steps: steps between two sample pictures; 0 for none.
        card: what ``export`` writes into the model card, see ``card.py``; ``prepare`` needs its intensity. An empty one
            will do to train.
    """

    __pydantic_config__ = STRICT

    id: str
    effort: Literal["small", "paper"]
    network: dict
    data: Data
    phases: tuple[Phase, ...]
    start: str | None = None
    ema: Share = 0.999
    clip: Rate = 1.0
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    channels_last: bool = True
    weight_bits: Literal[6, 8, 16] = 16
    seed: Steps = 0
    log_steps: Count = 50
    checkpoint_minutes: Rate = 3.0
    sample_steps: Steps = 1000
    card: dict = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """Name of the generator."""
        return self.network["architecture"]

    @property
    def arguments(self) -> dict:
        """What ``networks.create`` takes beside the name."""
        return {name: value for name, value in self.network.items() if name != "architecture"}

    @property
    def scale(self) -> int:
        """Enlargement per axis."""
        return self.network["scale"]

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (colour)."""
        return self.network["channels"]

    @property
    def intensity(self) -> dict:
        """The intensity mapping under which its sets are packed: the card's, auto without a card."""
        return self.card.get("intensity", AUTO)

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def plain(self) -> dict:
        """The configuration as nested lists and mappings, for a checkpoint."""
        return json.loads(json.dumps(asdict(self)))


def load_config(path: Path) -> Config:
    """Read a YAML configuration.

    Raises:
        UsageError: for a file that is no YAML, an unknown, missing or wrong field, and for fields that contradict each
            other; names every one of them.
    """
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)  # noqa: S506, a SafeLoader
    except OSError as error:
        raise UsageError(f"The configuration {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"The configuration {path} is not text in UTF-8; save it as such.") from error
    except yaml.YAMLError as error:
        raise UsageError(f"The configuration {path} is no YAML: {' '.join(str(error).split())}.") from error
    return make_config(values, str(path))


def make_config(values: Any, name: str = "the configuration", plain: bool = False) -> Config:
    """A configuration from nested plain values; see ``load_config``. ``plain`` leaves pydantic aside."""
    config, problems = check(Config, values, plain)
    words = [str(problem) for problem in problems] or list(_contradictions(config))
    if words:
        raise UsageError(f"{name}: {'; '.join(words)}.")
    return config


def trained_config(values: dict) -> Config:
    """The configuration in a checkpoint: it was checked before it trained, and rules that came later do not count.

    Raises:
        UsageError: for unknown, missing or wrong fields.
    """
    config, problems = check(Config, values)
    if problems:
        raise UsageError(f"the configuration in the checkpoint: {'; '.join(map(str, problems))}.")
    return config


def _contradictions(config: Config):
    faults = list(_network_faults(config.network))
    yield from faults or _unbuildable(config)
    named = _named_architecture(config.id)
    if named not in (None, config.network.get("architecture")):
        yield f"id names the architecture {named} and network.architecture is {config.network.get('architecture')!r}"
    try:
        scale = split_id(config.id)[1]
        if config.network.get("scale") != scale:
            yield f"id says x{scale} and network.scale is {config.network.get('scale')}; make them agree"
        adversarial = bool(config.phases) and config.phases[-1].discriminator is not None
        if config.phases and adversarial != config.id.endswith("-gan"):
            kind = "a GAN" if adversarial else "no GAN"
            yield f"id ends in -{config.id.rpartition('-')[2]}, and the last phase is {kind} phase"
        for name in config.data.sets if scale else ():
            check_size(name, scale)
    except ModelError as error:
        yield f"id: {str(error).rstrip('.')}"
    except UsageError as error:
        yield f"data.sets: {str(error).rstrip('.')}"
    if not config.data.sets:
        yield "data.sets is empty"
    try:
        Degradation(config.data.degradation)
    except UsageError as error:
        yield f"data.degradation: {str(error).rstrip('.')}"
    yield from (f"card.{words}" for words in (card_faults(config.card) if config.card else ()))
    if not config.phases:
        yield "phases is empty"
    for index, phase in enumerate(config.phases):
        yield from (f"phases.{index}.{words}" for words in _phase_faults(phase))


def _network_faults(network: dict):
    for name, choices in (("architecture", ARCHITECTURES), ("channels", (1, 3))):
        if network.get(name) not in choices:
            yield f"network.{name} should be one of {', '.join(map(str, choices))}, not {network.get(name)!r}"
            return
    if not isinstance(network.get("scale"), int) or isinstance(network.get("scale"), bool):
        yield f"network.scale should be a whole number, not {network.get('scale')!r}"
        return
    name = network["architecture"]
    builder = getattr(import_module(f"SuperResolutionLib.networks.{name}"), name)
    known = ["architecture", *inspect.signature(builder).parameters]
    for key in network:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"the nearest is {near[0]}" if near else f"known are {', '.join(known)}"
            yield f"network.{key} is no known field; {hint}"


def _unbuildable(config: Config):
    """What the generator itself says, built without memory for its weights."""
    for key, value in config.arguments.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
            yield f"network.{key} should be above 0, not {value}"
            return
    try:
        with torch.device("meta"):
            net = create(config.architecture, **config.arguments)
    except (ModelError, RuntimeError, ArithmeticError, LookupError) as error:
        yield f"network cannot be built: {str(error).rstrip('.')}"
        return
    if config.weight_bits <= 8 and config.architecture == "span" and not config.network.get("fused"):
        yield (
            f"weight_bits is {config.weight_bits}, and SPAN's kernels are sums of what is trained; give network.fused "
            "or take 16"
        )
    for index, phase in enumerate(config.phases):
        yield from (f"phases.{index}.freeze: {words}" for words in _freeze_faults(net, phase))


def _freeze_faults(net: torch.nn.Module, phase: Phase):
    layers = [name for name, _ in net.named_modules() if name]
    for name in phase.freeze:
        if name not in layers:
            yield f"the network has no layer {name!r}; the nearest is {get_close_matches(name, layers, 1, 0)[0]}"
            return
    stage = f"stages.{phase.stage - 1}." if phase.stage else ""
    trained = [name for name, _ in net.named_parameters() if name.startswith(stage)]
    if phase.parameters == "biases":
        trained = [name for name in trained if name.endswith("bias")]
    if trained and all(name.startswith(tuple(f"{frozen}." for frozen in phase.freeze)) for name in trained):
        yield "nothing is left to train"


def _named_architecture(model_id: str) -> str | None:
    """The architecture that an id begins with, None if it is of no known one."""
    known = {name.replace("_", "-"): name for name in ARCHITECTURES} | {"p-gan": "pgan"}
    found = [words for words in known if model_id.startswith(f"{words}-")]
    return known[max(found, key=len)] if found else None


def _phase_faults(phase: Phase):
    if not re.fullmatch(r"[A-Za-z0-9_-]+", phase.name):
        yield f"name should be letters, digits, hyphens and underscores, not {phase.name!r}"
    if phase.warmup >= phase.steps:
        yield f"warmup should be less than steps, {phase.steps}, not {phase.warmup}"
    late = [step for step in phase.milestones if step >= phase.steps]
    if late or list(phase.milestones) != sorted(set(phase.milestones)):
        yield f"milestones should rise and stay below steps, {phase.steps}, not {list(phase.milestones)}"
    if (phase.schedule == "steps") != bool(phase.milestones):
        yield "milestones belong to the schedule steps, and it needs them"
    try:
        terms = {term.name for term in read_losses(phase.losses)}
    except UsageError as error:
        yield f"losses: {str(error).rstrip('.')}"
        return
    asked = {"adversarial", "feature_matching"} & terms
    if asked and phase.discriminator is None:
        yield f"losses.{min(asked)} needs a discriminator"
    if phase.discriminator is not None and "adversarial" not in terms:
        yield "discriminator has nothing to do without losses.adversarial"
    name = (phase.discriminator or {}).get("name")
    if phase.discriminator is not None and name not in DISCRIMINATORS:
        yield f"discriminator.name should be one of {', '.join(DISCRIMINATORS)}, not {name!r}"


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-4 as text and keeps the last of two equal keys; here it is a number and a fault."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a name is a list or a mapping", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_EXPONENT = re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, "+-.0123456789")
