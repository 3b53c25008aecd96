"""Adversarial losses on raw logits, for the generator and for the discriminator.

Logits may be of any shape, and a list of tensors stands for several discriminators, whose losses are averaged. Under
torchrun every process should have as many images as the others.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import relu, softplus

from SuperResolutionLib.errors import UsageError

#: standard: Goodfellow's with the non-saturating generator; least_squares: LSGAN; hinge; relativistic: relativistic
#: average (ESRGAN's); saturating: 1 - D(real) + D(fake) on sigmoids, Swift-SRGAN's own, which fades as D wins.
KINDS = ("standard", "least_squares", "hinge", "relativistic", "saturating")

Logits = Tensor | list[Tensor]


def generator_loss(kind: str, fake: Logits, real: Logits | None = None) -> Tensor:
    """What the generator minimises, a scalar in float32. ``relativistic`` alone looks at ``real``, without gradient.

    Raises:
        UsageError: for an unknown kind.
    """
    check_kind(kind)
    if isinstance(fake, list):
        pairs = zip(fake, real or [None] * len(fake))
        return torch.stack([generator_loss(kind, one, other) for one, other in pairs]).mean()
    fake = fake.float()
    if kind == "least_squares":
        return (fake - 1).square().mean()
    if kind == "hinge":
        return -fake.mean()
    if kind == "saturating":
        return 1 - torch.sigmoid(fake).mean()
    if kind == "relativistic":
        real = real.detach().float()
        return _relativistic(better=fake, worse=real)
    return softplus(-fake).mean()


def discriminator_loss(kind: str, real_logits: Logits, fake_logits: Logits) -> Tensor:
    """What the discriminator minimises, a scalar in float32; ``fake_logits`` are those of detached images.

    Except for ``saturating`` it is the mean over both sides, so that a discriminator that knows nothing has ln 2 under
    ``standard`` and ``relativistic``, 1/2 under ``least_squares`` (at logits of 1/2: 1/4) and 1 under ``hinge``.

    Raises:
        UsageError: for an unknown kind.
    """
    check_kind(kind)
    if isinstance(real_logits, list):
        pairs = zip(real_logits, fake_logits)
        return torch.stack([discriminator_loss(kind, real, fake) for real, fake in pairs]).mean()
    real, fake = real_logits.float(), fake_logits.float()
    if kind == "least_squares":
        return ((real - 1).square().mean() + fake.square().mean()) / 2
    if kind == "hinge":
        return (relu(1 - real).mean() + relu(1 + fake).mean()) / 2
    if kind == "saturating":
        return 1 - torch.sigmoid(real).mean() + torch.sigmoid(fake).mean()
    if kind == "relativistic":
        return _relativistic(better=real, worse=fake)
    return (softplus(-real).mean() + softplus(fake).mean()) / 2


def check_kind(kind: str) -> None:
    """Raises UsageError for an unknown kind."""
    if kind not in KINDS:
        raise UsageError(f"Unknown kind of adversarial loss '{kind}'; known are {', '.join(KINDS)}.")


def _relativistic(better: Tensor, worse: Tensor) -> Tensor:
    """Each side is to lie above, or below, the mean of the other over the whole batch on all processes."""
    above = softplus(-(better - global_mean(worse))).mean()
    below = softplus(worse - global_mean(better)).mean()
    return (above + below) / 2


def global_mean(values: Tensor) -> Tensor:
    """The mean over all processes, equally weighted; its gradient reaches the values of every process.

    With the gradients averaged over processes, as data-parallel training does, a loss on it has the gradient that one
    process with the whole batch would have.
    """
    mean = values.mean()
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        return _SumOverProcesses.apply(mean) / dist.get_world_size()
    return mean


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce whose gradient is all-reduced too: every process's loss depends on every process's value."""

    @staticmethod
    def forward(context, value: Tensor) -> Tensor:
        return _summed(value)

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(value: Tensor) -> Tensor:
    value = value.clone()
    dist.all_reduce(value)
    return value
