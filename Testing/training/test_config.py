"""A configuration is read strictly, with and without pydantic alike, and its faults are named."""

from __future__ import annotations

import json

import jsonschema
import pytest

from SuperResolutionLib.errors import UsageError
from Testing.training.test_queue import CARD
from Testing.training.tiny import RELATIVISTIC, fields
from training.__main__ import main
from training.config import Config, load_config, make_config
from training.schema import json_schema

PLAIN = pytest.mark.parametrize("plain", [False, True], ids=["pydantic", "plain"])


def changed(where: str, value) -> dict:
    """A good configuration in which one field, named by its path, is replaced, or removed if the value is ``...``."""
    values = fields(gan=3)
    *path, last = [int(part) if part.isdigit() else part for part in where.split(".")]
    target = values
    for part in path:
        target = target[part]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return values


@PLAIN
def test_a_good_configuration_is_built_whole(plain):
    config = make_config(fields(gan=3), plain=plain)
    assert isinstance(config, Config)
    assert (config.scale, config.channels, config.steps) == (2, 1, 15)
    assert config.arguments == {"scale": 2, "channels": 1, "features": 8, "blocks": 1, "bicubic_skip": True}
    assert config.phases[1].losses == RELATIVISTIC and config.phases[1].betas == (0.9, 0.999)
    assert config.data.augment == ("flips", "quarter_turns", "contrast")
    assert make_config(config.plain(), plain=plain) == config


def test_both_readers_build_the_same():
    assert make_config(fields(gan=3), plain=True) == make_config(fields(gan=3), plain=False)


@PLAIN
@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        ("sead", 3, "sead is no known field; the nearest is seed"),
        ("zzz", 3, "zzz is no known field; known are id, effort"),
        ("data.bath", 3, "data.bath is no known field; the nearest is batch"),
        ("phases.1.discriminater", None, "phases.1.discriminater is no known field; the nearest is discriminator"),
        ("phases.0.steps", ..., "phases.0.steps is missing"),
        ("data", ..., "data is missing"),
        ("phases.0.steps", "many", 'phases.0.steps should be a whole number of at least 1, not "many"'),
        ("phases.0.steps", 3.0, "phases.0.steps should be a whole number of at least 1, not 3.0"),
        ("data.batch", True, "data.batch should be a whole number of at least 1, not true"),
        ("data.batch", 0, "data.batch should be a whole number of at least 1, not 0"),
        ("ema", 1.5, "ema should be a number from 0 to 1, not 1.5"),
        ("clip", 0, "clip should be a number above 0, not 0"),
        ("clip", float("nan"), "clip should be a number above 0, not NaN"),
        ("data.hard", float("inf"), "data.hard should be a number from 0 to 1, not Infinity"),
        ("effort", "medium", 'effort should be one of small, paper, not "medium"'),
        ("id", None, "id should be text, not null"),
        ("start", 3, "start should be text or null, not 3"),
        ("channels_last", "yes", 'channels_last should be true or false, not "yes"'),
        ("phases", {}, "phases should be a list, not {}"),
        ("phases.0", 3, "phases.0 should be a mapping, not 3"),
        ("phases.0.betas", [0.9], "phases.0.betas should be a list of 2, each a number from 0"),
        ("phases.0.betas", [0.9, 2], "phases.0.betas.1 should be a number from 0 to 0.999999, not 2"),
        ("data.augment", ["flip"], "data.augment.0 should be one of flips, quarter_turns, contrast"),
        ("data.sets", {"s": 0}, "data.sets.s should be a number above 0, not 0"),
        ("phases.0.losses", {"l1": "x"}, "phases.0.losses.l1 should be a number of at least 0 or a mapping"),
        ("phases.0.discriminator", 3, "phases.0.discriminator should be a mapping or null, not 3"),
        ("network.feature", 8, "network.feature is no known field; the nearest is features"),
        ("network.architecture", "vgg", "network.architecture should be one of srcnn"),
        ("network.scale", 4, "id says x2 and network.scale is 4"),
        ("id", "edsr-ise-test-x2-psnr", "id ends in -psnr, and the last phase is a GAN phase"),
        ("id", "mine", "'mine' is no model id"),
        ("data.sets", {}, "data.sets is empty"),
        ("data.degradation", {"blurr": [0, 1]}, "data.degradation: Unknown degradation 'blurr'"),
        ("phases", [], "phases is empty"),
        ("phases.0.name", "l1/mse", "phases.0.name should be letters, digits, hyphens and underscores, not 'l1/mse'"),
        ("phases.0.warmup", 12, "phases.0.warmup should be less than steps, 12"),
        ("phases.0.milestones", [5], "phases.0.milestones belong to the schedule steps"),
        ("phases.0.losses", {"l2": 1}, "phases.0.losses: Unknown loss 'l2'"),
        ("phases.0.losses", {}, "phases.0.losses"),
        ("phases.0.losses", RELATIVISTIC, "phases.0.losses.adversarial needs a discriminator"),
        ("phases.1.losses", {"l1": 1}, "phases.1.discriminator has nothing to do without losses.adversarial"),
        ("phases.1.discriminator", {"name": "patch"}, "phases.1.discriminator.name should be one of srgan"),
    ],
)
def test_faults_are_named(where, value, words, plain):
    with pytest.raises(UsageError) as caught:
        make_config(changed(where, value), "plan.yaml", plain)
    assert str(caught.value).startswith("plan.yaml: ") and words in str(caught.value)


@PLAIN
@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("license", ..., "card.license is missing"),
        ("license", None, "card.license should be text, not null"),
        ("licence", "CC0-1.0", "card.licence is no known field; the nearest is license"),
        ("title", " ", "card.title is empty"),
        ("domain", ["brain"], "card.domain should be text"),
        ("spacing_mm", [4.0, 2.6], "card.spacing_mm should have the smaller length first"),
        ("spacing_mm", [0, 2.6], "card.spacing_mm.0 should be a number above 0, not 0"),
        ("spacing_mm", 2.6, "card.spacing_mm should be a list of 2, each a number above 0 or null"),
        ("intensity", {"mapping": "fixed"}, "card.intensity needs low and high, two numbers"),
        ("intensity", {"mapping": "percentile", "low": 1}, "card.intensity needs low and high, two numbers"),
        ("intensity", {"mapping": "fixed", "low": 9, "high": 1}, "card.intensity needs low and high, two numbers"),
        ("intensity", {"mapping": "fixed", "low": None, "high": 1}, "card.intensity needs low and high, two numbers"),
        ("intensity", {"mapping": "window"}, "card.intensity.mapping should be one of auto, fixed, percentile"),
        ("data", [], "card.data is empty"),
        ("data", [{"name": "n", "images": "stripes"}], "card.data.0.license is missing"),
        ("data", [{"name": "n", "license": "CC0-1.0", "images": 8}], "card.data.0.images should be text, not 8"),
    ],
)
def test_a_card_that_could_not_be_exported_is_refused(field, value, words, plain):
    card = {name: entry for name, entry in (CARD | {field: value}).items() if entry is not ...}
    with pytest.raises(UsageError) as caught:
        make_config(fields(card=card), plain=plain)
    assert words in str(caught.value)
    assert make_config(fields(card=CARD), plain=plain).intensity == {"mapping": "auto"}


@PLAIN
@pytest.mark.parametrize("values", [None, [1], "text"])
def test_something_else_than_a_mapping_is_refused(values, plain):
    with pytest.raises(UsageError, match="the file should be a mapping"):
        make_config(values, plain=plain)


@PLAIN
def test_all_faults_are_named_at_once(plain):
    values = changed("data.batch", 0) | {"sead": 1, "ema": 7}
    with pytest.raises(UsageError) as caught:
        make_config(values, plain=plain)
    assert all(word in str(caught.value) for word in ("data.batch", "sead", "ema"))


def test_yaml_traps(tmp_path):
    path = tmp_path / "plan.yaml"
    text = json.dumps(fields())
    path.write_text(text.replace('"learning_rate": 0.001', '"learning_rate": 1e-3'))
    assert load_config(path).phases[0].learning_rate == 0.001
    path.write_text("id: a\nid: b\n")
    with pytest.raises(UsageError, match="id is there twice"):
        load_config(path)
    path.write_text("id: [")
    with pytest.raises(UsageError, match="is no YAML"):
        load_config(path)
    with pytest.raises(UsageError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")


def test_the_schema_agrees_with_the_reader(capsys):
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema == json_schema(Config)
    check = jsonschema.Draft202012Validator(schema)
    assert check.is_valid(fields(gan=3))
    for where, value in (("data.batch", 0), ("sead", 1), ("ema", 1.5), ("clip", 0), ("effort", "x"), ("data", ...)):
        assert not check.is_valid(changed(where, value)), where


@pytest.mark.parametrize("content", [b"? [a, b]\n: 1\n", b"id: \xff\xfe\n"])
def test_what_is_no_configuration_at_all_is_refused(tmp_path, content):
    (tmp_path / "plan.yaml").write_bytes(content)
    with pytest.raises(UsageError, match="plan.yaml is (no YAML|not text)"):
        load_config(tmp_path / "plan.yaml")


def test_a_bad_configuration_is_one_line_on_standard_error(tmp_path, capsys):
    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps(changed("data.bath", 3)))
    assert main(["train", str(path), str(tmp_path), str(tmp_path / "run")]) == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "the nearest is batch" in printed
    assert not (tmp_path / "run").exists()


@PLAIN
@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        ("network.features", 0, "network.features should be above 0, not 0"),
        ("network.blocks", -3, "network.blocks should be above 0, not -3"),
        ("network.features", "many", "network cannot be built: "),
        ("network.scale", 2.0, "network.scale should be a whole number, not 2.0"),
        ("network.architecture", "edsr", "id names the architecture edsr_ise and network.architecture is 'edsr'"),
        ("id", "p-gan-test-x2-gan", "id names the architecture pgan and network.architecture is 'edsr_ise'"),
        ("id", "srgan-cbam-test-x2-gan", "id names the architecture srgan_cbam"),
        ("weight_bits", 12, "weight_bits should be"),
        ("weight_bits", True, "weight_bits should be"),
        ("phases.0.freeze", ["stages.0.trunks"], "no layer 'stages.0.trunks'; the nearest is stages.0.trunk"),
        ("phases.0.freeze", ["stages.0.trunk", "stages.0.tail"], "phases.0.freeze: nothing is left to train"),
        ("phases.0.losses", {"l1": 0, "mse": 0.0}, "phases.0.losses: The losses all have the weight 0"),
        ("phases.0.losses", {"perceptual": {"layer": {"conv3_4": "x"}}}, "weight for conv3_4 of the loss perceptual"),
        ("phases.0.losses", {"perceptual": {"layer": ["conv3_4"]}}, "layer of the loss perceptual is a name"),
        ("phases.0.losses", {"perceptual": {"backbone": None}}, "perceptual needs a backbone"),
        ("phases.0.losses", {"l1": {"weight": float("inf")}}, "The weight of the loss l1 is a number of 0 or more"),
        ("phases.0.losses", {"perceptual": {"weights": 3}}, "'weights' of the loss perceptual is the name of a file"),
    ],
)
def test_what_could_not_train_is_refused(where, value, words, plain):
    with pytest.raises(UsageError) as caught:
        make_config(changed(where, value), plain=plain)
    assert words in str(caught.value)


@PLAIN
def test_an_id_of_a_name_of_ones_own_is_taken(plain):
    assert make_config(changed("id", "ours-test-x2-gan"), plain=plain).architecture == "edsr_ise"


def test_the_schema_without_pydantic_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr("training.schema.installed", lambda name: False)
    assert main(["schema"]) == 1
    assert "needs the package pydantic" in capsys.readouterr().err
