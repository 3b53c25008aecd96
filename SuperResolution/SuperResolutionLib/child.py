"""A child process on three pipes that never blocks its owner: threads start it, read it, and end it with its tree."""

from __future__ import annotations

import queue
import signal
import subprocess
import threading

#: A line of stdout that is longer is no message: it is cut into pieces, which nobody understands.
LONGEST_LINE = 2**20

#: How many bytes of what a child prints are kept for an error's details, and how many are read at once.
KEPT, PIECE = 2**16, 4096

#: Seconds to wait for the last words of a process that has ended, and for the end of one that was killed.
SECONDS_TO_END = 2.0


class Child:
    """One process; its methods may be called from any thread.

    Attributes:
        lines: queue of the lines (bytes) of its stdout, then None once when it has ended or could not start.
        status: exit status once it has ended, negative for a signal; None before, and if it could not start.
        problem: the OSError if it could not start.
        ready: whether it has ever said that it waits for work; set by who understands its messages.
    """

    def __init__(self, command: list[str], environment: dict[str, str] | None):
        self.lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.status: int | None = None
        self.problem: OSError | None = None
        self.ready = False
        self.ended = threading.Event()
        self._process: subprocess.Popen | None = None
        self._started = threading.Event()
        self._lock = threading.Lock()
        self._ending = False
        self._kept = self._errors = b""  # one for each of the threads that fill them
        # Not even the start is left to the owner's thread: a virus scanner may hold it up.
        self._watcher = threading.Thread(target=self._watch, args=(command, environment), daemon=True)
        self._watcher.start()

    @property
    def pid(self) -> int | None:
        """Process id once it has started."""
        return self._process.pid if self._process is not None else None

    def send(self, line: bytes) -> None:
        """Write a line to its stdin, once it has started: for threads that may wait. One that is gone is ignored."""
        self._started.wait()
        if self._process is not None:
            try:
                self._process.stdin.write(line + b"\n")
                self._process.stdin.flush()
            except (OSError, ValueError):  # its end is told through ``lines``
                pass

    def keep(self, line: bytes) -> None:
        """Keep a line of stdout that was no message for ``printed``; for one thread."""
        self._kept = (self._kept + line)[-KEPT:]

    def printed(self) -> str:
        """The last that it printed: what was kept of stdout, then stderr."""
        return (self._kept + self._errors).decode("utf-8", "replace").strip()

    def end(self) -> None:
        """Kill the process and all that it started, and wait until they are gone: for threads that may wait."""
        with self._lock:
            self._ending = True
        if self._process is not None:
            _kill_tree(self._process)
        self.ended.wait(SECONDS_TO_END)

    def _watch(self, command: list[str], environment: dict[str, str] | None) -> None:
        try:
            with self._lock:  # after ``end`` has had its turn nothing may be started any more
                if not self._ending:
                    self._process = _start(command, environment)
        except (OSError, ValueError) as error:  # ValueError: a null character in the command
            self.problem = error if isinstance(error, OSError) else OSError(str(error))
        self._started.set()
        if self._process is not None:
            _psutil()  # imported here rather than in a hurry
            readers = [threading.Thread(target=target, daemon=True) for target in (self._read, self._drain)]
            for reader in readers:
                reader.start()
            self.status = self._process.wait()
            self._close(readers)
        self.ended.set()
        self.lines.put(None)

    def _read(self) -> None:
        for line in iter(lambda: self._process.stdout.readline(LONGEST_LINE), b""):
            self.lines.put(line)

    def _drain(self) -> None:
        """Read all that comes, so that the child never waits for a full pipe."""
        for piece in iter(lambda: self._process.stderr.read1(PIECE), b""):
            self._errors = (self._errors + piece)[-KEPT:]

    def _close(self, readers: list[threading.Thread]) -> None:
        """Close the pipes once all was read; one that a descendant still holds open is left to its reader."""
        pipes = [self._process.stdin]
        for reader, pipe in zip(readers, (self._process.stdout, self._process.stderr)):
            reader.join(SECONDS_TO_END)
            pipes += [] if reader.is_alive() else [pipe]
        for pipe in pipes:
            try:
                pipe.close()
            except OSError:  # unsent bytes of a line
                pass


def _start(command: list[str], environment: dict[str, str] | None) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def _kill_tree(process: subprocess.Popen) -> None:
    """Kill a process and what it started; PythonSlicer is a launcher whose only child does the work."""
    tree, psutil = [], _psutil()
    if psutil is not None:
        try:
            tree = psutil.Process(process.pid).children(recursive=True)
        except psutil.Error:  # it is gone
            pass
    process.kill()
    for part in tree:
        try:
            part.kill()
        except psutil.Error:
            pass
    try:
        process.stdin.close()  # whoever is left sees the end of its input
    except OSError:
        pass


def _psutil():
    """The package, or None where it is not installed yet."""
    try:
        import psutil
    except ImportError:
        return None
    return psutil


def describe_status(status: int | None, printed: str = "") -> str:
    """How a process ended, as the end of a sentence that begins with it ("... was ended from outside").

    Args:
        printed: the last that it printed. Slicer's launcher hides a signal behind status 1 and says so there.
    """
    if status is None:
        return "did not answer any more"
    hidden = status == 1 and _LAUNCHER_SAYS in printed
    if hidden and any(words in printed for words in _FAULTHANDLER_SAYS):
        return "crashed"
    if hidden or status in _OUT_OF_MEMORY:
        return "was ended by the system, probably because memory ran out"
    if status in _CRASHES:
        return f"crashed ({_name(status)})"
    if status < 0 or 128 < status < 160:
        return f"was ended from outside ({_name(status)})"
    return f"ended with status {status}" if status else "ended"


def _name(status: int) -> str:
    number = -status if status < 0 else status - 128
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"status {status & 0xFFFFFFFF:#x}"


def _statuses(*signals: str) -> set[int]:
    """What a signal looks like: negative here, 128 more where a shell stood between."""
    numbers = [getattr(signal, name) for name in signals if hasattr(signal, name)]
    return {-number for number in numbers} | {128 + number for number in numbers}


# Windows ends a process with an NTSTATUS: no memory, commitment limit; access violation, stack overflow, heap
# corruption, buffer overrun, illegal instruction.
_OUT_OF_MEMORY = _statuses("SIGKILL") | {0xC0000017, 0xC000012D}
_CRASHES = _statuses("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE")
_CRASHES |= {0xC0000005, 0xC00000FD, 0xC0000374, 0xC0000409, 0xC000001D}

# What Slicer's launcher says of a program that was killed or crashed, and what Python says before it crashes.
_LAUNCHER_SAYS = "exit abnormally"
_FAULTHANDLER_SAYS = ("Fatal Python error", "Windows fatal exception")
