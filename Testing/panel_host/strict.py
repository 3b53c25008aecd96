"""Errors inside Qt slots and VTK observers are printed by Qt and VTK, not raised: here they are kept for the test."""

from __future__ import annotations

import contextlib
import sys
import traceback


@contextlib.contextmanager
def failOnHiddenErrors():
    """Raise AssertionError at the end if a slot or an observer raised meanwhile."""
    hidden: list[str] = []

    def keep(errorType, error, trace):
        hidden.append("".join(traceback.format_exception(errorType, error, trace)))

    def keepUnraisable(unraisable):
        keep(unraisable.exc_type, unraisable.exc_value, unraisable.exc_traceback)

    before = sys.excepthook, sys.unraisablehook
    sys.excepthook, sys.unraisablehook = keep, keepUnraisable
    try:
        yield hidden
    finally:
        sys.excepthook, sys.unraisablehook = before
    if hidden:
        raise AssertionError("Errors inside slots or observers:\n" + "\n".join(hidden))
