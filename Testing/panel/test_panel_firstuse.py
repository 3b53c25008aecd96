"""First use: what is missing is asked for, and every refusal is one clear sentence. Nothing is installed here."""

from __future__ import annotations

import sys
import types

import pytest


@pytest.fixture
def firstuse(module, monkeypatch):
    """The module under test, where nothing is installed but what ``installed`` names."""
    from SuperResolutionPanel import firstuse

    firstuse.installed = set()
    monkeypatch.setattr(firstuse, "isInstalled", lambda name: name in firstuse.installed)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    return firstuse


@pytest.fixture
def requirements(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("# a comment\nsafetensors>=0.4\npsutil>=5.9  # another\n\n")
    return path


class FakeTorchLogic:
    """PyTorchUtilsLogic that remembers how it was asked."""

    asked: dict = {}
    torch: object = types.ModuleType("torch")

    def installTorch(self, **arguments):
        type(self).asked = arguments
        return self.torch


class FakeExtensionsManager:
    """What Slicer's manager knows of the extension PyTorch.

    Args:
        answer: of ``installExtensionFromServer``. succeeds: whether the extension is there then.
    """

    def __init__(self, answer: bool = True, succeeds: bool = True, isInstalled: bool = False, isEnabled: bool = True):
        self.answer, self.succeeds = answer, succeeds
        self.isInstalled, self.isEnabled = isInstalled, isEnabled
        self.interactive = True
        self.installed = []

    def installExtensionFromServer(self, name, restart):
        assert not self.interactive
        self.installed.append((name, restart))
        self.isInstalled = self.answer and self.succeeds
        return self.answer

    def isExtensionInstalled(self, name) -> bool:
        return name == "PyTorch" and self.isInstalled

    def isExtensionEnabled(self, name) -> bool:
        return self.isExtensionInstalled(name) and self.isEnabled


@pytest.fixture
def torchLogic(firstuse, monkeypatch):
    logic = type("Logic", (FakeTorchLogic,), {})
    extension = types.ModuleType("PyTorchUtils")
    extension.PyTorchUtilsLogic = logic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)
    return logic


def test_nothingIsAskedWhenAllIsThere(firstuse, requirements):
    firstuse.installed |= {"torch", "safetensors", "psutil"}
    everything = firstuse.FirstUse(requirements, confirm=pytest.fail)
    assert everything.isComplete()
    assert not everything.ensure()


@pytest.mark.parametrize("missing", ["torch", "psutil"])
def test_whatIsMissingIsKnownWithoutAsking(firstuse, requirements, missing):
    firstuse.installed |= {"torch", "safetensors", "psutil"} - {missing}
    assert not firstuse.FirstUse(requirements, confirm=pytest.fail).isComplete()


def test_torchComesThroughTheExtension(firstuse, requirements, torchLogic):
    firstuse.installed |= {"safetensors", "psutil"}
    assert firstuse.FirstUse(requirements, confirm=pytest.fail).ensure(), "so that the child process is started anew"
    assert torchLogic.asked == {"askConfirmation": True, "torchVersionRequirement": firstuse.TORCH_REQUIREMENT}


def test_refusedTorchIsOneSentence(firstuse, requirements, torchLogic):
    torchLogic.torch = None
    with pytest.raises(firstuse.SetupError, match="PyTorch was not installed"):
        firstuse.FirstUse(requirements).ensure()


def test_failedTorchIsOneSentence(firstuse, requirements, torchLogic, monkeypatch):
    def fail(self, **_arguments):
        raise RuntimeError("no network")

    monkeypatch.setattr(torchLogic, "installTorch", fail)
    with pytest.raises(firstuse.SetupError, match="could not be installed: no network"):
        firstuse.FirstUse(requirements).ensure()


@pytest.mark.parametrize(
    ("answer", "manager", "sentence"),
    [
        (True, FakeExtensionsManager(), "is installed now. Restart Slicer"),
        (True, FakeExtensionsManager(answer=False), "could not be downloaded"),
        (True, FakeExtensionsManager(succeeds=False), "could not be downloaded"),
        (True, FakeExtensionsManager(isEnabled=False), "installed but disabled"),
        (False, FakeExtensionsManager(), "needs Slicer's PyTorch extension. Install it in the Extensions Manager"),
    ],
)
def test_missingExtensionIsOffered(firstuse, requirements, monkeypatch, answer, manager, sentence):
    import slicer

    monkeypatch.setattr(slicer.app, "extensionsManagerModel", lambda: manager, raising=False)
    with pytest.raises(firstuse.SetupError, match=sentence):
        firstuse.FirstUse(requirements, confirm=lambda question: answer).ensure()
    assert manager.installed == ([("PyTorch", False)] if answer else [])
    assert manager.interactive, "as it was"


@pytest.mark.parametrize(("isEnabled", "sentence"), [(True, "Restart Slicer"), (False, "installed but disabled")])
def test_extensionThatIsInstalledIsNotOffered(firstuse, requirements, monkeypatch, isEnabled, sentence):
    import slicer

    manager = FakeExtensionsManager(isInstalled=True, isEnabled=isEnabled)
    monkeypatch.setattr(slicer.app, "extensionsManagerModel", lambda: manager, raising=False)
    with pytest.raises(firstuse.SetupError, match=sentence):
        firstuse.FirstUse(requirements, confirm=pytest.fail).ensure()
    assert manager.installed == []


def test_slicerWithoutExtensionsManager(firstuse, requirements):
    with pytest.raises(firstuse.SetupError, match="Extensions Manager"):
        firstuse.FirstUse(requirements, confirm=pytest.fail).ensure()


def test_oldSlicerAsksBeforePip(firstuse, requirements, monkeypatch):
    import slicer

    firstuse.installed |= {"torch", "psutil"}
    asked, installed = [], []
    monkeypatch.setattr(slicer.util, "pip_install", installed.append)
    firstuse.FirstUse(requirements, confirm=lambda question: asked.append(question) or True).ensure()
    assert "safetensors>=0.4" in asked[0] and "psutil" not in asked[0]
    assert installed == [["safetensors>=0.4"]]

    with pytest.raises(firstuse.SetupError, match="safetensors>=0.4.*were not installed"):
        firstuse.FirstUse(requirements, confirm=lambda question: False).ensure()
    assert len(installed) == 1


def test_newSlicerEnsuresPackagesItself(firstuse, requirements, monkeypatch):
    firstuse.installed.add("torch")
    packaging = types.ModuleType("slicer.packaging")
    packaging.load_requirements = lambda path: ["parsed", path]
    calls = []
    packaging.pip_ensure = lambda parsed, requester: calls.append((parsed, requester))
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    firstuse.FirstUse(requirements, confirm=pytest.fail).ensure()
    assert calls == [(["parsed", str(requirements)], "Super-Resolution")]

    def decline(parsed, requester):
        raise RuntimeError("User declined package installation")

    packaging.pip_ensure = decline
    with pytest.raises(firstuse.SetupError, match="were not installed: User declined"):
        firstuse.FirstUse(requirements).ensure()


def test_refusalIsShownInThePanel(firstuse, openPanel, addVolume, requirements, worker, errorsShown):
    addVolume()
    widget = openPanel(firstUse=firstuse.FirstUse(requirements, confirm=lambda question: False))
    widget.ui.applyButton.click()
    assert worker.calls == []
    assert "PyTorch extension" in errorsShown[0]
    assert widget.ui.applyButton.text == "Upscale" and widget.ui.applyButton.enabled


def test_whatIsInstalledIsSaidBefore(
    firstuse, openPanel, addVolume, requirements, torchLogic, monkeypatch, errorsShown
):
    import slicer

    addVolume()
    seen = []
    widget = openPanel(firstUse=firstuse.FirstUse(requirements, confirm=lambda question: True))
    look = lambda *_arguments, **_named: seen.append(widget.ui.statusLabel.text) or True  # noqa: E731
    monkeypatch.setattr(torchLogic, "installTorch", look)
    monkeypatch.setattr(slicer.util, "pip_install", look)
    isFlushed = []
    monkeypatch.setattr(slicer.app, "processEvents", lambda: isFlushed.append(widget.ui.statusLabel.text))
    widget.ui.applyButton.click()
    assert seen == [
        "Installing PyTorch; this takes some minutes...",
        "Installing Python packages: safetensors>=0.4, psutil>=5.9...",
    ]
    assert isFlushed == seen and errorsShown == []
    widget._run.cancel()


def test_downloadOfTheExtensionIsSaidBefore(firstuse, requirements, monkeypatch):
    import slicer

    manager, told = FakeExtensionsManager(), []
    monkeypatch.setattr(slicer.app, "extensionsManagerModel", lambda: manager, raising=False)
    firstUse = firstuse.FirstUse(requirements, confirm=lambda question: told == [])
    firstUse.tell = lambda text: told.append((text, len(manager.installed)))
    with pytest.raises(firstuse.SetupError):
        firstUse.ensure()
    assert told == [("Downloading the PyTorch extension...", 0)]


def test_requirementsOfTheModuleNameNoTorch(module, openPanel):
    from SuperResolutionPanel.firstuse import FirstUse, _packageName

    lines = FirstUse(openPanel().resourcePath("requirements.txt"))._requirements()
    assert {_packageName(line) for line in lines} == {"safetensors", "psutil"}
