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
    """The scene, empty before and after each test; errors inside slots and observers fail the test."""
    import slicer

    from Testing.panel_host.strict import failOnHiddenErrors

    with failOnHiddenErrors():
        slicer.mrmlScene.Clear(0)
        yield slicer.mrmlScene
        slicer.mrmlScene.Clear(0)


@pytest.fixture
def engine():
    from Testing.panel.fakes import FakeEngine

    return FakeEngine()


@pytest.fixture
def openPanel(module, engine):
    """Function that opens the panel, with the fake catalog and engine unless another logic is given."""
    from Testing.panel.fakes import FakeCatalog
    from Testing.panel_host.scripted_module import openModule

    opened = []

    def open(logic=None, prepare=lambda: None):
        logic = logic or module.SuperResolutionLogic(FakeCatalog(), engine)
        opened.append(openModule(module, logic=logic, prepare=prepare))
        return opened[-1]

    yield open
    for widget in opened:
        widget.cleanup()
        widget.parent.deleteLater()


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
