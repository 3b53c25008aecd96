"""What PythonQt, in Slicer, would refuse in the panel's source and PySide6, in the host, takes without a word.

The source is read, not run. A widget is recognized as ``self.ui.name`` or ``self._ui.name`` of a loaded form, as
``qt.QSomething(...)``, or as a variable or member of ``self`` that got one of these in the same file. For such a
widget:

- what is assigned to must be a Qt property (PythonQt raises AttributeError for anything else);
- what is read must exist;
- what PythonQt gives as a property must not be called, though the host has a method of that name.

Everywhere: enumeration values are named without their enumeration (``qt.Qt.Key_F``, not ``qt.Qt.Key.Key_F``), and
nothing that is younger than Qt 5.15, which Slicer 5.10 uses.
"""

from __future__ import annotations

import ast
import enum
from pathlib import Path

from . import pythonqt

qt = pythonqt.install()

# Properties in PythonQt; in the host they stay the methods that PySide6 itself calls. ``singleShot`` is Slicer's own
# function there, so that the property cannot be set.
PROPERTIES_NOT_TO_CALL = pythonqt.CALLED_BY_QT | {"font", "palette", "cursor", "locale", "pos"}
NOT_TO_ASSIGN = {"singleShot"}
YOUNGER_THAN_QT_5_15 = {"checkStateChanged", "labelDrawingMode", "iconSizeChanged", "exec"}


def violations(path: Path, ui) -> list[str]:
    """One line for each place in a Python file that would fail in Slicer.

    Args:
        ui: the named widgets of the loaded form, as ``slicer.util.childWidgetVariables`` gives them.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    rules = _Rules(ui)
    rules.learn(tree)
    rules.visit(tree)
    return [f"{path.name}:{line}: {text}" for line, text in sorted(set(rules.found))]


class _Rules(ast.NodeVisitor):
    def __init__(self, ui):
        self.ui = ui
        self.known = {}  # "name" or "self.name" -> Qt class, or None where a name stands for several things
        self.found = []

    def learn(self, tree) -> None:
        """Which names stand for widgets; twice, because one name may get its widget from another."""
        for _round in range(2):
            for node in ast.walk(tree):
                if isinstance(node, ast.Assign) and len(node.targets) == 1:
                    name, widgetClass = ast.unparse(node.targets[0]), self._classOf(node.value)
                    isSure = widgetClass is not None and self.known.get(name, widgetClass) is widgetClass
                    if isSure or name in self.known:
                        self.known[name] = widgetClass if isSure else None

    def _classOf(self, node):
        """The class of the widget that an expression stands for; None if it is none, or not known."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            made = getattr(qt, node.func.attr, None) if ast.unparse(node.func.value) == "qt" else None
            return made if isinstance(made, type) and issubclass(made, qt.QObject) else None
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("ui", "self.ui", "self._ui"):
            return type(getattr(self.ui, node.attr, None)) if hasattr(self.ui, node.attr) else None
        if isinstance(node, (ast.Name, ast.Attribute)):
            return self.known.get(ast.unparse(node))
        return None

    def visit_Attribute(self, node):
        if (
            self.ui is not None
            and ast.unparse(node.value) in ("self.ui", "self._ui")
            and not hasattr(self.ui, node.attr)
        ):
            self._say(node, f"the form has no widget {node.attr}")
        widgetClass = self._classOf(node.value)
        if widgetClass is not None:
            self._checkMember(node, widgetClass)
        if node.attr in YOUNGER_THAN_QT_5_15:
            self._say(node, f"{node.attr} is not in Qt 5.15, or is named otherwise there")
        self._checkEnumeration(node)
        self.generic_visit(node)

    def visit_Call(self, node):
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr in PROPERTIES_NOT_TO_CALL and not node.args:
            self._say(node, f"{function.attr} is a property in PythonQt and cannot be called")
        self.generic_visit(node)

    def _checkMember(self, node, widgetClass) -> None:
        if isinstance(node.ctx, ast.Store):
            isProperty = widgetClass.staticMetaObject.indexOfProperty(node.attr) >= 0 and node.attr not in NOT_TO_ASSIGN
            if not isProperty and node.attr != "name":
                self._say(node, f"{widgetClass.__name__} has no property {node.attr}, so it cannot be set")
        elif not hasattr(widgetClass, node.attr):
            self._say(node, f"{widgetClass.__name__} has no {node.attr}")

    def _checkEnumeration(self, node) -> None:
        parts = ast.unparse(node).split(".")
        if len(parts) == 4 and parts[0] == "qt":
            enumeration = getattr(getattr(qt, parts[1], None), parts[2], None)
            if isinstance(enumeration, enum.EnumMeta):
                self._say(node, f"write qt.{parts[1]}.{parts[3]}: PythonQt has no values inside {parts[2]}")

    def _say(self, node, text: str) -> None:
        self.found.append((node.lineno, text))
