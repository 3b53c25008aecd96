"""The module ``qt`` in the manner of PythonQt, on PySide6.

PythonQt gives every Qt property as a Python attribute: ``button.text`` is a text, ``button.text = "Go"`` sets it. In
PySide6 the same name is a method. ``install`` therefore puts Python properties on PySide6's classes, taken from Qt's
own list of properties, for the whole process. Code of the host is written in PythonQt's manner, too.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import types

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtWidgets

# Qt calls these from C++ through the Python class.
CALLED_BY_QT = {"sizeHint", "minimumSizeHint", "inputMethodHints"}
# PySide6 and the host call these, and panels do in PythonQt, where they are methods, too, or rarely used.
CALLED_BY_PYTHON = {"singleShot", "style", "font", "palette", "cursor", "locale", "parent", "model", "layout", "pos"}


def install():
    """Return the module ``qt``, made at the first call and put into ``sys.modules``."""
    if "qt" in sys.modules:
        return sys.modules["qt"]
    qt = types.ModuleType("qt")
    for library in (QtCore, QtGui, QtWidgets):
        for name in dir(library):
            if name.startswith("Q"):
                member = getattr(library, name)
                setattr(qt, name, member)
                if isinstance(member, type) and issubclass(member, QtCore.QObject):
                    _giveProperties(member)
    QtCore.QObject.name = _property("objectName")
    sys.modules["qt"] = qt
    # A Qt application must exist before the first widget, and must not be garbage collected.
    qt.application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["panel-host"])
    _keepSettingsApart()
    return qt


def _keepSettingsApart() -> None:
    """``qt.QSettings()`` is the application's settings in Slicer; here a file of this process, never the person's."""
    folder = tempfile.mkdtemp(prefix="panel-host-settings-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    QtCore.QCoreApplication.setOrganizationName("panel-host")
    QtCore.QCoreApplication.setApplicationName("panel-host")
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, folder)


def _giveProperties(qtClass: type) -> None:
    names = qtClass.staticMetaObject
    for index in range(names.propertyOffset(), names.propertyCount()):
        name = names.property(index).name()
        if name not in CALLED_BY_QT | CALLED_BY_PYTHON:
            setattr(qtClass, name, _property(name))


def _property(name: str) -> property:
    return property(
        lambda self: QtCore.QObject.property(self, name),
        lambda self, value: QtCore.QObject.setProperty(self, name, value),
    )
