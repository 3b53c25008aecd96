"""Losses of the generator: their values, and that their gradient reaches the generator and nothing else."""

import pytest
import torch

from SuperResolutionLib.errors import ModelError, UsageError
from SuperResolutionLib.networks import create
from SuperResolutionLib.resampling import bicubic_downsample, bicubic_upsample
from training.discriminators import create_discriminator
from training.feature_networks import NETWORKS
from training.features import load_features, perceptual_distance
from training.losses import GeneratorLosses, discriminator_loss, judged_pair, read_losses, staged_pairs

#: Published recipes, on the layers that the weights at hand reach.
VGG = {"backbone": "vgg19", "layer": "conv2_2", "weights": "vgg19.pth", "preprocessing": "torchvision"}
MOBILENET = {
    "backbone": "mobilenet_v2",
    "layer": "features.4",
    "weights": "mobilenet.pth",
    "preprocessing": "torchvision",
}
SQUEEZENET = {
    "backbone": "squeezenet1_1",
    "layer": "features.4",
    "weights": "squeeze.pth",
    "preprocessing": "torchvision",
}
FUSION = {"perceptual": VGG, "l1": 1, "adversarial": {"weight": 0.005, "kind": "relativistic"}, "mse": 0.5}
SWIFT = {"mse": 1, "adversarial": 1e-3, "perceptual": {"weight": 6e-3, "criterion": "mse", **MOBILENET}, "tv": 4e-8}
SRGAN = {"perceptual": {**VGG, "criterion": "mse", "layer": "relu2_2"}, "adversarial": 1e-3}
PGAN = {"mse": 1, "adversarial": 1e-3, "triplet": {"weight": 1, "margin": 0.1}}


@pytest.fixture(autouse=True)
def one_thread():
    """Networks as small as these lose more to threads that wait for each other than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files like torchvision's, random, with as many modules as the recipes ask for."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(5)
    for name, backbone, modules in (
        ("vgg19", "vgg19", 8),
        ("mobilenet", "mobilenet_v2", 5),
        ("squeeze", "squeezenet1_1", 5),
    ):
        state = NETWORKS[backbone]()[:modules].state_dict()
        torch.save({f"features.{key}": value for key, value in state.items()}, folder / f"{name}.pth")
    return folder


def images(channels=1, scale=4, size=8):
    hr = torch.rand(2, channels, size * scale, size * scale, generator=torch.Generator().manual_seed(2))
    return bicubic_downsample(hr, scale), hr


def generator(architecture="edsr_ise", **config):
    torch.manual_seed(0)
    return create(architecture, **{"scale": 4, "channels": 1, "features": 16, "blocks": 1} | config)


def run_stages(net, lr):
    outputs = []
    for stage in net.stages:
        outputs.append(stage(outputs[-1] if outputs else lr))
    return outputs


def parts():
    """One loss at a time: name, specification, discriminator."""
    for name in ("l1", "mse", "pattern", "tv", "consistency"):
        yield name, {name: 1}, None
    yield "tv-absolute", {"tv": {"power": 1}}, None
    for name, backbone in (("vgg19", VGG), ("mobilenet", MOBILENET), ("squeezenet", SQUEEZENET)):
        for criterion in ("l1", "mse", "unit"):
            yield f"{name}-{criterion}", {"perceptual": {**backbone, "criterion": criterion}}, None
    for kind in ("standard", "least_squares", "hinge", "relativistic", "saturating"):
        yield kind, {"adversarial": {"kind": kind}}, "srgan"
    for name in ("srgan", "swift", "ise_fusion", "esrgan", "unet_sn"):
        yield f"adversarial-{name}", {"adversarial": 1}, name
        yield f"matching-{name}", {"feature_matching": 1}, name
    yield "fusion recipe", FUSION, "ise_fusion"
    yield "Swift recipe", SWIFT, "swift"
    yield "SRGAN recipe", SRGAN, "srgan"


@pytest.mark.parametrize("spec, name", [part[1:] for part in parts()], ids=[part[0] for part in parts()])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_gradient_reaches_the_generator_and_nothing_else(spec, name, channels, weights):
    lr, hr = images(channels)
    net = generator(channels=channels)
    judge = create_discriminator(name, channels, features=4) if name else None
    losses = GeneratorLosses(spec, channels, feature_weights=weights)
    assert losses.needs_discriminator == (name is not None)
    total, values = losses(net(lr), hr, lr, judge)
    total.backward()
    assert torch.isfinite(total) and list(values) == list(spec)
    first, last = net.stages[0].trunk[0].weight, net.stages[0].tail[-1].weight
    assert first.grad.abs().max() > 0 and last.grad.abs().max() > 0
    assert all(torch.isfinite(entry.grad).all() for entry in net.parameters() if entry.grad is not None)
    frozen = [entry for network in losses.networks.values() for entry in network.parameters()]
    assert all(entry.grad is None and not entry.requires_grad for entry in frozen)
    if judge:
        assert all(entry.grad is None and entry.requires_grad for entry in judge.parameters())
    expected = sum(term.weight * values[term.name] for term in losses.terms)
    torch.testing.assert_close(total.detach(), expected)


@pytest.mark.parametrize(
    "spec", [PGAN, {"triplet": {**VGG, "margin": 1.0}}, {"feature_matching": 1}], ids=["pixels", "vgg19", "matching"]
)
def test_the_gradient_reaches_every_stage_of_pgan(spec, weights):
    lr, hr = images()
    net = generator("pgan")
    judge = create_discriminator("pgan", 1, stages=2, features=4)
    outputs = run_stages(net, lr)
    total, _ = GeneratorLosses(spec, 1, feature_weights=weights)(outputs[-1], hr, lr, judge, outputs)
    total.backward()
    for stage in net.stages:
        assert stage.trunk[0].weight.grad.abs().max() > 0
    assert all(entry.grad is None for entry in judge.parameters())


def test_the_mark_that_a_stage_has_to_beat_is_not_pushed():
    """Without the detour over its input, the second stage's triplet loss says nothing to the first stage."""
    lr, hr = images()
    first = bicubic_upsample(lr, 2).requires_grad_()
    second = (bicubic_upsample(lr, 4) + 0.05).requires_grad_()
    losses = GeneratorLosses({"triplet": {"margin": 0.0}}, 1)
    total, _ = losses(second, hr, lr, stages=[first, second])
    slope_of_first = torch.autograd.grad(total, first, retain_graph=True)[0]
    own = losses(first, hr, lr, stages=[first])[0] / 2
    torch.testing.assert_close(slope_of_first, torch.autograd.grad(own, first)[0])
    assert torch.autograd.grad(total, second)[0].abs().max() > 0


def test_a_pattern_that_repeats_with_the_inputs_pixels_is_told_from_other_errors():
    lr, hr = images(channels=3)
    tile = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(3))
    losses = GeneratorLosses({"pattern": 1.0}, 3)
    value, _ = losses(hr + tile.repeat(1, 8, 8), hr, lr)
    torch.testing.assert_close(value, tile.square().mean())
    noise = torch.randn(hr.shape, generator=torch.Generator().manual_seed(4))
    assert losses(hr + noise, hr, lr)[0] < 0.05 * noise.square().mean()
    shifted = tile.roll(1, dims=-1).repeat(1, 8, 8)  # each image has a pattern of its own
    both = torch.stack([hr[0] + tile.repeat(1, 8, 8), hr[1] + shifted])
    torch.testing.assert_close(losses(both, hr, lr)[0], tile.square().mean())


def test_triplet_is_the_papers_formula():
    lr, hr = images(scale=2)
    sr = bicubic_upsample(lr, 2) * 0.9
    rms = [(one - hr).square().mean(dim=(1, 2, 3)).sqrt() for one in (sr, bicubic_upsample(lr, 2))]
    _, values = GeneratorLosses({"triplet": {"margin": 0.1}}, 1)(sr, hr, lr, stages=[sr])
    torch.testing.assert_close(values["triplet"], torch.relu(rms[0] - rms[1] + 0.1).mean())
    _, values = GeneratorLosses({"triplet": {"margin": 0.1}}, 1)(hr, hr, lr, stages=[hr])
    assert 0 <= values["triplet"] < 0.1  # the truth beats bicubic by more than half the margin at least


def test_pixel_losses_are_what_they_are_called():
    lr, hr = images()
    sr = bicubic_upsample(lr, 4)
    total, values = GeneratorLosses({"l1": 1, "mse": 0.5, "tv": 0.1, "consistency": 2}, 1)(sr, hr, lr)
    torch.testing.assert_close(values["l1"], torch.nn.functional.l1_loss(sr, hr))
    torch.testing.assert_close(values["mse"], torch.nn.functional.mse_loss(sr, hr))
    rows, columns = sr[..., 1:, :] - sr[..., :-1, :], sr[..., 1:] - sr[..., :-1]
    torch.testing.assert_close(values["tv"], rows.square().mean() + columns.square().mean())
    torch.testing.assert_close(values["consistency"], (bicubic_downsample(sr, 4) - lr).abs().mean())
    weighted = values["l1"] + 0.5 * values["mse"] + 0.1 * values["tv"] + 2 * values["consistency"]
    torch.testing.assert_close(total, weighted)


def test_perceptual_layers_have_their_weights(weights):
    lr, hr = images()
    sr = bicubic_upsample(lr, 4)

    def value(layer):
        return GeneratorLosses({"perceptual": VGG | {"layer": layer}}, 1, feature_weights=weights)(sr, hr, lr)[0]

    both = value({"conv1_2": 0.1, "relu2_1": 2.0})
    torch.testing.assert_close(both, 0.1 * value("conv1_2") + 2 * value("relu2_1"))
    same = GeneratorLosses({"perceptual": VGG}, 1, feature_weights=weights)(hr, hr, lr)[0]
    assert same == 0 < both


def test_the_criterion_unit_is_the_distance_that_models_are_judged_by(weights):
    """On the same network and layers; so trained on one network it means the same as measured on another."""
    lr, hr = images()
    sr = bicubic_upsample(lr, 4)
    layers = ("features.1", "features.4")
    spec = SQUEEZENET | {"criterion": "unit", "layer": dict.fromkeys(layers, 0.5)}
    total, _ = GeneratorLosses({"perceptual": spec}, 1, feature_weights=weights)(sr, hr, lr)
    features = load_features("squeezenet1_1", layers, "squeeze.pth", weights, "torchvision")
    expected = perceptual_distance(sr, hr, features).mean()
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=0)
    assert expected > 0


def test_feature_matching_is_zero_for_the_truth_alone():
    lr, hr = images()
    judge = create_discriminator("srgan", 1, features=4).eval()
    losses = GeneratorLosses({"feature_matching": 1}, 1)
    assert losses(hr, hr, lr, judge)[0] == 0
    sr = bicubic_upsample(lr, 4)
    maps = zip(judge.features(sr), judge.features(hr))
    expected = torch.stack([(one - other).abs().mean() for one, other in maps]).mean()
    torch.testing.assert_close(losses(sr, hr, lr, judge)[0], expected)


def test_generator_and_discriminator_train_each_other():
    """A few steps of the fusion's adversarial part: D's loss falls while G rests, then G's falls while D rests."""
    lr, hr = images()
    net, judge = generator(), create_discriminator("ise_fusion", 1, features=8)
    losses = GeneratorLosses({"adversarial": {"kind": "relativistic"}}, 1)
    judging, making = (torch.optim.Adam(module.parameters(), lr=2e-3) for module in (judge, net))
    of_judge, of_maker = [], []
    for _ in range(12):
        real, fake = judged_pair(judge, net(lr).detach(), hr)
        loss = discriminator_loss(losses.adversarial_kind, judge(real), judge(fake))
        of_judge.append(step(loss, judging))
    for _ in range(12):
        of_maker.append(step(losses(net(lr), hr, lr, judge)[0], making))
    assert min(of_judge[-3:]) < 0.7 * of_judge[0]
    assert min(of_maker[-3:]) < 0.7 * of_maker[0]


def step(loss, optimizer):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def test_a_stage_is_judged_at_its_own_size():
    lr, hr = images()
    outputs = run_stages(generator("pgan"), lr)
    pairs = staged_pairs(outputs[-1], hr, outputs)
    assert [one.shape[-1] for one, _ in pairs] == [truth.shape[-1] for _, truth in pairs] == [16, 32]
    torch.testing.assert_close(pairs[0][1], bicubic_downsample(hr, 2))
    judge = create_discriminator("pgan", 1, stages=2, features=4)
    real, fake = judged_pair(judge, outputs[-1], hr, outputs)
    assert len(real) == len(fake) == 2
    real, fake = judged_pair(create_discriminator("srgan", 1, features=4), outputs[-1], hr, outputs)
    assert torch.equal(real, hr) and torch.equal(fake, outputs[-1])
    (real,), (fake,) = judged_pair(judge, outputs[0], hr)  # while the first stage trains alone
    torch.testing.assert_close(real, bicubic_downsample(hr, 2))
    assert [len(entry) for entry in judge([real])] == [2]


def test_under_autocast_losses_are_float32(weights):
    lr, hr = images()
    net, judge = generator(), create_discriminator("unet_sn", 1, features=4)
    with torch.autocast("cpu", torch.bfloat16):
        total, values = GeneratorLosses(FUSION, 1, feature_weights=weights)(net(lr), hr, lr, judge)
    total.backward()
    assert total.dtype == torch.float32 and all(value.dtype == torch.float32 for value in values.values())
    assert net.stages[0].trunk[0].weight.grad.abs().max() > 0


def test_a_card_is_told_the_losses_and_the_weights(weights):
    losses = GeneratorLosses(FUSION, 1, feature_weights=weights)
    line = losses.describe()
    assert line.startswith("perceptual l1 on vgg19 conv2_2 (vgg19.pth, SHA-256 ")
    assert line.endswith(", torchvision) + L1 + 0.005 adversarial (relativistic) + 0.5 MSE")
    assert losses.used_features[0]["sha256"][:16] in line
    other = GeneratorLosses({"feature_matching": 0.1, "triplet": {}, "tv": 2e-8}, 1)
    assert other.describe() == (
        "0.1 discriminator feature matching + triplet on pixels, margin 0.1 + 2e-08 total variation (power 2)"
    )
    assert other.used_features == [] and other.adversarial_kind is None
    assert losses.adversarial_kind == "relativistic"


def test_missing_weights_name_the_file_and_the_way_out(tmp_path, monkeypatch):
    monkeypatch.delenv("SUPERRESOLUTION_DATA", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    read_losses({"perceptual": 1})  # that is not known before they are looked for
    with pytest.raises(ModelError, match=r"vgg19-dcbb9e9d\.pth.*feature_matching"):
        GeneratorLosses({"perceptual": 1}, 1)


@pytest.mark.parametrize(
    "spec, message",
    [
        ({}, "one entry or more"),
        ({"L1": 1}, "Unknown loss 'L1'; did you mean 'l1'"),
        ({"adversarial": {"knd": "hinge"}}, "did you mean 'kind'"),
        ({"adversarial": {"kind": "ragan"}}, "relativistic"),
        ({"l1": {"power": 2}}, "known: none"),
        ({"tv": "2e-8"}, "0 or more"),
        ({"l1": -1}, "0 or more"),
        ({"l1": float("nan")}, "0 or more"),
        ({"perceptual": {"backbone": "vgg16"}}, "backbone of the loss perceptual is one of"),
        ({"perceptual": {"layer": "conv5_5"}}, "no layer 'conv5_5'"),
        ({"perceptual": {"backbone": "mobilenet_v2", "layer": "conv1_1"}}, "features.0 to features.18"),
        ({"triplet": {"margin": "wide"}}, "margin"),
    ],
)
def test_a_bad_specification_is_named(spec, message):
    with pytest.raises(UsageError, match=message):
        read_losses(spec)


def test_what_a_loss_lacks_is_said(weights):
    lr, hr = images()
    with pytest.raises(UsageError, match="need a discriminator"):
        GeneratorLosses({"adversarial": 1}, 1)(hr, hr, lr)
    with pytest.raises(UsageError, match="1 or 3 channels, not 2"):
        GeneratorLosses({"perceptual": VGG}, 2, feature_weights=weights)
