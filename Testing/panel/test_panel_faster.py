"""OpenVINO is offered once, where it is likely to help. Nothing is installed here."""

from __future__ import annotations

import tempfile

import pytest

CPU, CARD = [("cpu", "CPU")], [("cpu", "CPU"), ("cuda:0", "A card")]


@pytest.fixture
def faster(module, monkeypatch):
    import qt

    from SuperResolutionPanel import faster

    assert qt.QSettings().fileName().startswith(tempfile.gettempdir()), "never a person's own settings"
    qt.QSettings().remove(faster.ANSWERED)
    monkeypatch.setattr(faster, "isInstalled", lambda name: False)
    yield faster
    qt.QSettings().remove(faster.ANSWERED)


@pytest.mark.parametrize(("device", "devices"), [("cpu", CARD), ("auto", CPU)])
def test_itIsOfferedOnce(faster, device, devices):
    asked, installed = [], []
    answer = {"confirm": lambda question: asked.append(question) or True, "install": installed.append}
    told = []
    assert faster.offer(600, device, devices, lambda text: told.append((text, len(installed))), **answer)
    assert told == [("Installing OpenVINO; this takes a while...", 0)]
    assert installed == [["openvino>=2024.6"]] and "about 10 min" in asked[0] and str(faster.GAIN) in asked[0]
    assert not faster.offer(600, device, devices, confirm=pytest.fail, install=pytest.fail)


@pytest.mark.parametrize(
    ("seconds", "device", "devices"),
    [(None, "cpu", CPU), (20, "cpu", CPU), (600, "auto", CARD), (600, "cuda:0", CARD), (600, "auto", None)],
)
def test_itIsNotOfferedWhereItDoesNotHelp(faster, seconds, device, devices):
    assert not faster.offer(seconds, device, devices, confirm=pytest.fail, install=pytest.fail)


def test_itIsNotOfferedWhereItIs(faster, monkeypatch):
    monkeypatch.setattr(faster, "isInstalled", lambda name: name == "openvino")
    assert not faster.offer(600, "cpu", CPU, confirm=pytest.fail, install=pytest.fail)


def test_refusingAndFailingKeepNobodyFromARun(faster, errorsShown):
    import qt

    assert not faster.offer(600, "cpu", CPU, confirm=lambda question: False, install=pytest.fail)
    qt.QSettings().remove(faster.ANSWERED)

    def fail(_requirements):
        raise RuntimeError("no network")

    assert not faster.offer(600, "cpu", CPU, confirm=lambda question: True, install=fail)
    assert "no network" in errorsShown[0]
