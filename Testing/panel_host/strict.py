"""Errors that Qt, VTK and threads only print are kept here and fail the test: what raises in a slot, in the callback
of a timer or a shortcut, in an observer of VTK, or in a thread.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import traceback


@contextlib.contextmanager
def failOnHiddenErrors():
    """Raise AssertionError at the end if something raised meanwhile where nobody could catch it.

    When the body itself raises, that error stays the one that is reported; the hidden ones, often its reason, are
    printed.
    """
    hidden: list[str] = []

    def keep(errorType, error, trace):
        hidden.append("".join(traceback.format_exception(errorType, error, trace)))

    def keepUnraisable(unraisable):
        keep(unraisable.exc_type, unraisable.exc_value, unraisable.exc_traceback)

    def keepThread(arguments):
        keep(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)

    before = sys.excepthook, sys.unraisablehook, threading.excepthook
    sys.excepthook, sys.unraisablehook, threading.excepthook = keep, keepUnraisable, keepThread
    try:
        yield hidden
    except BaseException:
        sys.stderr.write("".join(f"Error inside a slot or an observer:\n{each}" for each in hidden))
        raise
    finally:
        sys.excepthook, sys.unraisablehook, threading.excepthook = before
    if hidden:
        raise AssertionError("Errors inside slots or observers:\n" + "\n".join(hidden))
