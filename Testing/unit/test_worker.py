"""The child's side alone: what it says, what it keeps, and when it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from SuperResolutionLib import handover, worker
from SuperResolutionLib.backends import torch_backend
from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.errors import DeviceError
from SuperResolutionLib.jobs import BOOT
from SuperResolutionLib.upscaler import Options
from SuperResolutionLib.volume import Volume
from Testing.tiny_model import write_model

MODULE = Path(handover.__file__).parents[1]


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_model(folder, "edsr-ise-test-x2-psnr")
    write_model(folder, "edsr-ise-test-x4-psnr")
    return ModelCatalog([folder]).cards


def run(*requests: dict, idle_seconds: float = 60, before: str = "", **options) -> subprocess.CompletedProcess:
    """A child that gets these requests and then the end of its stdin, unless told otherwise."""
    command = [sys.executable, "-c", before + BOOT, str(MODULE), str(idle_seconds), str(os.getpid())]
    lines = b"".join(json.dumps(request).encode() + b"\n" for request in requests)
    return subprocess.run(command, input=lines, capture_output=True, timeout=120, **options)


def messages(stdout: bytes) -> list[dict]:
    return [json.loads(line) for line in stdout.splitlines() if line]


def keep_stdin_open(folder: Path | None, idle_seconds: float, before: str = "") -> tuple[int, list[dict], bytes]:
    command = [sys.executable, "-c", before + BOOT, str(MODULE), str(idle_seconds), str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        if folder is not None:
            child.stdin.write(json.dumps({"folder": str(folder)}).encode() + b"\n")
            child.stdin.flush()
        out, err = child.stdout.read(), child.stderr.read()
        return child.wait(), messages(out), err


def request(folder: Path, card, **options) -> Path:
    folder.mkdir()
    volume = Volume(np.arange(2 * 8 * 9, dtype=np.int16).reshape(2, 8, 9), np.eye(4), "ramp")
    handover.write_request(folder, volume, card, Options(device="cpu", **options))
    return folder


def test_a_conversation(cards, tmp_path):
    """Progress rises, the result is there when it is told, and prints of libraries go to stderr."""
    folder = request(tmp_path / "job", cards[0])
    noise = "import SuperResolutionLib.upscaler as u, os; say = lambda *a: (print('noise'), os.write(1, b'more'), "
    before = f"import sys; sys.path.insert(0, {str(MODULE)!r}); {noise}plan(*a))[2]; plan = u.plan; u.plan = say; "
    status, told, err = keep_stdin_open(folder, 0.2, before)
    assert status == 0 and b"more" in err
    assert told[0]["event"] == "ready" and told[0]["devices"][0] == ["cpu", "CPU"]
    assert {message["job"] for message in told[1:]} == {str(folder)}
    fractions = [message["fraction"] for message in told if message["event"] == "progress"]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1
    assert told[-1]["event"] == "done" and handover.read_result(folder).sr.size == (18, 16, 2)


def test_it_ends_with_its_stdin_and_when_idle():
    assert run().returncode == 0
    status, told, err = keep_stdin_open(None, 0.1)
    assert (status, err) == (0, b"") and [message["event"] for message in told] == ["ready"]


def test_files_outlive_a_child_whose_parent_lives(cards, tmp_path):
    folder = request(tmp_path / "job", cards[0])
    assert run({"folder": str(folder)}).returncode == 0 and (folder / handover.INPUT).exists()


def test_the_current_folder_is_not_searched_for_modules(tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    assert run(cwd=tmp_path).returncode == 0


def test_without_torch_it_says_so_in_the_run(cards, tmp_path):
    folder = request(tmp_path / "job", cards[0])
    status, told, err = keep_stdin_open(folder, 60, "import sys; sys.modules['torch'] = None; ")
    assert status == 0 and told[-1]["event"] == "failed" and told[-1]["code"] == "worker"
    assert "torch is not installed" in told[-1]["message"] and b"Traceback" in err


def test_the_last_model_is_kept(cards, monkeypatch):
    loaded = []

    def load(card, device, precision):
        loaded.append((card.id, device, precision))
        return types.SimpleNamespace(device=device)

    monkeypatch.setattr(torch_backend, "load", load)
    get = worker._load_once()
    first = get(cards[0], "cpu", "float32")
    assert get(cards[0], "cpu", "float32") is first and len(loaded) == 1
    assert get(cards[0], "cpu", "bfloat16") is first  # which holds its network in every precision
    get(cards[1], "cpu", "float32")
    get(cards[0], "cpu", "float32")
    get(cards[0], "cpu", "float32").device = "cuda:0"  # as if it had left that device
    get(cards[0], "cpu", "float32")
    assert [model for model, _, _ in loaded] == [cards[0].id, cards[1].id, cards[0].id, cards[0].id]
    with pytest.raises(DeviceError):
        get(cards[0], "cuda:99", "float32")


def test_everything_survives_the_files(cards, tmp_path):
    folder = request(tmp_path / "job", cards[0], region=((0, 9), (0, 8), (1, 2)), precision="float16")
    volume, card, options = handover.read_request(folder)
    assert card == cards[0] and card.card == cards[0].card
    assert options == Options(device="cpu", region=((0, 9), (0, 8), (1, 2)), precision="float16")
    assert volume.name == "ramp" and isinstance(volume.array, np.memmap)
