"""The queue trains what is left, within its time, and moves between machines."""

from __future__ import annotations

import json
import os
import signal
import zipfile

import numpy as np
import pytest
import torch
import yaml

from SuperResolutionLib.catalog import load_card
from SuperResolutionLib.errors import DataError, UsageError
from Testing.training.tiny import CPU, fields, stripes
from training.__main__ import main
from training.bundle import PART, ROWS, _thinned, pack_bundle, unpack_bundle
from training.crops import SIDE, compress_set, crop_side, expand_set
from training.dataset import PackedSet, pack
from training.packed import PackWriter
from training.queue import Places, is_done, load_zoo, report, work
from training.state import State
from training.train import make_sampler, train, train_on

CARD = {
    "title": "t",
    "description": "d",
    "domain": "test",
    "intensity": {"mapping": "auto"},
    "spacing_mm": None,
    "license": "Apache-2.0",
    "data": [{"name": "n", "license": "CC0-1.0", "images": "stripes"}],
}


def zoo(folder, **plans):
    """A queue of some configurations, by the middle of their id."""
    for name, changes in plans.items():
        values = fields(**changes)
        values["id"] = values["id"].replace("test", name)
        (folder / f"{name}.yaml").write_text(json.dumps(values | {"card": CARD}))
    path = folder / "zoo.yaml"
    path.write_text(yaml.safe_dump({"experiments": [f"{name}.yaml" for name in plans]}))
    return path


@pytest.fixture
def places(tmp_path):
    pack(tmp_path / "packed", "s", [stripes(64, 48, phase) for phase in range(4)])
    return Places(tmp_path / "packed", tmp_path / "runs", tmp_path / "models")


def quiet(text: str) -> None:
    """No progress in the tests' output."""


def test_all_experiments_are_trained_and_exported_once(tmp_path, places):
    configs = load_zoo(zoo(tmp_path, one={}, two={"gan": 3}, three={"start": "edsr-ise-one-x2-psnr"}))
    lines = []
    assert work(configs, places, None, "cpu", lines.append) == []
    assert all(is_done(config, places) for config in configs)
    card = load_card(places.models / "edsr-ise-two-x2-gan")
    card.verify()
    assert card.card["training"]["steps"] == 15
    before = {path: path.read_bytes() for path in places.runs.rglob("*") if path.is_file()}
    assert work(configs, places, None, "cpu", lines.append) == []
    assert before == {path: path.read_bytes() for path in places.runs.rglob("*") if path.is_file()}
    assert sum("finished before" in line for line in lines) == 3
    assert report(configs, places).count("done") == 3


def test_time_runs_out_and_the_next_call_goes_on(tmp_path, places):
    configs = load_zoo(zoo(tmp_path, one={"phase": {"steps": 100000}}, two={}))
    work(configs, places, 0.03, "cpu", quiet)
    status = json.loads((places.runs / "edsr-ise-one-x2-psnr/status.json").read_text())
    assert 0 < status["step"] < 100000 and not (places.runs / "edsr-ise-two-x2-psnr").exists()
    work(configs, places, 0.03, "cpu", quiet)
    later = json.loads((places.runs / "edsr-ise-one-x2-psnr/status.json").read_text())
    assert later["step"] > status["step"] and "begun" in report(configs, places)


def test_a_failing_experiment_does_not_stop_the_next(tmp_path, places):
    configs = load_zoo(zoo(tmp_path, one={"start": "nothing"}, two={}))
    lines = []
    assert work(configs, places, None, "cpu", lines.append) == ["edsr-ise-one-x2-psnr"]
    assert any("failed: start names nothing" in line for line in lines)
    assert is_done(configs[1], places)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_queue_which_packs_and_reports(tmp_path, places, capsys, monkeypatch, kind):
    path = zoo(tmp_path, one={"phase": {"steps": 1000}}, two={})

    def step(state, batch):
        if state.step == 7:
            os.kill(os.getpid(), kind)
        return advance(state, batch)

    advance = State.advance
    monkeypatch.setattr(State, "advance", step)
    folders = ["--packed", str(places.packed), "--runs", str(places.runs), "--models", str(places.models)]
    assert main(["queue", str(path), "--device", "cpu", "--pack", str(tmp_path / "bundle"), *folders]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "edsr-ise-one-x2-psnr: interrupted, the queue ends here" in lines
    assert lines[-2].split()[1:] == ["8/1000", "0.00", "h", "begun"] and lines[-1].endswith("waiting")
    assert not (places.runs / "edsr-ise-two-x2-psnr").exists()
    there = moved(tmp_path, "there")
    assert "edsr-ise-one-x2-psnr" in unpack_bundle(tmp_path / "bundle", there.packed, there.runs)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_two_trainings_ends_the_queue_too(tmp_path, places, capsys, monkeypatch, kind, request):
    # Whoever started the tests may have the interrupt ignored.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, inherited))
    path = zoo(tmp_path, one={}, two={})
    monkeypatch.setattr("training.queue.export", lambda *_: os.kill(os.getpid(), kind))
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    folders = ["--packed", str(places.packed), "--runs", str(places.runs), "--models", str(places.models)]
    assert main(["queue", str(path), "--device", "cpu", *folders]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3] == "edsr-ise-one-x2-psnr: interrupted, the queue ends here" and lines[-1].endswith("waiting")
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.parametrize("content", ["experiments: 3", "experimints: [a.yaml]", "[", "experiments: [a.yaml, a.yaml]"])
def test_bad_queues_are_refused(tmp_path, content):
    zoo(tmp_path, a={})
    (tmp_path / "zoo.yaml").write_text(content)
    with pytest.raises(UsageError, match="zoo.yaml"):
        load_zoo(tmp_path / "zoo.yaml")


def moved(tmp_path, name: str) -> Places:
    folder = tmp_path / name
    return Places(folder / "packed", folder / "runs", folder / "models")


def test_a_run_moves_to_another_machine_and_is_finished_there(tmp_path, places):
    path = zoo(tmp_path, one={}, two={"gan": 20})
    configs = load_zoo(path)
    work(configs[:1], places, None, "cpu", quiet)
    longer = load_zoo(zoo(tmp_path, one={}, two={"gan": 20}))[1]
    stop_at(longer, places, 17)
    bundle = tmp_path / "bundle"
    sizes = pack_bundle(bundle, configs, places.packed, places.runs)
    files = sorted(bundle.iterdir())
    assert 0 < len(files) <= 8 and all(file.stat().st_size < 16 * 2**20 for file in files)
    assert sum(file.stat().st_size for file in files) <= sizes["bytes"] + 1000
    there = moved(tmp_path, "there")
    arguments = ["queue", str(path), "--unpack", str(bundle), "--device", "cpu", "--packed", str(there.packed)]
    back = tmp_path / "back"
    arguments += ["--runs", str(there.runs), "--models", str(there.models), "--pack", str(back)]
    assert main(arguments) == 0
    status = json.loads((there.runs / "edsr-ise-two-x2-gan/status.json").read_text())
    assert (status["step"], status["finished"]) == (32, True)
    assert all(is_done(config, there) for config in configs)
    for name in ("s.bin", "s.json"):
        assert (there.packed / name).exists()
    assert PackedSet(there.packed, "s").slice(2).tolist() == PackedSet(places.packed, "s").slice(2).tolist()
    # And home again: what is further there replaces what is here, and can be exported here.
    assert unpack_bundle(back, places.packed, places.runs) == ["edsr-ise-two-x2-gan"]
    work(configs, places, None, "cpu", quiet)
    one, two = (load_card(p.models / "edsr-ise-two-x2-gan") for p in (there, places))
    assert one.card["training"]["steps"] == two.card["training"]["steps"] == 32
    assert unpack_bundle(bundle, places.packed, places.runs) == [], "an older bundle changes nothing"


def stop_at(config, places, step: int) -> None:
    """Train up to a step."""
    sampler = make_sampler(config, places.packed, CPU)
    original = sampler.batch

    def batch(size):
        if sampler.drawn == (step - 1) * size:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(size)

    sampler.batch = batch
    train_on(sampler, config, places.runs / config.id, CPU, quiet)


def test_what_travels_is_near_what_was(tmp_path, places):
    config = load_zoo(zoo(tmp_path, two={"gan": 20}))[0]
    stop_at(config, places, 17)
    pack_bundle(tmp_path / "bundle", [config], places.packed, places.runs)
    there = moved(tmp_path, "there")
    unpack_bundle(tmp_path / "bundle", there.packed, there.runs)
    name = "edsr-ise-two-x2-gan/checkpoint.pt"
    before, after = (torch.load(p.runs / name, weights_only=True) for p in (places, there))
    assert before["step"] == after["step"] == 17
    assert all(torch.equal(value, after["net"][key]) for key, value in before["net"].items())
    for key, value in before["average"].items():
        assert torch.allclose(after["average"][key], value, atol=1e-5)
    adam, other = (state["modules"]["generator_optimizer"]["state"] for state in (before, after))
    assert int(other[0]["step"]) == 5
    for key in adam:
        assert torch.allclose(adam[key]["exp_avg"], other[key]["exp_avg"], rtol=0.01, atol=1e-12)
    assert "discriminator" in after["modules"] and "discriminator_optimizer" not in after["modules"]


def test_parts_that_are_missing_or_damaged_are_refused(tmp_path, places):
    config = load_zoo(zoo(tmp_path, one={}))[0]
    bundle = tmp_path / "bundle"
    with pytest.raises(DataError, match="does not hold all parts"):
        unpack_bundle(tmp_path, places.packed, places.runs)
    train(config, places.packed, places.runs / config.id, log=quiet)
    pack_bundle(bundle, [config], places.packed, places.runs)
    part = next(bundle.iterdir())
    data = bytearray(part.read_bytes())
    data[len(data) // 3] ^= 255
    part.write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        unpack_bundle(bundle, moved(tmp_path, "x").packed, moved(tmp_path, "x").runs)


def test_a_bundle_that_is_cut_off_is_refused(tmp_path, places):
    pack_bundle(tmp_path / "bundle", load_zoo(zoo(tmp_path, one={})), places.packed, places.runs)
    part = next((tmp_path / "bundle").iterdir())
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(DataError, match="truncated or damaged bundle; copy its parts again"):
        unpack_bundle(tmp_path / "bundle", tmp_path / "p", tmp_path / "r")


@pytest.mark.parametrize(
    "name",
    [
        "features/../../escaped",
        "packed/../escaped",
        "runs/../../status.json",
        "runs/one/two/status.json",
        "runs/status.json",
        "/etc/status.json",
        "features/C:escaped",
        "packed/..",
        "other/escaped",
    ],
)
def test_a_bundle_writes_into_its_own_folders_alone(tmp_path, name):
    (tmp_path / "bundle").mkdir()
    with zipfile.ZipFile(tmp_path / "bundle/part-1-of-1.bin", "w") as archive:
        archive.writestr("features/vgg19.pth", "x")
        archive.writestr(name, '{"step": 1}')
    with pytest.raises(DataError, match="which is no part of a bundle; nothing was unpacked"):
        unpack_bundle(tmp_path / "bundle", tmp_path / "packed", tmp_path / "runs")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_set_travels_under_each_mapping_that_is_needed(tmp_path, places):
    units = {"mapping": "fixed", "low": 0, "high": 2}
    with PackWriter(places.packed, "s", 1, units) as writer:
        writer.add(stripes(64, 48) / 2)
    path = zoo(tmp_path, one={}, two={})
    other = json.loads((tmp_path / "two.yaml").read_text())
    (tmp_path / "two.yaml").write_text(json.dumps(other | {"card": CARD | {"intensity": units}}))
    configs = load_zoo(path)
    pack_bundle(tmp_path / "bundle", configs, places.packed, places.runs)
    there = moved(tmp_path, "there")
    assert unpack_bundle(tmp_path / "bundle", there.packed, there.runs) == ["packed/s_fixed_0_2", "packed/s"]
    for config in configs:
        one, two = (PackedSet(p.packed, "s", config.intensity) for p in (places, there))
        assert np.array_equal(one.slice(0), two.slice(0)) and one.about == two.about
    assert work(configs, there, None, "cpu", quiet) == []
    assert load_card(there.models / "edsr-ise-two-x2-psnr").intensity == units


def test_crops_hold_the_largest_patch_of_the_experiments_that_use_the_set(tmp_path, places):
    noise = np.random.default_rng(0).integers(0, 255, (640, 1280)).astype(np.uint8)
    pack(places.packed, "s", [noise])
    data = {"sets": {"s": 1.0}, "batch": 1, "patch": 150, "workers": 0}
    configs = load_zoo(zoo(tmp_path, one={}, two={"data": data}))
    notes = pack_bundle(tmp_path / "bundle", configs, places.packed, places.runs, 0.5)["notes"]
    assert notes == ["The set s was cut to crops of 304 pixels, 22.6 % of its pixels, to move between machines."]
    there = moved(tmp_path, "there")
    unpack_bundle(tmp_path / "bundle", there.packed, there.runs)
    make_sampler(configs[1], there.packed, CPU).close()
    assert [crop_side(patch) for patch in (24, 256, 320, 504, 512)] == [256, 256, 320, 512, 512]


def test_a_set_that_is_cut_is_told_of_up_to_the_card(tmp_path, places, capsys):
    noise = np.random.default_rng(0).integers(0, 255, (512, 1024)).astype(np.uint8)
    with PackWriter(places.packed, "s", 1) as writer:
        writer.add(noise, 1 / 255)
    path = zoo(tmp_path, one={})
    there = moved(tmp_path, "there")
    bundle = str(tmp_path / "bundle")
    folders = ["--packed", str(places.packed), "--runs", str(places.runs), "--models", str(places.models)]
    assert main(["queue", str(path), "--minutes", "0", "--pack", bundle, "--mib", "0.5", *folders]) == 0
    note = "The set s was cut to crops of 256 pixels, 37.5 % of its pixels, to move between machines."
    assert capsys.readouterr().out.splitlines()[0] == note
    folders = ["--packed", str(there.packed), "--runs", str(there.runs), "--models", str(there.models)]
    assert main(["queue", str(path), "--unpack", bundle, "--device", "cpu", *folders]) == 0
    about = json.loads((there.packed / "s.json").read_text())
    assert (about["set"], about["intensity"]) == ("s", {"mapping": "auto"})
    assert (about["kept"], about["side"]) == (0.375, 256)
    name = "edsr-ise-one-x2-psnr"
    assert load_card(there.models / name).card["training"]["notes"] == [note]
    assert json.loads((there.runs / name / "status.json").read_text())["notes"] == [note]


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float16"])
def test_sets_travel_without_loss(tmp_path, kind):
    random = np.random.default_rng(0)
    planes = [(random.random((48, 64, 3)) * 200).astype(kind) for _ in range(3)]
    with PackWriter(tmp_path, "a", 3) as writer:
        for plane in planes:
            writer.add(plane, gain=0.5, offset=-1.0, source="x.png")
    data = compress_set(PackedSet(tmp_path, "a"), 10**7)
    expand_set(data, tmp_path / "there")
    there = PackedSet(tmp_path / "there", "a")
    assert there.channels == 3 and len(there) == 3
    for index, plane in enumerate(planes):
        assert np.array_equal(there.stored(index), plane)
        assert there.rows[index]["source"] == "x.png" and there.rows[index]["type"] == kind
    assert np.array_equal(there.slice(1), PackedSet(tmp_path, "a").slice(1))


def test_large_sets_travel_in_crops_that_fit_and_show_something(tmp_path):
    random = np.random.default_rng(0)
    images = [random.integers(0, 255, (600, 900)).astype(np.uint8) for _ in range(4)]
    for image in images:
        image[:300] = 7
    pack(tmp_path, "a", images)
    room = 600_000
    data = compress_set(PackedSet(tmp_path, "a"), room)
    assert 0.7 * room < len(data) <= room
    expand_set(data, tmp_path / "there")
    there = PackedSet(tmp_path / "there", "a")
    assert len(there) > 5 and {there.shape(index) for index in range(len(there))} == {(SIDE, SIDE)}
    assert all(np.ptp(there.stored(index)) > 100 for index in range(len(there)))


def test_tables_are_thinned_and_keep_their_hours():
    head = "step,waiting,seconds\r\n"
    table = head + "".join(f"{step},0.5,2.0\r\n" for step in range(1, 3 * ROWS + 1))
    thin = _thinned(table).splitlines()
    assert len(thin) == ROWS + 1 and thin[1] == "3,1.5000,6.0000" and thin[-1].startswith(f"{3 * ROWS},")
    assert _thinned(head + "1,0.5,2.0\r\n").splitlines()[1:] == ["1,0.5000,2.0000"]
    assert PART < 16 * 2**20


def test_whatever_goes_wrong_in_one_experiment_the_next_begins(tmp_path, places, monkeypatch):
    from training import queue

    configs, lines = load_zoo(zoo(tmp_path, one={}, two={})), []

    def fail_first(config, *arguments, **options):
        if "one" in config.id:
            raise RuntimeError("Kernel size can't be greater than actual input size")
        return train(config, *arguments, **options)

    monkeypatch.setattr(queue, "train", fail_first)
    assert work(configs, places, None, "cpu", lines.append) == ["edsr-ise-one-x2-psnr"]
    assert any("failed: RuntimeError: Kernel size" in line for line in lines) and is_done(configs[1], places)


@pytest.mark.parametrize("content", [b"", b"{", b'{"hours": 1}'])
def test_a_damaged_entry_of_a_bundle_is_named(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "part-1-of-1.bin", "w") as archive:
        archive.writestr("runs/a/status.json", content)
    with pytest.raises(DataError, match="runs/a/status.json in the bundle .* is damaged"):
        unpack_bundle(tmp_path, tmp_path / "packed", tmp_path / "runs")


def test_a_checkpoint_cut_short_in_a_bundle_is_named(tmp_path, places):
    [config] = load_zoo(zoo(tmp_path, one={}))
    work([config], places, None, "cpu", quiet)
    pack_bundle(tmp_path / "whole", [config], places.packed, places.runs)
    [part] = (tmp_path / "whole").iterdir()
    (tmp_path / "cut").mkdir()
    with zipfile.ZipFile(part) as whole, zipfile.ZipFile(tmp_path / "cut" / part.name, "w") as cut:
        for name in whole.namelist():
            data = whole.read(name)
            cut.writestr(name, data[: len(data) // 2] if name.endswith("checkpoint.pt") else data)
    with pytest.raises(DataError, match="is damaged; copy or pack it again"):
        unpack_bundle(tmp_path / "cut", tmp_path / "other", tmp_path / "elsewhere")


def test_a_run_that_was_killed_before_its_status_was_written_is_not_packed(tmp_path, places):
    [config] = load_zoo(zoo(tmp_path, one={}))
    work([config], places, None, "cpu", quiet)
    (places.runs / config.id / "status.json").unlink()
    assert pack_bundle(tmp_path / "bundle", [config], places.packed, places.runs)["bytes"] > 0
