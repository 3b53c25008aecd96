"""Installs the system libraries and the browser that the tests need, or says which are missing.

PySide6 draws the panel without a display, but on Linux it loads a few libraries that pip cannot bring; the web page is
tested in Chromium. When all are there nothing is run; when some are missing and this is the superuser of a system with
apt-get, they are installed; otherwise one sentence names them and the exit status is 1.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

# Debian's and Ubuntu's package, and the library in it that must load.
LIBRARIES = {
    "libgl1": "libGL.so.1",
    "libegl1": "libEGL.so.1",
    "libxkbcommon0": "libxkbcommon.so.0",
    "libglib2.0-0": "libglib-2.0.so.0",
    "libfontconfig1": "libfontconfig.so.1",
    "libdbus-1-3": "libdbus-1.so.3",
}
BROWSER_PACKAGE = "chromium"
BROWSER_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FONT_PACKAGE = "fonts-dejavu-core"
FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")


def loads(library: str) -> bool:
    """Whether the dynamic linker finds the library and everything that it needs in turn."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def has_fonts() -> bool:
    """Whether there is any outline font: without one the panel's text is empty boxes."""
    folders = [Path(folder).expanduser() for folder in FONT_FOLDERS]
    return any(next(folder.rglob(pattern), None) for folder in folders for pattern in ("*.ttf", "*.otf"))


def browser_program() -> str | None:
    """Path of a Chromium or Chrome, or None."""
    return next(filter(None, map(shutil.which, BROWSER_PROGRAMS)), None)


def missing_packages() -> list[str]:
    """The packages, by Debian's names, that are not there."""
    missing = [package for package, library in LIBRARIES.items() if not loads(library)]
    missing += [] if has_fonts() else [FONT_PACKAGE]
    return missing + ([] if browser_program() else [BROWSER_PACKAGE])


def install(packages: list[str]) -> None:
    """Installs the packages with apt-get; what it says is shown only when it fails."""
    print(f"Installing {' '.join(packages)}", flush=True)
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    commands = (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", *packages])
    for command in commands:
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            print(done.stdout + done.stderr, file=sys.stderr)
            return


def main() -> int:
    if not sys.platform.startswith("linux"):
        return 0
    missing = missing_packages()
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        install(missing)
        missing = missing_packages()
    if missing:
        print(
            "The tests of the panel and of the web page need system packages that are missing and could not be "
            f"installed from here; install them and try again: {' '.join(missing)}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
