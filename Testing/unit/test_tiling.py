"""A generator run in strips equals the same generator run whole."""

import pytest
import torch

from SuperResolutionLib import linear_tail, tiling
from SuperResolutionLib.errors import Cancelled
from SuperResolutionLib.networks import create
from SuperResolutionLib.networks.composition import linear_steps

SMALL = {
    "srcnn": {},
    "vdsr": {"features": 8, "layers": 6},
    "edsr": {"features": 8, "blocks": 2},
    "edsr_ise": {"features": 16, "blocks": 2, "reduction": 4},
    "srgan": {"features": 8, "blocks": 2},
    "swift_srgan": {"features": 8, "blocks": 2},
    "srgan_cbam": {"features": 16, "blocks": 2},
    "rrdb": {"features": 8, "growth": 4, "blocks": 1},
    "pgan": {"features": 8, "blocks": 1},
    "span": {"features": 8, "blocks": 2, "input_gain": 16.0},
}


def build(name, scale, channels=1, **extra):
    """A small network with random weights everywhere, gates and running statistics included."""
    torch.manual_seed(5)
    net = create(name, scale=scale, channels=channels, **SMALL[name], **extra).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    return net


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize(
    ("scale", "size", "rows"), [(2, (37, 23), 5), (3, (11, 14), 4), (4, (29, 31), 8), (4, (13, 9), 1), (8, (9, 8), 2)]
)
def test_strips_equal_whole(name, scale, size, rows):
    net = build(name, scale)
    image = torch.rand(2, 1, *size)
    with torch.inference_mode():
        whole = net(image)
        strips = tiling.run(net, image, rows, lambda: None)
    assert strips.shape == whole.shape == (2, 1, size[0] * scale, size[1] * scale)
    assert (strips - whole).abs().max() <= 1e-5 * max(1.0, float(whole.abs().max()))


@pytest.mark.parametrize("scale", [8, 16])
def test_gates_of_deep_tails(scale):
    net = build("edsr_ise", scale, channels=3, bicubic_skip=True)
    image = torch.rand(1, 3, 17, 11)
    with torch.inference_mode():
        whole = net(image)
        strips = tiling.run(net, image, 3, lambda: None)
    assert (strips - whole).abs().max() <= 1e-5 * max(1.0, float(whole.abs().max()))


def test_too_narrow_halo_would_show():
    """The halo is needed: without it strips differ, so the equality above means something."""
    net = build("srgan", 4)
    image = torch.rand(1, 1, 24, 16)
    with torch.inference_mode():
        features = net.stages[0].trunk(image)
        cut = torch.cat([net.stages[0].tail(features[..., :12, :]), net.stages[0].tail(features[..., 12:, :])], dim=2)
        assert (cut - net(image)).abs().max() > 1e-3


def test_poll_stops_between_layers():
    net = build("srgan", 2)
    calls = []

    def poll():
        calls.append(None)
        if len(calls) == 3:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        tiling.run(net, torch.rand(1, 1, 8, 8), 0, poll)
    tiling.run(net, torch.rand(1, 1, 8, 8), 0, lambda: None)
    assert len(calls) == 3


@pytest.mark.parametrize("name", sorted(SMALL))
def test_polls_are_as_many_as_counted(name):
    net = build(name, 4)
    for height, width, rows in ((12, 8, 0), (12, 8, 5), (40, 30, 7)):
        calls = []
        with torch.inference_mode():
            tiling.run(net, torch.rand(1, 1, height, width), rows, lambda calls=calls: calls.append(None))
        assert len(calls) == tiling.count_polls(net, height, width, rows) >= 2


@pytest.mark.parametrize(("scale", "channels"), [(2, 1), (3, 1), (4, 3), (8, 1)])
@pytest.mark.parametrize("name", ["edsr", "edsr_ise"])
def test_linear_tails_equal_their_layers(name, scale, channels):
    net = build(name, scale, channels)
    tail = net.stages[0].tail
    steps = linear_steps(tail)
    features = torch.randn(3, tail[-1].in_channels, 31, 18)
    with torch.inference_mode():
        expected = tail(features)
        made = linear_tail.run(tail, steps, features, lambda: None)
    assert len(steps) == len(tail) - 1 and made.shape == expected.shape
    assert (made - expected).abs().max() <= 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("name", sorted(set(SMALL) - {"edsr", "edsr_ise"}))
def test_other_tails_are_not_taken_for_linear(name):
    assert not any(linear_steps(stage.tail) for stage in build(name, 4).stages)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_slice_of_20000_pixels_needs_no_memory_to_be_laid_out(name):
    """All shapes and indices of a run, on tensors that have no voxels."""
    net = build(name, 4, **({"fused": True} if name == "span" else {})).to("meta")
    with torch.inference_mode():
        whole = tiling.run(net, torch.empty(1, 1, 20000, 20000, device="meta"), 64, lambda: None)
    assert whole.shape == (1, 1, 80000, 80000) and whole.device.type == "meta"
