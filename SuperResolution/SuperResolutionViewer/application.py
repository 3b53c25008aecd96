"""Slicer's application objects without the application: trame_slicer's, under the names that ``mrml*.py`` ask for."""

from __future__ import annotations


def start_application():
    """A SlicerApp, whose scene is ``slicer.mrmlScene`` from now on; call it once a process."""
    import slicer
    from trame_slicer.core import SlicerApp

    application = SlicerApp()
    slicer.app = application
    slicer.mrmlScene = application.scene
    return application
