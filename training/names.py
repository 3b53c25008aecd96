"""One way to say that a name is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from SuperResolutionLib.errors import UsageError


def check_known(name: str, known: Iterable[str], what: str) -> None:
    """Raises UsageError if ``name`` is not in ``known``, with the nearest that is; ``what`` says what it names."""
    known = list(known)
    if name not in known:
        near = get_close_matches(str(name).lower(), known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known) or 'none'}."
        raise UsageError(f"Unknown {what} '{name}'; {hint}")
