"""What a self-test finds in Slicer: the module, loaded, and its panel, made when it is first asked for."""

from __future__ import annotations

import contextlib
from pathlib import Path

import slicer

from .scripted_module import loadModule, openModule
from .strict import failOnHiddenErrors
from .widgets import destroy

MODULE = Path(__file__).resolve().parents[2] / "SuperResolution" / "SuperResolution.py"


@contextlib.contextmanager
def modulesOfSlicer():
    """Load the module; close the panel that was opened, and raise what was raised in slots, at the end."""
    module = loadModule(MODULE)
    opened = []

    def widgetRepresentation():
        if not opened:
            opened.append(openModule(module).parent)
        return opened[0]

    slicer.modules.superresolution.widgetRepresentation = widgetRepresentation
    with failOnHiddenErrors():
        try:
            yield
        finally:
            for panel in opened:
                panel.self().cleanup()
                destroy(panel)
            slicer.mrmlScene.Clear(0)
