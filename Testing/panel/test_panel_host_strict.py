"""What the host refuses, so that a panel which passes here does not fail in Slicer."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

SUPERRESOLUTION = Path(__file__).resolve().parents[2] / "SuperResolution"
SOURCES = [SUPERRESOLUTION / "SuperResolution.py", *sorted((SUPERRESOLUTION / "SuperResolutionPanel").glob("*.py"))]


@pytest.fixture(scope="session")
def ui(module):
    """The named widgets of the form, connected to nothing."""
    import slicer

    form = slicer.util.loadUI(str(SUPERRESOLUTION / "Resources" / "UI" / "SuperResolution.ui"))
    yield slicer.util.childWidgetVariables(form)
    form.deleteLater()


def fail(*_arguments):
    raise ValueError("nobody catches this")


def byTimer(qt):
    qt.QTimer.singleShot(0, fail)


def byRepeatedTimer(qt):
    timer = qt.QTimer(qt.application)
    timer.timeout.connect(lambda: (timer.stop(), timer.deleteLater(), fail()))
    timer.start(0)


def byShortcut(qt):
    widget = qt.QWidget()
    qt.QShortcut(qt.QKeySequence("F"), widget).activated.connect(fail)
    widget.findChild(qt.QShortcut).activated.emit()


def byThread(_qt):
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()


@pytest.mark.parametrize("way", [byTimer, byRepeatedTimer, byShortcut, byThread])
def test_errorThatNobodyCatchesFailsTheTest(module, way):
    import qt

    from Testing.panel_host.strict import failOnHiddenErrors

    with pytest.raises(AssertionError, match="nobody catches this"), failOnHiddenErrors():
        way(qt)
        for _each in range(20):
            qt.QApplication.processEvents()


def test_errorOfTheTestComesBeforeHiddenOnes(module, capsys):
    import qt

    from Testing.panel_host.strict import failOnHiddenErrors

    button = qt.QPushButton()
    button.clicked.connect(fail)
    with pytest.raises(KeyError), failOnHiddenErrors():
        button.click()
        raise KeyError("the test's own")
    assert "nobody catches this" in capsys.readouterr().err


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_sourceAsksNothingThatPythonQtLacks(path, ui):
    from Testing.panel_host.pythonqt_rules import violations

    assert violations(path, ui) == []


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("self._ui.applyButton.enable = True", "QPushButton has no property enable"),
        ("self._ui.applyButton.click = None", "QPushButton has no property click"),
        ("self._ui.aplyButton.enabled = True", "the form has no widget aplyButton"),
        ("self._ui.statusLabel.txt", "QLabel has no txt"),
        ("button = self._ui.applyButton\nbutton.enable = True", "QPushButton has no property enable"),
        ("self._timer = qt.QTimer()\nself._timer.singleShot = True", "QTimer has no property singleShot"),
        ("self._timer = qt.QTimer()\nself._timer.begin()", "QTimer has no begin"),
        ("width = self._ui.applyButton.sizeHint()", "sizeHint is a property"),
        ("dialog.exec()", "exec is not in Qt 5.15"),
        ("key = qt.Qt.Key.Key_F", "write qt.Qt.Key_F"),
    ],
)
def test_rulesFindWhatSlicerWouldRefuse(tmp_path, ui, line, complaint):
    from Testing.panel_host.pythonqt_rules import violations

    (tmp_path / "panel.py").write_text(line + "\n", encoding="utf-8")
    assert [each for each in violations(tmp_path / "panel.py", ui) if complaint in each]


@pytest.mark.parametrize(
    "line",
    [
        "self._ui.applyButton.enabled = True",
        "self._ui.progressBar.value = 3",
        "self._timer = qt.QTimer()\nself._timer.setSingleShot(True)\nself._timer.timeout.connect(print)",
        "self._ui.inputVolumeSelector.setCurrentNode(None)",
        "button = self._ui.applyButton\nbutton = 3\nbutton.anything = 4",
        "key = qt.Qt.Key_F",
        "dialog.exec_()",
    ],
)
def test_rulesLetBeWhatSlicerKnows(tmp_path, ui, line):
    from Testing.panel_host.pythonqt_rules import violations

    (tmp_path / "panel.py").write_text(line + "\n", encoding="utf-8")
    assert violations(tmp_path / "panel.py", ui) == []
