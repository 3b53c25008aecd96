"""A checkpoint to a model that the engine runs: form for inference, precision, card, other formats, and mixtures."""

import argparse
import csv
import json
import sys
from importlib.util import find_spec

import jsonschema
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from SuperResolutionLib.backends.torch_backend import load
from SuperResolutionLib.backends.torch_weights import load_weights, rounded, stored_kernel, to_whole_numbers
from SuperResolutionLib.catalog import BUNDLED, ModelCatalog, file_sha256, load_card
from SuperResolutionLib.errors import DataError, ModelError, UsageError
from SuperResolutionLib.networks import create
from SuperResolutionLib.networks.blocks import fold_batch_norm
from SuperResolutionLib.resampling import bicubic_upsample
from Testing.tiny_model import write_model
from training.about import describe_losses, training_hours
from training.config import make_config
from training.convert import BicubicByConvolution, to_onnx, to_torchscript
from training.export import add_parser as add_export_parser
from training.export import export as export_known
from training.export import inference_form, largest_difference, precision_of, probe_images, smallest_weights
from training.interpolate import add_parser as add_interpolate_parser
from training.interpolate import interpolate, mixed_id
from training.rounding import round_weights
from training.start import read_weights as read_start
from training.zoo.facts import weights_facts

SCHEMA = json.loads((BUNDLED / "schema.json").read_text())
ONNX = ("onnx", "onnxscript", "onnxruntime")
SMALL = {"features": 16, "blocks": 1, "bicubic_skip": True}
ABOUT = {
    "title": "t",
    "description": "d",
    "domain": "test",
    "intensity": {"mapping": "auto"},
    "spacing_mm": None,
    "license": "Apache-2.0",
    "data": [{"name": "n", "license": "CC0-1.0", "images": "noise"}],
}


def config(architecture="edsr_ise", scale=2, card=ABOUT, channels=1, **changes):
    network = {"architecture": architecture, "scale": scale, "channels": channels, **SMALL}
    phase = {"name": "psnr", "steps": 7, "learning_rate": 1e-3, "losses": {"l1": 1.0, "mse": 2.0}}
    values = {
        "id": f"{architecture.replace('_', '-')}-test-x{scale}-psnr",
        "effort": "small",
        "network": network,
        "data": {"sets": {"s": 1.0}, "batch": 2, "patch": 12},
        "phases": [phase],
        "card": card,
    }
    return make_config({**values, **changes})


def trained(architecture, scale=2, channels=1):
    """A network whose batch normalisation has seen data, as after training."""
    torch.manual_seed(0)
    net = create(architecture, scale=scale, channels=channels, **SMALL).train()
    for _ in range(4):
        net(torch.rand(4, channels, 12, 12))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1.0, 0.2)
            torch.nn.init.normal_(module.bias, 0.0, 0.2)
    return net.eval()


def export(config, path, folder):
    """The checkpoints here are of the first version, which names no network."""
    return export_known(config, path, folder, trust_config=True)


def checkpoint(folder, net, **more):
    """A checkpoint in the form of the first version, which has to stay readable."""
    folder.mkdir(exist_ok=True)
    state = {"step": 7, "net": net.state_dict(), "average": net.state_dict(), "adam": {}, "random": {}}
    torch.save(state | more, folder / "checkpoint.pt")
    return folder / "checkpoint.pt"


@pytest.mark.parametrize("architecture", ["edsr_ise", "span", "srgan", "srgan_cbam", "swift_srgan", "pgan"])
def test_the_engine_does_what_the_trained_network_did(tmp_path, architecture):
    net = trained(architecture)
    folder = export(config(architecture), checkpoint(tmp_path / "run", net), tmp_path / "models")
    card = load_card(folder)
    card.verify()
    model = load(card, "cpu")
    assert largest_difference(model.net, net) < 2.5e-4
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in model.net.modules())
    image = np.random.default_rng(0).random((1, 20, 23), dtype=np.float32)
    with torch.inference_mode():
        expected = net(torch.from_numpy(image)[None])[0].numpy()
    np.testing.assert_allclose(model.enlarge(image, 0, lambda: None), expected, atol=5e-4)


@pytest.mark.parametrize("architecture", ["srgan", "srgan_cbam", "swift_srgan", "pgan"])
def test_folding_batch_normalisation_is_exact_at_the_border_too(architecture):
    net = trained(architecture, scale=4, channels=3)
    fused = create(architecture, scale=4, channels=3, fused=True, **SMALL).eval()
    fused.load_state_dict(fold_batch_norm(net))
    assert largest_difference(fused, net) < 2e-5
    assert sum(p.numel() for p in fused.parameters()) < sum(p.numel() for p in net.parameters())


def test_the_card_is_filled_from_the_file_and_the_run(tmp_path):
    run = tmp_path / "run"
    path = checkpoint(run, trained("edsr_ise"), hardware="one H100", notes=["rolled back once"])
    with (run / "steps.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["step", "seconds"], [1, 1800], [2, 5400]])
    folder = export(config(), path, tmp_path / "models")
    card = json.loads((folder / "card.json").read_text())
    jsonschema.validate(card, SCHEMA)
    weights = folder / "weights.safetensors"
    assert card["sha256"] == file_sha256(weights)
    assert card["parameters"] == sum(p.numel() for p in create("edsr_ise", scale=2, channels=1, **SMALL).parameters())
    assert card["loss"] == "L1 + 2 MSE" and card["augmentations"][0] == "flips" and card["parity"] < 2.5e-4
    training = card["training"]
    assert (training["steps"], training["batch"], training["patch"], training["hours"]) == (7, 2, 12, 2.0)
    assert training["hardware"] == "one H100" and training["notes"] == ["rolled back once"]
    assert training["phases"][0]["losses"] == "L1 + 2 MSE" and training["degradation"] == "antialiased bicubic"
    assert sorted(entry.name for entry in folder.iterdir()) == ["card.json", "weights.safetensors"]
    assert all(entry.stat().st_mode & 0o444 == 0o444 for entry in folder.iterdir()), "whoever shares the folder"
    assert training_hours(tmp_path, 7) is None


def test_the_card_says_what_of_the_network_a_phase_left_alone(tmp_path):
    phase = {"name": "last", "steps": 7, "learning_rate": 1e-3, "parameters": "biases", "freeze": ["stages.0.trunk"]}
    folder = export(config(phases=[phase]), checkpoint(tmp_path / "run", trained("edsr_ise")), tmp_path / "models")
    card = json.loads((folder / "card.json").read_text())
    jsonschema.validate(card, SCHEMA)
    assert card["training"]["phases"][0]["trained"] == "biases only; stages.0.trunk frozen"


def test_losses_name_the_weights_whose_features_they_compare(data_folder):
    text, used = describe_losses({"l1": 1.0, "perceptual": {"weight": 0.5, "layer": "conv3_4"}}, 1)
    assert "vgg19" in text and "L1" in text
    assert used[0]["file"] == "vgg19_features_conv1_1-conv3_4.pth" and len(used[0]["sha256"]) == 64
    assert used[0]["layers"] == ["conv3_4"]


def test_weights_are_halved_only_where_that_changes_nothing_visible(monkeypatch):
    plain = {"scale": 2, "channels": 1, "features": 8, "blocks": 1}
    net = create("edsr", **plain).eval()
    weights, difference = smallest_weights("edsr", plain, net.state_dict(), net)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16} and 0 < difference < 2.5e-4
    assert precision_of(weights) == "float16"

    last = list(net.state_dict())[-1]
    net.state_dict()[last].fill_(1.00045)  # halfway between two numbers of fp16
    weights, difference = smallest_weights("edsr", plain, net.state_dict(), net)
    assert [name for name, tensor in weights.items() if tensor.dtype == torch.float32] == [last]
    assert precision_of(weights) == "mixed" and 0 < difference < 2.5e-4

    net.load_state_dict({name: tensor * 1000 for name, tensor in net.state_dict().items()})
    weights, difference = smallest_weights("edsr", plain, net.state_dict(), net)
    assert {tensor.dtype for name, tensor in weights.items() if name.endswith("weight")} == {torch.float32}
    assert difference < 2.5e-4
    wrong = {name: tensor * 1.1 for name, tensor in net.state_dict().items()}
    with pytest.raises(ModelError, match="not exported"):
        smallest_weights("edsr", plain, wrong, net)

    monkeypatch.setattr("training.export.HALF_PARITY", 0)  # no rounding is allowed
    weights, difference = smallest_weights("edsr", plain, net.state_dict(), net)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32} and difference == 0
    assert precision_of(weights) == "float32"


def test_a_fused_network_is_exported_as_it_is():
    net = create("srgan", scale=2, channels=1, fused=True, **SMALL)
    weights, network = inference_form("srgan", {"scale": 2, "fused": True}, net)
    assert network == {"scale": 2, "fused": True} and set(weights) == set(net.state_dict())


def test_what_cannot_be_exported(tmp_path):
    path = checkpoint(tmp_path / "run", trained("edsr"))
    with pytest.raises(ModelError, match="does not hold the network"):
        export(config(), path, tmp_path / "models")
    with pytest.raises(DataError, match="no checkpoint"):
        export(config(), tmp_path / "none.pt", tmp_path / "models")
    path.write_bytes(b"no checkpoint at all")
    with pytest.raises(DataError, match="is damaged"):
        export(config(), path, tmp_path / "models")
    torch.save({"weights": 1}, path)
    with pytest.raises(DataError, match="not a checkpoint"):
        export(config(), path, tmp_path / "models")
    with pytest.raises(UsageError, match="has no card, which describes the model; add one"):
        export(config(card={}), path, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_failing_export_leaves_the_model_of_before(tmp_path, monkeypatch):
    models = tmp_path / "models"
    folder = export(config(), checkpoint(tmp_path / "run", trained("edsr_ise")), models)
    (folder / "model.onnx").write_bytes(b"converted")
    before = {path: path.read_bytes() for path in models.rglob("*") if path.is_file()}
    monkeypatch.setattr("training.export.largest_difference", lambda *_: 1e-3)
    monkeypatch.setattr("training.export.smallest_weights", lambda *arguments: (arguments[2], 0.0))
    other = checkpoint(tmp_path / "other", trained("edsr_ise"))
    with pytest.raises(ModelError, match="edsr-ise-test-x2-psnr differs from the trained .* it was not exported"):
        export(config(), other, models)
    assert {path: path.read_bytes() for path in models.rglob("*") if path.is_file()} == before
    assert list(models.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("name", "words"),
    [("my mix", "is no model id"), ("../edsr-ise-x-x2-psnr", "is no model id"), ("edsr-ise-own-x4-psnr", "with x2")],
)
def test_a_mixture_has_an_id_of_its_scale(tmp_path, name, words):
    card = load_card(write_model(tmp_path / "a", "edsr-ise-test-x2-psnr"))
    with pytest.raises(ModelError, match=words):
        interpolate(card, card, 0.5, tmp_path / "models", name)
    assert not (tmp_path / "models").exists()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return load_card(write_model(folder, "pgan-test-x4-gan", architecture="pgan"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_does_what_the_model_does(model):
    path, difference = to_torchscript(model)
    assert path == model.weights.parent / "model.pt" and difference < 1e-4
    net, script = load(model, "cpu").net, torch.jit.load(str(path))
    image = torch.rand(2, 1, 19, 33)  # neither the size nor the number that was recorded
    with torch.inference_mode():
        assert torch.allclose(script(image), net(image), atol=1e-4)


def test_onnx_does_what_the_model_does_or_says_what_it_needs(model):
    if all(map(find_spec, ONNX)):
        path, difference = to_onnx(model)
        assert path.name == "model.onnx" and difference < 1e-4
    else:
        with pytest.raises(UsageError, match="install them with pip"):
            to_onnx(model)


def test_onnx_without_its_packages_says_so(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match="install them with pip"):
        to_onnx(model)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_bicubic_by_convolution_is_the_engine_s(scale):
    for image in probe_images(3):
        assert torch.allclose(BicubicByConvolution(scale)(image), bicubic_upsample(image, scale), atol=2e-6)


def test_a_model_in_between(tmp_path):
    psnr = load_card(write_model(tmp_path / "a", "edsr-ise-test-x2-psnr"))
    gan = load_card(write_model(tmp_path / "b", "edsr-ise-test-x2-gan"))
    shift_weights(gan)
    gan = load_card(gan.weights.parent)
    folder = interpolate(psnr, gan, 0.25, tmp_path / "models")
    card = ModelCatalog([tmp_path / "models"]).cards[0]
    assert card.id == folder.name == "edsr-ise-test-mix25-x2-gan" == mixed_id(gan.id, 0.25)
    jsonschema.validate(card.card, SCHEMA)
    assert card.card["mixed"]["sha256"] == [psnr.sha256, gan.sha256] and card.measured == []
    first, second, mixed = (load(entry, "cpu").net.state_dict() for entry in (psnr, gan, card))
    for name in first:
        expected = 0.75 * first[name] + 0.25 * second[name]
        assert torch.allclose(mixed[name], expected, rtol=1e-3, atol=1e-6), "stored in fp16, as parity allows"
    assert card.card["precision"] == "float16" and card.card["parity"] < 2.5e-4
    assert largest_difference(load(card, "cpu").net, load(psnr, "cpu").net) > 0


def shift_weights(card):
    from training.export import write_card

    save_file({name: tensor + 0.01 for name, tensor in load_file(card.weights).items()}, card.weights)
    write_card(card.weights.parent, card.card | {"sha256": file_sha256(card.weights)})


def test_the_commands(tmp_path, capsys):
    checkpoint(tmp_path / "run", trained("edsr_ise"))
    (tmp_path / "plan.yaml").write_text(json.dumps(config().plain()))
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    add_export_parser(commands)
    add_interpolate_parser(commands)

    def run(*arguments):
        options = parser.parse_args([str(argument) for argument in arguments])
        options.run(options)

    run(
        "export",
        tmp_path / "plan.yaml",
        tmp_path / "run",
        "--to",
        tmp_path / "models",
        "--torchscript",
        "--trust-config",
    )
    folder = tmp_path / "models" / "edsr-ise-test-x2-psnr"
    assert (folder / "model.pt").is_file() and "parity" in capsys.readouterr().out
    run("export", tmp_path / "plan.yaml", tmp_path / "run", "--to", tmp_path / "models", "--trust-config")
    assert not (folder / "model.pt").exists(), "of the earlier weights"
    run("interpolate", folder, folder, 0.5, "--to", tmp_path / "models")
    assert (tmp_path / "models" / "edsr-ise-test-mix50-x2-psnr" / "card.json").is_file()
    run("interpolate", folder, folder, 0.5, "--to", tmp_path / "models", "--id", "edsr-ise-own-x2-psnr")
    own = json.loads((tmp_path / "models" / "edsr-ise-own-x2-psnr" / "card.json").read_text())
    assert own["id"] == "edsr-ise-own-x2-psnr" and own["mixed"]["factor"] == 0.5 and "%" not in own["title"]


def test_an_old_checkpoint_is_not_believed_to_be_the_configuration_s_network(tmp_path):
    path = checkpoint(tmp_path / "run", trained("edsr_ise"))
    with pytest.raises(ModelError, match="bicubic_skip .*would go unnoticed.* add --trust-config"):
        export_known(config(), path, tmp_path / "models")
    assert not (tmp_path / "models").exists()
    assert export(config(), path, tmp_path / "models").is_dir()


def test_mixtures_share_no_name():
    names = [mixed_id("edsr-ise-test-x2-gan", factor) for factor in (0.12, 0.124, 0.1241, 0.57, 0.005, 0, 1)]
    middles = [name.removeprefix("edsr-ise-test-mix").removesuffix("-x2-gan") for name in names]
    assert middles == ["12", "12p4", "12p41", "57", "0p5", "0", "100"]


def test_models_that_cannot_be_mixed(tmp_path):
    one = load_card(write_model(tmp_path / "a", "edsr-ise-test-x2-psnr"))
    other = load_card(write_model(tmp_path / "b", "edsr-ise-test-x2-gan", features=16))
    with pytest.raises(ModelError, match="differ in config"):
        interpolate(one, other, 0.5, tmp_path / "models")
    with pytest.raises(UsageError, match="between 0 and 1"):
        interpolate(one, one, 1.5, tmp_path / "models")
    with pytest.raises(UsageError, match="is one of the two models"):
        interpolate(one, one, 0.5, tmp_path / "models", one.id)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("bits", [6, 8])
@pytest.mark.parametrize("architecture", ["edsr_ise", "srgan_cbam", "swift_srgan", "pgan"])
def test_kernels_in_few_bits_are_what_the_network_computed_with(tmp_path, architecture, bits):
    net = trained(architecture)
    path = checkpoint(tmp_path / "run", net)
    halves = export(config(architecture), path, tmp_path / "halves")
    folder = export(config(architecture, weight_bits=bits), path, tmp_path / "models")
    card = load_card(folder)
    jsonschema.validate(card.card, SCHEMA)
    assert card.card["precision"] == f"int{bits}" and card.card["parity"] < 2.5e-4
    model = load(card, "cpu").net
    assert (
        largest_difference(model, round_weights(trained(architecture), bits)) < 2.5e-4 < largest_difference(model, net)
    )
    assert card.card["parameters"] == json.loads((halves / "card.json").read_text())["parameters"]
    assert weights_facts(card)[0] == card.card["parameters"]
    create(architecture, **card.config).load_state_dict(read_start(folder))


@pytest.mark.parametrize(("bits", "most", "bytes_each"), [(8, 127, 1), (6, 31, 0.75)])
@pytest.mark.parametrize("shape", [(64, 64, 3, 3), (3, 5, 1, 1), (7, 3)])
def test_a_kernel_comes_back_from_few_bits(tmp_path, bits, most, bytes_each, shape):
    kernel = torch.randn(shape)
    kernel[0, 0] = kernel.abs().max() + 1  # the largest number, with both signs
    kernel[1, 0] = -kernel[0, 0]
    numbers, step = to_whole_numbers(kernel, bits)
    save_file(stored_kernel("a", kernel, bits), tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_size < bytes_each * kernel.numel() + 4 * shape[0] + 400
    read = load_weights(tmp_path / "a.safetensors")
    assert list(read) == ["a"] and torch.equal(read["a"], rounded(kernel, bits))
    assert ((read["a"] - kernel).abs() <= step / 2 * 1.0001).all()
    assert numbers.abs().amax(dim=tuple(range(1, numbers.dim()))).eq(most).all()
    assert torch.equal(rounded(rounded(kernel, bits), bits), rounded(kernel, bits)), "rounded once, it stays as it is"
    assert torch.equal(rounded(torch.zeros(2, 3), bits), torch.zeros(2, 3))


def test_a_damaged_kernel_in_6_bits_is_refused(tmp_path):
    path = checkpoint(tmp_path / "run", trained("edsr_ise"))
    folder = export(config("edsr_ise", weight_bits=6), path, tmp_path / "models")
    stored = load_file(folder / "weights.safetensors")
    name = next(name for name, tensor in stored.items() if tensor.dtype == torch.uint8)
    save_file(stored | {name: stored[name][:-1].clone()}, folder / "weights.safetensors")
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {"sha256": file_sha256(folder / "weights.safetensors")}))
    with pytest.raises(ModelError, match="do not fit the network that its card describes"):
        load(load_card(folder), "cpu")


def test_spans_sums_are_not_rounded_in_training():
    with pytest.raises(UsageError, match="weight_bits is 8, and SPAN's kernels are sums"):
        config("span", weight_bits=8)
