"""One exception tree: a message for a person and a code for a program."""

from __future__ import annotations


class SuperResolutionError(Exception):
    """Base of every error that the engine raises on purpose.

    ``str(error)`` is one clear sentence that says what is wrong and what to do; ``error.code`` is stable and meant
    for programs (a door turns it into a dialog, an exit status or a JSON field).
    """

    code = "error"


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


class DeviceError(SuperResolutionError):
    """The requested computing device is not available."""

    code = "device"


class Cancelled(SuperResolutionError):
    """The user stopped the run."""

    code = "cancelled"
