"""Sequences on real sequence and browser nodes: every time point in, a sequence that plays beside the input out."""

from __future__ import annotations

import numpy as np
import pytest

from SuperResolutionLib.errors import DataError
from Testing.mrml.nodes import addSequence, countByClass, resultFor

slicer = pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")

from SuperResolutionLib import mrml, mrml_sequence  # noqa: E402  (needs slicer)

TIMES = ["0", "0.5", "2"]


@pytest.fixture
def browser(scene):
    return addSequence([np.full((2, 4, 5), 10 * index, np.int16) for index in range(3)], TIMES)


@pytest.fixture
def series(browser):
    return mrml_sequence.timeSeriesOf(slicer.util.getNode("Heart"))


def resultsOf(series, scale=2, bicubic=True):
    """An engine's result for each time point, made by repeating voxels."""
    for index in range(series.count):
        node = series.sequenceNode.GetNthDataNode(index)
        yield resultFor(node, scale, bicubic)


def shownValue(node) -> int:
    return int(slicer.util.arrayFromVolume(node).max())


def test_timePointsOfAProxy(series, browser):
    assert (series.count, series.indexValues) == (3, TIMES)
    assert (series.indexName, series.indexUnit) == ("time", "s")
    assert [int(series.volume(index).array.max()) for index in range(3)] == [0, 10, 20]
    assert series.volume(1).name == "Heart"
    np.testing.assert_allclose(series.volume(2).ijk_to_ras, mrml.ijkToRAS(series.proxyNode))


def test_otherNodesShowNoTimePoints(browser, scene):
    assert mrml_sequence.timeSeriesOf(None) is None
    assert mrml_sequence.timeSeriesOf(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")) is None


def test_proxyOfSomethingElseShowsNoVolumes(browser, scene):
    positions = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "positions")
    positions.SetDataNodeAtValue(slicer.vtkMRMLLinearTransformNode(), "0")
    browser.AddSynchronizedSequenceNode(positions)
    proxy = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "position")
    browser.AddProxyNode(proxy, positions, False)
    assert mrml_sequence.timeSeriesOf(proxy) is None


def test_resultsPlayBesideTheInput(series, browser):
    sr, bicubic = series.addResults(resultsOf(series))
    assert (sr.GetName(), bicubic.GetName()) == ("Heart SR x2", "Heart bicubic x2")
    for index in (2, 0, 1):
        browser.SetSelectedItemNumber(index)
        assert [shownValue(node) for node in (series.proxyNode, sr, bicubic)] == [
            10 * index,
            10 * index,
            10 * index + 3,
        ]
    assert slicer.util.arrayFromVolume(sr).shape == (2, 8, 10)
    np.testing.assert_allclose(sr.GetSpacing(), np.array(series.proxyNode.GetSpacing()) / (2, 2, 1))


def test_resultsKeepTheIndex(series):
    for node in series.addResults(resultsOf(series)):
        made = mrml_sequence.timeSeriesOf(node)
        assert made.browserNode is series.browserNode
        assert (made.indexValues, made.indexName, made.indexUnit) == (TIMES, "time", "s")
        assert made.sequenceNode.GetIndexTypeAsString() == "numeric"
        assert made.sequenceNode.GetName() == f"{node.GetName()} sequence"


def test_resultsAreShownAsTheirInput(series, scene):
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    series.proxyNode.SetAndObserveTransformNodeID(transform.GetID())
    series.proxyNode.GetDisplayNode().AutoWindowLevelOff()
    series.proxyNode.GetDisplayNode().SetWindowLevel(77, 33)
    for node in series.addResults(resultsOf(series)):
        series.browserNode.SetSelectedItemNumber(2)
        assert (node.GetDisplayNode().GetWindow(), node.GetDisplayNode().GetLevel()) == (77, 33)
        assert node.GetParentTransformNode() is transform
        assert mrml.provenanceOf(node)["Scale"] == "2"


def test_withoutBicubicThereIsNone(series):
    sr, bicubic = series.addResults(resultsOf(series, bicubic=False))
    assert bicubic is None
    assert series.browserNode.GetNumberOfSynchronizedSequenceNodes(True) == 2


def test_againIntoTheSameNodesReplacesTheSequences(series, scene):
    sr, bicubic = series.addResults(resultsOf(series))
    before = countByClass(scene)
    for _round in range(5):
        assert series.addResults(resultsOf(series, scale=4), sr, bicubic) == (sr, bicubic)
    assert countByClass(scene) == before
    assert slicer.util.arrayFromVolume(sr).shape == (2, 16, 20)
    assert series.browserNode.GetNumberOfSynchronizedSequenceNodes(True) == 3


def test_givenVolumeBecomesTheProxy(series, scene):
    mine = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    sr, _bicubic = series.addResults(resultsOf(series, bicubic=False), mine)
    assert sr is mine and mine.GetName() == "mine"
    series.browserNode.SetSelectedItemNumber(2)
    assert shownValue(mine) == 20
    assert mine.GetName() == "mine"


def test_oneResultIntoAProxyStopsItFromPlaying(series, scene):
    sr, _bicubic = series.addResults(resultsOf(series, bicubic=False))
    mrml.addResult(series.proxyNode, resultFor(series.proxyNode, 4, bicubic=False), sr)
    series.browserNode.SetSelectedItemNumber(2)
    assert slicer.util.arrayFromVolume(sr).shape == (2, 16, 20)
    assert shownValue(sr) == 0


def test_colorSequence(scene):
    addSequence([np.full((1, 4, 5, 3), index, np.uint8) for index in range(2)], ["0", "1"])
    series = mrml_sequence.timeSeriesOf(slicer.util.getNode("Heart"))
    sr, _bicubic = series.addResults(resultsOf(series, bicubic=False))
    assert sr.GetClassName() == "vtkMRMLVectorVolumeNode"
    series.browserNode.SetSelectedItemNumber(1)
    assert shownValue(sr) == 1


def test_anotherSequenceIsNotOverwritten(series, scene):
    other = addSequence([np.zeros((2, 4, 5), np.int16)], ["0"], "Lung")
    proxy = slicer.util.getNode("Lung")
    with pytest.raises(DataError, match="'Lung' shows another sequence"):
        series.addResults(resultsOf(series), proxy)
    assert other.GetProxyNode(mrml_sequence.timeSeriesOf(proxy).sequenceNode) is proxy


def test_missingTimePointLeavesTheSceneAlone(series, scene):
    before = countByClass(scene)
    with pytest.raises(DataError, match="Some time points have no result"):
        series.addResults(list(resultsOf(series))[:2])
    with pytest.raises(DataError, match="Some time points have no result"):
        series.addResults([])
    assert countByClass(scene) == before


def test_failureOnTheWayLeavesTheSceneAlone(series, scene):
    def results():
        yield next(resultsOf(series))
        raise RuntimeError("cancelled")

    before = countByClass(scene)
    with pytest.raises(RuntimeError, match="cancelled"):
        series.addResults(results())
    assert countByClass(scene) == before


def test_lateFailureTakesTheNewNodesOut(series, scene, monkeypatch):
    series.proxyNode.CreateDefaultDisplayNodes()
    series.addResults(resultsOf(series))  # so that the subject hierarchy exists
    before, inBrowser = countByClass(scene), series.browserNode.GetNumberOfSynchronizedSequenceNodes(True)

    def fail(inputNode, outputNode):
        raise RuntimeError("late failure")

    monkeypatch.setattr(mrml_sequence, "copyPresentation", fail)
    with pytest.raises(RuntimeError, match="late failure"):
        series.addResults(resultsOf(series))
    assert countByClass(scene) == before
    assert series.browserNode.GetNumberOfSynchronizedSequenceNodes(True) == inBrowser


def test_inputThatLeftTheSceneIsRefused(series, scene):
    results = list(resultsOf(series))
    scene.RemoveNode(series.browserNode)
    with pytest.raises(DataError, match="removed from the scene"):
        series.addResults(results)


def test_savedSequencePlaysAfterLoading(series, scene, tmp_path):
    sr, _bicubic = series.addResults(resultsOf(series))
    series.browserNode.SetSelectedItemNumber(1)
    geometry = mrml.ijkToRAS(sr)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    again = mrml_sequence.timeSeriesOf(slicer.util.getNode("Heart SR x2"))
    assert (again.indexValues, again.indexUnit) == (TIMES, "s")
    again.browserNode.SetSelectedItemNumber(2)
    assert shownValue(again.proxyNode) == 20
    np.testing.assert_allclose(mrml.ijkToRAS(again.proxyNode), geometry, atol=1e-6)
