"""The training tree: from a folder of images to a model that the engine runs."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from SuperResolutionLib.catalog import ModelCatalog, load_card
from SuperResolutionLib.errors import ModelError
from SuperResolutionLib.networks import create
from SuperResolutionLib.resampling import bicubic_downsample, bicubic_upsample
from training.__main__ import main
from training.config import Config, load_config
from training.dataset import PackedSet, PatchSampler, pack
from training.export import export, halve_if_equal
from training.prepare import cut_slices
from training.train import learning_rate, start_as_bicubic, train

RANDOM = np.random.default_rng(0)
ABOUT = {
    "title": "t",
    "description": "d",
    "domain": "test",
    "intensity": {"mapping": "auto"},
    "spacing_mm": None,
    "license": "Apache-2.0",
    "hardware": "none",
    "data": [{"name": "n", "license": "CC0-1.0", "images": "noise"}],
}


def stripes(height=64, width=64, phase=0.0):
    """A picture with edges, which bicubic blurs and a network can learn to sharpen."""
    y, x = np.mgrid[:height, :width]
    return ((np.sin((x + 2 * y) / 5 + phase) > 0) * 0.8 + 0.1).astype(np.float32)


def config(**changes) -> Config:
    network = {"scale": 2, "channels": 1, "features": 8, "blocks": 1, "bicubic_skip": True}
    fields = {"id": "edsr-ise-test-x2-psnr", "architecture": "edsr_ise", "network": network, "sets": {"s": 1.0}}
    return Config(**{**fields, "steps": 12, "batch": 2, "patch": 12, "warmup": 2, "card": ABOUT, **changes})


@pytest.fixture
def packed(tmp_path):
    pack(tmp_path / "packed", "s", [stripes(64, 48, phase) for phase in range(4)])
    return tmp_path / "packed"


def test_packed_slices_come_back(packed):
    source = PackedSet(packed, "s")
    assert len(source) == 4
    np.testing.assert_allclose(source.slice(2), stripes(64, 48, 2), atol=1e-3)


def test_patches_are_aligned_pairs_from_whole_slices(tmp_path):
    # Steps of 1/1024 survive float16, so a pair can be compared tightly.
    slices = [(RANDOM.integers(0, 1024, (64, 80)) / 1024).astype(np.float32)]
    pack(tmp_path, "s", slices)
    sampler = PatchSampler({"s": (PackedSet(tmp_path, "s"), 1.0)}, scale=4, patch=8, hard=0.5, seed=0)
    low, high = sampler.batch(6)
    assert low.shape == (6, 1, 8, 8) and high.shape == (6, 1, 32, 32)
    inner = bicubic_downsample(high, 4)[..., 2:-2, 2:-2]
    assert torch.allclose(inner, low[..., 2:-2, 2:-2], atol=1e-4), "inside, a patch is its own downsampling"


def test_background_is_not_drawn_and_hard_patches_more_often(tmp_path):
    image = np.zeros((128, 128), np.float32)
    image[:64, :64] = 0.03 * RANDOM.random((64, 64)) + 0.02
    image[64:, 64:] = stripes(64, 64)
    pack(tmp_path, "s", [image])
    source = {"s": (PackedSet(tmp_path, "s"), 1.0)}
    even = PatchSampler(source, 2, 16, hard=0.0, seed=0).batch(60)[1]
    hard = PatchSampler(source, 2, 16, hard=1.0, seed=0).batch(60)[1]
    assert all(np.ptp(patch.numpy()) > 0 for patch in even)
    assert (hard.amax((1, 2, 3)) > 0.2).float().mean() > (even.amax((1, 2, 3)) > 0.2).float().mean()


def test_a_set_without_content_is_named(tmp_path):
    for name, image in (("empty", np.zeros((64, 64))), ("small", stripes(8, 8))):
        pack(tmp_path, name, [image])
        with pytest.raises(ValueError, match=name):
            PatchSampler({name: (PackedSet(tmp_path, name), 1.0)}, 2, 16, hard=0.5, seed=0)


def test_slices_of_volumes():
    array = RANDOM.integers(0, 1000, (20, 40, 50)).astype(np.int16)
    thick = cut_slices(array, (1.0, 1.0, 5.0), {"mapping": "auto"})
    assert len(thick) == 20 and {plane.shape for plane in thick} == {(32, 48)}
    assert len(cut_slices(array, (1.0, 1.0, 1.0), {"mapping": "auto"})) == 20 + 40 + 50
    assert cut_slices(np.zeros((3, 32, 32), np.int16), (1.0, 1.0, 1.0), {"mapping": "auto"}) == []


def test_training_starts_from_bicubic():
    net = start_as_bicubic(create("edsr_ise", **config().network))
    image = torch.rand(1, 1, 9, 9)
    assert torch.allclose(net(image), bicubic_upsample(image, 2), atol=1e-6)


def test_training_learns_and_logs(packed, tmp_path):
    run = tmp_path / "run"
    train(config(steps=100, learning_rate=3e-3), packed, run, log=lambda text: None)
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    assert state["step"] == 100
    rows = list(csv.DictReader((run / "log.csv").open()))
    assert [row["step"] for row in rows] == ["50", "100"]
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])
    net = create("edsr_ise", **config().network)
    net.load_state_dict(state["average"])
    unseen = torch.from_numpy(stripes(64, 64, 0.5))[None, None]
    low = bicubic_downsample(unseen, 2)
    with torch.inference_mode():
        error, bicubic = ((image - unseen).abs().mean() for image in (net.eval()(low), bicubic_upsample(low, 2)))
    assert error < 0.95 * bicubic


def test_resuming_is_exact(packed, tmp_path):
    whole = train(config(), packed, tmp_path / "whole", log=lambda text: None)
    part = tmp_path / "part"
    state = None
    from training.train import _State

    part.mkdir()
    torch.manual_seed(config().seed)
    state = _State(config(), packed, part / "checkpoint.pt")
    for _ in range(5):
        state.advance()
    state.save()
    resumed = train(config(), packed, part, log=lambda text: None)
    one, two = (torch.load(path, weights_only=True) for path in (whole, resumed))
    assert one["step"] == two["step"] == 12
    for name in one["net"]:
        assert torch.equal(one["net"][name], two["net"][name])
        assert torch.equal(one["average"][name], two["average"][name])


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(packed, tmp_path):
    run = tmp_path / "run"
    train(config(steps=3), packed, run, log=lambda text: None)
    before = (run / "checkpoint.pt").read_bytes()
    with pytest.raises(FloatingPointError, match="not finite"):
        train(config(steps=50, learning_rate=1e30), packed, run, log=lambda text: None)
    assert (run / "checkpoint.pt").read_bytes() == before


def test_learning_rate_schedule():
    plan = config(steps=100, warmup=10, learning_rate=1.0)
    rates = [learning_rate(plan, step) for step in range(101)]
    assert rates[0] == 0.1 and max(rates) == rates[9] == pytest.approx(1.0)
    assert rates[9:] == sorted(rates[9:], reverse=True) and rates[-1] == pytest.approx(0.01)


@pytest.mark.parametrize("architecture", ["edsr_ise", "span"])
def test_an_exported_model_runs_in_the_engine(packed, tmp_path, architecture):
    network = {"scale": 2, "channels": 1, "features": 8, "blocks": 1, "bicubic_skip": True}
    plan = config(id=f"{architecture.replace('_', '-')}-test-x2-psnr", architecture=architecture, network=network)
    checkpoint = train(plan, packed, tmp_path / "run", log=lambda text: None)
    folder = export(plan, checkpoint, tmp_path / "models")
    card = load_card(folder)
    card.verify()
    trained = create(architecture, **network)
    trained.load_state_dict(torch.load(checkpoint, weights_only=True)["average"])
    from SuperResolutionLib.backends.torch_backend import load

    image = RANDOM.random((1, 20, 20), dtype=np.float32)
    with torch.inference_mode():
        expected = trained.eval()(torch.from_numpy(image)[None])[0].numpy()
    np.testing.assert_allclose(load(card, "cpu").enlarge(image, 0, lambda: None), expected, atol=5e-4)


def test_weights_are_halved_only_where_that_changes_nothing_visible():
    network = {"scale": 2, "channels": 1, "features": 8, "blocks": 1}
    weights = create("edsr", **network).state_dict()
    assert all(tensor.dtype == torch.float16 for tensor in halve_if_equal("edsr", network, weights).values())
    large = {name: tensor * 30 for name, tensor in weights.items()}
    assert all(tensor.dtype == torch.float32 for tensor in halve_if_equal("edsr", network, large).values())


def test_the_four_commands_in_a_row(tmp_path, capsys):
    data = tmp_path / "data"
    (data / "mine").mkdir(parents=True)
    for name in ("a", "b"):
        picture = (stripes(64, 64, ord(name)) * 255).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(picture), str(data / "mine" / f"{name}.png"))
    (data / "splits.json").write_text(json.dumps({"mine": {"train": ["a.png"], "val": [], "test": ["b.png"]}}))
    plan = tmp_path / "plan.yaml"
    fields = {"id": "edsr-ise-test-x2-psnr", "architecture": "edsr_ise", "sets": {"mine": 1.0}, "steps": 4, "batch": 2}
    plan.write_text(json.dumps({**fields, "network": config().network, "patch": 12, "card": ABOUT}))
    paths = {"packed": str(tmp_path / "packed"), "run": str(tmp_path / "run"), "models": str(tmp_path / "models")}
    assert main(["prepare", str(plan), str(data), paths["packed"]]) == 0
    assert main(["train", str(plan), paths["packed"], paths["run"]]) == 0
    assert main(["export", str(plan), paths["run"], "--to", paths["models"]]) == 0
    folder = tmp_path / "models" / "edsr-ise-test-x2-psnr"
    assert main(["evaluate", str(folder), str(data), "--sets", "mine", "--write"]) == 0
    entry = ModelCatalog([tmp_path / "models"]).cards[0].measured[0]
    assert (entry["set"], entry["images"]) == ("mine test", 1)
    assert set(entry["methods"]) == {"nearest", "bicubic", "bicubic consistent", "model", "model unconstrained"}
    assert "b.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"speed": 3}, "unknown field.*speed"),
        ({"steps": "many"}, "steps should be int"),
        ({"batch": True}, "batch should be int"),
        ({"id": None}, "id should be str"),
    ],
)
def test_wrong_configurations_are_named(tmp_path, change, words):
    fields = {"id": "a-b-x2-psnr", "architecture": "edsr", "network": {}, "sets": {}, "steps": 1}
    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps(fields | change))
    with pytest.raises(ValueError, match=words):
        load_config(path)
    path.write_text(json.dumps({"id": "a-b-x2-psnr"}))
    with pytest.raises(ValueError, match="missing"):
        load_config(path)


def test_the_configurations_of_the_repository_are_valid(pytestconfig):
    found = sorted((pytestconfig.rootpath / "training" / "configs").glob("*.yaml"))
    assert found
    for path in found:
        plan = load_config(path)
        assert plan.id == path.stem
        assert create(plan.architecture, **plan.network).scale == plan.network["scale"]


def test_an_id_that_contradicts_the_network_is_refused(tmp_path):
    with pytest.raises(ModelError, match="x4 and its network x2"):
        export(config(id="edsr-ise-test-x4-psnr"), tmp_path / "checkpoint.pt", tmp_path)
    assert list(tmp_path.iterdir()) == []
