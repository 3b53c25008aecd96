"""The model of a phase: which checkpoint it is in, what it is called, and what its card says."""

import json

import jsonschema
import pytest
import torch

from SuperResolutionLib.catalog import BUNDLED, load_card
from SuperResolutionLib.errors import DataError, ModelError, UsageError
from Testing.training.test_export import ABOUT
from Testing.training.tiny import CPU, Patches, fields, tiny
from training.__main__ import main
from training.config import make_config
from training.export import export
from training.reached import find_checkpoint, phase_id
from training.train import CHECKPOINT, train_on

SCHEMA = json.loads((BUNDLED / "schema.json").read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of a PSNR phase and an adversarial one, and its configuration."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = tiny(gan=3, card=ABOUT)
    train_on(Patches(), config, folder, CPU, lambda text: None)
    return folder, config


def test_the_command_writes_both_models_of_a_run_and_one_in_between(run, tmp_path, capsys):
    folder, config = run
    plan = tmp_path / "plan.yaml"
    plan.write_text(json.dumps(config.plain()))
    to = ["--to", str(tmp_path)]
    assert main(["export", str(plan), str(folder), "--phase", "1", *to]) == 0
    assert main(["export", str(plan), str(folder), *to]) == 0
    psnr, gan = (tmp_path / f"edsr-ise-test-x2-{kind}" for kind in ("psnr", "gan"))
    assert f"{psnr}: " in capsys.readouterr().out
    assert main(["interpolate", str(psnr), str(gan), "0.5", *to]) == 0
    card = json.loads((psnr / "card.json").read_text())
    jsonschema.validate(card, SCHEMA)
    assert (card["training"]["steps"], card["loss"]) == (12, "L1")
    assert [phase["name"] for phase in card["training"]["phases"]] == ["psnr"]
    assert card["title"] == "t, phase psnr"
    assert card["description"] == "The generator of edsr-ise-test-x2-gan after 12 of 15 steps, at the phase psnr."
    whole = json.loads((gan / "card.json").read_text())
    assert whole["training"]["steps"] == 15 and "adversarial" in whole["loss"] and whole["title"] == "t"
    assert card["sha256"] != whole["sha256"] and card["training"]["hours"] <= whole["training"]["hours"]


def test_a_card_of_another_intensity_mapping_is_refused(run, tmp_path):
    folder, config = run
    other = tiny(gan=3, card=ABOUT | {"intensity": {"mapping": "fixed", "low": -1024, "high": 3071}})
    with pytest.raises(ModelError, match="under the intensity mapping auto, and the card .* says fixed -1024 3071"):
        export(other, folder / CHECKPOINT, tmp_path)


def test_a_phase_is_found_by_number_and_by_name(run):
    folder, config = run
    assert find_checkpoint(folder, config, "psnr") == find_checkpoint(folder, config, "1") == folder / "phase-1-psnr.pt"
    assert find_checkpoint(folder, config, "gan") == find_checkpoint(folder, config) == folder / CHECKPOINT
    assert find_checkpoint(folder / CHECKPOINT, config) == folder / CHECKPOINT
    for phase in ("0", "3", "sharp"):
        with pytest.raises(UsageError, match=f"1 psnr, 2 gan; not .* and {phase}"):
            find_checkpoint(folder, config, phase)
    for phase in ("1", "2"):
        with pytest.raises(DataError, match="not reached the end of the phase psnr"):
            find_checkpoint(folder.parent, config, phase)


def test_an_unfinished_run_is_called_what_it_is(tmp_path):
    config = tiny(gan=30, card=ABOUT)
    patches = Patches()

    def export_after(steps: int) -> dict:
        train_on(patches, config, tmp_path / "run", CPU, lambda text: None, minutes=0 if patches.drawn else None)
        state = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
        state |= {"step": steps, "phase": int(steps > 12)}
        torch.save(state, tmp_path / "at.pt")
        return load_card(export(config, tmp_path / "at.pt", tmp_path)).card

    early, late = export_after(7), export_after(20)
    assert early["id"].endswith("-psnr") and early["training"]["phases"][0]["steps"] == 7
    assert late["id"] == config.id and late["description"] == "d Taken after 20 of 42 steps."
    assert [phase["steps"] for phase in late["training"]["phases"]] == [12, 8]


def test_the_command_says_how_far_an_unfinished_run_is(run, tmp_path, capsys):
    folder, config = run
    state = torch.load(folder / CHECKPOINT, weights_only=True) | {"step": 14}
    (tmp_path / "run").mkdir()
    torch.save(state, tmp_path / "run" / CHECKPOINT)
    (tmp_path / "plan.yaml").write_text(json.dumps(config.plain()))
    for name, said in ((tmp_path / "run", True), (folder, False)):
        assert main(["export", str(tmp_path / "plan.yaml"), str(name), "--to", str(tmp_path)]) == 0
        assert ("step 14 of 15" in capsys.readouterr().out) == said


def test_the_card_tells_of_the_run_and_not_of_a_file_edited_since(run, tmp_path):
    folder, config = run
    edited = {**config.plain(), "id": "edsr-ise-other-x2-gan"}
    edited["phases"][0]["losses"] = {"mse": 3.0}
    card = load_card(export(make_config(edited), folder / CHECKPOINT, tmp_path)).card
    assert card["id"] == "edsr-ise-other-x2-gan" and card["training"]["phases"][0]["losses"] == "L1"
    edited["network"]["features"] = 16
    with pytest.raises(ModelError, match="does not hold the network"):
        export(make_config(edited), folder / CHECKPOINT, tmp_path)


def test_the_card_names_the_feature_weights_that_were_used(run, tmp_path):
    folder, config = run
    state = torch.load(folder / CHECKPOINT, weights_only=True)
    used = {"file": "vgg.pth", "sha256": "0" * 64, "backbone": "vgg19", "layers": ["conv3_4"]}
    state["losses"][1] = ("perceptual L1 on vgg19 conv3_4", [used])
    torch.save(state, tmp_path / "at.pt")
    card = load_card(export(config, tmp_path / "at.pt", tmp_path)).card
    assert card["loss"] == "L1; then perceptual L1 on vgg19 conv3_4" and card["training"]["features"] == [used]


def test_phases_of_one_kind_have_names_of_their_own():
    values = fields(gan=3)
    psnr, gan = values["phases"]
    config = tiny(**{**values, "phases": [psnr, {**psnr, "name": "finer"}, gan, {**gan, "name": "slow"}]})
    assert [phase_id(config, index) for index in range(4)] == [
        "edsr-ise-test-phase1-x2-psnr",
        "edsr-ise-test-x2-psnr",
        "edsr-ise-test-phase3-x2-gan",
        "edsr-ise-test-x2-gan",
    ]
