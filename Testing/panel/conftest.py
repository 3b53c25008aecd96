"""The module in the host, a panel for each test, and no error that stays hidden in a slot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

MODULE = Path(__file__).resolve().parents[2] / "SuperResolution" / "SuperResolution.py"


@pytest.fixture(scope="session")
def module():
    """The module SuperResolution as Slicer loads it."""
    pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
    pytest.importorskip("PySide6", reason="PySide6 is not installed")
    from Testing.panel_host.scripted_module import loadModule

    return loadModule(MODULE)


@pytest.fixture(autouse=True)
def scene(module):
    """The scene, empty before and after each test, as the settings are; hidden errors fail the test."""
    import qt
    import slicer

    from Testing.panel_host.strict import failOnHiddenErrors

    with failOnHiddenErrors():
        qt.QSettings().clear()
        slicer.mrmlScene.Clear(0)
        yield slicer.mrmlScene
        slicer.mrmlScene.Clear(0)


@pytest.fixture
def worker():
    """Stands for the child process."""
    from Testing.panel.fakes import FakeWorker

    return FakeWorker()


@pytest.fixture
def firstUse():
    """All that is needed is installed."""
    from Testing.panel.fakes import FakeFirstUse

    return FakeFirstUse()


@pytest.fixture
def openPanel(module, worker, firstUse):
    """Function that opens the panel, with the fake catalog and worker unless another logic is given."""
    from Testing.panel.fakes import FakeCatalog, closePanel
    from Testing.panel_host.scripted_module import openModule

    opened = []

    def open(logic=None, firstUse=firstUse):
        logic = logic or module.SuperResolutionLogic(FakeCatalog(), worker)
        opened.append(openModule(module, logic=logic, firstUse=firstUse))
        return opened[-1]

    yield open
    for widget in opened:
        closePanel(widget)


@pytest.fixture(scope="session")
def realWorker():
    """A child process that computes, warm for all tests: it imports torch once."""
    from Testing.panel.fakes import KeptWorker

    kept = KeptWorker()
    yield kept
    kept.end()


@pytest.fixture
def addVolume(scene):
    """Function that adds a small volume to the scene: scalar, or color with ``channels=3``."""
    import slicer

    def add(name: str = "CT head", channels: int = 1):
        shape = (2, 6, 8) if channels == 1 else (2, 6, 8, channels)
        voxels = np.random.default_rng(3).integers(0, 200, shape).astype(np.int16 if channels == 1 else np.uint8)
        className = "vtkMRMLScalarVolumeNode" if channels == 1 else "vtkMRMLVectorVolumeNode"
        return slicer.util.addVolumeFromArray(
            voxels, ijkToRAS=np.diag((0.5, 0.7, 3, 1.0)), name=name, nodeClassName=className
        )

    return add


@pytest.fixture
def errorsShown(monkeypatch):
    """The sentences that error dialogs would show."""
    import slicer

    shown = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, **_details: shown.append(text))
    return shown


@pytest.fixture
def layoutManager(scene):
    """Slice views and layouts, as with a main window; without this fixture ``slicer.app.layoutManager()`` is None."""
    import slicer

    from Testing.panel_host.layout import LayoutManager

    manager = LayoutManager()
    slicer.app.useLayoutManager(manager)
    yield manager
    slicer.app.useLayoutManager(None)
    manager.close()
