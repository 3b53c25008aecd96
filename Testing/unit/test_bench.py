"""``superres bench``: what it counts, what it measures in processes of their own, and the page that it writes."""

import json
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from SuperResolutionLib import cli_bench, cli_bench_child
from SuperResolutionLib.backends.torch_backend import build
from SuperResolutionLib.catalog import BUNDLED, ModelCatalog, load_card
from SuperResolutionLib.cli_bench import bench, network_flops, ways
from SuperResolutionLib.cli_bench_child import peak_bytes, phantom
from SuperResolutionLib.cli_bench_network import network_to_measure
from SuperResolutionLib.cli_bench_report import rows, write_document
from Testing.run_cli import environment, run_here
from Testing.tiny_model import write_model


def entry(label, way, seconds, precision="float32", **more):
    about = {"label": label, "way": way, "precision": precision, "slices": 2, "peak_bytes": 3e8, "gpu_peak_bytes": 0}
    if seconds is None:
        return about | {"gflops": 100.0}
    timed = {"seconds": 2 * seconds, "rounds": [2 * seconds, 2 * seconds], "seconds_a_slice": seconds}
    return about | timed | {"gflops": 10.0 / seconds, **more}


RESULT = {
    "kind": "speed",
    "model": "a-x4-psnr",
    "scale": 4,
    "size": [256, 256, 2],
    "type": "int16",
    "device": "cpu",
    "machine": {"processor": "one", "cores": 2, "graphics_card": None, "versions": {"torch": "2.9", "monai": None}},
    "ways": [
        entry("ceiling, float32", "ceiling", None),
        entry("upscale, torch, float32", "upscale", 0.2, share_of_ceiling=0.5, around_the_network=0.04),
        entry("eager, float32", "eager", 0.5, largest_difference=0.0, rounds=[0.8, 1.2]),
        entry("tiles 128, float32", "tiles", 0.4),
        entry("tiles 192, float32", "tiles", 0.3),
        {"label": "monai 128, float32", "way": "monai", "precision": "float32", "slices": 2, "problem": "not there"},
    ],
}
RUN = {"seconds": 1.0, "network_seconds": 0.9, "skipped_share": 0.25, "peak_bytes": 9e8}


def test_operations_are_those_of_the_network_as_it_was_trained(tmp_path):
    write_model(tmp_path, "edsr-ise-test-x4-psnr", features=64, blocks=16)
    card = ModelCatalog([tmp_path]).cards[0]
    assert network_flops(card, 256, 256) == pytest.approx(257e9, rel=0.01)
    assert network_flops(card, 128, 256) == pytest.approx(network_flops(card, 256, 256) / 2, rel=1e-3)
    trunk, tail = 65536 * 2 * 9 * (33 * 64 * 64 + 64), 65536 * 2 * 25 * 64 * 16
    assert network_flops(card, 256, 256, as_computed=True) == pytest.approx(trunk + tail, rel=1e-3)


def test_the_phantom_has_no_constant_part_and_begins_alike_whatever_its_length():
    short, long = phantom((64, 48, 2), "int16"), phantom((64, 48, 5), "int16")
    assert (long.array[:2] == short.array).all() and long.size == (64, 48, 5)
    assert all((long.array[:, y : y + 8, x : x + 8].std(axis=(1, 2)) > 0).all() for y in (0, 40) for x in (0, 56))


def test_ways_of_others_are_measured_on_request():
    alone, beside = ({way["way"] for way in ways("cpu", peers)} for peers in (False, True))
    assert alone == {"ceiling", "upscale"}
    assert beside - alone == {"eager", "channels_last", "openvino alone", "onnxruntime alone", "tiles", "monai"}
    assert {way["backend"] for way in ways("cuda", False) if way["way"] == "upscale"} == {"torch", "compile"}
    on_card = {way["label"] for way in ways("cuda:0", True)}
    assert {"eager, float32", "eager, tf32", "ceiling, tf32", "monai 128, float32"} <= on_card
    assert not [label for label in on_card if "openvino" in label or "onnxruntime" in label]


@pytest.mark.parametrize(("device", "together"), [("cpu", 1), ("cuda:0", 2)])
def test_processes_prepare_themselves_together_only_on_a_graphics_card(models, monkeypatch, device, together):
    told = []

    class Pretended:
        problem, answers = "there is no such card", []

        def __init__(self, request):
            told.append("start")

        def wait_until_ready(self):
            told.append("ready")

        def close(self):
            pass

    found = [way for way in ways("cpu", True) if way["way"] == "eager"] * 2
    monkeypatch.setattr(cli_bench, "ways", lambda *_: [dict(way) for way in found])
    monkeypatch.setattr(cli_bench, "Child", Pretended)
    monkeypatch.setattr(cli_bench, "machine", lambda _device: {})
    bench(ModelCatalog([models]).find("edsr-ise-test-x2-psnr"), (8, 8, 1), "int16", device, True, 1, 1)
    assert told[: together + 1] == ["start"] * together + ["ready"] and told.count("start") == 2


def test_two_ways_in_processes_of_their_own(models, monkeypatch):
    chosen = ("ceiling, float32", "upscale, torch, float32", "eager, float32")
    found = [way for way in ways("cpu", True) if way["label"] in chosen]
    found.append({"label": "nothing", "way": "no such way", "precision": "float32"})
    monkeypatch.setattr(cli_bench, "ways", lambda *_: found)
    card = ModelCatalog([models]).find("edsr-ise-test-x2-psnr")
    result = json.loads(json.dumps(bench(card, (24, 20, 3), "int16", "cpu", True, 1, 2)))
    ceiling, ours, eager, nothing = result["ways"]
    assert ceiling["gflops"] > 0 and ours["share_of_ceiling"] > 0 and eager["largest_difference"] == 0
    assert ours["largest_difference"] < 1e-5 and ours["slices"] == 3 and eager["slices"] == 2
    assert 0 < ours["around_the_network"] < 1 and ours["peak_bytes"] > 5e7 and len(ours["rounds"]) == 1
    assert "KeyError" in nothing["problem"]


def bench_child(monkeypatch, said):
    """A child that says it is ready, then ``said``, and ends."""
    boot = f"import os; os.write(1, {(json.dumps({'ready': True}) + chr(10) + said).encode()!r})"
    monkeypatch.setattr(cli_bench, "_BOOT", boot)
    child = cli_bench.Child({"number": 0, "backend": "openvino", "precision": "float32"})
    child.wait_until_ready()
    child._process.wait()
    return child


def test_a_child_that_died_loses_no_other_result(monkeypatch):
    child = bench_child(monkeypatch, "")
    child.run()
    assert child.problem == "its process ended"
    child.close()


def test_a_way_that_another_took_the_place_of_is_a_problem():
    asked = {"backend": "openvino", "precision": "float32"}
    other = {"backend": "torch", "precision": "float32", "reason": "PyTorch took its place: it is not installed."}
    assert "torch in float32 executed it" in cli_bench._other_way(asked, other)
    assert "not installed" in cli_bench._other_way(asked, other)
    assert cli_bench._other_way(asked, {**asked, "reason": "as asked for"}) == ""
    assert cli_bench._other_way({"backend": "auto", "precision": "float32"}, other) == ""
    assert "bfloat16" in cli_bench._other_way(asked, {**asked, "precision": "bfloat16", "reason": ""})
    assert cli_bench._other_way({"way": "eager"}, None) == ""


def test_the_peak_of_a_child_is_not_that_of_its_parent():
    """On Linux ``ru_maxrss`` of a child begins with its parent's."""
    ballast = np.ones(800_000_000, np.uint8)
    program = "from SuperResolutionLib.cli_bench_child import peak_bytes; print(peak_bytes())"
    ended = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert 10e6 < int(ended.stdout) < 500e6 < ballast.nbytes < peak_bytes()


def test_of_tiles_the_quickest_counts_and_problems_are_said():
    table = rows(RESULT)
    labels = [row[0] for row in table]
    assert "tiles 192, float32" in labels and "tiles 128, float32" not in labels
    assert ("monai 128, float32", "not there", "", "", "", "", "", "") in table
    assert table[2][:3] == ("upscale, torch, float32", "0.200", "5.24") and table[2][-1] == "4%"


def test_the_page_is_written_from_the_measurements(tmp_path):
    folder, page = tmp_path / "docs" / "bench", tmp_path / "docs" / "PERFORMANCE.md"
    folder.mkdir(parents=True)
    about = {key: RESULT[key] for key in ("model", "device", "machine")} | {"backend": "torch"}
    runs = [{"size": [side, side, count], **RUN} for side, count in ((128, 10), (128, 100), (64, 4), (256, 4))]
    series = {
        "2-scaling": about | {"kind": "scaling", "runs": [*runs, {"size": [9, 9, 4], "problem": "too small"}]},
        "3-memory": about
        | {
            "kind": "memory",
            "runs": [{"size": [512, 512, 9], "to_file": True, "input_bytes": 1e8, "output_bytes": 0, **RUN}],
        },
        "4-skipping": about | {"kind": "skipping", "image": "head.nii", "skipped": RUN, "everything": RUN},
        "1-speed": RESULT,
    }
    for name, result in series.items():
        (folder / f"{name}.json").write_text(json.dumps(result), encoding="utf-8")
    write_document(folder, page)
    text = page.read_text(encoding="utf-8")
    assert text.index("256 x 256 x 2 voxels of int16") < text.index("against volume size") < text.index("head.nii")
    assert "upscale, torch, float32 is 2.50 times (2.00 to 3.00) as quick as eager, float32" in text
    assert "512 x 512 x 9, to a file" in text and "| 800 |" in text and "too small" in text
    assert (folder / "1-speed.webp").stat().st_size > 1000 and "![" in text and "bench/2-scaling.webp" in text


def test_the_page_says_which_weights_and_which_card_were_measured(tmp_path):
    machine = {**RESULT["machine"], "graphics_card": "a card"}
    on_card = {**RESULT, "device": "cuda:0", "machine": machine, "weights": "random", "repeats": 2}
    on_card |= {"gflop_a_slice": 90.0, "computed_gflop_a_slice": 10.0}
    on_card["ways"] = [*RESULT["ways"], entry("eager, tf32", "eager", 0.1, "tf32")]
    (tmp_path / "7-cuda.json").write_text(json.dumps(on_card), encoding="utf-8")
    write_document(tmp_path, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "a card beside one, 2 cores; torch 2.9; 2 runs of each way.\n\nWeights: random.\n" in text
    assert "- upscale, torch, float32 takes 0.40 s for all 2 slices." in text
    assert "0.50 times (0.50 to 0.50) as quick as eager, tf32" in text
    assert "as quick as tiles 192" in text and "tiles 128" not in text
    assert "executes 10 of the 90 GFLOP of a slice, at 50% of the ceiling.\n" in text


@pytest.mark.usefixtures("only_these_models")
def test_a_scale_that_was_not_trained_is_measured_with_random_weights(tmp_path, monkeypatch):
    folder = tmp_path / "for-temporary-files"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    found = [way for way in ways("cpu", True) if way["label"] in ("upscale, torch, float32", "eager, float32")]
    monkeypatch.setattr(cli_bench, "ways", lambda *_: [dict(way) for way in found])
    place = tmp_path / "speed.json"
    arguments = ("--device", "cpu", "--size", "24x20x2", "--repeats", "1", "--peers", "--output", place)
    ended = run_here("bench", "--model", "edsr-ise-test-psnr", "--scale", "8", *arguments)
    assert ended.status == 0 and "random, because there is no trained x8" in ended.err
    result = json.loads(place.read_text(encoding="utf-8"))
    assert result["model"] == "edsr-ise-test-x8-psnr" and result["scale"] == 8
    assert result["weights"].startswith("random") and not list(folder.iterdir())
    ours, eager = result["ways"]
    assert ours["seconds"] > 0 and eager["seconds"] > 0 and ours["largest_difference"] < 1e-4
    ended = run_here("bench", "--model", "edsr-ise-test-psnr", "--scale", "2", *arguments, "--overwrite")
    assert ended.status == 0 and "weights" not in json.loads(place.read_text(encoding="utf-8"))


@pytest.mark.parametrize("family", sorted(ModelCatalog([BUNDLED]).families()))
def test_every_network_that_ships_can_be_built_at_another_scale(family):
    trained = {card.scale for card in ModelCatalog([BUNDLED]).families()[family]}
    scale = next(each for each in (2, 4, 8) if each not in trained)
    with network_to_measure(family, scale) as (card, weights):
        assert card.scale == card.config["scale"] == scale and card.family == family and "random" in weights
        assert build(card) is not None
    assert not card.weights_available


@pytest.mark.parametrize(
    ("model", "scale", "words"),
    [
        ("edsr-ise-test-psnr", 5, "neither 3 nor a power of two"),
        ("edsr-ise-test-psnr", 1, "has x2, x4"),
        ("edsr-ise-test-psnr", 32, "has x2, x4"),
        ("edsr-ise-test-x2-psnr", 4, "has x2, x4"),  # trained, but under another id
        ("no-such-model", 3, "There is no model"),
    ],
)
@pytest.mark.usefixtures("only_these_models")
def test_a_scale_that_no_network_has_is_refused(model, scale, words):
    ended = run_here("bench", "--model", model, "--scale", scale, "--device", "cpu")
    assert ended.status == 4 and words in ended.sentence()


@pytest.mark.usefixtures("only_these_models")
def test_options_that_do_not_fit_are_refused(tmp_path):
    model = ["--model", "edsr-ise-test-x2-psnr"]
    for arguments, words in (
        (["--size", "12"], "IxJxK"),
        (["--type", "int7"], "uint8"),
        (["--series", "colours"], "scaling"),
        (["--series", "skipping"], "--image"),
        (["--backend", "abacus"], "openvino"),
    ):
        ended = run_here("bench", *model, *arguments)
        assert ended.status == 2 and words in ended.sentence()
    ended = run_here("bench-report", tmp_path, tmp_path / "page.md")
    assert ended.status == 2 and "superres bench --output" in ended.sentence()


@pytest.mark.usefixtures("only_these_models")
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--output", "taken.json"), 3, "taken.json exists already"),
        (("--output", "nowhere/a.json"), 3, "There is no folder nowhere"),
        (("--plot", "a.foo"), 2, "--plot draws"),
        (("--output", "a.png", "--plot", "a.png"), 2, "two of them are the same file"),
        (("--size", "3x3x1"), 3, "Nothing could be measured: DataError"),
    ],
)
def test_what_cannot_be_measured_or_written_is_told_at_once(tmp_path, monkeypatch, arguments, status, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.json").write_text("{}")
    if "--size" not in arguments:
        monkeypatch.setattr(cli_bench, "ways", None)  # nothing is measured
    ended = run_here("bench", "--model", "edsr-ise-test-psnr", "--scale", "2", "--repeats", "1", *arguments)
    assert ended.status == status and words in ended.err.splitlines()[-1]
    assert (tmp_path / "taken.json").read_text() == "{}" and len(list(tmp_path.glob("*.json"))) == 1


def test_a_color_network_is_measured_in_color(tmp_path):
    card = load_card(write_model(tmp_path, "edsr-ise-test-x2-psnr", channels=3))
    request = {"size": (24, 20, 2), "type": "uint8", "device": "cpu", "backend": "torch", "precision": "float32"}
    ours, about = cli_bench_child._upscale(card, request)()
    others, _ = cli_bench_child._peer(card, {**request, "slices": 2, "way": "eager"})()
    assert ours.shape == others.shape == (2, 3, 40, 48) and about["seconds"] > 0
    np.testing.assert_allclose(ours, others, atol=1e-5)


def test_a_report_of_something_else_is_refused(tmp_path):
    for content in ("{", "[1]", '{"kind": "speed"}'):
        (tmp_path / "a.json").write_text(content)
        ended = run_here("bench-report", tmp_path, tmp_path / "page.md")
        assert ended.status == 3 and "is not what 'superres bench --output' writes" in ended.sentence()
    assert not (tmp_path / "page.md").exists()
