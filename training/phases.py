"""One phase of training at work: its networks, losses and optimisers, and what a step does."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from SuperResolutionLib.errors import SuperResolutionError, UsageError
from SuperResolutionLib.networks.blocks import Generator
from SuperResolutionLib.resampling import bicubic_downsample

from .config import Config, Phase
from .discriminators import create_discriminator
from .discriminators.pgan import StagedDiscriminator
from .distributed import Group
from .guard import CollapseWatch, NanGuard
from .losses import GeneratorLosses, discriminator_loss, judged_pair
from .precision import autocast, grad_scaler
from .rounding import Rounding
from .schedule import factor

#: Added to a run's seed for the discriminator of phase 1, 2, ...
SEED_STEP = 7919


class ActivePhase:
    """A phase with all that it needs; ``step`` trains the generator and, in a GAN phase, its discriminator.

    Args:
        net: the generator. precision: see ``precision``.
        features: folder of the feature networks' weights, see ``features.load_features``.
        before: the phase before, whose discriminator is kept if this one has an equal one.

    Attributes:
        columns: names of the numbers that a step returns.
        discriminator: None in a PSNR phase.
        rate: the generator's learning rate in the last step.
    """

    def __init__(
        self,
        config: Config,
        index: int,
        net: Generator,
        group: Group,
        precision: str,
        features: Path | None = None,
        before: ActivePhase | None = None,
    ):
        plan = config.phases[index]
        self.config, self.plan, self.index, self.group, self.precision = config, plan, index, group, precision
        self.net = net
        self.stages = net.stages[: plan.stage]
        self.losses = GeneratorLosses(plan.losses, config.channels, group.device, features)
        self.discriminator = self._discriminator(before)
        self.generator_optimizer = _optimizer(plan, self._trained_parameters())
        self.rounding = Rounding(net, config.weight_bits) if config.weight_bits <= 8 else nullcontext()
        self.discriminator_optimizer = None
        self.scaler = grad_scaler(precision, group.device)
        self.guard, self.watch, self.rate = NanGuard(), None, 0.0
        self.columns = ["loss", *plan.losses, "g_norm"]
        if self.discriminator is not None:
            self.kind = self.losses.adversarial_kind
            self.discriminator_optimizer = _optimizer(plan, list(self.discriminator.parameters()))
            self.watch = CollapseWatch(self.kind, plan.on_collapse == "pause")
            self.columns += ["d_loss", "d_real", "d_fake", "d_norm"]

    def step(self, number: int, batch) -> Tensor:
        """Step ``number`` of the phase, from 0.

        Args:
            batch: called for every pair of low- and high-resolution patches that the step needs.

        Returns:
            (len(columns),) float32: losses before the step, norms of the gradients before clipping, and the mean raw
            scores of real and generated images.
        """
        self._set_rates(number)
        low, high = self._targets(*batch())
        with self.rounding:
            images = self._generate(low)
            values = self._generator_losses(images, high, low)
        values.append(self._move(self.generator_optimizer, self.watch is None or self.watch.paused != "generator"))
        if self.discriminator is not None:
            for repeat in range(self.plan.d_steps):
                if repeat:
                    low, high = self._targets(*batch())
                    with torch.no_grad(), self.rounding:
                        images = self._generate(low)
                scores = self._discriminator_step(images, high)
            values += scores
        return torch.stack([torch.as_tensor(v, dtype=torch.float32, device=self.group.device) for v in values])

    def modules(self) -> dict:
        """What a checkpoint holds beside the generator, by name; each has ``state_dict``."""
        entries = {"generator_optimizer": self.generator_optimizer, "scaler": self.scaler}
        if self.discriminator is not None:
            entries["discriminator"] = self.discriminator
            entries["discriminator_optimizer"] = self.discriminator_optimizer
        return entries

    def _generate(self, low: Tensor) -> list[Tensor]:
        """The output of every stage, float32."""
        outputs = []
        with autocast(self.precision, self.group.device):
            for stage in self.stages:
                outputs.append(stage(outputs[-1] if outputs else low))
        return [output.float() for output in outputs]

    def _generator_losses(self, images: list[Tensor], high: Tensor, low: Tensor) -> list[Tensor]:
        """The losses; their gradients are left on the generator."""
        stages = images if len(images) > 1 else None
        with autocast(self.precision, self.group.device):
            total, parts = self.losses(images[-1], high, low, self.discriminator, stages)
        self._backward(self.generator_optimizer, total)
        return [total.detach(), *(parts[name].detach() for name in self.plan.losses)]

    def _discriminator_step(self, images: list[Tensor], high: Tensor) -> list[Tensor]:
        images = [image.detach() for image in images]
        real, fake = judged_pair(self.discriminator, images[-1], high, images if len(images) > 1 else None)
        with autocast(self.precision, self.group.device):
            real, fake = self.discriminator(real), self.discriminator(fake)
        loss = discriminator_loss(self.kind, real, fake)
        self._backward(self.discriminator_optimizer, loss)
        norm = self._move(self.discriminator_optimizer, self.watch.paused != "discriminator")
        return [loss.detach(), _mean(real), _mean(fake), norm]

    def _backward(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()

    def _move(self, optimizer: torch.optim.Optimizer, move: bool) -> Tensor:
        """Average the gradients over the processes, clip, step. Returns the norm before clipping."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.group.average_gradients(parameters)
        self.scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(parameters, self.config.clip)
        if move:
            self.scaler.step(optimizer)
        if self.scaler.is_enabled():
            self.scaler.update()  # every time: an optimiser may take several steps, and each unscales once
        return norm

    def _targets(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The batch on the device, in the layout of the feature maps; a phase of an early stage aims lower."""
        layout = torch.channels_last if self.config.channels_last else torch.contiguous_format
        low, high = (x.to(self.group.device, non_blocking=True, memory_format=layout) for x in (low, high))
        left = self.config.scale
        for stage in self.stages:
            left //= stage.scale
        return low, bicubic_downsample(high, left) if left > 1 else high

    def _set_rates(self, number: int) -> None:
        share = factor(self.plan, number) * self.guard.rate
        self.rate = self.plan.learning_rate * share
        self.generator_optimizer.param_groups[0]["lr"] = self.rate
        if self.discriminator_optimizer:
            rate = self.plan.discriminator_learning_rate or self.plan.learning_rate
            self.discriminator_optimizer.param_groups[0]["lr"] = rate * share

    def _discriminator(self, before) -> nn.Module | None:
        if self.plan.discriminator is None:
            return None
        if before is not None and before.plan.discriminator == self.plan.discriminator:
            return before.discriminator
        torch.manual_seed(self.config.seed + SEED_STEP * (self.index + 1))
        made = make_discriminator(self.plan, self.config.channels)
        layout = torch.channels_last if self.config.channels_last else torch.contiguous_format
        return made.to(self.group.device, memory_format=layout).train()

    def _trained_parameters(self) -> list[nn.Parameter]:
        """All but what the phase freezes: named layers, and the stages before and after the one that it trains; of
        what is left the biases alone if the phase says so."""
        _check_stages(self.plan, len(self.net.stages))
        self.net.train().requires_grad_(True)
        still = [self.net.get_submodule(name) for name in self.plan.freeze]
        if self.plan.stage is not None:
            still += [stage for stage in self.net.stages if stage is not self.stages[-1]]
        for layer in still:
            layer.eval().requires_grad_(False)
        if self.plan.parameters == "biases":
            for name, parameter in self.net.named_parameters():
                parameter.requires_grad_(parameter.requires_grad and name.endswith("bias"))
            for layer in self.net.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.eval()  # its running variance is folded into a kernel
        return [parameter for parameter in self.net.parameters() if parameter.requires_grad]


def check_phases(
    config: Config, first: int, scales: Sequence[int], features: Path | None = None, world: int = 1
) -> None:
    """Build what the phases from ``first`` on need and drop it, so that their faults do not wait until their turn.

    Args:
        scales: of the generator's stages. features: see ``ActivePhase``. world: processes that share a batch.

    Raises:
        SuperResolutionError: for a stage that is not there, a discriminator that cannot be built, or a loss whose
            feature weights are absent or not deep enough.
    """
    # Of the patches that each stage makes.
    sides = [int(side) for side in config.data.patch * np.cumprod(scales)]
    for index, plan in enumerate(config.phases[first:], first):
        try:
            stages = plan.stage or len(sides)
            _check_stages(plan, len(sides))
            with torch.random.fork_rng(devices=[]):  # the run's own numbers stay what they are
                losses = GeneratorLosses(plan.losses, config.channels, "cpu", features)
            _check_features(losses, config.channels, sides[0])
            if plan.discriminator:
                with torch.device("meta"):  # no memory for its weights
                    made = make_discriminator(plan, config.channels)
                staged = isinstance(made, StagedDiscriminator)
                if staged and len(made.stages) < stages:
                    raise UsageError(f"discriminator.stages is {len(made.stages)}, and the generator has {stages}.")
                judged = zip(made.stages, sides[:stages]) if staged else [(made, sides[stages - 1])]
                for one, side in judged:
                    _check_judging(one, config.data.batch // world, config.channels, side)
        except SuperResolutionError as error:
            raise type(error)(f"phases.{index} ({plan.name}): {error}", error.details) from error


def _check_features(losses: GeneratorLosses, channels: int, side: int) -> None:
    """Whether patches are large enough for the feature networks' layers."""
    for name, network in losses.networks.items():
        with torch.no_grad():
            try:
                empty = any(not one.numel() for one in network(torch.zeros(1, channels, side, side)))
            except RuntimeError:
                empty = True
        if empty:
            raise UsageError(f"the loss {name} sees nothing of patches of {side} pixels: enlarge data.patch.")


def _check_judging(discriminator: nn.Module, share: int, channels: int, side: int) -> None:
    """Whether a discriminator, which lies on the meta device, can judge patches of this size and number."""
    try:
        discriminator(torch.zeros(share, channels, side, side, device="meta"))
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"the discriminator cannot judge {share} patches of {side} pixels: enlarge data.patch or data.batch "
            f"({str(error).splitlines()[0].rstrip('.')})."
        ) from error


def make_discriminator(plan: Phase, channels: int) -> nn.Module:
    """The discriminator that a phase names, with random weights."""
    settings = {name: value for name, value in plan.discriminator.items() if name != "name"}
    return create_discriminator(plan.discriminator["name"], channels, **settings)


def _check_stages(plan: Phase, stages: int) -> None:
    if plan.stage is not None and plan.stage > stages:
        raise UsageError(f"stage is {plan.stage}, but the generator has {stages} stages.")


def _optimizer(plan: Phase, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if plan.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=plan.learning_rate, betas=plan.betas, weight_decay=plan.weight_decay, fused=True)


def _mean(logits: Tensor | list[Tensor]) -> Tensor:
    """The mean raw score; a list holds one tensor a stage."""
    entries = logits if isinstance(logits, list) else [logits]
    return torch.stack([entry.detach().float().mean() for entry in entries]).mean()
