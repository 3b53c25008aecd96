"""The web page as its user meets it: the program ``superres view`` in a process of its own, and a real browser."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from Testing.install_system_libraries import browser_program
from Testing.run_cli import PROGRAM, environment

#: Seconds that anything may take on a machine that is busy with other things.
PATIENCE = 180

#: Megabytes that an upload may have in these tests.
MOST_MEGABYTES = 12


class Viewer:
    """A running ``superres view``.

    Attributes:
        address: what it printed, with the token. base: the same without. temporary: its folder for files.
    """

    def __init__(self, temporary: Path, *arguments):
        self.temporary = temporary
        self._printed: list[str] = []
        options = ["view", *map(str, arguments), "--no-browser", "--max-upload", str(MOST_MEGABYTES)]
        self._process = subprocess.Popen(
            [*PROGRAM, *options],
            env=environment(TMPDIR=str(temporary)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._told = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        assert self._told.wait(PATIENCE), "The page did not start."
        found = re.search(r"Open (http://127\.0\.0\.1:(\d+)/)\?token=(\S+)", self.printed)
        assert found, self.printed
        self.base, self.port, self.token = found[1], int(found[2]), found[3]
        self.address = f"{self.base}?token={self.token}"

    @property
    def printed(self) -> str:
        return "".join(self._printed)

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> int:
        """Ask it to end, as Ctrl-C does; its exit status."""
        self._process.terminate()
        try:
            return self._process.wait(PATIENCE)
        finally:
            self._process.kill()

    def _listen(self) -> None:
        for line in self._process.stdout:
            self._printed.append(line)
            if "Ctrl-C" in line:
                self._told.set()
        self._told.set()


@pytest.fixture(scope="session")
def start_viewer(tmp_path_factory):
    """Function that starts ``superres view`` with some arguments."""
    started = []

    def start(*arguments) -> Viewer:
        started.append(Viewer(tmp_path_factory.mktemp("viewer"), *arguments))
        return started[-1]

    yield start
    for viewer in started:
        viewer.end()


@pytest.fixture(scope="session")
def chromium():
    """The browser, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    program = browser_program()
    assert program, "The tests of the web page need the browser chromium: install it and try again."
    with sync_playwright() as playwright:
        arguments = ["--disable-gpu", *(["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else [])]
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def volume_file(tmp_path_factory) -> Path:
    """A CT-like oblique volume of 6 slices of 96 x 80 voxels."""
    from SuperResolutionLib.files import write_volume
    from SuperResolutionLib.volume import Volume

    matrix = np.array([[2.4, 0, 1.8, 10], [0, 3, 0, -20], [-1.8, 0, 2.4, 30], [0, 0, 0, 1.0]])
    matrix[:3, 2] *= 2
    path = tmp_path_factory.mktemp("images") / "phantom.nrrd"
    return write_volume(Volume(phantom(6, 80, 96), matrix), path)


@pytest.fixture(scope="session")
def large_file(tmp_path_factory) -> Path:
    """A volume that takes minutes to upscale."""
    from SuperResolutionLib.files import write_volume
    from SuperResolutionLib.volume import Volume

    path = tmp_path_factory.mktemp("images") / "large.nrrd"
    return write_volume(Volume(phantom(48, 256, 256), np.diag((1.0, 1.0, 3.0, 1.0))), path)


def phantom(k: int, j: int, i: int) -> np.ndarray:
    """(k, j, i) int16: discs and bars in a body, air around it, and some noise."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, length) for length in (k, j, i)), indexing="ij")
    body = np.where(x**2 + y**2 < 0.8, 40.0, -1000.0)
    body[(x - 0.3) ** 2 + (y - 0.2) ** 2 < 0.02 + 0.03 * (z + 1)] = 700
    body[(np.sin(20 * x) > 0.6) & (abs(y + 0.4) < 0.15)] = 300
    return (body + np.random.default_rng(5).normal(0, 10, body.shape)).astype(np.int16)
