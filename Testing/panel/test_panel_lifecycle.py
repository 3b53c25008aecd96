"""The panel's life in Slicer: entering, leaving, scenes that close, reloading, quitting, no window at all."""

from __future__ import annotations

import gc
import sys
import time
import typing
import weakref

import pytest

from Testing.panel.fakes import FakeCatalog, FakeFirstUse, FakeWorker, clickUpscale, closePanel, waitUntil
from Testing.panel.test_panel_run import isReady, volumeNames


def test_closingTheSceneEndsTheRun(openPanel, addVolume, worker, scene, errorsShown):
    addVolume()
    widget = openPanel()
    worker.onPoll = lambda step: step == 1 and scene.Clear(0)
    clickUpscale(widget)
    assert volumeNames() == []
    assert worker.jobs[0].state == "cancelled"
    assert errorsShown == []
    assert not widget.ui.applyButton.enabled
    scene.Clear(0)
    assert widget.ui.statusLabel.text == ""
    addVolume("next")
    widget.initializeParameterNode()
    worker.onPoll = lambda step: None
    clickUpscale(widget)
    assert "next SR x4" in volumeNames()


def test_leavingThePanelLetsTheRunFinish(openPanel, addVolume, worker):
    addVolume()
    widget = openPanel()
    worker.onPoll = lambda step: step == 1 and widget.exit()
    clickUpscale(widget)
    widget.enter()
    assert widget.ui.srVolumeSelector.currentNode().GetName() == "CT head SR x4"


def test_leavingAndComingBackWhileRunning(openPanel, addVolume, worker):
    addVolume()
    widget = openPanel()
    seen = []

    def leaveAndComeBack(step):
        if step == 1:
            widget.exit()
            widget.enter()
            seen.append((widget.ui.applyButton.text, widget.ui.inputsCollapsibleButton.enabled))

    worker.onPoll = leaveAndComeBack
    clickUpscale(widget)
    assert seen == [("Cancel", False)]
    assert isReady(widget)


@pytest.fixture(params=[True, False], ids=["newer Slicer", "Slicer 5.10"])
def asInSlicer(request, module, monkeypatch):
    """The parameter node removes its observer when it is disconnected from the form, or leaves it."""
    from Testing.panel_host.parameter_gui import Connections

    monkeypatch.setattr(Connections, "removesObserver", request.param)


def test_leavingLetsGoOfTheParameterNode(asInSlicer, openPanel, addVolume):
    addVolume()
    widget = openPanel()
    node, wrapper = widget._parameterNode.parameterNode, weakref.ref(widget._parameterNode)
    widget.exit()
    gc.collect()
    assert wrapper() is None
    assert not node.HasObserver("ModifiedEvent")


def test_leavingWhileSomethingIsInstalled(openPanel, addVolume, worker, firstUse, errorsShown):
    addVolume()
    widget = openPanel()
    firstUse.ensure = lambda: widget.exit() or True  # the installation lets events through
    clickUpscale(widget)
    assert errorsShown == []
    assert "CT head SR x4" in volumeNames()
    widget.enter()
    assert isReady(widget)


def test_sceneClosedInAnotherModule(openPanel, addVolume, scene):
    addVolume()
    widget = openPanel()
    widget.exit()
    widget.parent.isEntered = False
    scene.Clear(0)
    assert widget._parameterNode is None
    widget.enter()
    assert not widget.ui.applyButton.enabled


@pytest.mark.parametrize("clear", [True, False], ids=["opened", "added to an empty scene"])
def test_sceneLoadedWhileThePanelIsOpen(openPanel, addVolume, scene, tmp_path, clear):
    """What was saved is chosen again, not the first volumes that the selectors find."""
    import slicer

    addVolume("Other")
    node = addVolume("In")
    widget = openPanel()
    widget.ui.inputVolumeSelector.setCurrentNode(node)
    clickUpscale(widget)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), {"clear": clear})
    chosen, ui = widget._parameterNode, widget.ui
    assert volumeNames() == ["Other", "In", "In SR x4", "In bicubic x4"]
    names = ("In", "In SR x4", "In bicubic x4")
    assert tuple(each.GetName() for each in (chosen.inputVolume, chosen.srVolume, chosen.bicubicVolume)) == names
    selectors = (ui.inputVolumeSelector, ui.srVolumeSelector, ui.bicubicVolumeSelector)
    assert tuple(each.currentNode().GetName() for each in selectors) == names
    assert ui.applyButton.enabled and ui.compareButton.enabled == (slicer.app.layoutManager() is not None)


def test_sceneLoadedInAnotherModule(openPanel, addVolume, scene, tmp_path):
    import slicer

    addVolume("Other")
    node = addVolume("In")
    widget = openPanel()
    widget.ui.inputVolumeSelector.setCurrentNode(node)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    widget.exit()
    widget.parent.isEntered = False
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), {"clear": True})
    assert widget._parameterNode is None
    widget.enter()
    assert widget.ui.inputVolumeSelector.currentNode().GetName() == "In"


def test_quittingEndsTheRunAndTheProcess(openPanel, addVolume, worker):
    addVolume()
    widget = openPanel()
    widget.ui.applyButton.click()
    assert worker.jobs[0].state == "running"
    widget.cleanup()
    assert worker.jobs[0].state == "cancelled" and worker.closed == 1 and not worker.alive
    assert volumeNames() == ["CT head"]
    ended = time.monotonic()
    waitUntil(lambda: time.monotonic() > ended + 0.5)
    assert not worker.alive, "nothing starts another one"


def test_processIsWarmedAfterThePanelHasAppeared(openPanel, worker):
    widget = openPanel()
    assert not worker.alive and widget.ui.deviceComboBox.count == 2
    waitUntil(lambda: widget.ui.deviceComboBox.count == 3)
    assert widget.ui.deviceComboBox.itemText(2) == "Fast Card"
    assert not widget._warmUp._timer.isActive()


def test_nothingIsWarmedBeforeAllIsInstalled(openPanel, worker, firstUse):
    firstUse.complete = False
    widget = openPanel()
    waitUntil(lambda: not widget._warmUp._timer.isActive())
    assert not worker.alive


def test_warmingEndsWhereTorchCannotBeImported(openPanel, worker):
    worker.poll = lambda: setattr(worker, "devices", [])
    widget = openPanel()
    waitUntil(lambda: worker.devices == [] and not widget._warmUp._timer.isActive())
    assert worker.alive and widget.ui.deviceComboBox.count == 2


def test_newProcessAfterCancelling(openPanel, addVolume, worker):
    addVolume()
    widget = openPanel()
    worker.onPoll = lambda step: step == 1 and widget.ui.applyButton.click()
    clickUpscale(widget)
    assert not worker.alive
    waitUntil(lambda: worker.alive)
    assert isReady(widget)


def test_newProcessAfterAnInstallation(openPanel, addVolume, worker, firstUse):
    addVolume()
    widget = openPanel()
    firstUse.installs = True
    clickUpscale(widget)
    assert (firstUse.asked, worker.closed) == (1, 1)
    assert "CT head SR x4" in volumeNames()


@pytest.mark.parametrize("running", [False, True])
def test_reloadReadsThePackagesAgain(openPanel, addVolume, worker, monkeypatch, running):
    import slicer

    node = addVolume()
    widget = openPanel()
    kept = dict(sys.modules)
    monkeypatch.setattr(slicer.modules, "SuperResolutionWidget", widget)
    if running:
        widget.ui.applyButton.click()
    try:
        widget.onReload()
        reloaded = slicer.modules.SuperResolutionWidget
        assert reloaded is not widget
        assert sys.modules["SuperResolutionPanel.form"] is not kept["SuperResolutionPanel.form"]
        assert sys.modules["SuperResolutionLib.errors"] is not kept["SuperResolutionLib.errors"]
        assert reloaded.ui.inputVolumeSelector.currentNode() is node
        assert not worker.alive and [job.state for job in worker.jobs] == ["cancelled"] * running
        reloaded.cleanup()
    finally:
        # Other tests hold on to the classes of the modules that were loaded first.
        sys.modules.update({name: each for name, each in kept.items() if name.startswith("SuperResolution")})


def test_reloadAfterASetupThatFailed(openPanel, module, monkeypatch):
    import slicer

    widget = module.SuperResolutionWidget(openPanel().parent)
    monkeypatch.setattr(slicer.modules, "SuperResolutionWidget", widget)
    kept = dict(sys.modules)
    try:
        widget.onReload()
        assert slicer.modules.SuperResolutionWidget is not widget
        slicer.modules.SuperResolutionWidget.cleanup()
    finally:
        sys.modules.update({name: each for name, each in kept.items() if name.startswith("SuperResolution")})


def test_widgetWithoutAParent(module, addVolume):
    node = addVolume()
    widget = module.SuperResolutionWidget(
        None, logic=module.SuperResolutionLogic(FakeCatalog(), FakeWorker()), firstUse=FakeFirstUse()
    )
    assert widget.ui.inputVolumeSelector.currentNode() is node
    closePanel(widget)


def test_sampleDataAreRegisteredOnceSlicerHasStarted(module, monkeypatch):
    import slicer

    from SuperResolutionPanel import sampledata

    connected = []
    monkeypatch.setattr(slicer.app, "connect", lambda signal, slot: connected.append((signal, slot)))
    sampledata.registerWhenStarted()
    assert connected == [("startupCompleted()", sampledata.register)]


class FakeSampleDataLogic:
    """The part of Slicer's SampleDataLogic that is used; downloads nothing."""

    registered: list = []

    @staticmethod
    def registerCustomSampleDataSource(**arguments):
        FakeSampleDataLogic.registered.append(arguments)

    def downloadFileIntoCache(self, uri, name, checksum):
        assert uri.endswith(checksum.partition(":")[2])
        return f"cache/{name}"

    def loadNode(self, path, name):
        import numpy as np
        import slicer

        assert path == "cache/CT-chest.nrrd"
        voxels = np.arange(2 * 8 * 12, dtype=np.int16).reshape(2, 8, 12)
        return slicer.util.addVolumeFromArray(voxels, ijkToRAS=np.diag((0.5, 0.5, 3, 1.0)), name=name)


@pytest.mark.parametrize("hasTitles", [False, True], ids=["Slicer 5.10", "newer Slicer"])
def test_sampleDataAreUnderTheTitleOfTheModule(module, monkeypatch, hasTitles):
    import types

    from SuperResolutionPanel import sampledata

    titles, registered = {}, []
    logic = types.SimpleNamespace(registerCustomSampleDataSource=lambda **source: registered.append(source))
    if hasTitles:
        logic.registerCustomSampleDataCategory = lambda name, title: titles.update({name: title})
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=logic))
    sampledata.register()
    category = registered[0]["category"]
    assert titles.get(category, category) == "Super-Resolution"
    assert len(titles) == hasTitles


@pytest.fixture
def loadSample(module, scene, monkeypatch):
    """Function that does what a click on the sample in Slicer's Sample Data module does."""
    import types

    from SuperResolutionPanel import sampledata

    FakeSampleDataLogic.registered = []
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=FakeSampleDataLogic))
    sampledata.register()
    (arguments,) = FakeSampleDataLogic.registered
    source = types.SimpleNamespace(
        uris=[arguments["uris"]],
        fileNames=[arguments["fileNames"]],
        nodeNames=[arguments["nodeNames"]],
        checksums=[arguments["checksums"]],
    )
    return lambda: arguments["customDownloader"](source)


@pytest.mark.parametrize(
    ("method", "result", "sentence"),
    [("downloadFileIntoCache", ValueError("no network"), "no network"), ("loadNode", None, "could not be read")],
)
def test_sampleThatCannotBeLoadedIsShown(loadSample, monkeypatch, errorsShown, method, result, sentence):
    import slicer

    def fail(self, *_arguments):
        if result is not None:
            raise result

    cursors = []
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False)  # then Slicer shows dialogs
    monkeypatch.setattr(slicer.app, "setOverrideCursor", cursors.append)
    monkeypatch.setattr(slicer.app, "restoreOverrideCursor", cursors.pop)
    monkeypatch.setattr(FakeSampleDataLogic, method, fail)
    with pytest.raises(Exception, match=sentence):
        loadSample()
    assert len(errorsShown) == 1 and cursors == []
    assert errorsShown[0].startswith("The sample could not be loaded.") and sentence in errorsShown[0]


@pytest.mark.parametrize("isSetUp", [True, False])
def test_sampleIsLoadedByTheLogicThatShowsProgress(loadSample, monkeypatch, isSetUp):
    import types

    import slicer

    class ShownLogic(FakeSampleDataLogic):
        loaded: typing.ClassVar[list] = []

        def loadNode(self, path, name):
            self.loaded.append(name)
            return super().loadNode(path, name)

    widget = types.SimpleNamespace(logic=ShownLogic()) if isSetUp else types.SimpleNamespace()
    monkeypatch.setattr(slicer.modules, "SampleDataWidget", widget, raising=False)
    reduced, _original = loadSample()
    assert reduced is not None
    assert ShownLogic.loaded == ["CTChest"] * isSetUp


def test_sampleDataShowTheSamePlaceTwice(loadSample):
    import slicer

    reduced, original = loadSample()
    assert reduced.GetName() == "CTChest low resolution"
    assert slicer.util.arrayFromVolume(reduced).shape == (2, 2, 3)
    assert slicer.util.arrayFromVolume(reduced)[0, 0, 0] == round((0 + 1 + 2 + 3 + 12 * 6) / 4 + 0 * 1)
    bounds = [[0.0] * 6, [0.0] * 6]
    for node, each in zip((reduced, original), bounds):
        node.GetRASBounds(each)
    assert bounds[0] == pytest.approx(bounds[1])
