"""Loads a Designer form that names ctk and qMRML widgets, and makes the scene connections that it lists."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from PySide6 import QtUiTools

from . import pythonqt
from .widgets import FORM_WIDGETS

qt = pythonqt.install()


class FormLoader(QtUiTools.QUiLoader):
    """Takes the place of ``qt.QUiLoader``, which ``slicer.util.loadUI`` asks for."""

    def __init__(self, parent=None):
        super().__init__(parent)
        for widget in FORM_WIDGETS.values():
            self.registerCustomWidget(widget)

    def load(self, file, parent=None):
        """Return the form's root widget.

        Raises:
            RuntimeError: if the form names a widget that the host does not know.
        """
        root = ElementTree.fromstring(bytes(file.readAll()))
        named = {element.findtext("class") for element in root.iter("customwidget")}
        if not named <= set(FORM_WIDGETS):
            raise RuntimeError(f"The host has no stand-in for {sorted(named - set(FORM_WIDGETS))}.")
        receivers = self._takeSceneConnections(root)
        content = qt.QBuffer()
        content.setData(ElementTree.tostring(root))
        content.open(qt.QBuffer.ReadOnly)
        form = super().load(content, parent)
        if form is None:
            raise RuntimeError(self.errorString())
        for name in receivers:
            form.mrmlSceneChanged.connect(form.findChild(qt.QWidget, name).setMRMLScene)
        return form

    @staticmethod
    def _takeSceneConnections(root) -> list[str]:
        # Qt's loader connects C++ signals only; the stand-ins' are Python's, so the host connects them itself.
        connections = root.find("connections")
        receivers = []
        for connection in list(connections if connections is not None else []):
            if connection.findtext("signal").startswith("mrmlSceneChanged"):
                receivers.append(connection.findtext("receiver"))
                connections.remove(connection)
        return receivers
