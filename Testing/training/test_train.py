"""The loop learns, writes what it should, and starts from what it is told."""

from __future__ import annotations

import csv
import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from SuperResolutionLib.backends.torch_weights import rounded
from SuperResolutionLib.errors import DeviceError, ModelError, UsageError
from SuperResolutionLib.networks import create
from SuperResolutionLib.resampling import bicubic_downsample, bicubic_upsample
from Testing.training.tiny import CPU, Patches, fields, stripes, tiny
from training.config import Phase
from training.dataset import pack
from training.distributed import connect
from training.phases import ActivePhase
from training.precision import choose_precision
from training.rounding import round_weights
from training.schedule import factor
from training.start import earlier_training, load_start, start_as_bicubic
from training.train import train, train_on

CPU_DEVICE = torch.device("cpu")


def quiet(text: str) -> None:
    """No progress in the tests' output."""


def rows_of(path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_four_patches_are_learned_by_heart(tmp_path):
    config = tiny(
        network={**fields()["network"], "features": 32, "blocks": 2},
        data={"sets": {"s": 1.0}, "batch": 4, "patch": 12, "workers": 0},
        phase={"steps": 300, "learning_rate": 4e-3, "warmup": 20, "losses": {"l1": 1.0, "mse": 4.0}},
        ema=0.9,
        log_steps=100,
    )
    checkpoint = train_on(Patches(distinct=4), config, tmp_path, CPU, quiet)
    net = create(config.architecture, **config.arguments).eval()
    net.load_state_dict(torch.load(checkpoint, weights_only=True)["average"])
    low, high = Patches(distinct=4).batch(4)
    with torch.inference_mode():
        error, bicubic = ((image - high).square().mean() for image in (net(low), bicubic_upsample(low, 2)))
    assert error < 0.03 * bicubic


def test_training_on_packed_images_beats_bicubic_on_an_unseen_one(tmp_path):
    pack(tmp_path / "packed", "s", [stripes(64, 48, phase) for phase in range(4)])
    config = tiny(phase={"steps": 100, "learning_rate": 3e-3}, log_steps=50, sample_steps=50)
    lines = []
    checkpoint = train(config, tmp_path / "packed", tmp_path / "run", log=lines.append)
    rows = rows_of(tmp_path / "run" / "steps.csv")
    assert [int(row["step"]) for row in rows] == list(range(1, 101))
    losses = [float(row["loss"]) for row in rows]
    assert np.mean(losses[-20:]) < np.mean(losses[:20])
    net = create("edsr_ise", **config.arguments).eval()
    net.load_state_dict(torch.load(checkpoint, weights_only=True)["average"])
    unseen = torch.from_numpy(stripes(64, 64, 0.5))[None, None]
    low = bicubic_downsample(unseen, 2)
    with torch.inference_mode():
        error, bicubic = ((image - unseen).abs().mean() for image in (net(low), bicubic_upsample(low, 2)))
    assert error < 0.95 * bicubic
    assert len(lines) == 2 and "psnr 100/100" in lines[1] and "waiting" in lines[1]


def test_what_a_run_writes(tmp_path):
    from PIL import Image

    config = tiny(gan=6, sample_steps=9)
    patches = Patches()
    train_on(patches, config, tmp_path, CPU, quiet)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert names - {name for name in names if name.startswith("tensorboard")} == {
        "checkpoint.pt",
        "phase-1-psnr.pt",
        "steps.csv",
        "epochs.csv",
        "status.json",
        "lock",
        "samples/0000009.png",
        "samples/0000018.png",
    }
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["step"], status["steps"], status["finished"], status["phase"]) == (18, 18, True, "gan")
    # Four patches of 24 pixels and gaps: low resolution, bicubic, result, truth.
    assert Image.open(tmp_path / "samples/0000018.png").size == (4 * 24 + 3 * 4, 4 * 24 + 3 * 4)
    steps = rows_of(tmp_path / "steps.csv")
    assert steps[0]["adversarial"] == "" and float(steps[-1]["adversarial"]) > 0
    assert float(steps[-1]["d_loss"]) > 0 and steps[0]["phase"] == "psnr" and steps[-1]["phase"] == "gan"


def test_an_epoch_draws_as_many_pixels_as_the_sets_hold(tmp_path):
    pack(tmp_path / "packed", "s", [stripes(96, 96)] * 3)
    train(tiny(), tmp_path / "packed", tmp_path / "run", log=quiet)
    # 3 x 96 x 96 pixels are 48 patches of 24 x 24, which are 24 steps of 2: the run is half an epoch.
    assert not (tmp_path / "run/epochs.csv").exists()
    small = tiny(data={"sets": {"s": 1.0}, "batch": 12, "patch": 12, "workers": 0})
    train(small, tmp_path / "packed", tmp_path / "run2", log=quiet)
    epochs, steps = rows_of(tmp_path / "run2/epochs.csv"), rows_of(tmp_path / "run2/steps.csv")
    assert [int(row["step"]) for row in epochs] == [4, 8, 12]
    assert float(epochs[1]["loss"]) == pytest.approx(np.mean([float(row["loss"]) for row in steps[4:8]]))


def test_both_networks_learn_in_a_gan_phase(tmp_path):
    config = tiny(gan=6)
    train_on(Patches(), tiny(gan=1), tmp_path / "short", CPU, quiet)
    train_on(Patches(), config, tmp_path / "long", CPU, quiet)
    one, two = (torch.load(tmp_path / n / "checkpoint.pt", weights_only=True) for n in ("short", "long"))
    for state in ("net", "average"):
        assert any((one[state][name] != two[state][name]).any() for name in one[state])
    judges = [state["modules"]["discriminator"] for state in (one, two)]
    assert all((judges[0][name] != judges[1][name]).any() for name in judges[0] if name.endswith("0.weight"))


def test_a_phase_keeps_the_discriminator_of_an_equal_one_before(tmp_path):
    values = fields(gan=3)
    values["phases"].append({**values["phases"][1], "name": "slow", "learning_rate": 1e-12})
    train_on(Patches(), tiny(**values), tmp_path, CPU, quiet)
    before = torch.load(tmp_path / "phase-2-gan.pt", weights_only=True)["modules"]["discriminator"]
    after = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["modules"]["discriminator"]
    assert all(torch.allclose(before[name], after[name], atol=1e-9) for name in before)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_several_discriminator_steps_take_several_batches(tmp_path, precision):
    patches = Patches()
    train_on(patches, tiny(gan=2, gan_phase={"d_steps": 3}, precision=precision), tmp_path, CPU, quiet)
    assert patches.drawn == 2 * (12 + 2 * 3)


def test_a_phase_of_one_stage_trains_that_stage_alone():
    network = {"architecture": "pgan", "scale": 8, "channels": 1, "features": 8, "blocks": 1, "bicubic_skip": True}
    config = tiny(id="p-gan-test-x8-psnr", network=network, phase={"stage": 2})
    torch.manual_seed(0)
    net = create("pgan", **config.arguments)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    phase = ActivePhase(config, 0, net, CPU, "float32")
    patches = Patches(scale=8)
    phase.step(5, lambda: patches.batch(2))
    changed = {name.split(".")[1] for name, value in net.state_dict().items() if (value != before[name]).any()}
    assert changed == {"1"}


def test_frozen_layers_keep_their_weights_and_statistics():
    network = {"architecture": "srgan", "scale": 2, "channels": 1, "features": 8, "blocks": 2, "bicubic_skip": True}
    frozen = ["stages.0.trunk.0", "stages.0.trunk.2.body.0"]
    config = tiny(id="srgan-test-x2-psnr", network=network, phase={"freeze": frozen})
    torch.manual_seed(0)
    net = create("srgan", **config.arguments)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    phase = ActivePhase(config, 0, net, CPU, "float32")
    patches = Patches()
    phase.step(5, lambda: patches.batch(2))
    changed = {name for name, value in net.state_dict().items() if (value != before[name]).any()}
    still = {name for name in before if name.startswith(tuple(f"{layer}." for layer in frozen))}
    assert any(name.endswith("running_mean") for name in still)
    assert changed == set(before) - still


def test_a_phase_of_biases_leaves_every_kernel():
    config = tiny(phase={"parameters": "biases", "freeze": ["stages.0.trunk"]}, weight_bits=8)
    torch.manual_seed(0)
    net = create("edsr_ise", **config.arguments)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    phase, patches = ActivePhase(config, 0, net, CPU, "float32"), Patches()
    for number in range(3):
        phase.step(number, lambda: patches.batch(2))
    changed = {name for name, value in net.state_dict().items() if (value != before[name]).any()}
    assert changed and all(name.startswith("stages.0.tail.") and name.endswith(".bias") for name in changed)


def test_a_network_computes_with_rounded_weights_and_trains_those_behind_them():
    config = tiny(weight_bits=8)
    torch.manual_seed(0)
    net = create("edsr_ise", **config.arguments)
    before = deepcopy(net)
    phase = ActivePhase(config, 0, net, CPU, "float32")
    low, high = Patches().batch(2)
    [loss] = phase.step(0, lambda: (low, high))[:1]
    assert loss == (round_weights(deepcopy(before), 8)(low) - high).abs().mean() != (before(low) - high).abs().mean()
    pairs = list(zip(net.parameters(), before.parameters()))
    moved = [(new - old).abs().max() for new, old in pairs if new.dim() > 1]
    # Adam's first step is the learning rate: behind the rounding nothing jumps to a whole number of steps.
    assert 0 < max(moved) <= 1.01 * phase.rate
    assert any((rounded(new, 8) - new).abs().max() > 0 for new, _ in pairs if new.dim() > 1)


def test_weight_norms_are_clipped_and_rates_scheduled():
    def phase(**changes):
        return Phase("p", 100, 1.0, **changes)

    cosine = [factor(phase(warmup=10), step) for step in range(101)]
    assert cosine[0] == 0.1 and max(cosine) == cosine[9] == 1.0
    assert cosine[9:] == sorted(cosine[9:], reverse=True) and cosine[-1] == pytest.approx(0.01)
    halved = phase(schedule="steps", milestones=(50, 80))
    assert [factor(halved, step) for step in (0, 49, 50, 79, 80)] == [1, 1, 0.5, 0.5, 0.25]
    assert factor(phase(schedule="constant"), 99) == 1


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_reduced_precision_trains_and_keeps_weights_in_float32(tmp_path, precision):
    checkpoint = train_on(Patches(), tiny(gan=3, precision=precision), tmp_path, CPU, quiet)
    state = torch.load(checkpoint, weights_only=True)
    assert state["precision"] == precision and state["guard"]["rollbacks"] == 0
    assert all(value.dtype == torch.float32 for value in state["net"].values())


def test_auto_precision_asks_the_processor(monkeypatch):
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
    assert choose_precision("auto", CPU_DEVICE) == "float32"
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX512")
    for faster, chosen in ((3.0, "bfloat16"), (0.2, "float32")):
        seconds = {"float32": 1.0, "bfloat16": 1.0 / faster}
        monkeypatch.setattr("training.precision._seconds", seconds.get)
        assert choose_precision("auto", CPU_DEVICE) == chosen
    assert choose_precision("float16", CPU_DEVICE) == "float16"


def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(DeviceError, match="cuda:77 is not available"):
        connect("cuda:77")


def test_data_that_does_not_fit_is_named(tmp_path):
    pack(tmp_path, "s", [stripes()])
    color = {**fields()["network"], "channels": 3}
    with pytest.raises(UsageError, match="channels is 3"):
        train(tiny(network=color), tmp_path, tmp_path / "run")
    with pytest.raises(UsageError, match="'t'"):
        train(tiny(data={"sets": {"t": 1.0}}), tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_starts_from_bicubic():
    net = start_as_bicubic(create("edsr_ise", **tiny().arguments))
    image = torch.rand(1, 1, 9, 9)
    assert torch.allclose(net(image), bicubic_upsample(image, 2), atol=1e-6)


def folder_of_model(path, state) -> None:
    path.mkdir()
    (path / "card.json").write_text("{}")
    save_file({name: value.half().contiguous() for name, value in state.items()}, path / "weights.safetensors")


@pytest.mark.parametrize("kind", ["model", "old checkpoint", "run"])
def test_a_run_starts_from_weights_of_any_kind(tmp_path, kind):
    torch.manual_seed(1)
    given = {name: value.half().float() for name, value in create("edsr_ise", **tiny().arguments).state_dict().items()}
    path = tmp_path / "before"
    if kind == "model":
        folder_of_model(path, given)
    elif kind == "old checkpoint":
        path = tmp_path / "checkpoint.pt"
        torch.save({"step": 5, "net": {}, "average": given, "adam": {}, "random": {}}, path)
    else:
        path.mkdir()
        torch.save({"average": given}, path / "checkpoint.pt")
    net = create("edsr_ise", **tiny().arguments)
    assert load_start(net, str(path), tmp_path).endswith(f"all {len(given)} tensors")
    assert all(torch.equal(value, given[name]) for name, value in net.state_dict().items())
    lines = []
    name = path.name if kind == "run" else str(path)  # a run is found beside its own folder
    train_on(Patches(), tiny(start=name), tmp_path / "next", CPU, lines.append)
    assert "starts from" in lines[0]


def test_a_run_tells_what_was_trained_before_the_weights_that_it_starts_from(tmp_path):
    first = train_on(Patches(), tiny(), tmp_path / "first", CPU, lambda line: None)
    second = train_on(Patches(), tiny(start="first"), tmp_path / "second", CPU, lambda line: None)
    assert torch.load(first, weights_only=True)["before"] == []
    [entry] = torch.load(second, weights_only=True)["before"]
    assert entry["id"] == tiny().id and entry["steps"] == tiny().steps and entry["hardware"]
    assert [phase["name"] for phase in entry["phases"]] == [phase.name for phase in tiny().phases]
    third = train_on(Patches(), tiny(start="second"), tmp_path / "third", CPU, lambda line: None)
    assert torch.load(third, weights_only=True)["before"][0] == entry
    assert len(torch.load(third, weights_only=True)["before"]) == 2
    assert earlier_training("first/checkpoint.pt", tmp_path) == [entry]
    folder_of_model(tmp_path / "model", {"a": torch.zeros(1)})
    assert earlier_training("model", tmp_path) == [], "its card does not say"


def test_another_scale_gives_what_fits_and_names_what_does_not(tmp_path):
    torch.manual_seed(1)
    arguments = {**tiny().arguments, "bicubic_skip": False}
    given = create("edsr_ise", **arguments).state_dict()
    folder_of_model(tmp_path / "x2", given)
    net = create("edsr_ise", **{**arguments, "scale": 8})
    before = {name: value.clone() for name, value in net.state_dict().items()}
    said = load_start(net, "x2", tmp_path)
    fresh = [name for name, value in net.state_dict().items() if torch.equal(value, before[name]) and value.any()]
    assert fresh and all(name.startswith(("stages.0.tail.1", "stages.0.tail.2")) for name in fresh)
    assert fresh[0] in said and "left as initialised" in said
    # The last convolution has another place in the tail, and is found there.
    assert torch.allclose(net.state_dict()["stages.0.tail.3.weight"], given["stages.0.tail.1.weight"], atol=1e-3)


@pytest.mark.parametrize("architecture", ["srgan", "span"])
def test_folded_weights_start_a_fused_network_alone(tmp_path, architecture):
    network = {"scale": 2, "channels": 1, "features": 8, "blocks": 1, "bicubic_skip": True, "fused": True}
    fused, plain = create(architecture, **network), create(architecture, **(network | {"fused": False}))
    folder_of_model(tmp_path / "folded", fused.state_dict())
    (tmp_path / "folded/card.json").write_text(json.dumps({"config": network}))
    with pytest.raises(ModelError, match="form for inference.*; start from the run .* or add fused: true to network"):
        load_start(plain, "folded", tmp_path)
    assert "all" in load_start(fused, "folded", tmp_path, fused=True)
    values = fields(id=f"{architecture}-test-x2-psnr", start="folded")
    values["network"] = {"architecture": architecture, **network}
    train_on(Patches(), tiny(**values), tmp_path / "next", CPU, quiet)


def test_a_start_that_is_not_there_or_does_not_fit_is_named(tmp_path):
    net = create("edsr_ise", **tiny().arguments)
    with pytest.raises(ModelError, match="neither there nor in"):
        load_start(net, "nothing", tmp_path)
    folder_of_model(tmp_path / "srcnn", create("srcnn", scale=2).state_dict())
    with pytest.raises(ModelError, match="do not fit the generator"):
        load_start(net, "srcnn", tmp_path)
    (tmp_path / "bad.pt").write_bytes(b"x")
    with pytest.raises(ModelError, match="no weights that can be read"):
        load_start(net, str(tmp_path / "bad.pt"), tmp_path)
