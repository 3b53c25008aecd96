"""The short form of a tail is the tail: the same result and the same gradients."""

from __future__ import annotations

import pytest
import torch

from SuperResolutionLib.networks import create
from SuperResolutionLib.networks.blocks import ImprovedSE
from training.linear_tail import shorten_tails


def network(architecture: str, scale: int, channels: int):
    """A small network in float64 whose gates depend on what they see."""
    torch.manual_seed(0)
    net = create(architecture, scale=scale, channels=channels, features=16, blocks=1).double()
    for layer in net.modules():
        if isinstance(layer, ImprovedSE):
            torch.nn.init.normal_(layer.excite.weight)
    return net


def result_and_gradients(net, x, target):
    x = x.clone().requires_grad_()
    net.zero_grad()
    y = net(x)
    (y - target).square().sum().backward()
    return {"result": y.detach(), "input": x.grad} | {name: p.grad.clone() for name, p in net.named_parameters()}


@pytest.mark.parametrize("size", [(21, 19), (9, 11), (2, 3), (1, 1)])
@pytest.mark.parametrize(
    ("architecture", "scale", "channels"), [("edsr_ise", 2, 3), ("edsr_ise", 4, 1), ("edsr", 4, 3), ("edsr_ise", 8, 1)]
)
def test_the_short_form_changes_nothing(architecture, scale, channels, size):
    net = network(architecture, scale, channels)
    x = torch.rand(3, channels, *size, dtype=torch.float64)
    target = torch.rand(3, channels, size[0] * scale, size[1] * scale, dtype=torch.float64)
    names = list(net.state_dict())
    long = result_and_gradients(net, x, target)
    assert shorten_tails(net) == 1 and list(net.state_dict()) == names
    short = result_and_gradients(net, x, target)
    # Sums are taken in float32, as those of a gate are.
    for name, value in long.items():
        assert torch.allclose(short[name], value, rtol=1e-4, atol=2e-5 * float(value.abs().max() + 1e-3)), name


@pytest.mark.parametrize("architecture", ["srgan", "swift_srgan", "rrdb", "span", "srcnn", "vdsr", "pgan"])
def test_tails_with_something_nonlinear_stay(architecture):
    net = create(architecture, scale=4)
    assert shorten_tails(net) == 0


def test_a_scale_of_3_stays():
    assert shorten_tails(create("edsr", scale=3, features=8, blocks=1)) == 0
