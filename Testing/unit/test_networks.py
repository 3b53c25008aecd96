"""Every architecture: parameter counts, shapes, gates, and a gradient in every parameter."""

import pytest
import torch

from SuperResolutionLib.errors import ModelError
from SuperResolutionLib.networks import ARCHITECTURES, create
from SuperResolutionLib.networks.blocks import ImprovedSE, factors
from SuperResolutionLib.networks.span import fuse
from Testing.unit.test_tiling import SMALL

# The published Swift-SRGAN holds 17 more PReLUs of 64 slopes that its forward pass never uses.
SWIFT = 201_209 - 17 * 64

COUNTS = [
    ("srcnn", {"channels": 1}, 8_129),
    ("vdsr", {"channels": 1}, 665_921),
    ("edsr", {}, 1_517_571),
    ("edsr", {"features": 256, "blocks": 32, "residual_factor": 0.1}, 43_089_923),
    ("edsr_ise", {"scale": 4}, 1_528_591),
    ("edsr_ise", {"scale": 8}, 1_676_883),
    ("edsr_ise", {"scale": 16}, 1_825_175),
    ("srgan", {}, 1_549_462),
    ("srgan", {"channels": 1}, 1_528_724),
    ("swift_srgan", {}, SWIFT),
    ("srgan_cbam", {}, 1_559_222),
    ("rrdb", {}, 16_697_987),
    ("rrdb", {"blocks": 6}, 4_467_779),
    ("pgan", {"scale": 2}, 1_401_749),
    ("pgan", {"scale": 16}, 4 * 1_401_749),
    ("span", {"fused": True}, 426_288),
]


@pytest.mark.parametrize(("name", "config", "count"), COUNTS)
def test_parameter_counts(name, config, count):
    with torch.device("meta"):
        net = create(name, **config)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(name, scale, channels):
    net = create(name, scale=scale, channels=channels, **SMALL[name]).eval()
    with torch.inference_mode():
        assert net(torch.rand(2, channels, 9, 7)).shape == (2, channels, 9 * scale, 7 * scale)
    assert (net.scale, net.channels) == (scale, channels)


def test_every_scale_of_the_deep_families():
    for scale in (2, 3, 4, 8, 16):
        assert create("edsr_ise", scale=scale, **SMALL["edsr_ise"]).scale == scale
        assert create("swift_srgan", scale=scale, **SMALL["swift_srgan"]).scale == scale
    assert len(create("pgan", scale=8, **SMALL["pgan"]).stages) == 3


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_step_reaches_every_parameter(name):
    torch.manual_seed(0)
    net = create(name, scale=4, channels=1, bicubic_skip=True, **SMALL[name]).train()
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    image, target = torch.rand(2, 1, 12, 12), torch.rand(2, 1, 48, 48)
    for _ in range(2):  # gates start with zero weights, which hide the layer before them from the first step
        adam.zero_grad()
        (net(image) - target).square().mean().backward()
        adam.step()
    before_norm = biases_before_batch_norm(net)
    silent = [
        key
        for key, parameter in net.named_parameters()
        if key not in before_norm and (parameter.grad is None or not parameter.grad.abs().sum() > 0)
    ]
    assert silent == []


def biases_before_batch_norm(net) -> set[str]:
    """Batch norm takes away any constant, so the bias of the convolution before it gets no gradient."""
    found, previous = set(), None
    for name, module in net.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d) and isinstance(previous[1], torch.nn.Conv2d):
            found.add(f"{previous[0]}.bias")
        if not list(module.children()):
            previous = (name, module)
    return found


def test_bicubic_skip_is_added_in_float32():
    net = create("edsr", scale=2, channels=1, bicubic_skip=True, **SMALL["edsr"])
    plain = create("edsr", scale=2, channels=1, **SMALL["edsr"])
    plain.load_state_dict(net.state_dict())
    image = torch.rand(1, 1, 8, 8)
    from SuperResolutionLib.resampling import bicubic_upsample

    with torch.inference_mode():
        assert torch.allclose(net(image), plain(image) + bicubic_upsample(image, 2), atol=1e-6)
        with torch.autocast("cpu", torch.bfloat16):
            assert net(image).dtype == torch.float32


def test_improved_gate_starts_at_one_and_stays_below_two():
    gate = ImprovedSE(16)
    assert torch.equal(gate.gate(torch.zeros(1, 16, 1, 1)), torch.ones(1, 16, 1, 1))
    mean = torch.linspace(-3, 3, 16).reshape(1, 16, 1, 1)
    assert torch.allclose(gate.gate(mean), 0.8 + 0.4 * torch.sigmoid(mean))
    torch.nn.init.normal_(gate.excite.weight, std=5)
    values = gate.gate(torch.randn(100, 16, 1, 1) * 3)
    assert 0 < values.min() and values.max() < 2


def test_fused_span_equals_the_trained_one_at_the_border_too():
    torch.manual_seed(1)
    trained = create("span", channels=1, **SMALL["span"]).eval()
    fused = create("span", channels=1, fused=True, **SMALL["span"]).eval()
    fused.load_state_dict(fuse(trained.state_dict()))
    image = torch.rand(1, 1, 11, 13)
    with torch.inference_mode():
        assert torch.allclose(fused(image), trained(image), atol=1e-5)


def test_span_factors_multiply_out_exactly():
    """The single convolution equals the three in sequence plus the shortcut, padded before the first bias."""
    from SuperResolutionLib.networks.span import Conv3XC

    layer, image = Conv3XC(4, 6), torch.rand(2, 4, 7, 9)
    padded = torch.nn.functional.pad(image, (1, 1, 1, 1))
    expected = layer.reduce(layer.middle(layer.expand(padded))) + layer.shortcut(image)
    assert torch.allclose(layer(image), expected, atol=1e-5)


def test_factors():
    assert factors(8) == [2, 2, 2] and factors(3) == [3]
    for scale in (0, 1, 5, 6):
        with pytest.raises(ValueError, match=str(scale)):
            factors(scale)


def test_unknown_architectures_and_arguments():
    with pytest.raises(ModelError, match="known are"):
        create("vgg")
    with pytest.raises(ModelError, match="does not fit"):
        create("edsr", colour=True)
    with pytest.raises(ModelError, match="scale 6"):
        create("edsr_ise", scale=6)
