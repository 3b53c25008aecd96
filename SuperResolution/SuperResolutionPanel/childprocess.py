"""The one child process that all runs share: it imports torch once and stays warm, whoever asks for a run.

In Slicer it is PythonSlicer in the environment that Slicer was started from; elsewhere it is this Python.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from SuperResolutionLib.errors import WorkerError
from SuperResolutionLib.jobs import Worker

_worker: Worker | None = None


def sharedWorker() -> Worker:
    """The Worker of this Slicer, made when first asked for; it starts no process by itself.

    Raises:
        WorkerError: if there is no Python program to start.
    """
    global _worker
    if _worker is None:
        command, environment = pythonProgram()
        _worker = Worker(command, environment, temporary=temporaryFolder())
    return _worker


def temporaryFolder() -> Path:
    """Where the files of runs lie while they last."""
    return Path(slicer.app.temporaryPath)


def closeSharedWorker() -> None:
    """End the child process with all that it works on; the next run starts another."""
    global _worker
    worker, _worker = _worker, None
    if worker is not None:
        worker.close()


def pythonProgram() -> tuple[list[str], dict[str, str] | None]:
    """The command that runs Python with Slicer's packages, and its environment (None means this process's)."""
    launcher = shutil.which("PythonSlicer")
    if launcher is not None:
        # The launcher makes its own environment; Slicer's libraries must not get before the system's in what it runs.
        return [launcher], slicer.util.startupEnvironment()
    if "python" in Path(sys.executable or "").name.lower():
        return [sys.executable], None
    # sys.executable may be Slicer itself: a second one would open.
    raise WorkerError(_("PythonSlicer, which is part of Slicer, was not found; install Slicer again."))
