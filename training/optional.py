"""Packages that training uses where they are installed, and does without elsewhere."""

from __future__ import annotations

from importlib.util import find_spec


def installed(name: str) -> bool:
    """Whether a top-level package could be imported."""
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
