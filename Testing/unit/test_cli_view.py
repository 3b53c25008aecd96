"""``superres view`` before there is a page: what is missing or wrong is one sentence."""

from __future__ import annotations

import numpy as np
import pytest

from SuperResolutionLib import cli_view
from SuperResolutionLib.files import write_volume
from SuperResolutionLib.volume import Volume
from Testing.run_cli import run_here


def test_missing_packages_are_named_with_the_way_to_get_them(monkeypatch):
    monkeypatch.setattr(cli_view, "NEEDED", ("numpy", "no_such_package", "nor_this"))
    ended = run_here("view", "--no-browser")
    assert ended.status == 2
    assert "not installed (no_such_package, nor_this)" in ended.sentence()
    assert "[cli,viewer]" in ended.sentence()


@pytest.mark.parametrize("arguments", [["nowhere.nrrd"], ["a.nrrd", "--reference", "nowhere.nrrd"]])
def test_a_file_that_is_not_there_is_told_before_anything_starts(arguments, tmp_path, monkeypatch):
    pytest.importorskip("trame", reason="the extra viewer is not installed")
    monkeypatch.chdir(tmp_path)
    write_volume(Volume(np.zeros((1, 4, 5), np.int16), np.eye(4)), tmp_path / "a.nrrd")
    ended = run_here("view", "--no-browser", *arguments)
    assert ended.status == 3
    assert "There is no file or folder nowhere.nrrd" in ended.sentence()


@pytest.mark.parametrize(
    "arguments",
    [["--port", "70000"], ["--max-upload", "-1"], ["--max-upload", "inf"], ["a", "b"], ["--reference", "a"]],
)
def test_wrong_options_are_usage_errors(arguments):
    assert run_here("view", *arguments).status == 2
