"""What a generator is trained on: the weighted sum of the losses that ``loss_terms`` lists."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from SuperResolutionLib.errors import UsageError
from SuperResolutionLib.resampling import bicubic_downsample, bicubic_upsample

from .adversarial import discriminator_loss, generator_loss
from .discriminators.pgan import StagedDiscriminator
from .features import Features, load_features
from .loss_terms import Term, read_losses

__all__ = ["GeneratorLosses", "discriminator_loss", "generator_loss", "judged_pair", "read_losses"]

#: Keeps the slope of a root finite where two images agree.
TINY = 1e-12

TITLES = {
    "l1": "L1",
    "mse": "MSE",
    "pattern": "pattern of the input's pixels",
    "tv": "total variation (power {power})",
    "perceptual": "perceptual {criterion} on {features}",
    "adversarial": "adversarial ({kind})",
    "feature_matching": "discriminator feature matching",
    "triplet": "triplet on {features}, margin {margin}",
    "consistency": "consistency with the input",
}


class GeneratorLosses:
    """The weighted sum of a specification's losses.

    Args:
        spec: see ``loss_terms``.
        channels: of the images.
        device: where the feature network goes.
        feature_weights: folder or file of its weights, see ``features.load_features``.

    Attributes:
        terms: the losses as they were read.
        adversarial_kind: what ``discriminator_loss`` should be called with, None without an adversarial loss.
        used_features: for the model card, of each feature network the backbone, layers, file, SHA-256, preprocessing.

    Raises:
        UsageError: for a bad specification.
        ModelError: if weights are needed and not there, naming the file and the alternative.
    """

    def __init__(self, spec: dict, channels: int, device="cpu", feature_weights: Path | None = None):
        self.terms = read_losses(spec)
        self.names = {term.name for term in self.terms}
        self.adversarial_kind = next((term.options["kind"] for term in self.terms if term.name == "adversarial"), None)
        wanting = [term for term in self.terms if term.options.get("backbone")]
        if wanting and channels not in (1, 3):
            raise UsageError(f"The loss {wanting[0].name} compares images of 1 or 3 channels, not {channels}.")
        self.networks = {term.name: _network(term, feature_weights).to(device) for term in wanting}
        self.used_features = [network.about for network in self.networks.values()]

    @property
    def needs_discriminator(self) -> bool:
        """Whether a discriminator has to be given."""
        return bool(self.names & {"adversarial", "feature_matching"})

    def __call__(
        self,
        sr: Tensor,
        hr: Tensor,
        lr: Tensor,
        discriminator: nn.Module | None = None,
        stages: list[Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, with gradient to the generator and to nothing else, and each loss before its weight.

        Args:
            sr, hr: (n, c, h * s, w * s) output and truth, in the network's range. lr: (n, c, h, w), the input.
            discriminator: the bare module (not wrapped for data-parallel training), from ``create_discriminator``. Its
                parameters get no gradient here.
            stages: the outputs of all stages, the last one ``sr``. Every loss is then the mean over stages, each
                against the truth shrunk to its size; the adversarial ones only if the discriminator has stages too.
                None for a generator of one stage, or while only the first one trains.

        Returns:
            The scalar sum and, by name, detached scalars.

        Raises:
            UsageError: if a loss lacks its discriminator.
        """
        if self.needs_discriminator and discriminator is None:
            raise UsageError("The losses adversarial and feature_matching need a discriminator: name one in the phase.")
        pairs = staged_pairs(sr, hr, stages)
        judged = self._judge(discriminator, sr, hr, stages) if self.needs_discriminator else None
        values = {term.name: self._value(term, pairs, lr, judged) for term in self.terms}
        total = sum(term.weight * values[term.name] for term in self.terms)
        return total, {name: value.detach() for name, value in values.items()}

    def describe(self) -> str:
        """One line for the model card: the losses with their weights, and the files that gave features."""
        parts = []
        for term in self.terms:
            weight = "" if term.weight == 1 else f"{term.weight:g} "
            parts.append(weight + TITLES[term.name].format(**term.options, features=self._features(term.name)))
        return " + ".join(parts)

    def _features(self, name: str) -> str:
        if name not in self.networks:
            return "pixels"
        about = self.networks[name].about
        what = f"{about['backbone']} {', '.join(about['layers'])}"
        return f"{what} ({about['file']}, SHA-256 {about['sha256'][:16]}, {about['preprocessing']})"

    def _judge(self, discriminator: nn.Module, sr: Tensor, hr: Tensor, stages: list[Tensor] | None) -> dict:
        """The discriminator's maps and logits for both images; for the truth without gradient, and only if wanted."""
        real, fake = judged_pair(discriminator, sr, hr, stages)
        judged = {"real": None}
        with frozen(discriminator):
            judged["fake_maps"] = discriminator.features(fake)
            judged["fake"] = discriminator.judge(judged["fake_maps"])
        if "feature_matching" in self.names or self.adversarial_kind == "relativistic":
            with torch.no_grad():
                judged["real_maps"] = discriminator.features(real)
                judged["real"] = discriminator.judge(judged["real_maps"])
        return judged

    def _value(self, term: Term, pairs: list[tuple[Tensor, Tensor]], lr: Tensor, judged: dict | None) -> Tensor:
        name, options = term.name, term.options
        if name == "adversarial":
            return generator_loss(options["kind"], judged["fake"], judged["real"])
        if name == "feature_matching":
            return _matching(judged["fake_maps"], judged["real_maps"])
        if name == "triplet":
            return self._triplet(pairs, lr, options["margin"])
        if name == "consistency":
            one = pairs[-1][0]
            return (bicubic_downsample(one, one.shape[-1] // lr.shape[-1]) - lr.float()).abs().mean()
        if name == "perceptual":
            values = [self._perceptual(term, one, truth) for one, truth in pairs]
        elif name == "pattern":
            values = [repeated(one - truth, one.shape[-1] // lr.shape[-1]) for one, truth in pairs]
        elif name == "tv":
            values = [total_variation(one, options["power"]) for one, _ in pairs]
        else:
            values = [_criterion(name, one, truth) for one, truth in pairs]
        return torch.stack(values).mean()

    def _perceptual(self, term: Term, one: Tensor, truth: Tensor) -> Tensor:
        network, weights = self.networks["perceptual"], term.layers().values()
        with torch.no_grad():
            wanted = network(truth)
        values = [_criterion(term.options["criterion"], *maps) for maps in zip(network(one), wanted)]
        return sum(weight * value for weight, value in zip(weights, values))

    def _triplet(self, pairs: list[tuple[Tensor, Tensor]], lr: Tensor, margin: float) -> Tensor:
        """The stage before, enlarged, is the mark to beat; it has no gradient, or it would be paid for being bad."""
        before, values = lr.float(), []
        for one, truth in pairs:
            before = bicubic_upsample(before.detach(), one.shape[-1] // before.shape[-1])
            gained = self._distance(one, truth) - self._distance(before, truth)
            values.append(torch.relu(gained + margin).mean())
            before = one
        return torch.stack(values).mean()

    def _distance(self, one: Tensor, truth: Tensor) -> Tensor:
        """Root mean square difference of each image, (n,)."""
        network = self.networks.get("triplet")
        maps = zip(network(one), network(truth)) if network else [(one, truth)]
        squares = [(a - b).square().mean(dim=(1, 2, 3)) for a, b in maps]
        return (sum(squares) / len(squares) + TINY).sqrt()


def judged_pair(discriminator: nn.Module, sr: Tensor, hr: Tensor, stages: list[Tensor] | None = None) -> tuple:
    """What a discriminator is to be called with, (real, fake): images, or lists of them if it has one a stage.

    Without ``stages`` the image is that of the first stage. The truth is shrunk to the size of each image.
    """
    bare = getattr(discriminator, "module", discriminator)  # as wrapped for data-parallel training
    if not isinstance(bare, StagedDiscriminator):
        (fake, real) = staged_pairs(sr, hr, None)[0]
        return real, fake
    pairs = staged_pairs(sr, hr, stages)
    return [truth for _, truth in pairs], [one for one, _ in pairs]


def staged_pairs(sr: Tensor, hr: Tensor, stages: list[Tensor] | None) -> list[tuple[Tensor, Tensor]]:
    """(output, truth) of every stage in float32, the truth shrunk by bicubic; the whole alone without stages."""
    outputs, hr = stages or [sr], hr.float()
    pairs = []
    for output in outputs:
        shrink = hr.shape[-1] // output.shape[-1]
        pairs.append((output.float(), bicubic_downsample(hr, shrink) if shrink > 1 else hr))
    return pairs


def total_variation(image: Tensor, power: int) -> Tensor:
    """Mean difference of neighbouring rows plus that of columns, absolute or squared."""
    rows, columns = image.diff(dim=-2), image.diff(dim=-1)
    return rows.abs().pow(power).mean() + columns.abs().pow(power).mean()


def repeated(error: Tensor, scale: int) -> Tensor:
    """Mean square of the tile of ``scale`` x ``scale`` pixels that is the mean of all such tiles of each image."""
    height, width = (length // scale for length in error.shape[-2:])
    tiles = error.reshape(*error.shape[:2], height, scale, width, scale)
    return tiles.mean(dim=(2, 4)).square().mean()


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """What is computed inside passes gradients through the module and leaves none on its parameters."""
    parameters = [entry for entry in module.parameters() if entry.requires_grad]
    for entry in parameters:
        entry.requires_grad_(False)
    try:
        yield
    finally:
        for entry in parameters:
            entry.requires_grad_(True)


def _network(term: Term, folder: Path | None) -> Features:
    options = term.options
    layers = list(term.layers())
    return load_features(options["backbone"], layers, options["weights"], folder, options["preprocessing"])


def _criterion(name: str, one: Tensor, truth: Tensor) -> Tensor:
    if name == "unit":
        one, truth = normalize(one.float(), dim=1), normalize(truth.float(), dim=1)
        return (one - truth).square().sum(dim=1).mean()
    difference = one.float() - truth.float()
    return difference.abs().mean() if name == "l1" else difference.square().mean()


def _matching(fake: list, real: list) -> Tensor:
    """Mean L1 over the maps; lists within lists are a discriminator's stages."""
    values = []
    for one, other in zip(fake, real):
        values.append(_matching(one, other) if isinstance(one, list) else _criterion("l1", one, other))
    return torch.stack(values).mean()
