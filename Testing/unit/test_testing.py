"""The rules of the tests themselves: when a test may skip, and what is said when system libraries are missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTING = Path(__file__).resolve().parents[1]

SKIPS = {
    "in a test": "import pytest\ndef test_it():\n    pytest.skip('no reason')\n",
    "by a mark": "import pytest\n@pytest.mark.skipif(True, reason='no reason')\ndef test_it():\n    pass\n",
    "of a whole file": "import pytest\npytest.importorskip('no_such_package')\ndef test_it():\n    pass\n",
    "for want of data": "def test_it(data_folder):\n    assert data_folder.is_dir()\n",
}
EXPECTED_FAILURE = "import pytest\n@pytest.mark.xfail\ndef test_it():\n    assert False\n"


def run_pytest(folder: Path, test: str, data: Path | None) -> subprocess.CompletedProcess:
    shutil.copy(TESTING / "conftest.py", folder)
    (folder / "test_it.py").write_text(test)
    environment = {name: value for name, value in os.environ.items() if name != "SUPERRESOLUTION_DATA"}
    environment.update({"SUPERRESOLUTION_DATA": str(data)} if data else {})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


@pytest.mark.parametrize("kind", [kind for kind in SKIPS if kind != "for want of data"])
def test_with_data_no_test_may_skip(tmp_path, kind):
    done = run_pytest(tmp_path, SKIPS[kind], data=tmp_path)
    assert done.returncode != 0
    assert "no test may skip" in done.stdout


def test_without_data_a_test_skips_by_name(tmp_path):
    done = run_pytest(tmp_path, SKIPS["for want of data"], data=None)
    assert done.returncode == 0
    assert "1 skipped" in done.stdout


def test_data_and_expected_failures_pass(tmp_path):
    assert run_pytest(tmp_path, SKIPS["for want of data"], data=tmp_path).returncode == 0
    done = run_pytest(tmp_path, EXPECTED_FAILURE, data=tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def installer():
    specification = importlib.util.spec_from_file_location("installer", TESTING / "install_system_libraries.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_missing_system_libraries_are_named_in_one_sentence(installer, monkeypatch, capsys):
    monkeypatch.setattr(installer.sys, "platform", "linux")
    monkeypatch.setattr(installer, "loads", lambda library: library != "libEGL.so.1")
    monkeypatch.setattr(installer, "has_fonts", lambda: False)
    monkeypatch.setattr(installer.shutil, "which", lambda program: None)
    assert installer.main() == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.strip().endswith("libegl1 fonts-dejavu-core chromium")


def test_nothing_is_installed_when_all_is_there(installer, monkeypatch):
    monkeypatch.setattr(installer, "missing_packages", lambda: [])
    monkeypatch.setattr(installer, "install", lambda packages: pytest.fail("apt-get would have been run"))
    assert installer.main() == 0
