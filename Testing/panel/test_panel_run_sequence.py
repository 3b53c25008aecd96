"""Sequences in the panel: every time point on one warm worker, one progress, nothing left behind by a cancel."""

from __future__ import annotations

import numpy as np
import pytest

from SuperResolutionLib import mrml_sequence
from SuperResolutionLib.errors import UsageError
from Testing.mrml.nodes import addSequence
from Testing.panel.fakes import FakeCatalog, clickUpscale


@pytest.fixture
def heart(scene):
    """A volume that shows a sequence of three time points, and the voxels of each."""
    arrays = [np.full((2, 6, 8), 10 * (index + 1), np.int16) for index in range(3)]
    browser = addSequence(arrays, ["0", "0.5", "1"])
    return browser.GetProxyNode(browser.GetMasterSequenceNode()), arrays


def openOnAll(openPanel):
    widget = openPanel()
    assert not widget.ui.allTimePointsCheckBox.isHidden()
    widget.ui.allTimePointsCheckBox.checked = True
    return widget


def test_everyTimePointIsUpscaled(openPanel, heart, worker):
    _proxy, arrays = heart
    widget = openOnAll(openPanel)
    clickUpscale(widget)
    assert len(worker.calls) == 3
    for (volume, _model, _options), array in zip(worker.calls, arrays):
        np.testing.assert_array_equal(volume.array, array)
    series = mrml_sequence.timeSeriesOf(widget._parameterNode.srVolume)
    assert series.indexValues == ["0", "0.5", "1"]
    assert [int(series.volume(index).array.mean()) for index in range(3)] == [10, 20, 30]
    assert series.volume(0).array.shape == (2, 24, 32)
    assert all(job.isReleased for job in worker.jobs)


def test_whatIsSaidOfAllTimePointsIsSaidOnce(openPanel, heart, worker):
    worker.notices = ["The rest was computed with float32."]
    widget = openOnAll(openPanel)
    clickUpscale(widget)
    assert widget.ui.statusLabel.text.count(worker.notices[0]) == 1


def test_sequenceLoadedWhileThePanelIsOpen(openPanel, worker, scene):
    """Slicer chooses the volume that is to show the sequence before the browser knows of it."""
    import slicer

    widget = openPanel()
    logic = slicer.modules.sequences.logic()
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Heart")
    for value in ("0", "1"):
        volume = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(volume, np.full((2, 6, 8), int(value), np.int16))
        sequence.SetDataNodeAtValue(volume, value)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Heart browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    logic.UpdateProxyNodesFromSequences(browser)  # as Slicer's reader of sequences
    proxy = browser.GetProxyNode(sequence)
    assert widget.ui.inputVolumeSelector.currentNode() is proxy is not None
    assert not widget.ui.allTimePointsCheckBox.isHidden()


def test_anotherModelGetsItsOwnSequence(openPanel, heart):
    widget = openOnAll(openPanel)
    clickUpscale(widget)
    first = widget._parameterNode.srVolume
    series = mrml_sequence.timeSeriesOf(first)
    series.browserNode.SetSelectedItemNumber(2)
    clickUpscale(widget)
    assert widget._parameterNode.srVolume is first, "the same again"
    series = mrml_sequence.timeSeriesOf(first)
    widget.ui.modelFamilyComboBox.currentIndex = 1
    clickUpscale(widget)
    assert widget._parameterNode.srVolume is not first
    assert mrml_sequence.timeSeriesOf(first).sequenceNode is series.sequenceNode
    assert series.volume(0).array.shape == (2, 24, 32)


def test_whatDoesNotFitIsRefusedBeforeTheRun(openPanel, heart, worker, errorsShown, monkeypatch):
    from SuperResolutionPanel import outlook

    monkeypatch.setattr(outlook, "_freeMemory", lambda: 15_000)  # enough for one time point, with 3 kB an output
    widget = openOnAll(openPanel)
    clickUpscale(widget)
    assert worker.calls == [] and "The results of all time points need" in errorsShown[0]
    widget.ui.allTimePointsCheckBox.checked = False
    clickUpscale(widget)
    assert len(worker.calls) == 1


def test_onlyTheShownTimePoint(openPanel, heart, worker):
    clickUpscale(openPanel())
    assert len(worker.calls) == 1


def test_progressGoesOverAllTimePoints(openPanel, heart, worker):
    widget = openOnAll(openPanel)
    seen = []
    worker.onPoll = lambda step: seen.append((widget.ui.progressBar.value, widget.ui.statusLabel.text))
    clickUpscale(widget)
    values = [value for value, _text in seen]
    assert values == sorted(values) and len(values) == 12
    assert 33 <= values[-1] <= 100
    assert any("Time point 3 of 3: slice 2 of 4" in text for _value, text in seen)


@pytest.mark.parametrize("poll", [1, 5, 11])
def test_cancelLeavesNothing(openPanel, heart, worker, scene, poll):
    widget = openOnAll(openPanel)
    nodeCount = scene.GetNumberOfNodes()
    polls = []
    worker.onPoll = lambda step: polls.append(step) or (len(polls) == poll and widget.ui.applyButton.click())
    clickUpscale(widget)
    assert "Cancelled" in widget.ui.statusLabel.text
    assert scene.GetNumberOfNodes() == nodeCount
    assert all(job.isReleased for job in worker.jobs)


def test_sequenceDeletedMidRun(openPanel, heart, worker, scene, errorsShown):
    proxy, _arrays = heart
    widget = openOnAll(openPanel)
    sequence = mrml_sequence.timeSeriesOf(proxy).sequenceNode
    worker.onPoll = lambda step: step == 2 and scene.RemoveNode(sequence)
    clickUpscale(widget)
    assert len(errorsShown) == 1 and "removed from the scene" in errorsShown[0]
    assert len(worker.calls) == 1


def test_volumeThatShowsNoSequence(module, addVolume, worker):
    with pytest.raises(UsageError, match="shows no sequence"):
        module.SuperResolutionLogic(FakeCatalog(), worker).upscale(addVolume(), "grey-fast", allTimePoints=True)


def test_tickIsOfNoConsequenceForAPlainVolume(openPanel, addVolume, worker):
    addVolume()
    widget = openPanel()
    widget._parameterNode.allTimePoints = True
    clickUpscale(widget)
    assert len(worker.calls) == 1 and "Created" in widget.ui.statusLabel.text


def test_eachTimePointHasAResultOfItsOwn(openPanel, heart, worker, layoutManager):
    import slicer

    proxy, _arrays = heart
    browser = mrml_sequence.timeSeriesOf(proxy).browserNode
    widget = openPanel()
    chosen = widget._parameterNode
    clickUpscale(widget)
    first = chosen.srVolume
    assert first.GetName().endswith("SR x4 time 0 s")
    browser.SetSelectedItemNumber(2)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    assert widget._compareView._inputVolume() is None, "the input shows another time point than the result"
    clickUpscale(widget)
    assert chosen.srVolume is not first and chosen.srVolume.GetName().endswith("SR x4 time 1 s")
    assert slicer.util.arrayFromVolume(first).mean() == 10 and slicer.util.arrayFromVolume(chosen.srVolume).mean() == 30
    assert widget._compareView._inputVolume() is proxy
    second = chosen.srVolume
    clickUpscale(widget)
    assert chosen.srVolume is second


def test_sequenceMayBePlayedOnDuringTheRun(openPanel, heart, worker, errorsShown):
    import slicer

    browser = mrml_sequence.timeSeriesOf(heart[0]).browserNode

    def onPoll(step):
        if step == 1:
            browser.GetMasterSequenceNode().GetNthDataNode(1).SetOrigin(5, 6, 7)
            browser.SetSelectedItemNumber(1)
            slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)

    worker.onPoll = onPoll
    widget = openPanel()
    clickUpscale(widget)
    assert errorsShown == [] and slicer.util.arrayFromVolume(widget._parameterNode.srVolume).mean() == 10


def test_aSequenceThatLacksTimePointsOfItsBrowser(openPanel, scene, worker):
    import slicer

    browser = addSequence([np.full((2, 6, 8), value, np.int16) for value in range(4)], ["0", "1", "2", "3"])
    sparse = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "sparse")
    for value in ("0", "2"):
        volume = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(volume, np.full((2, 6, 8), 10 * int(value), np.int16))
        sparse.SetDataNodeAtValue(volume, value)
    browser.AddSynchronizedSequenceNode(sparse)
    logic = slicer.modules.sequences.logic()
    said = []
    for item in range(4):
        browser.SetSelectedItemNumber(item)
        logic.UpdateProxyNodesFromSequences(browser)
        shown = browser.GetProxyNode(sparse)
        said.append((mrml_sequence.momentOf(shown), int(slicer.util.arrayFromVolume(shown).max())))
    assert [(text.split()[1], value) for text, value in said] == [("0", 0), ("0", 0), ("2", 20), ("2", 20)]
