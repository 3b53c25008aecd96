"""What cannot be trained is refused before the first step; what goes wrong later leaves a state to go on from."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from SuperResolutionLib.errors import (
    DataError,
    DeviceError,
    ModelError,
    ResourceError,
    SuperResolutionError,
    UsageError,
)
from Testing.training.test_resume import curve
from Testing.training.tiny import CPU, Patches, fields, tiny
from training.config import make_config
from training.display import Display
from training.distributed import Group, connect
from training.ema import blend
from training.feature_networks import network
from training.state import write_checkpoint
from training.train import train, train_on

PERCEPTUAL = {"l1": 1.0, "perceptual": {"layer": "conv5_4"}, "adversarial": {"weight": 0.005}}


def quiet(text: str) -> None:
    """No progress in the tests' output."""


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ({"discriminator": {"name": "srgan", "featurs": 4}}, "featurs"),
        ({"discriminator": {"name": "srgan", "pooling": "middle"}}, "pooling is average or flatten"),
        ({"discriminator": {"name": "srgan", "features": 0}}, "features of the discriminator 'srgan' should be above"),
        ({"discriminator": {"name": "srgan", "features": "many"}}, "does not fit the discriminator 'srgan'"),
        ({"stage": 2}, "stage is 2, but the generator has 1"),
        ({"losses": PERCEPTUAL}, "are in none of"),
        ({"discriminator": {"name": "esrgan", "features": 4}}, "cannot judge 2 patches of 24 pixels: enlarge"),
    ],
)
def test_a_fault_of_a_later_phase_is_told_before_the_first_step(tmp_path, monkeypatch, phase, words):
    monkeypatch.delenv("SUPERRESOLUTION_DATA", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    patches = Patches()
    with pytest.raises(SuperResolutionError) as caught:
        train_on(patches, tiny(gan=3, gan_phase=phase), tmp_path / "run", CPU, quiet)
    assert str(caught.value).startswith("phases.1 (gan): ") and words in str(caught.value)
    assert patches.drawn == 0 and not (tmp_path / "run").exists()


def test_a_layer_beyond_the_cut_file_is_told_before_the_first_step(tmp_path):
    cut = {f"features.{name}": value for name, value in network("vgg19")[:4].state_dict().items()}
    torch.save(cut, tmp_path / "cut.pth")
    losses = PERCEPTUAL | {"perceptual": {"layer": "conv5_4", "weights": str(tmp_path / "cut.pth")}}
    with pytest.raises(ModelError, match="phases.1 .*the loss asks for conv5_4"):
        train_on(Patches(), tiny(gan=3, gan_phase={"losses": losses}), tmp_path / "run", CPU, quiet)
    assert not (tmp_path / "run").exists()


def test_two_do_not_train_in_one_folder(tmp_path):
    def once_more(text: str) -> None:
        with pytest.raises(UsageError, match="Another process trains in .*; stop that one first"):
            train_on(Patches(), tiny(), tmp_path, CPU, quiet)
        refused.append(text)

    refused: list[str] = []
    train_on(Patches(), tiny(), tmp_path, CPU, once_more)
    assert refused
    steps = (tmp_path / "steps.csv").read_text()
    train_on(Patches(), tiny(), tmp_path, CPU, quiet)  # finished, and no longer held
    assert (tmp_path / "steps.csv").read_text() == steps


def test_a_staged_discriminator_has_as_many_stages_as_the_generator(tmp_path):
    values = fields(gan=3, gan_phase={"discriminator": {"name": "pgan", "stages": 1, "features": 4}})
    values |= {"id": "p-gan-test-x8-gan"}
    values["network"] = {"architecture": "pgan", "scale": 8, "channels": 1, "features": 8, "blocks": 1}
    with pytest.raises(UsageError, match="discriminator.stages is 1, and the generator has 3"):
        train_on(Patches(scale=8), tiny(**values), tmp_path / "run", CPU, quiet)


def test_an_error_in_mid_run_leaves_a_state_to_go_on_from(tmp_path):
    config, patches = tiny(gan=4), Patches()
    train_on(Patches(), config, tmp_path / "whole", CPU, quiet)

    def after(drawn):
        if drawn == 9 * config.data.batch:
            raise DataError("The picture is gone.")

    patches.after = after
    with pytest.raises(DataError, match="The picture is gone"):
        train_on(patches, config, tmp_path / "run", CPU, quiet)
    status = json.loads((tmp_path / "run/status.json").read_text())
    assert (status["step"], status["finished"]) == (5, False)
    train_on(Patches(), config, tmp_path / "run", CPU, quiet)
    assert curve(tmp_path / "whole") == curve(tmp_path / "run")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), ResourceError, "data.batch 2 and data.patch 12; make one of"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 7 bytes"), ResourceError, "too little memory"),
        (MemoryError(), ResourceError, "too little memory"),
        (OSError(errno.ENOSPC, "No space left on device"), ResourceError, "disk of .*run is full; make room there"),
        (OSError(errno.EIO, "broken"), OSError, "broken"),
        (ZeroDivisionError("a fault of ours"), ZeroDivisionError, "a fault of ours"),
    ],
)
def test_whatever_ends_a_run_leaves_a_state_to_go_on_from(tmp_path, error, kind, words):
    def after(drawn):
        if drawn == 9 * 2:
            raise error

    patches = Patches()
    patches.after = after
    with pytest.raises(kind, match=words):
        train_on(patches, tiny(), tmp_path / "run", CPU, quiet)
    status = json.loads((tmp_path / "run/status.json").read_text())
    assert (status["step"], status["finished"], status["interrupted"]) == (5, False, False)
    train_on(Patches(), tiny(), tmp_path / "run", CPU, quiet)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_and_harms_no_checkpoint(tmp_path):
    train_on(Patches(), tiny(), tmp_path, CPU, quiet, minutes=0)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(tmp_path / "checkpoint.pt", torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    assert (tmp_path / "checkpoint.pt").read_bytes() == before and not (tmp_path / "checkpoint.part").is_symlink()
    (tmp_path / "checkpoint.part").symlink_to("/dev/full")
    with pytest.raises(ResourceError, match="is full; make room there. The same command goes on"):
        train_on(Patches(), tiny(), tmp_path, CPU, quiet)


def test_leftover_tables_without_a_checkpoint_are_begun_anew(tmp_path):
    for name in ("steps.csv", "epochs.csv"):
        (tmp_path / name).write_text("step,epoch\n77,77\n")
    train_on(Patches(), tiny(), tmp_path, CPU, quiet)
    steps, epochs = curve(tmp_path)
    assert [row["step"] for row in steps] == [str(step) for step in range(1, 13)]
    assert epochs and all(row["epoch"] != "77" for row in epochs)


def test_a_file_is_no_run_folder(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(UsageError, match="run is a file; name a folder"):
        train(tiny(), tmp_path, tmp_path / "run")
    with pytest.raises(UsageError, match="cannot be made"):
        train_on(Patches(), tiny(), tmp_path / "run" / "inner", CPU, quiet)
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.parametrize("name", ["foo", "mps", "meta", "cuda:-1"])
def test_an_unknown_device_is_named(name):
    with pytest.raises(DeviceError, match=f"There is no device {name}; --device takes"):
        connect(name)


def test_a_run_that_is_stopped_says_how_it_goes_on(tmp_path):
    lines = []
    train_on(Patches(), tiny(), tmp_path, CPU, lines.append, minutes=0)
    assert lines[-1] == "stopped at step 0 of 12; the same command goes on"
    train_on(Patches(), tiny(), tmp_path, CPU, lines.append)
    assert "psnr 12/12" in lines[-1]


def test_another_process_than_the_first_says_nothing(tmp_path, capsys):
    second = Group(torch.device("cpu"), 1, 1)
    train_on(Patches(), tiny(), tmp_path / "run", second, minutes=0)
    assert capsys.readouterr().out == "" and not (tmp_path / "run").exists()


def test_the_time_left_is_at_the_speed_of_the_phase_at_work(monkeypatch):
    now, lines = [0.0], []
    monkeypatch.setattr("training.display.time.monotonic", lambda: now[0])
    display = Display(lines.append, [10, 10], 0)
    row = {"loss": 1.0, "learning_rate": 1e-3, "seconds": 1.0, "waiting": 0.0}
    for step in range(1, 21):
        now[0] += 1 if step <= 10 else 60
        phase = "first" if step <= 10 else "second"
        display.step(step, phase)
        if step in (5, 11, 15):
            display.rows([row | {"step": step, "phase": phase}], ["loss"])
    # At 11 the second phase has not shown its speed yet.
    assert [line.split("  ")[-1] for line in lines] == ["0:00:15 left", "0:00:09 left", "0:05:00 left"]


def test_averaged_statistics_belong_to_averaged_weights():
    net, average = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    with torch.no_grad():
        net.weight.fill_(3.0)
        net.running_mean.fill_(2.0)
        net.num_batches_tracked.fill_(7)
    blend(average, net, decay=0.5, step=100)
    assert average.weight.tolist() == [2.0, 2.0] and average.running_mean.tolist() == [1.0, 1.0]
    assert int(average.num_batches_tracked) == 7


def test_a_staged_discriminator_is_tried_on_the_patches_of_each_stage():
    from training.phases import check_phases

    values = fields(gan=3, gan_phase={"discriminator": {"name": "pgan", "base": "esrgan", "stages": 2, "features": 4}})
    values["network"] = {"architecture": "pgan", "scale": 4, "channels": 1, "features": 8, "blocks": 1}
    values["id"], values["data"]["patch"] = "p-gan-test-x4-gan", 8
    with pytest.raises(UsageError, match=r"phases.1 .gan.: the discriminator cannot judge 2 patches of 16 pixels"):
        check_phases(make_config(values), 0, [2, 2])
    values["data"]["patch"] = 16
    check_phases(make_config(values), 0, [2, 2])
    with pytest.raises(UsageError, match="cannot judge 1 patches"):
        check_phases(make_config(values), 0, [2, 2], world=2)
