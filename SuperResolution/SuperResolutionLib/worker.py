"""A run in a child process, the child's side: requests on stdin, messages on stdout, one JSON object a line each.

Ends at the end of its stdin, when its parent is gone, and after some time without work.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from .backends.memory import RAN_OUT, out_of_memory
from .catalog import ModelCard
from .errors import ResourceError, SuperResolutionError
from .handover import read_request, result_sinks, write_report
from .upscaler import upscale

#: Seconds between two messages of progress, and between two looks at whether the parent lives.
PROGRESS_SECONDS, PARENT_SECONDS = 0.05, 2.0

#: Seconds that a parent which has closed the pipe may take to die; one that lives on merely wants this process to end.
DYING_SECONDS = 0.3

Send = Callable[[dict], None]


def main(idle_seconds: float, parent: int) -> None:
    """Work on requests until there is a reason to end.

    Args:
        idle_seconds: how long to wait for one.
        parent: id of the process whose end is the end of this one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    faulthandler.enable()  # a crash says on stderr where it happened
    requests, send = _take_pipes()
    waiting: queue.SimpleQueue[dict] = queue.SimpleQueue()
    folders: list[Path] = []
    is_gone = _look_after(parent)
    threading.Thread(target=_listen, args=(requests, waiting, is_gone, folders), daemon=True).start()
    threading.Thread(target=_watch, args=(is_gone, folders), daemon=True).start()
    _tell_devices(send)
    load = _load_once()
    while True:
        try:
            request = waiting.get(timeout=idle_seconds)
        except queue.Empty:
            break
        if not _run(Path(request["folder"]), send, load):
            break
    sys.stderr.flush()
    os._exit(0)  # threads of libraries may not hold the end up


def _take_pipes() -> tuple:
    """The pipes to the parent, out of the way of libraries: prints go to stderr, and nobody else reads stdin.

    On Windows a library that looks at stdin while it is loaded would wait for the thread that reads it.
    """
    requests, messages = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    lock = threading.Lock()

    def send(message: dict) -> None:
        with lock:
            try:
                # Between two line ends: whatever a launcher prints into the same pipe is a line of its own.
                messages.write(b"\n" + json.dumps(message).encode() + b"\n")
                messages.flush()
            except OSError:  # nobody listens any more: ``_listen`` ends the process
                pass

    return requests, send


def _listen(requests, waiting: queue.SimpleQueue, is_gone: Callable[[], bool], folders: list[Path]) -> None:
    for line in requests:
        request = json.loads(line)
        folders.append(Path(request["folder"]))
        waiting.put(request)
    _leave(is_gone, folders)


def _watch(is_gone: Callable[[], bool], folders: list[Path]) -> None:
    """The end of stdin tells that the parent is gone, unless another process has inherited its other end."""
    while not is_gone():
        time.sleep(PARENT_SECONDS)
    _leave(is_gone, folders)


def _leave(is_gone: Callable[[], bool], folders: list[Path]) -> None:
    """End at once. If the parent died nobody else is left to remove the files; if it lives it may be reading them."""
    deadline = time.monotonic() + DYING_SECONDS
    while not (gone := is_gone()) and time.monotonic() < deadline:
        time.sleep(0.02)
    if gone:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _look_after(parent: int) -> Callable[[], bool]:
    """A function that says whether the parent is gone, even if its number belongs to another process by now."""
    try:
        import psutil
    except ModuleNotFoundError:  # not installed yet; the end of stdin has to do
        return lambda: False
    try:
        process = psutil.Process(parent)
    except psutil.Error:
        return lambda: True

    def is_gone() -> bool:
        try:
            return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False

    return is_gone


def _tell_devices(send: Send) -> None:
    """Import torch and say what it finds: nothing where it cannot be imported, and then the first run says why."""
    try:
        import torch

        # Imported now rather than in the first run.
        from .backends import torch_backend  # noqa: F401
    except Exception:
        traceback.print_exc()
        send({"event": "ready", "devices": []})
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cards = [(f"cuda:{index}", torch.cuda.get_device_name(index)) for index in range(count)]
    send({"event": "ready", "devices": [("cpu", "CPU"), *cards]})


def _load_once() -> Callable:
    """``torch_backend.load`` that keeps the model which it loaded last."""
    kept: dict[tuple, object] = {}

    def load(card: ModelCard, device: str, precision: str):
        from .backends import torch_backend

        place = torch_backend.resolve_device(device)
        key = (card.architecture, json.dumps(card.config, sort_keys=True), card.sha256, place)
        if key in kept and kept[key].device == place:  # not one that had to leave its graphics card
            card.verify()
        else:
            kept.clear()  # before the next one needs memory
            kept[key] = torch_backend.load(card, place, precision)
        return kept[key]

    return load


def _run(folder: Path, send: Send, load: Callable) -> bool:
    """Work on one request and say how it went; False if this process is not to be trusted with another."""
    job = str(folder)
    last = 0.0

    def tell(fraction: float, stage: str, seconds_left: float | None = None) -> None:
        about = {"fraction": fraction, "stage": stage, "seconds_left": seconds_left}
        send({"event": "progress", "job": job, **about})

    def progress(*about) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            tell(*about)

    tell(0.0, "loading the model")
    try:
        result = upscale(*read_request(folder), progress, load=load, open_sink=result_sinks(folder))
        tell(1.0, "handing the result over")
        write_report(folder, result)
    except BaseException as error:
        code, message, sound = _explain(error)
        details = "" if sound else traceback.format_exc()
        send({"event": "failed", "job": job, "code": code, "message": message, "details": details})
        return sound
    send({"event": "done", "job": job})
    return True


def _explain(error: BaseException) -> tuple[str, str, bool]:
    """Code and sentence of an error, and whether the process is as good as before it."""
    if isinstance(error, SuperResolutionError):
        # What torch holds after it ran out of memory is unclear.
        return error.code, str(error), not (isinstance(error, ResourceError) and error.__cause__ is not None)
    if out_of_memory(error):
        return "resources", RAN_OUT, False
    if isinstance(error, ModuleNotFoundError):
        return "worker", f"The Python package {error.name} is not installed; install it and try again.", False
    return "worker", f"The computation failed with an unexpected {type(error).__name__}: {error}.", False
