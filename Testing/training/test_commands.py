"""The commands in a row, from a folder of pictures to a model with its measured card."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from SuperResolutionLib.catalog import ModelCatalog
from Testing.training.test_queue import CARD
from Testing.training.tiny import fields, stripes
from training.__main__ import main


@pytest.fixture
def data(tmp_path):
    """Two pictures of one set, one for training and one for the test."""
    (tmp_path / "data/s").mkdir(parents=True)
    for name in ("a", "b"):
        picture = (stripes(64, 64, ord(name)) * 255).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(picture), str(tmp_path / f"data/s/{name}.png"))
    splits = {"s": {"train": ["a.png"], "val": [], "test": ["b.png"]}}
    (tmp_path / "data/splits.json").write_text(json.dumps(splits))
    (tmp_path / "plan.yaml").write_text(json.dumps(fields(gan=3) | {"card": CARD}))
    return tmp_path / "data"


def test_from_pictures_to_a_measured_model(data, tmp_path, capsys):
    plan, packed, run, models = (str(tmp_path / name) for name in ("plan.yaml", "packed", "run", "models"))
    assert main(["prepare", plan, str(data), packed]) == 0
    assert main(["train", plan, packed, run, "--device", "cpu"]) == 0
    assert main(["export", plan, run, "--to", models]) == 0
    folder = f"{models}/edsr-ise-test-x2-gan"
    out = ["--out", str(tmp_path / "evaluation"), "--no-distance", "--write"]
    assert main(["evaluate", folder, str(data), "--sets", "s", *out]) == 0
    card = ModelCatalog([tmp_path / "models"]).cards[0]
    assert card.measured[0]["images"] == 1 and "model" in card.measured[0]["methods"]
    assert card.card["training"]["steps"] == 15
    printed = capsys.readouterr().out
    assert "gan 15/15" in printed and "edsr-ise-test-x2-gan" in printed


def test_speed_tells_how_the_loop_compares(data, tmp_path, capsys):
    (tmp_path / "plan.yaml").write_text(json.dumps(fields() | {"card": CARD}))
    plan, packed = str(tmp_path / "plan.yaml"), str(tmp_path / "packed")
    assert main(["prepare", plan, str(data), packed]) == 0
    assert main(["speed", plan, packed, "--rounds", "2", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1].startswith("plain ") and "times as fast, waiting for patches" in printed[-1]
    assert sum(line.count(", ours") for line in printed) == 3


BARE = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"pydantic", "rich", "tensorboard", "PIL", "SimpleITK", "skimage", "psutil"}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Blocker())
from training.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_bare_machine_trains_and_queues_what_was_packed(data, tmp_path):
    plan, packed = str(tmp_path / "plan.yaml"), str(tmp_path / "packed")
    assert main(["prepare", plan, str(data), packed]) == 0
    (tmp_path / "zoo.yaml").write_text("experiments: [plan.yaml]")
    command = ["queue", str(tmp_path / "zoo.yaml"), "--packed", packed, "--runs", str(tmp_path / "runs")]
    command += ["--models", str(tmp_path / "models"), "--pack", str(tmp_path / "bundle"), "--device", "cpu"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", BARE, *command], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "15/15" in done.stdout and "done" in done.stdout
    assert (tmp_path / "models/edsr-ise-test-x2-gan/card.json").exists()


def test_commands_without_what_they_need_say_so_in_a_line(data, tmp_path, capsys):
    (tmp_path / "plan.yaml").write_text(json.dumps(fields()))
    plan = str(tmp_path / "plan.yaml")
    for arguments, words in (
        (["train", plan, str(tmp_path / "nowhere"), str(tmp_path / "run")], "no packed set"),
        (["prepare", plan, str(data), str(tmp_path / "packed")], "has no card"),
        (["export", plan, str(tmp_path / "run")], "has no card"),
        (["queue", str(tmp_path / "none.yaml")], "none.yaml"),
        (["train", plan, str(tmp_path), str(tmp_path / "run"), "--device", "cuda:99"], "cuda:99"),
    ):
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1


def test_a_run_that_stops_tells_it_last_and_one_that_ends_its_checkpoint(data, tmp_path, capsys):
    plan, packed, run = (str(tmp_path / name) for name in ("plan.yaml", "packed", "run"))
    assert main(["prepare", plan, str(data), packed]) == 0
    command = ["train", plan, packed, run, "--device", "cpu"]
    assert main([*command, "--minutes", "0"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "stopped at step 0 of 15; the same command goes on"
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "run/checkpoint.pt")


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("training.commands._schema", interrupt)
    assert main(["schema"]) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


def test_a_closed_pipe_ends_quietly():
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "training", "schema"]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()  # long before the schema is printed
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 1
