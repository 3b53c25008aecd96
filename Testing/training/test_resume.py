"""Stopping and going on gives the same run, bit for bit, wherever it is stopped."""

from __future__ import annotations

import csv
import os
import signal
from itertools import zip_longest

import pytest
import torch

from SuperResolutionLib.errors import DataError
from Testing.training.test_queue import CARD
from Testing.training.tiny import CPU, Patches, tiny
from training.state import read_checkpoint
from training.train import train_on


def quiet(text: str) -> None:
    """No progress in the tests' output."""


def curve(run):
    """Every number that does not depend on the clock."""
    with (run / "steps.csv").open(newline="") as file:
        steps = [{k: v for k, v in row.items() if k not in ("waiting", "seconds")} for row in csv.DictReader(file)]
    with (run / "epochs.csv").open(newline="") as file:
        epochs = [{k: v for k, v in row.items() if k not in ("waiting", "seconds")} for row in csv.DictReader(file)]
    return steps, epochs


def differences(one, two) -> list:
    """Pairs of rows that differ."""
    return [pair for tables in zip(curve(one), curve(two)) for pair in zip_longest(*tables) if pair[0] != pair[1]]


def same(one, two) -> bool:
    """Whether two nested states are equal to the last bit; the recorder's times are left out."""
    if isinstance(one, dict):
        keys = set(one) - {"seconds", "seconds steps", "waiting"}
        return set(one) == set(two) and all(same(one[key], two[key]) for key in keys)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


def stopped_from(run, config, step: int) -> None:
    """Begin a run, or go on with it, until some step."""
    patches = Patches()

    def after(drawn):
        if drawn == step * config.data.batch:
            os.kill(os.getpid(), signal.SIGTERM)

    patches.after = after
    train_on(patches, config, run, CPU, quiet)


def stopped_at(step: int, run, config, way: str) -> None:
    """Start a run that ends after some step: by a signal, or by breaking down after a checkpoint two steps before."""
    stopped_from(run, config, step)
    assert torch.load(run / "checkpoint.pt", weights_only=True)["step"] == step
    if way == "killed" and (run / "steps.csv").exists():  # what was written after the checkpoint has to go
        with (run / "steps.csv").open("a") as file:
            commas = "," * (file_columns(run) - 1)
            file.write(f"{step + 1}{commas}\n{step + 2}{commas}\n1")


def file_columns(run) -> int:
    return (run / "steps.csv").read_text().partition("\n")[0].count(",") + 1


@pytest.mark.parametrize("way", ["terminated", "killed"])
@pytest.mark.parametrize("step", [1, 5, 7, 12, 13, 17])
def test_resuming_is_exact_in_both_phases_and_at_their_border(tmp_path, step, way):
    config = tiny(gan=8)
    train_on(Patches(), config, tmp_path / "whole", CPU, quiet)
    stopped_at(step, tmp_path / "part", config, way)
    train_on(Patches(), config, tmp_path / "part", CPU, quiet)
    assert differences(tmp_path / "whole", tmp_path / "part") == []
    whole, part = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "part"))
    assert whole["step"] == 20 and same(whole, part)
    one, two = (torch.load(tmp_path / name / "phase-1-psnr.pt", weights_only=True) for name in ("whole", "part"))
    assert one["step"] == 12 and same(one["average"], two["average"])


def test_a_run_stopped_again_and_again_is_the_same(tmp_path):
    config = tiny(gan=4)
    train_on(Patches(), config, tmp_path / "whole", CPU, quiet)
    while not (tmp_path / "part/status.json").exists() or '"finished": false' in read_status(tmp_path / "part"):
        train_on(stopping_after_three(Patches()), config, tmp_path / "part", CPU, quiet)
    assert differences(tmp_path / "whole", tmp_path / "part") == []


def stopping_after_three(patches: Patches) -> Patches:
    """A signal at the third batch of this start, whatever the number of the step."""
    seen = []

    def after(drawn):
        seen.append(drawn)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    patches.after = after
    return patches


def read_status(run) -> str:
    return (run / "status.json").read_text()


def test_minutes_end_a_run_early(tmp_path):
    train_on(Patches(), tiny(), tmp_path, CPU, quiet, minutes=0)
    assert '"finished": false' in read_status(tmp_path)
    train_on(Patches(), tiny(), tmp_path, CPU, quiet, minutes=5)
    assert '"finished": true' in read_status(tmp_path)


def test_a_finished_run_is_left_alone(tmp_path):
    train_on(Patches(), tiny(), tmp_path, CPU, quiet)
    before = curve(tmp_path)
    train_on(Patches(), tiny(), tmp_path, CPU, quiet)
    assert curve(tmp_path) == before


def test_longer_training_goes_on_from_the_end(tmp_path):
    train_on(Patches(), tiny(), tmp_path, CPU, quiet)
    train_on(Patches(), tiny(phase={"steps": 15}), tmp_path, CPU, quiet)
    assert [int(row["step"]) for row in curve(tmp_path)[0]] == list(range(1, 16))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "belongs to another seed, 0 instead of 1"),
        ({"card": CARD | {"intensity": {"mapping": "fixed", "low": 0, "high": 9}}}, "another intensity, .*'auto'"),
        ({"gan_phase": {"discriminator": {"name": "srgan", "features": 4}}}, "phase gan, whose discriminator was"),
        ({"gan_phase": {"freeze": ["stages.0.trunk"]}}, r"freeze was \[\] and now is \['stages.0.trunk'\]; change it"),
        ({"gan_phase": {"stage": 1}}, "phase gan, whose stage was None and now is 1"),
        ({"gan_phase": {"parameters": "biases"}}, "phase gan, whose parameters was all and now is biases"),
    ],
)
def test_what_cannot_change_in_the_middle_of_a_run_is_refused(tmp_path, changes, words):
    train_on(Patches(), tiny(gan=3), tmp_path, CPU, quiet)
    longer = {"steps": 5, **changes.pop("gan_phase", {})}
    with pytest.raises(DataError, match=words):
        train_on(Patches(), tiny(gan=3, gan_phase=longer, **changes), tmp_path, CPU, quiet)
    train_on(Patches(), tiny(gan=3, gan_phase={"steps": 5}, phase={"freeze": ["stages.0.trunk"]}), tmp_path, CPU, quiet)


def test_checkpoints_of_others_are_refused(tmp_path):
    train_on(Patches(), tiny(gan=3), tmp_path, CPU, quiet)
    path = tmp_path / "checkpoint.pt"
    wider = {"architecture": "edsr_ise", "scale": 2, "channels": 1, "features": 16, "blocks": 1}
    for config, words in (
        (tiny(gan=3, network=wider), "belongs to another network"),
        (tiny(gan=3, phase={"steps": 20}), "the phases before it differ"),
        (tiny(), "belongs to another id"),
    ):
        with pytest.raises(DataError, match=words):
            read_checkpoint(path, config)
    torch.save({"step": 1, "net": {}, "average": {}, "adam": {}, "random": {}}, path)
    with pytest.raises(DataError, match="another version.*'start'"):
        read_checkpoint(path, tiny())
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read"):
        read_checkpoint(path, tiny())


def test_a_run_goes_on_with_other_losses(tmp_path):
    """The tables get the new columns, and what was pending keeps its own."""
    steps = [("l1",), ("l1", "mse"), ("mse",)]
    for stop, losses in zip((3, 7, 12), steps):
        config = tiny(phase={"losses": dict.fromkeys(losses, 1.0)})
        if stop < 12:
            stopped_from(tmp_path / "run", config, stop)
        else:
            train_on(Patches(), config, tmp_path / "run", CPU, quiet)
    with (tmp_path / "run" / "steps.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 13))
    assert {"l1", "mse", "g_norm", "seconds"} <= set(rows[0]) and None not in rows[-1]
    assert [bool(row["l1"]) for row in rows] == [True] * 7 + [False] * 5
    assert [bool(row["mse"]) for row in rows] == [False] * 3 + [True] * 9
    assert all(float(row["seconds"]) > 0 and 0 < float(row["g_norm"]) for row in rows)


def test_losses_may_change_before_the_first_line_of_the_table(tmp_path):
    stopped_from(tmp_path / "run", tiny(phase={"losses": {"l1": 1.0}}, log_steps=10), 3)
    assert not (tmp_path / "run" / "steps.csv").exists()
    train_on(Patches(), tiny(phase={"losses": {"mse": 1.0}}, log_steps=10), tmp_path / "run", CPU, quiet)
    with (tmp_path / "run" / "steps.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["l1"]) for row in rows] == [True] * 3 + [False] * 9 and len(rows) == 12
