"""The user's own models: another folder is chosen, one of them is deleted; bundled ones stay."""

from __future__ import annotations

import json

import pytest

from SuperResolutionLib.catalog import BUNDLED, CARD, WEIGHTS, ModelCatalog, load_card, user_folder
from Testing.panel.form_bench import formBenches

OWN = "edsr-ise-own-psnr"


@pytest.fixture
def own(tmp_path):
    """A folder with one model; its card is a bundled one's under another id."""
    return addModel(tmp_path / "own")


def addModel(root, modelId="edsr-ise-own-x4-psnr"):
    place = root / modelId
    place.mkdir(parents=True)
    card = json.loads((BUNDLED / "edsr-ise-general-x4-psnr" / CARD).read_text(encoding="utf-8"))
    (place / CARD).write_text(json.dumps(card | {"id": modelId, "title": "Own model, x4"}), encoding="utf-8")
    (place / WEIGHTS).write_bytes(b"weights")
    return root


@pytest.fixture
def settings(module):
    import qt

    from SuperResolutionPanel import modelfolder

    qt.QSettings().remove(modelfolder.SETTING)
    yield qt.QSettings()
    qt.QSettings().remove(modelfolder.SETTING)


@pytest.fixture
def bench(scene, settings):
    """A form over the real catalog, which is read again when it changed."""
    from SuperResolutionPanel.modelfolder import chosenFolder

    with formBenches() as openForm:
        opened = openForm(catalog=ModelCatalog.default(chosenFolder()))

        def reread():
            opened.catalog = ModelCatalog.default(chosenFolder())
            opened.update()

        opened.onCatalogChanged = reread
        yield opened


@pytest.fixture
def choose(monkeypatch):
    """Function that says what the person chooses in the folder dialog."""
    import qt

    def choose(folder):
        monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_arguments: str(folder) if folder else "")

    return choose


@pytest.fixture
def answer(monkeypatch):
    """Function that says what the person answers; returns the questions."""
    import slicer

    def answer(yes: bool):
        questions = []
        monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: questions.append(text) or yes)
        return questions

    return answer


def families(bench) -> list[str]:
    box = bench.ui.modelFamilyComboBox
    return [box.itemData(index) for index in range(box.count)]


def test_browse(bench, own, choose, settings):
    from SuperResolutionPanel.modelfolder import chosenFolder

    assert chosenFolder() == user_folder()
    assert bench.ui.modelFolderLineEdit.text == str(user_folder())
    choose("")
    bench.ui.modelFolderBrowseButton.click()
    assert chosenFolder() == user_folder()
    choose(own)
    bench.ui.modelFolderBrowseButton.click()
    assert chosenFolder() == own
    assert bench.ui.modelFolderLineEdit.text == str(own)
    assert OWN in families(bench)


def test_browseToAFolderThatCannotBeRead(bench, choose, tmp_path, errorsShown):
    from SuperResolutionPanel.modelfolder import chosenFolder

    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    choose(loop)
    bench.ui.modelFolderBrowseButton.click()
    assert chosenFolder() == user_folder()
    assert "cannot be read" in errorsShown[0]


def test_bundledModelsCannotBeDeleted(bench, choose):
    bench.parameters.modelFamily = "span-general-psnr"
    assert not bench.ui.modelDeleteButton.enabled
    assert "only those can be deleted" in bench.ui.modelDeleteButton.toolTip
    choose(BUNDLED)
    bench.ui.modelFolderBrowseButton.click()
    assert not bench.ui.modelDeleteButton.enabled, "though that folder was chosen"


def test_deleteAsksFirst(bench, own, choose, answer):
    choose(own)
    bench.ui.modelFolderBrowseButton.click()
    bench.parameters.modelFamily = OWN
    questions = answer(False)
    bench.ui.modelDeleteButton.click()
    assert len(questions) == 1 and "edsr-ise-own-x4-psnr" in questions[0] and str(own) in questions[0]
    assert OWN in families(bench)
    answer(True)
    bench.ui.modelDeleteButton.click()
    assert list(own.iterdir()) == []
    assert OWN not in families(bench)
    assert bench.parameters.modelFamily in families(bench)


def test_failedDeleteIsOneSentence(bench, own, choose, answer, errorsShown, monkeypatch):
    choose(own)
    bench.ui.modelFolderBrowseButton.click()
    bench.parameters.modelFamily = OWN
    answer(True)
    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    bench.ui.modelDeleteButton.click()
    assert len(errorsShown) == 1 and "cannot be deleted" in errorsShown[0]
    assert OWN in families(bench)


def refuse(path, missing_ok=False):
    raise PermissionError(13, "Permission denied", str(path))


def test_modelsThatWereLeftOutAreNamed(bench, own, choose):
    assert bench.ui.modelsFoundLabel.text == f"Models found: {len(bench.catalog.cards)}, left out: 0"
    (own / "broken").mkdir()
    (own / "broken" / CARD).write_text("{}", encoding="utf-8")
    choose(own)
    bench.ui.modelFolderBrowseButton.click()
    found, problem = bench.ui.modelsFoundLabel.text.splitlines()
    assert found.endswith("left out: 1") and "broken" in problem


def test_noModelAtAll(scene, settings):
    from Testing.panel.form_bench import Catalog

    with formBenches() as openForm:
        empty = Catalog()
        opened = openForm(catalog=empty)
        assert not opened.ui.modelDeleteButton.enabled
        assert opened.ui.modelDeleteButton.toolTip == "No model is chosen."


def test_cardOfTheFixtureIsAModel(own):
    assert load_card(own / "edsr-ise-own-x4-psnr").family == OWN


def test_markupInAFolderIsNoMarkup(bench, tmp_path, choose, answer):
    own = addModel(tmp_path / "<b>own<")
    choose(own)
    bench.ui.modelFolderBrowseButton.click()
    bench.parameters.modelFamily = OWN
    questions = answer(False)
    bench.ui.modelDeleteButton.click()
    assert "&lt;b&gt;own&lt;" in bench.ui.modelFolderLineEdit.toolTip
    assert "&lt;b&gt;own&lt;" in questions[0]
