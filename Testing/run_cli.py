"""The terminal program for tests: in this process, which is quick, or as the process that a user starts."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

MODULE = Path(__file__).resolve().parents[1] / "SuperResolution"
PROGRAM = (sys.executable, "-m", "SuperResolutionLib.cli")


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit status, stdout, stderr."""

    status: int
    out: str
    err: str

    def sentence(self) -> str:
        """The one line of a refusal, which is all that was printed."""
        assert self.out == ""
        assert self.err.startswith("superres: ") and self.err.endswith(".\n") and self.err.count("\n") == 1, self.err
        return self.err


def run_here(*arguments) -> Ended:
    """``superres`` with these arguments in this process, whose signal handlers and warning filters are kept."""
    from SuperResolutionLib import cli

    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with (
            warnings.catch_warnings(),
            mock.patch.object(sys, "argv", ["superres", *map(str, arguments)]),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            cli.main()
    except SystemExit as end:
        return Ended(end.code, out.getvalue(), err.getvalue())
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    raise AssertionError("The program came back without an exit status.")


def run_program(*arguments, program: tuple[str, ...] = PROGRAM, preexec_fn=None, **variables: str) -> Ended:
    """``superres`` with these arguments as a process of its own, with more environment variables."""
    done = subprocess.run(
        [*program, *map(str, arguments)],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=preexec_fn,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def environment(**variables: str) -> dict[str, str]:
    """This process's environment for a program that finds the package and takes one processor."""
    return {**os.environ, "PYTHONPATH": str(MODULE), "OMP_NUM_THREADS": "1", **variables}


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything below a folder, hidden files too: name to size and time of change."""
    return {str(path.relative_to(folder)): _stamp(path) for path in sorted(folder.rglob("*"))}


def _stamp(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return (0, 0) if path.is_dir() else (status.st_size, status.st_mtime_ns)
