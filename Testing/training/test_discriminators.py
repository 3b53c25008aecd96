"""Discriminators: their published sizes, their raw answers, and that each of them learns."""

import pytest
import torch

from SuperResolutionLib.errors import ModelError
from training.adversarial import KINDS, discriminator_loss
from training.discriminators import DISCRIMINATORS, create_discriminator
from training.discriminators.frame import Discriminator

SINGLE = [name for name in DISCRIMINATORS if name != "pgan"]


@pytest.fixture(autouse=True)
def one_thread():
    """Networks as small as these lose more to threads that wait for each other than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def parameters(name, channels, **config):
    with torch.device("meta"):
        return sum(entry.numel() for entry in create_discriminator(name, channels, **config).parameters())


def images(size, count=4, channels=1):
    """Real images hold edges; the false ones are the same, smoothed."""
    real = (torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    return real, torch.nn.functional.avg_pool2d(real, 5, 1, 2)


@pytest.mark.parametrize(
    "name, channels, config, count",
    [
        ("srgan", 3, {"pooling": "flatten"}, 23_565_505),
        ("srgan", 3, {}, 5_215_425),
        ("swift", 3, {"pooling": "flatten"}, 19_413_279),
        ("swift", 3, {}, 1_063_199),
        ("ise_fusion", 3, {}, 6_086_645),
        ("esrgan", 3, {"pooling": "flatten"}, 14_499_401),
        ("esrgan", 3, {}, 13_731_401),
        ("unet_sn", 3, {}, 4_376_897),
        ("pgan", 3, {"stages": 4}, 4 * 5_215_425),
        ("srgan", 1, {}, 5_215_425 - 2 * 64 * 9),
    ],
)
def test_parameter_counts_are_the_published_ones(name, channels, config, count):
    assert parameters(name, channels, **config) == count


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("size", [(40, 40), (33, 50)])
def test_every_size_gives_a_raw_logit(name, size):
    torch.manual_seed(0)
    net = create_discriminator(name, 1, features=4).eval()
    x = torch.rand(3, 1, *size)
    logits = net(x)
    assert logits.shape == ((3, 1, *size) if name == "unet_sn" else (3, 1))
    maps = net.features(x)
    assert all(entry.shape[0] == 3 for entry in maps) and len(maps) >= 8
    torch.testing.assert_close(net.judge(maps), logits)
    # Raw: as the last layer's weights grow, so do the logits, on both sides and beyond 0..1.
    last = [layer for layer in net.modules() if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)][-1]
    with torch.no_grad():
        last.weight.mul_(-1000)
        last.bias.zero_()
        grown = net(x).abs().max()
    assert grown > 1


@pytest.mark.parametrize(
    "name, side, grid", [("srgan", 96, 6), ("swift", 96, 6), ("ise_fusion", 96, 6), ("esrgan", 128, 4)]
)
def test_flattening_keeps_the_published_map_as_it_is(name, side, grid):
    net = create_discriminator(name, 1, features=4, pooling="flatten").eval()
    last = net.features(torch.rand(1, 1, side, side))[-1]
    assert last.shape[-2:] == (grid, grid)
    pool = next(layer for layer in net.head.modules() if isinstance(layer, torch.nn.AdaptiveAvgPool2d))
    torch.testing.assert_close(pool(last), last)


def test_the_fused_maps_count_and_so_does_where_they_lie():
    """Shuffling one of the three maps over its points changes the logit: they are fused point by point."""
    torch.manual_seed(0)
    net = create_discriminator("ise_fusion", 1, features=8).eval()
    maps = net.features(torch.rand(1, 1, 64, 64))
    whole = net.judge(maps)
    for index in (-3, -2, -1):
        moved = list(maps)
        moved[index] = moved[index].flip(-1)
        assert (net.judge(moved) - whole).abs() > 1e-6
    earlier = list(maps)
    earlier[-4] = earlier[-4].flip(-1)
    assert torch.equal(net.judge(earlier), whole)


def test_spectral_norm_holds_the_unets_layers_at_one():
    torch.manual_seed(0)
    net = create_discriminator("unet_sn", 1, features=8)
    for _ in range(30):
        net(torch.rand(1, 1, 16, 16))
    for layer in [*net.down, *net.up, *net.close]:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_a_stage_has_its_own_discriminator():
    torch.manual_seed(0)
    net = create_discriminator("pgan", 1, stages=2, base="srgan", features=4).eval()
    small, large = torch.rand(2, 1, 32, 32), torch.rand(2, 1, 64, 64)
    first, second = net([small, large])
    torch.testing.assert_close(first, net.stages[0](small))
    torch.testing.assert_close(second, net.stages[1](large))
    assert isinstance(net.stages[0], Discriminator)
    torch.testing.assert_close(net.judge(net.features([small]))[0], first)  # the first stage alone
    with pytest.raises(ModelError, match="3 stages and the discriminator 2"):
        net([small, large, large])


@pytest.mark.parametrize("name", SINGLE)
def test_it_learns_to_tell_sharp_from_smooth(name):
    losses = learn(create_seeded(name), "standard", steps=20)
    assert min(losses[-3:]) < 0.6 * losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_under_every_kind_of_loss(kind):
    losses = learn(create_seeded("ise_fusion"), kind, steps=15)
    assert min(losses[-3:]) < 0.7 * losses[0]


def test_one_a_stage_learns():
    torch.manual_seed(0)
    net = create_discriminator("pgan", 1, stages=2, features=8)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    real, fake = zip(images(16), images(32))
    losses = []
    for _ in range(15):
        loss = discriminator_loss("relativistic", net(list(real)), net(list(fake)))
        losses.append(step(loss, optimizer))
    assert min(losses[-3:]) < 0.6 * losses[0]


def create_seeded(name):
    torch.manual_seed(0)
    return create_discriminator(name, 1, features=8)


def learn(net, kind, steps):
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    real, fake = images(32)
    return [step(discriminator_loss(kind, net(real), net(fake)), optimizer) for _ in range(steps)]


def step(loss, optimizer):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@pytest.mark.parametrize("name", SINGLE)
def test_bfloat16_autocast_gives_finite_logits_and_gradients(name):
    net = create_seeded(name)
    real, fake = images(32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = discriminator_loss("relativistic", net(real), net(fake))
    loss.backward()
    assert loss.dtype == torch.float32 and torch.isfinite(loss)
    assert all(torch.isfinite(entry.grad).all() for entry in net.parameters())


@pytest.mark.parametrize(
    "name, config, message",
    [
        ("resnet", {}, "Unknown discriminator 'resnet'"),
        ("srgan", {"depth": 3}, "does not fit the discriminator 'srgan'"),
        ("srgan", {"pooling": "max"}, "average or flatten"),
        ("srgan", {"pooling": "flatten", "image_size": 8}, "image_size"),
        ("pgan", {"base": "pgan"}, "another architecture"),
        ("pgan", {"stages": 0}, "stages of the discriminator .pgan. should be above 0"),
    ],
)
def test_what_cannot_be_built_is_said(name, config, message):
    with pytest.raises(ModelError, match=message):
        create_discriminator(name, 1, **config)
