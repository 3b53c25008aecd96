"""The logic without widgets: a script waits for the result, or goes on and is told."""

from __future__ import annotations

import pytest

from SuperResolutionLib.errors import Cancelled, DataError, UsageError
from Testing.panel.fakes import FakeCatalog, FakeWorker, waitUntil


@pytest.fixture
def logic(module, worker):
    return module.SuperResolutionLogic(FakeCatalog(), worker)


def test_waits(logic, addVolume):
    node = addVolume("fundus", channels=3)
    sr, bicubic = logic.upscale(node, "color-gan", makeBicubic=False)
    assert sr.GetClassName() == "vtkMRMLVectorVolumeNode"
    assert bicubic is None


def test_eventLoopLivesWhileItWaits(logic, addVolume):
    import qt

    fired = []
    qt.QTimer.singleShot(0, lambda: fired.append("timer"))
    logic.upscale(addVolume(), "grey-fast", progress=lambda *_about: fired.append("progress"))
    assert fired[0] == "timer" and "progress" in fired


def test_goesOnWithoutWaiting(logic, addVolume):
    ended = []
    run = logic.upscale(
        addVolume(), "grey-fast", waitForCompletion=False, completed=lambda nodes, error: ended.append((nodes, error))
    )
    assert run.running and ended == []
    waitUntil(lambda: not run.running)
    ((sr, bicubic), error) = ended[0]
    assert (sr.GetName(), bicubic.GetName(), error) == ("CT head SR x4", "CT head bicubic x4", None)
    assert len(ended) == 1 and run.nodes == (sr, bicubic)


def test_nobodyNeedsToKeepTheRun(logic, addVolume, scene):
    import gc

    ended = []
    logic.upscale(addVolume(), "grey-fast", waitForCompletion=False, completed=lambda *about: ended.append(about))
    gc.collect()
    waitUntil(lambda: ended, seconds=10)
    assert ended[0][1] is None


def test_cancelEndsAtOnce(logic, addVolume, worker):
    ended = []
    run = logic.upscale(
        addVolume(), "grey-fast", waitForCompletion=False, completed=lambda nodes, error: ended.append(error)
    )
    run.cancel()
    run.cancel()
    assert not run.running and worker.jobs[0].isReleased
    assert len(ended) == 1 and isinstance(ended[0], Cancelled)


def test_cancelledByACallback(logic, addVolume, scene):
    import slicer

    asked = []
    with pytest.raises(Cancelled):
        logic.upscale(addVolume(), "grey-fast", cancelled=lambda: asked.append(0) or len(asked) > 2)
    assert len(slicer.util.getNodesByClass("vtkMRMLVolumeNode")) == 1


def test_errorOfACallbackEndsTheRun(logic, addVolume, worker):
    def fail(*_about):
        raise ZeroDivisionError("in the script")

    with pytest.raises(ZeroDivisionError):
        logic.upscale(addVolume(), "grey-fast", progress=fail)
    assert worker.jobs[0].state == "cancelled" and worker.jobs[0].isReleased


def test_errorOfTheLastCallbackIsLogged(logic, addVolume, worker, caplog):
    def fail(*_about):
        raise ZeroDivisionError("in the script")

    run = logic.upscale(addVolume(), "grey-fast", waitForCompletion=False, completed=fail)
    waitUntil(lambda: not run.running)
    assert run.error is None and len(run.nodes) == 2 and worker.jobs[0].isReleased
    assert "ZeroDivisionError: in the script" in caplog.text


def test_aSecondRunIsRefused(logic, addVolume):
    node = addVolume()
    run = logic.upscale(node, "grey-fast", waitForCompletion=False)
    with pytest.raises(UsageError, match="run is under way"):
        logic.upscale(node, "grey-fast")
    assert run.running
    run.cancel()


def test_inputDeletedWhileItWaits(logic, addVolume, worker, scene):
    node = addVolume()
    worker.onPoll = lambda step: step == 1 and scene.RemoveNode(node)
    with pytest.raises(DataError, match="removed from the scene"):
        logic.upscale(node, "grey-fast")


def test_sceneClosedWhileItWaits(logic, addVolume, worker, scene):
    node = addVolume()
    worker.onPoll = lambda step: step == 1 and scene.Clear(0)
    with pytest.raises(DataError, match="removed from the scene"):
        logic.upscale(node, "grey-fast")


def test_regionOrRegionOfInterest(logic, addVolume, worker):
    from SuperResolutionLib import mrml_region

    node = addVolume()
    roi = mrml_region.createROI(node)
    logic.upscale(node, "grey-fast", roi=roi)
    assert worker.calls[0][2].region == ((2, 6), (1, 5), (0, 2))
    with pytest.raises(UsageError, match="not both"):
        logic.upscale(node, "grey-fast", roi=roi, region=((0, 8), (0, 6), (0, 1)))


def test_logicsShareOneChildProcess(module):
    first, second = module.SuperResolutionLogic(), module.SuperResolutionLogic()
    worker = first.worker
    assert worker is second.worker and not worker.alive
    second.close()
    assert first.worker is not worker
    first.close()


def test_slicersOwnPythonComputes(module, monkeypatch, tmp_path):
    import sys

    import slicer

    from SuperResolutionPanel import childprocess

    assert childprocess.pythonProgram() == ([sys.executable], None)
    launcher = tmp_path / "PythonSlicer"
    launcher.write_text("#!/bin/sh\n")
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(slicer.util, "startupEnvironment", lambda: {"HOME": "there"})
    assert childprocess.pythonProgram() == ([str(launcher)], {"HOME": "there"})


def test_noSecondSlicerIsStarted(module, monkeypatch):
    import sys

    from SuperResolutionLib.errors import WorkerError
    from SuperResolutionPanel import childprocess

    monkeypatch.setattr(sys, "executable", "/opt/Slicer/bin/SlicerApp-real")
    with pytest.raises(WorkerError, match="PythonSlicer"):
        childprocess.pythonProgram()


def test_workersAreIndependent(module, addVolume):
    node = addVolume()
    runs = [
        module.SuperResolutionLogic(FakeCatalog(), FakeWorker()).upscale(node, "grey-fast", waitForCompletion=False)
        for _count in range(2)
    ]
    waitUntil(lambda: not any(run.running for run in runs))
    assert [run.error for run in runs] == [None, None]


def test_stepsLeaveNoTimersBehind(logic, addVolume, monkeypatch):
    import qt

    def singleShot(milliseconds, function):
        """As Slicer's, which deletes none of its timers."""
        timer = qt.QTimer(qt.application)
        timer.setSingleShot(True)
        timer.timeout.connect(function)
        timer.start(milliseconds)

    monkeypatch.setattr(qt.QTimer, "singleShot", staticmethod(singleShot))
    before = len(qt.application.findChildren(qt.QTimer))
    run = logic.upscale(addVolume(), "grey-fast", waitForCompletion=False)
    waitUntil(lambda: not run.running)
    assert len(qt.application.findChildren(qt.QTimer)) == before


def test_cancelIsIgnoredWhileTheResultIsAdded(logic, addVolume, scene):
    ended = []
    node = addVolume()
    run = logic.upscale(node, "grey-fast", waitForCompletion=False, completed=lambda *about: ended.append(about))
    tag = scene.AddObserver(scene.NodeAddedEvent, lambda _caller, _event: run.cancel())
    waitUntil(lambda: not run._isStepping and not run.running)
    scene.RemoveObserver(tag)
    ((nodes, error),) = ended
    assert error is None and all(each.GetScene() is scene for each in nodes)


def test_resultSaysWhichPartItIs(logic, addVolume):
    node = addVolume()
    regions = ((0, 8), (0, 6), (1, 2)), ((0, 8), (0, 6), (0, 2)), ((2, 8), (0, 6), (1, 2))
    names = [logic.upscale(node, "grey-fast", region=region)[0].GetName() for region in regions]
    assert names == ["CT head SR x4 slice 1", "CT head SR x4", "CT head SR x4 region"]
