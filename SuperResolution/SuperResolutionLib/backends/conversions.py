"""Networks converted for another library: made at first use, kept in the user's cache folder.

A file's name holds the SHA-256 of the weights, a hash of what else makes the network and of PyTorch's version, which
part of the network it is, and the versions of the libraries that made it: whatever changes, a new one is made. A file
appears under its name only when it is complete, and is made once more if it cannot be loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .. import __version__
from ..catalog import ModelCard
from ..errors import BackendError, SuperResolutionError
from .memory import out_of_memory

if TYPE_CHECKING:
    from torch import nn

Loaded = TypeVar("Loaded")


def cache_folder() -> Path:
    """Where converted networks are kept; it need not exist and may be deleted at any time."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library/Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "SuperResolution" / "converted"


def converted(
    card: ModelCard,
    part: str,
    suffix: str,
    packages: tuple[str, ...],
    write: Callable[[Path], None],
    load: Callable[[Path], Loaded],
) -> Loaded:
    """A converted part of a network, loaded from its file, which is made if it is not there yet or is damaged.

    Args:
        card: the model. part: which part of its network, and how it was converted.
        suffix: of the file. packages: whose versions count.
        write: makes the file under the name that it is given; files beside it may share its stem.
        load: reads a file; what it raises for one that was just made is raised.

    Raises:
        BackendError: if it cannot be made; one line says why.
    """
    versions = "-".join(f"{name}{package_version(name)}" for name in packages)
    with backend_errors(f"{card.id} could not be converted for {packages[0]}"):
        path = cache_folder() / f"{card.sha256[:32]}-{_network(card)}-{part}-{__version__}-{versions}{suffix}"
        if path.is_file():
            with suppress(Exception):  # whatever a library says of a damaged file
                return load(path)
            path.unlink(missing_ok=True)
        _make(path, suffix, write)
    return load(path)


def _network(card: ModelCard) -> str:
    """What a conversion depends on beside the weights, in a few letters."""
    import torch

    about = [card.architecture, card.config, torch.__version__]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]


def _make(path: Path, suffix: str, write: Callable[[Path], None]) -> None:
    partial = path.with_name(f".{secrets.token_hex(8)}{suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write(partial)
        for made in sorted(path.parent.glob(f"{partial.stem}.*"), key=lambda file: file.suffix == suffix):
            os.replace(made, path.with_name(path.name.removesuffix(suffix) + made.suffix))  # the named file last
    finally:
        for left in path.parent.glob(f"{partial.stem}.*"):
            left.unlink(missing_ok=True)


@contextmanager
def backend_errors(problem: str) -> Iterator[None]:
    """Whatever a library raises becomes a BackendError, for there is another way to execute.

    What is an error of the engine's already stays what it is, and so does memory that ran out.

    Args:
        problem: what cannot be done, without a full stop.
    """
    try:
        yield
    except SuperResolutionError:
        raise
    except Exception as error:  # of libraries that are broken or old: it can be any
        if out_of_memory(error):
            raise
        raise BackendError(f"{problem}: {first_line(error)}.") from error


def parts(net: nn.Module) -> dict[int, str]:
    """The stages, trunks and tails of a network by the ``id`` of their module, with the names that files have."""
    named = {}
    for number, stage in enumerate(net.stages):
        named |= {id(stage): f"stage{number}", id(stage.trunk): f"trunk{number}", id(stage.tail): f"tail{number}"}
    return named


def plain_part(card: ModelCard, part: str, precision: str = "float32", added_up: bool = True) -> nn.Module:
    """A part without what converters do not understand; a stage is the sequence of its trunk and its tail.

    Args:
        card: the model. part: see ``parts``. precision: of the inner convolutions.
        added_up: whether SPAN adds up what it would join (``torch_lean.LeanTrunk``).
    """
    import torch

    from .torch_backend import build
    from .torch_lean import add_up, shortened

    net = build(card)
    if added_up:
        add_up(net)
    if precision != "float32":
        net = shortened(net, getattr(torch, precision))
    named = parts(net)
    found = next(module for module in net.modules() if named.get(id(module)) == part)
    return torch.nn.Sequential(found.trunk, found.tail) if part.startswith("stage") else found


def package_version(name: str) -> str:
    """The version of an installed package; raises BackendError if it is missing."""
    try:
        return version(name)
    except PackageNotFoundError:
        raise BackendError(f"The Python package {name} is not installed.") from None


def first_line(error: BaseException) -> str:
    """The first line of what a library says, short enough for a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:120].rstrip(". :")
