"""The page itself: prose that people write, and between marks what the command measured."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from SuperResolutionLib.errors import DataError, UsageError, reason

_BLOCK = re.compile(r"(<!-- measured: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def read_page(path: Path, blocks: Sequence[str]) -> str:
    """The text of a page, with the marks of exactly these blocks.

    Raises:
        DataError: if it cannot be read.
        UsageError: if a block has no place on it, or a place has no block.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The page {path} cannot be read; name one with --page that has places to fill.") from error
    marks = [name for _, name, _ in _BLOCK.findall(text)]
    if sorted(marks) != sorted(blocks):
        missing, unknown = (
            ", ".join(sorted(names)) or "none" for names in (set(blocks) - {*marks}, {*marks} - {*blocks})
        )
        raise UsageError(
            f"{path} needs one place, '<!-- measured: name -->' to '<!-- end -->', for each of {', '.join(blocks)}; "
            f"missing: {missing}, unknown: {unknown}."
        )
    return text


def fill(text: str, blocks: dict[str, str]) -> str:
    """The page with what each block holds now; the prose around them stays."""
    return _BLOCK.sub(lambda match: f"{match[1]}\n{blocks[match[2]].strip()}\n\n{match[3]}", text)


def write_all(files: dict[Path, bytes]) -> None:
    """Write files so that each appears complete, the last one last.

    Raises:
        DataError: if one cannot be written; those before it may have been replaced.
    """
    written: dict[Path, Path] = {}
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            written[path] = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
            written[path].write_bytes(content)
        for path, partial in written.items():
            os.replace(partial, path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {reason(error)}; choose another place with --page.") from error
    finally:
        for partial in written.values():
            partial.unlink(missing_ok=True)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
