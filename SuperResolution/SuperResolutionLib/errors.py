"""One exception tree: a message for a person and a code for a program."""

from __future__ import annotations

from pathlib import Path


class SuperResolutionError(Exception):
    """Base of every error that the engine raises on purpose.

    ``str(error)`` is one clear sentence that says what is wrong and what to do; ``error.code`` is stable and meant
    for programs (a door turns it into a dialog, an exit status or a JSON field); ``error.details`` holds what else is
    known, many lines or none, for a dialog's details.
    """

    code = "error"

    def __init__(self, message: str = "", details: str = ""):
        super().__init__(message)
        self.details = details


class UsageError(SuperResolutionError):
    """The options contradict each other or are out of range."""

    code = "usage"


class DataError(SuperResolutionError):
    """An input cannot be read or used, or an output cannot be written."""

    code = "data"


class ModelError(SuperResolutionError):
    """A model is unknown, incomplete, damaged, or does not fit the input."""

    code = "model"


class ResourceError(SuperResolutionError):
    """Memory or disk would not suffice."""

    code = "resources"


class OutputTooLarge(ResourceError):
    """The output does not fit into memory; what it is written to as it is computed would be another way."""


class DeviceError(SuperResolutionError):
    """The requested computing device is not available."""

    code = "device"


class BackendError(SuperResolutionError):
    """A library that could execute the network is not installed, or cannot take this network."""

    code = "backend"


class Cancelled(SuperResolutionError):
    """The user stopped the run."""

    code = "cancelled"


class WorkerError(SuperResolutionError):
    """The process that computes could not start, or ended before its work was done."""

    code = "worker"


_BY_CODE = {
    kind.code: kind
    for kind in (
        UsageError,
        DataError,
        ModelError,
        ResourceError,
        DeviceError,
        BackendError,
        Cancelled,
        WorkerError,
    )
}


def reason(error: OSError) -> str:
    """What the system gave as its reason, to stand within a sentence."""
    return (error.strerror or str(error) or "the system refused it").lower()


def cut_short(path: Path, why: str) -> DataError:
    """What to say of a file that is not whole."""
    return DataError(f"{path} is truncated or damaged: {why}; copy or export it again.")


def grey_with_alpha(path: Path) -> DataError:
    """What to say of a picture whose two channels ITK would misread."""
    return DataError(f"{path} is a grey image with transparency, which is not supported; save it without transparency.")


def error_of(code: str, message: str, details: str = "") -> SuperResolutionError:
    """The error that crossed a process boundary as a code and a sentence; an unknown code gives the base class."""
    return _BY_CODE.get(code, SuperResolutionError)(message, details)
