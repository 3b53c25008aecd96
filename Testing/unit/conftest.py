"""Fixtures that several test files share; a file asks for one with ``pytestmark = pytest.mark.usefixtures(...)``."""

from __future__ import annotations

from pathlib import Path

import pytest

from SuperResolutionLib import catalog
from Testing.tiny_model import write_model


@pytest.fixture
def nothing_is_printed(capfd):
    """Image libraries complain on the process's error stream; none of that may reach a user."""
    yield
    captured = capfd.readouterr()
    assert captured.err == ""
    assert captured.out == ""


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """A folder of three tiny models: a grey family with two scales and a colour one."""
    folder = tmp_path_factory.mktemp("models")
    write_model(folder, "edsr-ise-test-x2-psnr")
    write_model(folder, "edsr-ise-test-x4-psnr")
    write_model(folder, "edsr-ise-colour-x2-psnr", channels=3)
    return folder


@pytest.fixture
def only_these_models(models, tmp_path_factory, monkeypatch):
    """The catalog of this process and of those that it starts holds the tiny models alone."""
    monkeypatch.setenv("SUPERRESOLUTION_MODELS", str(models))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setattr(catalog, "BUNDLED", models / "none")
