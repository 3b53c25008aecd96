"""``superres view``: hands over to the web page, which is a door of its own and may not be installed."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

from .errors import UsageError

#: What the page needs besides the engine, all brought by the extra "viewer".
NEEDED = ("SuperResolutionViewer", "slicer", "vtk", "trame", "trame_slicer", "trame_vuetify", "aiohttp")


def run_view(path: Path | None, reference: Path | None, port: int, browser: bool, most_bytes: int) -> None:
    """Serve the page until it is told to end; see ``SuperResolutionViewer.start.run``.

    Raises:
        SuperResolutionError: if an image cannot be opened, or the page's packages are not installed.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"The page needs packages that are not installed ({', '.join(missing)}): install them with "
            'pip install "slicer-superresolution[cli,viewer]", or ".[cli,viewer]" in the folder of this project.'
        )
    # By name: the engine and its terminal door know of the page only that it exists.
    importlib.import_module("SuperResolutionViewer.start").run(path, reference, port, browser, most_bytes)
