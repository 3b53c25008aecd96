"""Which models exist, and that only intact ones run."""

import json
from pathlib import Path

import jsonschema
import pytest

from SuperResolutionLib import catalog as catalog_module
from SuperResolutionLib.catalog import BUNDLED, ModelCatalog, is_own, load_card, remove_model, split_id, user_folder
from SuperResolutionLib.errors import ModelError
from Testing.tiny_model import write_model

SCHEMA = json.loads((BUNDLED / "schema.json").read_text())


@pytest.fixture
def folder(tmp_path):
    for scale in (2, 4):
        write_model(tmp_path, f"edsr-ise-test-x{scale}-psnr")
    return tmp_path


def test_bundled_cards_fit_the_schema_and_their_weights():
    catalog = ModelCatalog([BUNDLED])
    assert catalog.problems == []
    assert {"edsr-ise-general-x4-psnr", "span-general-x4-psnr"} <= {card.id for card in catalog.cards}
    for card in catalog.cards:
        jsonschema.validate(card.card, SCHEMA)
        card.verify()
        assert card.weights.parent.name == card.id
        assert card.measured, f"{card.id} ships without measured results"
    assert sum(card.weights.stat().st_size for card in catalog.cards) < 32 * 2**20


def test_the_tiny_model_fits_the_schema(folder):
    for card in ModelCatalog([folder]).cards:
        jsonschema.validate(card.card, SCHEMA)


@pytest.mark.parametrize("change", [{"id": "No Id"}, {"config": {"scale": 4}}, {"sha256": "12"}, {"surprise": 1}])
def test_the_schema_refuses(folder, change):
    card = ModelCatalog([folder]).cards[0].card | change
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(card, SCHEMA)


def test_ids_split_into_family_and_scale():
    assert split_id("edsr-ise-fundus-x16-gan") == ("edsr-ise-fundus-gan", 16)
    for wrong in ("edsr", "edsr-x4", "edsr-ise-x4-best", "x4-psnr", "EDSR-x4-psnr"):
        with pytest.raises(ModelError, match="no model id"):
            split_id(wrong)


def test_find_by_id_and_by_family(folder):
    catalog = ModelCatalog([folder])
    family = catalog.cards[0].family
    assert [card.scale for card in catalog.families()[family]] == [2, 4]
    assert catalog.find(family, 4).scale == 4
    assert catalog.find(catalog.cards[0].id).id == catalog.cards[0].id
    assert catalog.find(catalog.cards[0].id, catalog.cards[0].scale).id == catalog.cards[0].id


def test_what_cannot_be_found_says_what_can(folder):
    catalog = ModelCatalog([folder])
    card = catalog.cards[0]
    with pytest.raises(ModelError, match=card.id):
        catalog.find("nothing-such")
    with pytest.raises(ModelError, match="x2, x4"):
        catalog.find(card.id.replace("x2", "x8"))
    with pytest.raises(ModelError, match="x2, x4"):
        catalog.find(card.family, 8)
    with pytest.raises(ModelError, match="Choose a scale"):
        catalog.find(card.family)
    with pytest.raises(ModelError, match="x2, x4"):
        catalog.find(card.id, 16)
    with pytest.raises(ModelError, match="no model is installed"):
        ModelCatalog([]).find("anything")


def test_damaged_and_missing_weights_are_refused(folder):
    card = ModelCatalog([folder]).cards[0]
    card.verify()
    damaged = bytearray(card.weights.read_bytes())
    damaged[-1] ^= 1
    card.weights.write_bytes(damaged)
    with pytest.raises(ModelError, match="damaged"):
        card.verify()
    card.weights.unlink()
    assert not card.weights_available
    with pytest.raises(ModelError, match="missing"):
        card.verify()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"id": "a-b-x4-psnr"}', "not json"],
)
def test_a_broken_card_is_left_out_and_named(folder, text):
    broken = folder / "broken"
    broken.mkdir()
    (broken / "card.json").write_text(text)
    catalog = ModelCatalog([folder])
    assert len(catalog.cards) == 2
    assert len(catalog.problems) == 1 and "broken" in catalog.problems[0]


def test_a_card_that_contradicts_its_id(folder):
    path = ModelCatalog([folder]).cards[0].weights.parent
    card = json.loads((path / "card.json").read_text())
    card["config"]["scale"] = 3
    (path / "card.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="contradicts"):
        load_card(path)


@pytest.mark.parametrize(
    "intensity",
    [
        {"mapping": "fixed"},
        {"mapping": "fixed", "low": 3, "high": 3},
        {"mapping": "percentile", "low": "a", "high": "b"},
        {"mapping": "percentile", "low": 50, "high": 50},
        {"mapping": "auto", "low": 1},
    ],
)
def test_intensity_mappings_need_their_bounds(folder, intensity):
    path = ModelCatalog([folder]).cards[0].weights.parent
    card = json.loads((path / "card.json").read_text())
    (path / "card.json").write_text(json.dumps(card | {"intensity": intensity}))
    with pytest.raises(ModelError, match="low < high"):
        load_card(path)


@pytest.mark.parametrize(("low", "high"), [(-1, 99), (0, 100.5)])
@pytest.mark.parametrize("mapping", ["auto", "percentile"])
def test_percentiles_have_limits(folder, mapping, low, high):
    path = ModelCatalog([folder]).cards[0].weights.parent
    card = json.loads((path / "card.json").read_text())
    (path / "card.json").write_text(json.dumps(card | {"intensity": {"mapping": mapping, "low": low, "high": high}}))
    with pytest.raises(ModelError, match="from 0 to 100"):
        load_card(path)


def test_folders_are_searched_in_order(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(catalog_module.sys, "platform", "linux")
    first, second = tmp_path / "first", tmp_path / "second"
    for root in (first, second, user_folder()):
        write_model(root, "edsr-ise-test-x2-psnr")
    write_model(second, "edsr-ise-test-x4-psnr")
    write_model(user_folder(), "edsr-ise-test-x8-psnr")
    monkeypatch.setenv("SUPERRESOLUTION_MODELS", f"{first}:{second}")
    catalog = ModelCatalog.default()
    places = {card.scale: card.weights for card in catalog.cards if BUNDLED not in card.weights.parents}
    assert [first in places[2].parents, second in places[4].parents] == [True, True]
    assert Path(tmp_path / "home") in places[8].parents
    assert len(catalog.problems) == 2, "the two hidden models are named"


def test_a_user_without_a_home_has_the_other_models(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert ModelCatalog.default().cards


def test_user_folders_of_other_systems(monkeypatch, tmp_path):
    monkeypatch.setattr(catalog_module.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert user_folder() == tmp_path / "SuperResolution" / "models"
    monkeypatch.setattr(catalog_module.sys, "platform", "darwin")
    assert "Application Support" in str(user_folder())


def test_own_folder_takes_the_place_of_the_default_one(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(catalog_module.sys, "platform", "linux")
    write_model(user_folder(), "edsr-ise-hidden-x2-psnr")
    ids = {card.id for card in ModelCatalog.default(folder).cards}
    assert {"edsr-ise-test-x2-psnr", "edsr-ise-test-x4-psnr", "span-general-x4-psnr"} <= ids
    assert "edsr-ise-hidden-x2-psnr" not in ids


def test_a_folder_named_twice_counts_once(folder, monkeypatch):
    monkeypatch.setenv("SUPERRESOLUTION_MODELS", str(folder))
    assert ModelCatalog.default(folder).problems == []
    assert ModelCatalog.default(BUNDLED).problems == []


def test_own_models_can_be_removed(folder):
    first, second = ModelCatalog([folder]).cards
    (second.weights.parent / "notes.txt").write_text("mine")
    for card in (first, second):
        assert is_own(card, folder)
        remove_model(card, folder)
    assert not first.weights.parent.exists()
    assert [path.name for path in second.weights.parent.iterdir()] == ["notes.txt"], "what is not the model's stays"
    assert ModelCatalog([folder]).cards == []


def test_other_models_cannot_be_removed(folder, tmp_path):
    bundled = ModelCatalog([BUNDLED]).cards[0]
    stranger = ModelCatalog([folder]).cards[0]
    for card, own in ((bundled, folder), (bundled, BUNDLED), (stranger, tmp_path / "other")):
        with pytest.raises(ModelError, match="cannot be deleted"):
            remove_model(card, own)
        assert card.weights_available


def test_a_model_that_cannot_be_removed_says_why(folder, monkeypatch):
    def refuse(path, missing_ok=False):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(ModelError, match=r"card\.json: Permission denied"):
        remove_model(ModelCatalog([folder]).cards[0], folder)


@pytest.mark.parametrize(
    "wrong",
    [{"measured": "good"}, {"measured": [{"psnr": 30}]}, {"title": 5}, {"domain": 3}, {"architecture": "unheard_of"}],
    ids=str,
)
def test_a_card_that_doors_could_not_read_is_left_out(tmp_path, wrong):
    card = json.loads((BUNDLED / "span-general-x4-psnr" / "card.json").read_text(encoding="utf-8"))
    folder = tmp_path / "span-mine-x4-psnr"
    folder.mkdir()
    (folder / "card.json").write_text(json.dumps({**card, "id": folder.name, **wrong}), encoding="utf-8")
    catalog = ModelCatalog([tmp_path])
    assert not catalog.cards and str(folder) in catalog.problems[0]


def test_a_folder_that_cannot_be_resolved_is_a_problem(tmp_path):
    catalog = ModelCatalog([Path("null\0character"), BUNDLED, BUNDLED])
    assert len(catalog.problems) == 1 and "cannot be read" in catalog.problems[0]
    assert catalog.cards


SPAN = {"scale": 4, "channels": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": 5},
        {"title": "\ud800"},
        {"architecture": ["span"]},
        {"baseline": "no"},
        {"config": [["scale", 4], ["channels", 1]]},
        {"config": {**SPAN, "blocks": "many"}},
        {"config": {**SPAN, "scale": 4.0}},
        {"config": {**SPAN, "channels": True}},
        {"intensity": {"mapping": 7}},
        {"intensity": []},
        {"spacing_mm": [1]},
        {"spacing_mm": [1, 10**400]},
        {"spacing_mm": "12"},
        {"spacing_mm": [2, 1]},
        {"spacing_mm": [float("nan"), 2]},
        {"measured": [{"set": "a", "images": "one", "methods": {}}]},
        {"measured": [{"set": "a", "images": 1, "methods": {"model": {"psnr": "high", "ssim": 1}}}]},
    ],
    ids=ascii,
)
def test_a_field_of_another_kind_is_named(folder, wrong):
    path = ModelCatalog([folder]).cards[1].weights.parent / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    catalog = ModelCatalog([folder])
    assert len(catalog.cards) == 1 and len(catalog.problems) == 1
    assert str(path) in catalog.problems[0] and f" {next(iter(wrong))}" in catalog.problems[0]


def test_a_card_that_is_nested_too_deeply(folder):
    path = ModelCatalog([folder]).cards[0].weights.parent / "card.json"
    path.write_text("[" * 100_000)
    assert len(ModelCatalog([folder]).problems) == 1


def test_folders_that_cannot_be_read_are_told(tmp_path):
    loop, file = tmp_path / "loop", tmp_path / "file"
    loop.symlink_to(loop)
    file.write_text("no folder")
    catalog = ModelCatalog([loop, file, tmp_path / "gone", Path("null\0character"), BUNDLED])
    assert [str(loop) in catalog.problems[0], str(file) in catalog.problems[1]] == [True, True]
    assert len(catalog.problems) == 3 and "\0" not in catalog.problems[2], "a folder need not exist"
    assert catalog.cards


def test_a_folder_that_may_not_be_read_is_told(folder, monkeypatch):
    listdir = catalog_module.os.listdir

    def refuse(path):
        if path == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(catalog_module.os, "listdir", refuse)
    catalog = ModelCatalog([folder, BUNDLED])
    assert len(catalog.problems) == 1 and "Permission denied" in catalog.problems[0]
    assert {card.weights.parent.parent for card in catalog.cards} == {BUNDLED}
