"""Adversarial losses against their formulas, and relativistic means over processes."""

import math
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as entropy

from SuperResolutionLib.errors import UsageError
from training.adversarial import KINDS, discriminator_loss, generator_loss, global_mean

ROOT = Path(__file__).resolve().parents[2]


def logits(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 6, 1, dtype=torch.float64, generator=generator).float().requires_grad_()


def ones(x):
    return torch.ones_like(x)


def formulas(kind, real, fake):
    """(discriminator's, generator's) as the papers write them, with torch's own cross entropy."""
    if kind == "standard":
        sides = entropy(real, ones(real)) + entropy(fake, 0 * fake)
        return sides / 2, entropy(fake, ones(fake))
    if kind == "least_squares":
        return ((real - 1) ** 2).mean() / 2 + (fake**2).mean() / 2, ((fake - 1) ** 2).mean()
    if kind == "hinge":
        sides = torch.clamp(1 - real, min=0).mean() + torch.clamp(1 + fake, min=0).mean()
        return sides / 2, -fake.mean()
    if kind == "saturating":
        return 1 - real.sigmoid().mean() + fake.sigmoid().mean(), (1 - fake.sigmoid()).mean()
    above, below = real - fake.mean(), fake - real.mean()
    return (entropy(above, ones(above)) + entropy(below, 0 * below)) / 2, (
        entropy(above, 0 * above) + entropy(below, ones(below))
    ) / 2


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_the_papers(kind):
    real, fake = logits()
    for ours, theirs in zip(
        (discriminator_loss(kind, real, fake), generator_loss(kind, fake, real)), formulas(kind, real, fake)
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_slopes_point_the_right_way(kind):
    """The generator wants false logits up; the discriminator wants them down and real ones up."""
    real, fake = (entry.detach().requires_grad_() for entry in logits().abs() * 0.1 + 0.01)
    generator_loss(kind, fake, real).backward()
    assert (fake.grad < 0).all() and real.grad is None  # the truth is a constant to the generator
    fake.grad = None
    discriminator_loss(kind, real, fake).backward()
    assert (fake.grad > 0).all() and (real.grad < 0).all()


@pytest.mark.parametrize(
    "kind, value",
    [
        ("standard", math.log(2)),
        ("relativistic", math.log(2)),
        ("hinge", 1.0),
        ("least_squares", 0.5),
        ("saturating", 1.0),
    ],
)
def test_a_discriminator_that_knows_nothing_has_a_known_loss(kind, value):
    zeros = torch.zeros(4, 1)
    assert discriminator_loss(kind, zeros, zeros).item() == pytest.approx(value)


@pytest.mark.parametrize("kind", KINDS)
def test_several_discriminators_are_averaged(kind):
    (real, fake), (other_real, other_fake) = logits(1), logits(2)
    both = discriminator_loss(kind, [real, other_real], [fake, other_fake])
    torch.testing.assert_close(
        both, (discriminator_loss(kind, real, fake) + discriminator_loss(kind, other_real, other_fake)) / 2
    )
    both = generator_loss(kind, [fake, other_fake], [real, other_real])
    torch.testing.assert_close(
        both, (generator_loss(kind, fake, real) + generator_loss(kind, other_fake, other_real)) / 2
    )


def test_logits_in_half_precision_are_judged_in_float32():
    real, fake = logits()
    loss = discriminator_loss("relativistic", real.bfloat16() * 100, fake.bfloat16() * 100)
    assert loss.dtype == torch.float32 and torch.isfinite(loss)


def test_an_unknown_kind_is_said():
    with pytest.raises(UsageError, match="relativistic"):
        generator_loss("wasserstein", torch.zeros(1, 1))


TWO_PROCESSES = textwrap.dedent("""
    import sys
    import torch, torch.distributed as dist
    from training.adversarial import discriminator_loss, generator_loss

    folder, rank = sys.argv[1], int(sys.argv[2])
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.manual_seed(0)
    net = torch.nn.Linear(5, 1)
    real, fake = torch.rand(2, 8, 5)
    half = slice(4 * rank, 4 * rank + 4)
    results = []
    for loss in (discriminator_loss, lambda kind, r, f: generator_loss(kind, f, r)):
        net.zero_grad()
        loss("relativistic", net(real[half]), net(fake[half]).sin()).backward()
        for entry in net.parameters():
            dist.all_reduce(entry.grad)
            entry.grad /= 2
        results += [entry.grad.clone() for entry in net.parameters()]
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()
""")


def test_two_processes_give_the_gradients_of_one_with_the_whole_batch(tmp_path):
    paths = f"import sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'SuperResolution')]!r}\n"
    command = [sys.executable, "-c", paths + TWO_PROCESSES, str(tmp_path)]
    running = [subprocess.Popen([*command, str(rank)], stderr=subprocess.PIPE, text=True) for rank in range(2)]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    torch.manual_seed(0)
    net = torch.nn.Linear(5, 1)
    real, fake = torch.rand(2, 8, 5)
    wanted = []
    for loss in (discriminator_loss, lambda kind, r, f: generator_loss(kind, f, r)):
        net.zero_grad()
        loss("relativistic", net(real), net(fake).sin()).backward()
        wanted += [entry.grad.clone() for entry in net.parameters()]
    for rank in range(2):
        for ours, theirs in zip(torch.load(tmp_path / f"{rank}.pt", weights_only=True), wanted):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    assert global_mean(torch.arange(3.0)) == 1  # and one process needs no other
