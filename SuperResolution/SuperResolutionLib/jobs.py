"""A run in a child process, the parent's side: start, poll, cancel, take the result.

Volumes pass through .npy files in a fresh temporary folder a run, messages as one JSON object a line. Whatever happens
to the child, the parent lives: a crash, a kill or a lack of memory becomes one sentence.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sys
import tempfile
import threading
import time
import traceback
import weakref
from pathlib import Path

from .catalog import ModelCard
from .child import Child, describe_status
from .errors import Cancelled, SuperResolutionError, UsageError, WorkerError, error_of, reason
from .handover import no_room, read_result, write_request
from .upscaler import Options, UpscaleResult
from .volume import Volume

#: What the child executes; its own folder comes first on the path, the current folder not at all.
BOOT = (
    "import sys; sys.path[:] = [sys.argv[1], *filter(None, sys.path)]; "
    "from SuperResolutionLib.worker import main; main(float(sys.argv[2]), int(sys.argv[3]))"
)

#: Seconds that ``Worker.close`` waits for the end of what it ended, and that cancelling a run does.
SECONDS_TO_CLOSE, SECONDS_TO_CANCEL = 2.0, 0.2


class Worker:
    """One child process that stays warm between runs. Call all methods from one thread; none waits but ``close`` and,
    for a moment, what ends the child.

    Args:
        command: the Python program and its arguments, to which ``-c`` and what follows is added; None is this one.
        environment: of the child; None means this process's.
        temporary: folder for the folders of runs, which hold input and outputs; None is the system's.
        idle_seconds: after this time without work the child ends; the next run starts another.

    Attributes:
        devices: [("cpu", "CPU"), ("cuda:0", "its name"), ...] once the child has said it, None before; [] if
            torch cannot be imported.
    """

    def __init__(
        self,
        command: list[str] | None = None,
        environment: dict[str, str] | None = None,
        temporary: Path | None = None,
        idle_seconds: float = 600,
    ):
        package_folder = str(Path(__file__).resolve().parents[1])
        start = ["-c", BOOT, package_folder, str(idle_seconds), str(os.getpid())]
        self._command = [*(command or [sys.executable]), *start]
        self._environment = environment
        self._temporary = temporary
        self._child: Child | None = None
        self._job: Job | None = None
        self._folders: set[Path] = set()
        self._threads: list[threading.Thread] = []
        self.devices: list[tuple[str, str]] | None = None
        _open_workers.add(self)

    @property
    def alive(self) -> bool:
        """Whether there is a child, starting or started, that has not ended."""
        return self._child is not None and not self._child.ended.is_set()

    def warm(self) -> None:
        """Start a child if there is none, so that the first run need not wait for the import of torch."""
        if not self.alive:
            self.devices = self.devices or None  # torch may have been installed since
            self._child = Child(self._command, self._environment)

    def poll(self) -> None:
        """Read what the child has said: its devices, and how the running job stands."""
        if self._job is not None:
            self._job.check()
        child = self._child
        while child is not None and child is self._child and not child.lines.empty():
            line = child.lines.get()
            if line is None:
                self._child = None
                self._on_end(child)
            elif line.strip() and not self._understand(line, child):
                child.keep(line)

    def start(self, volume: Volume, card: ModelCard, options: Options) -> Job:
        """Begin a run; whatever goes wrong from here on is told by the job.

        Args:
            volume: its array may be a view of memory that somebody else owns; a thread copies it into a file.
            card, options: as for ``upscale``.

        Raises:
            UsageError: if a run is under way.
        """
        self.poll()
        if self._job is not None:
            raise UsageError("A run is under way; wait for its end or cancel it.")
        job = self._job = Job(self, volume, card, options)
        try:
            job.folder = Path(tempfile.mkdtemp(prefix="superresolution-", dir=self._temporary))
        except OSError as error:
            job.fail(no_room(error, self._temporary or Path(tempfile.gettempdir())))
            return job
        self._folders.add(job.folder)
        self.warm()
        job.hand_over(self._child)
        return job

    def close(self) -> None:
        """End the child with all that it started and remove the folders of all runs; waits for that, but not long."""
        if self._job is not None:
            self._job.stop()
        child, self._child = self._child, None
        if child is not None:
            child.end()
        deadline = time.monotonic() + SECONDS_TO_CLOSE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        for folder in list(self._folders):  # of results that were not released
            shutil.rmtree(folder, ignore_errors=True)
            self._folders.discard(folder)

    def discard_child(self) -> None:
        """End the child; the next run begins with a fresh one."""
        child, self._child = self._child, None
        if child is not None:
            thread = threading.Thread(target=child.end)
            thread.start()
            # In Slicer the main thread keeps Python's lock while Qt waits: without this the thread might not get to the
            # kill until somebody runs Python again, and the child would go on computing.
            thread.join(SECONDS_TO_CANCEL)
            self._threads.append(thread)

    def remove(self, folder: Path, *after: threading.Thread) -> None:
        """Remove a run's folder once some threads and the processes that are being ended have let go of it."""
        waiting = [*after, *self._threads]

        def work():
            for thread in waiting:
                thread.join()
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():  # on Windows a map that is still in use keeps its file; ``close`` tries again
                self._folders.discard(folder)

        thread = threading.Thread(target=work)
        thread.start()
        self._threads = [thread, *(other for other in self._threads if other.is_alive())]

    def finished(self, job: Job) -> None:
        """The job is at its end: another may start."""
        if self._job is job:
            self._job = None

    def _understand(self, line: bytes, child: Child) -> bool:
        """Act on a message; False for anything else that somebody printed into the pipe."""
        try:
            message = json.loads(line)
            if message["event"] == "ready":
                child.ready = True
                self.devices = [(str(name), str(title)) for name, title in message["devices"]]
            elif self._job is not None and message["job"] == str(self._job.folder):
                self._job.on_message(message, child)
            return True
        except (ValueError, TypeError, LookupError):
            return False

    def _on_end(self, child: Child) -> None:
        job = self._job
        if job is None:
            return
        if (child.ready or child.status == 0) and not job.begun and not job.repeated:
            # It had been idle too long, or was killed, just when the job was sent.
            job.repeated = True
            self.warm()
            job.hand_over(self._child)
        else:
            job.fail(_end_of(child))


class Job:
    """One run, made by ``Worker.start``.

    Attributes:
        state: "running", "done", "failed" or "cancelled".
        fraction: how much is done, 0 to 1. stage: in words. seconds_left: an estimate, or None.
        folder: where its files are; None if it could not be made.
        begun, repeated: whether the child has begun, and whether a second child was needed; for ``Worker``.
    """

    def __init__(self, worker: Worker, volume: Volume, card: ModelCard, options: Options):
        self.state = "running"
        self.fraction, self.stage, self.seconds_left = 0.0, "reading the image", None
        self.folder: Path | None = None
        self.begun = self.repeated = False
        self._worker = worker
        self._request = (volume, card, options)
        self._written = False
        self._sender: threading.Thread | None = None
        self._problem: SuperResolutionError | None = None  # of the thread that writes
        self._error: SuperResolutionError | None = None
        self._result: UpscaleResult | None = None

    def poll(self) -> str:
        """Let the worker read what has arrived; the state."""
        if self.state == "running":
            self._worker.poll()
        return self.state

    def cancel(self) -> None:
        """Stop the run at once, with every process that works on it. Nothing happens at its end or after it."""
        if self.state == "running":
            self.stop()

    def result(self) -> UpscaleResult:
        """The result, whose arrays are maps of files that ``release`` removes.

        Raises:
            SuperResolutionError: the error that ended the run; UsageError if it is still running.
        """
        if self.state == "running":
            raise UsageError("The run is still under way.")
        if self._error is not None:
            raise self._error
        if self._result is None:
            self._result = read_result(self.folder)
        return self._result

    def release(self) -> None:
        """Let go of the maps and remove the files; a running job is cancelled."""
        self.cancel()
        self._result = None
        if self._error is None:
            self._error = UsageError("The result of this run has been released.")
        self._remove()

    # The rest is for Worker.

    def hand_over(self, child: Child) -> None:
        """Write the input and tell the child, in a thread that begins after the one before it."""
        self._sender = threading.Thread(target=self._send, args=(child, self._sender))
        self._sender.start()

    def check(self) -> None:
        """Whether the input could be written."""
        if self._problem is not None:
            self.fail(self._problem)

    def on_message(self, message: dict, child: Child) -> None:
        """What the child says of this job."""
        event, self.begun = message["event"], True
        if event == "progress":
            self.fraction, self.stage = float(message["fraction"]), str(message["stage"])
            self.seconds_left = message["seconds_left"]
        elif event == "done":
            self.state, self.fraction, self.seconds_left, self._request = "done", 1.0, 0.0, None
            self._worker.finished(self)
        elif event == "failed":
            details = "\n".join(filter(None, (message["details"], child.printed())))
            self.fail(error_of(message["code"], message["message"], details))

    def fail(self, error: SuperResolutionError) -> None:
        """End the job with an error."""
        self.state, self._error = "failed", error
        self._end()

    def stop(self) -> None:
        """End the job, and the child with it."""
        self.state, self._error = "cancelled", Cancelled("The run was cancelled.")
        self._worker.discard_child()
        self._end()

    def _end(self) -> None:
        self._request, self.seconds_left = None, None
        self._worker.finished(self)
        self._remove()

    def _remove(self) -> None:
        folder, self.folder = self.folder, None
        if folder is not None:
            self._worker.remove(folder, *([self._sender] if self._sender is not None else []))

    def _send(self, child: Child, previous: threading.Thread | None) -> None:
        if previous is not None:
            previous.join()
        request, folder = self._request, self.folder
        if request is None or folder is None:  # cancelled meanwhile
            return
        try:
            if not self._written:
                write_request(folder, *request, stopped=lambda: self.state != "running")
                self._written = True
        except SuperResolutionError as error:
            self._problem = error
            return
        except Exception as error:  # of a thread nobody would hear
            self._problem = WorkerError(f"The image cannot be handed over: {error}.", traceback.format_exc())
            return
        if self.state == "running":
            self.stage = "starting"
            child.send(json.dumps({"do": "upscale", "folder": str(folder)}).encode())


def _end_of(child: Child) -> WorkerError:
    if child.problem is not None:
        return WorkerError(
            f"The process that computes cannot be started: {reason(child.problem)}; reinstall the application or "
            "check what keeps it from starting programs.",
            str(child.problem),
        )
    how = describe_status(child.status, child.printed())
    if "memory" in how:
        advice = "upscale a region, or choose a smaller scale"
    else:
        advice = "try again, or choose another device; the details show what it said last"
    return WorkerError(f"The process that computes {how}; {advice}.", child.printed())


_open_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for worker in list(_open_workers):
        worker.close()
