"""Other libraries execute the same network, and the quickest that agrees is chosen."""

import dataclasses
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from SuperResolutionLib.backends import choice, conversions, openvino_backend, torch_backend
from SuperResolutionLib.backends.choice import Trial, samples, tolerance, windows
from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.errors import BackendError, Cancelled, UsageError
from SuperResolutionLib.missing import Gaps
from SuperResolutionLib.upscaler import Options, upscale
from SuperResolutionLib.volume import Volume
from Testing.run_cli import environment
from Testing.tiny_model import write_model

LIBRARIES = ("openvino", "onnxruntime")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Converted networks of these tests are nobody else's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
            patch.setenv(variable, str(folder))
        patch.setattr(conversions, "cache_folder", lambda: folder / "converted")
        yield folder / "converted"


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_model(folder, "edsr-ise-test-x2-psnr")
    write_model(folder, "srgan-test-x2-psnr", architecture="srgan")
    write_model(folder, "span-test-x2-psnr", architecture="span", fused=True, blocks=2, input_gain=16.0)
    return {card.architecture: card for card in ModelCatalog([folder]).cards}


SIGNAL_AFTER_TWO = """
import gc, os, signal, sys
from SuperResolutionLib.backends.torch_backend import load
from SuperResolutionLib.catalog import ModelCatalog
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
card = ModelCatalog([sys.argv[1]]).cards[0]
first, second = load(card, "cpu"), load(card, "cpu")
first.use("openvino", "float32"), second.use("openvino", "float32")
del first
gc.collect()
del second
gc.collect()
os.kill(os.getpid(), signal.SIGTERM)
"""


def nothing(*_):
    return None


def planes(count=2, height=33, width=26):
    return np.random.default_rng(2).random((count, 1, height, width)).astype(np.float32)


@pytest.mark.parametrize("name", ["edsr_ise", "srgan", "span"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_gives_the_same_result(cards, library, name, cache):
    """In strips, as a trunk and its tail; whole, as one part."""
    model = torch_backend.load(cards[name], "cpu")
    given = (planes(), 8), (planes(), 100), (planes(1, 20, 40), 100)
    expected = [model.enlarge(batch, rows, nothing) for batch, rows in given]
    model.use(library, "float32")
    for (batch, rows), wanted in zip(given, expected):
        assert np.abs(model.enlarge(batch, rows, nothing) - wanted).max() <= 1e-5
    assert any(cards[name].sha256[:32] in path.name for path in cache.iterdir())
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["edsr_ise", "srgan", "span"])
@pytest.mark.parametrize("rows", [8, 100])
def test_a_short_precision_in_openvino(cards, name, rows):
    model = torch_backend.load(cards[name], "cpu")
    expected = model.enlarge(planes(), rows, nothing)
    try:
        model.use("openvino", "bfloat16")
    except BackendError as error:  # a processor without it says so, and nothing else happens
        assert "does not compute in bfloat16" in str(error)
        return
    assert 0 < np.abs(model.enlarge(planes(), rows, nothing) - expected).max() < 1e-2


@pytest.mark.parametrize("name", ["edsr_ise", "srgan", "span"])
@pytest.mark.parametrize("rows", [8, 100])
def test_what_is_compiled_is_in_the_precision_that_was_asked_for(cards, name, rows, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)
    model = torch_backend.load(cards[name], "cpu")
    expected = model.enlarge(planes(), rows, nothing)
    model.use("compile", "float32")
    assert np.abs(model.enlarge(planes(), rows, nothing) - expected).max() <= 1e-5
    model.use("compile", "bfloat16")
    assert 1e-5 < np.abs(model.enlarge(planes(), rows, nothing) - expected).max() < 1e-2


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_was_converted_is_used_again(cards, library, monkeypatch):
    torch_backend.load(cards["span"], "cpu").enlarge(planes(), 8, nothing)
    model = torch_backend.load(cards["span"], "cpu")
    model.use(library, "float32")
    model.enlarge(planes(), 8, nothing)
    monkeypatch.setattr(torch_backend, "build", pytest.fail)
    again = torch_backend.TorchModel(model.net, 2, "cpu", card=cards["span"])
    again.use(library, "float32")
    assert np.isfinite(again.enlarge(planes(), 8, nothing)).all()


@pytest.mark.parametrize("library", LIBRARIES)
def test_cancel_inside_a_library(cards, library):
    model = torch_backend.load(cards["srgan"], "cpu")
    model.use(library, "float32")
    given = planes(1, 700, 700)
    expected = model.enlarge(given, 700, nothing)

    def stop(_layers=1):
        raise Cancelled("stopped")

    began = time.monotonic()
    with pytest.raises(Cancelled):
        model.enlarge(given, 700, stop)
    assert time.monotonic() - began < 5
    np.testing.assert_array_equal(model.enlarge(given, 700, nothing), expected, "it can be used again")


def test_compiled_shapes_that_come_again_are_kept(cards, monkeypatch):
    from SuperResolutionLib.backends.openvino_backend import KEPT_SHAPES, OpenVinoExecutor

    model, compiled, inner = torch_backend.load(cards["srgan"], "cpu"), [], OpenVinoExecutor._compiled
    monkeypatch.setattr(OpenVinoExecutor, "_compiled", lambda *given: compiled.append(given[2]) or inner(*given))
    model.use("openvino", "float32")
    for side in range(10, 10 + KEPT_SHAPES):
        model.enlarge(planes(1, side, 10), 100, nothing)
        model.enlarge(planes(1, 9, 9), 100, nothing)  # in use all the time, so never the one that has to go
    assert len(compiled) == KEPT_SHAPES + 1 == len(set(compiled))
    model.enlarge(planes(1, 10, 10), 100, nothing)
    assert len(compiled) == KEPT_SHAPES + 2


def test_a_signal_after_two_models_in_openvino(cards):
    """It would end the process: OpenVINO's first plugin takes the stack for signals along when it goes."""
    folder = cards["span"].weights.parent.parent
    ended = subprocess.run(
        [sys.executable, "-c", SIGNAL_AFTER_TWO, folder], env=environment(), capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stdout) == (0, "handled\n"), ended.stderr


def test_a_conversion_that_fails_leaves_pytorch_and_a_line(cards, monkeypatch):
    def fail(*_):
        raise RuntimeError("an operator is not known\nand much more")

    monkeypatch.setattr("SuperResolutionLib.backends.openvino_backend._convert", fail)
    monkeypatch.setattr(conversions, "__version__", "never converted")
    volume = Volume(np.random.default_rng(0).integers(0, 255, (2, 20, 20)).astype(np.uint8), np.eye(4))
    expected = upscale(volume, cards["srgan"], Options(device="cpu"))
    result = upscale(volume, cards["srgan"], Options(device="cpu", backend="openvino"))
    execution = result.report["execution"]
    assert execution["backend"] == "torch" and "an operator is not known" in execution["trials"][1]["problem"]
    assert "much more" not in str(execution) and "openvino" in result.provenance["Execution"]
    np.testing.assert_array_equal(result.sr.array, expected.sr.array)


def volume_of(slices=2, side=20):
    return Volume(np.random.default_rng(0).integers(0, 255, (slices, side, side)).astype(np.uint8), np.eye(4))


def test_a_library_that_is_missing(cards, monkeypatch):
    def missing(name):
        raise BackendError(f"The Python package {name} is not installed.")

    monkeypatch.setattr("SuperResolutionLib.backends.openvino_backend.package_version", missing)
    options = Options(device="cpu", backend="openvino", precision="float32")
    result = upscale(volume_of(), cards["srgan"], options)
    assert "openvino is not installed" in result.report["execution"]["reason"]
    assert result.report["execution"]["backend"] == "torch"
    (notice,) = [text for text in result.report["notices"] if "backend openvino" in text]
    assert notice.endswith("openvino is not installed.")
    with pytest.raises(UsageError, match="no backend 'abacus'.*openvino"):
        upscale(volume_of(), cards["srgan"], Options(device="cpu", backend="abacus"))


class Old:
    """A library that lacks what is asked of it."""


class Fails:
    """A library that raises what is no RuntimeError, as ONNX Runtime does, once it is to infer."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        if name in ("compile_model", "InferenceSession"):
            return lambda *_, **__: Fails(None)
        if name in ("run", "start_async"):
            return self._fail
        return getattr(self._inner, name) if self._inner is not None else lambda *_, **__: self

    def _fail(self, *_, **__):
        raise LookupError("Non-zero status code returned")


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", ["broken", "old", "fails"])
@pytest.mark.parametrize(("asked", "precision"), [("auto", "auto"), ("this", "auto"), ("this", "float32")])
def test_a_library_that_does_not_work_ends_no_run(cards, monkeypatch, library, kind, asked, precision):
    if kind == "broken":
        monkeypatch.setitem(sys.modules, library, None)
    else:
        monkeypatch.setitem(sys.modules, library, Old() if kind == "old" else Fails(sys.modules[library]))
    monkeypatch.setattr(openvino_backend, "_core", openvino_backend._core.__wrapped__)
    if kind == "fails" and library == "openvino":
        monkeypatch.undo()
        core = Fails(openvino_backend._core())
        monkeypatch.setattr(openvino_backend, "_core", lambda: core)
    monkeypatch.setattr(choice, "_expected_seconds", lambda *_: np.inf)
    monkeypatch.setattr(choice, "_candidates", lambda *_: [(library, "float32")])
    options = Options(device="cpu", backend=library if asked == "this" else "auto", precision=precision)
    result = upscale(volume_of(), cards["srgan"], options)
    execution = result.report["execution"]
    assert execution["backend"] == "torch" and "much more" not in str(execution)
    said = execution["reason"] if precision == "float32" else execution["trials"][1]["problem"]
    assert "cannot execute" in said and said in execution["reason"], said
    assert bool(result.report["notices"]) == (asked == "this")


@pytest.mark.parametrize(("library", "suffix"), [("openvino", ".xml"), ("openvino", ".bin"), ("onnxruntime", ".onnx")])
def test_a_damaged_file_in_the_cache_is_made_once_more(cards, library, suffix, cache, monkeypatch):
    options = Options(device="cpu", backend=library, precision="float32")
    expected = upscale(volume_of(), cards["span"], options)
    for file in cache.glob(f"*{suffix}"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    again = upscale(volume_of(), cards["span"], options)
    assert again.report["execution"]["backend"] == library
    np.testing.assert_array_equal(again.sr.array, expected.sr.array)
    monkeypatch.setattr(conversions, "_make", pytest.fail)
    assert upscale(volume_of(), cards["span"], options).report["execution"]["backend"] == library


def test_a_cache_that_cannot_be_written_ends_no_run(cards, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr(conversions, "cache_folder", lambda: tmp_path / "file" / "converted")
    for precision in ("float32", "auto"):
        result = upscale(volume_of(), cards["span"], Options(device="cpu", backend="openvino", precision=precision))
        assert result.report["execution"]["backend"] == "torch"
        assert "could not be converted" in result.report["execution"]["reason"]


def test_one_conversion_for_each_network_and_version_of_pytorch(cards, monkeypatch):
    made = []

    def name(card):
        monkeypatch.setattr(conversions, "_make", lambda path, *_: made.append(path.name))
        conversions.converted(card, "trunk0", ".xml", ("openvino",), nothing, nothing)
        return made[-1]

    card = cards["span"]
    names = {name(card), name(card)}
    names.add(name(dataclasses.replace(card, config={**card.config, "input_gain": 1.0})))
    names.add(name(dataclasses.replace(card, architecture="edsr")))
    monkeypatch.setattr(torch, "__version__", "another")
    names.add(name(card))
    assert len(names) == 4


class Pretended:
    """A model whose candidates take the seconds and have the errors that the test says; no time passes."""

    device = "cpu"

    def __init__(self, monkeypatch, **candidates):
        self.candidates, self.now = candidates, 0.0
        self.backend, self.precision = "torch", "float32"
        monkeypatch.setattr(choice.time, "perf_counter", lambda: self.now)

    def use(self, backend, precision):
        if f"{backend}_{precision}" not in self.candidates:
            raise BackendError(f"The Python package {backend} is not installed.")
        self.backend, self.precision = backend, precision

    def strip_rows(self, _width, _wanted):
        return 8

    def enlarge(self, batch, _rows, _poll):
        seconds, error = self.candidates[f"{self.backend}_{self.precision}"]
        self.now += seconds
        return batch + np.float32(error)


def choose(model, few, pixels, allowed, backend, precision):
    return choice.choose(model, few, lambda: few, pixels, allowed, backend, precision, nothing)


@pytest.mark.parametrize(
    ("candidates", "allowed", "taken"),
    [
        ({"openvino_float32": (0.5, 1e-7)}, 1e-3, ("openvino", "float32")),
        ({"openvino_float32": (0.95, 1e-7)}, 1e-3, ("torch", "float32")),
        ({"openvino_float32": (0.5, 0.1)}, 1e-3, ("torch", "float32")),
        ({"openvino_float32": (0.5, 1e-7), "openvino_bfloat16": (0.2, 4e-4)}, 1e-3, ("openvino", "bfloat16")),
        ({"openvino_float32": (0.5, 1e-7), "openvino_bfloat16": (0.2, 8e-4)}, 1e-3, ("openvino", "float32")),
        ({"torch_bfloat16": (0.6, 1e-4), "onnxruntime_float32": (0.7, 0)}, 1e-3, ("torch", "bfloat16")),
        ({}, 1e-3, ("torch", "float32")),
    ],
)
def test_the_quickest_that_agrees_is_taken(monkeypatch, candidates, allowed, taken):
    model = Pretended(monkeypatch, torch_float32=(1.0, 0), **candidates)
    chosen = choose(model, planes(3, 64, 64), 10**9, allowed, "auto", "auto")
    assert (chosen.backend, chosen.precision) == taken == (model.backend, model.precision)
    assert chosen.summary()["trials"][0]["backend"] == "torch" and chosen.reason
    if taken != ("torch", "float32"):
        assert "times as quick" in chosen.reason and "1.0e-03 is allowed" in chosen.reason


def test_what_was_asked_for_limits_the_choice(monkeypatch):
    candidates = {"openvino_float32": (0.5, 0), "openvino_bfloat16": (0.1, 1e-5), "onnxruntime_float32": (0.3, 0)}
    model = Pretended(monkeypatch, torch_float32=(1.0, 0), torch_bfloat16=(0.4, 0.5), **candidates)

    def chosen(backend, precision, pixels=10**9):
        found = choose(model, planes(3, 64, 64), pixels, 1e-3, backend, precision)
        return found.backend, found.precision

    assert chosen("auto", "float32") == ("onnxruntime", "float32")
    assert chosen("openvino", "auto") == ("openvino", "bfloat16")
    assert chosen("openvino", "float32") == ("openvino", "float32")
    assert chosen("torch", "auto") == ("torch", "float32")
    assert chosen("torch", "bfloat16") == ("torch", "bfloat16")
    assert chosen("auto", "auto", pixels=64 * 64 * 90) == ("openvino", "bfloat16")
    assert chosen("auto", "auto", pixels=64 * 64) == ("torch", "float32"), "so little is not worth a trial"


def test_float32_that_is_slower_is_taken_only_if_asked_for(monkeypatch):
    model = Pretended(monkeypatch, torch_float32=(1.0, 0), openvino_float32=(2.0, 0))
    assert choose(model, planes(), 10**9, 1e-3, "auto", "auto").backend == "torch"
    assert choose(model, planes(), 10**9, 1e-3, "openvino", "auto").backend == "openvino"


def test_tolerances_follow_the_type():
    assert tolerance(np.dtype(np.uint8), 255.0) == 0.5 / 255
    assert tolerance(np.dtype(np.int16), 2000.0) == 0.5 / 2000
    assert tolerance(np.dtype(np.float32), 7.0) == 1e-4


def test_float32_that_was_asked_for_has_to_agree_too(monkeypatch):
    model = Pretended(monkeypatch, torch_float32=(1.0, 0), openvino_float32=(0.5, 0.5), torch_bfloat16=(0.5, 0.5))
    assert choose(model, planes(), 10**9, 1e-3, "auto", "float32").backend == "torch"
    assert choose(model, planes(), 10**9, 1e-3, "auto", "bfloat16").precision == "bfloat16", "it is what it is"


def test_trials_end_where_they_cost_more_than_they_can_gain(monkeypatch):
    candidates = {"torch_bfloat16": (1.0, 0.5), "openvino_float32": (0.5, 0), "onnxruntime_float32": (0.3, 0)}
    model = Pretended(monkeypatch, torch_float32=(1.0, 0), **candidates)
    short = choose(model, planes(3, 64, 64), 64 * 64 * 63, 1e-3, "auto", "auto")
    assert [trial.backend for trial in short.trials] == ["torch", "torch", "openvino"], "3 s of 21 s, then 4.5 s"
    assert short.backend == "openvino"
    assert len(choose(model, planes(3, 64, 64), 10**9, 1e-3, "auto", "auto").trials) == 5


def look(slices, channels=1):
    def read(number):
        return slices[number].reshape(-1, channels, *slices.shape[2:])

    few, rough = samples(slices, channels, read), windows(slices, channels, read, nothing, Gaps())
    assert few.shape == (len(few), channels, *np.minimum(slices.shape[2:], 64))
    return few, rough


def test_padding_is_no_structure():
    volume = np.zeros((1, 1, 300, 400), np.int16)
    volume[..., 180:280, 280:390] = np.random.default_rng(0).integers(0, 100, (100, 110))
    volume[..., :30, :30] = -32768
    gaps = Gaps((-32768.0,))

    def read(number):
        return np.where(gaps.mask(volume[number]), 0, volume[number])[None]

    found = windows(volume, 1, read, nothing, gaps)
    assert found.std() > 10


def test_windows_show_the_most_structure():
    volume = np.zeros((9, 1, 300, 400), np.float32)
    volume[:, :, 180:280, 280:390] = np.random.default_rng(0).random((9, 1, 100, 110))
    found = look(volume)[1]
    assert found.shape == (3, 1, 128, 128) and (found.std(axis=(1, 2, 3)) > 0.1).all()
    few, found = look(volume[:, :, :8, :8].repeat(112, axis=0))
    assert few.shape[0] == 192 and found.shape == (256, 1, 8, 8)
    assert look(volume[:1, :, :4, :])[1].shape == (1, 1, 4, 128)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_the_roughest_place_of_all_slices_and_channels_is_looked_at(dtype):
    slices = np.zeros((40, 3, 200, 151), dtype)
    slices += np.arange(151).astype(dtype) // 2
    if slices.dtype.kind == "f":
        slices[3, 0, 40:90], slices[5] = np.nan, np.inf  # missing, so not rough
        slices[3, 0, 45] = -np.inf
    rough = [(7, 1, 199, 150), (21, 2, 0, 0), (38, 0, 101, 77)]
    for place in rough:
        slices[place] = 200
    found = look(slices)[1]
    assert found.shape == (3, 1, 128, 128) and (found.max(axis=(1, 2, 3)) == 200).all()
    together = look(slices, channels=3)[1]
    assert together.shape == (3, 3, 128, 128) and (together.max(axis=(1, 2, 3)) == 200).all()


def test_a_short_precision_is_tried_where_it_errs_most(cards, monkeypatch):
    """Text in one slice, or one channel that is not empty: the trial sees what it does there."""
    monkeypatch.setattr(choice, "_expected_seconds", lambda *_: np.inf)
    monkeypatch.setattr(choice, "_candidates", lambda *_: [("torch", "bfloat16")])
    text = np.random.default_rng(0).integers(0, 2, (9, 40)).astype(np.uint8) * 255
    burnt_in, colour = np.full((12, 60, 60), 90, np.uint8), np.zeros((1, 60, 60, 3), np.uint8)
    burnt_in[8, 4:13, 5:45] = colour[0, 4:13, 5:45, 1] = text
    alone = np.ascontiguousarray(burnt_in[8:9])
    for array in (burnt_in, colour, alone):
        trial = upscale(Volume(array, np.eye(4)), cards["srgan"], Options(device="cpu")).report["execution"]["trials"][
            1
        ]
        assert trial["largest_difference"] > 1e-4


def test_a_trial_on_a_real_model_names_what_it_tried(cards, monkeypatch):
    monkeypatch.setattr(choice, "_expected_seconds", lambda *_: np.inf)
    volume = Volume(np.random.default_rng(0).integers(0, 255, (2, 64, 64)).astype(np.uint8), np.eye(4))
    result = upscale(volume, cards["edsr_ise"], Options(device="cpu"))
    execution = result.report["execution"]
    tried = {(trial["backend"], trial["precision"]) for trial in execution["trials"]}
    assert {("torch", "float32"), ("openvino", "float32"), ("onnxruntime", "float32")} <= tried
    exact = upscale(volume, cards["edsr_ise"], Options(device="cpu", backend="torch", precision="float32"))
    assert np.abs(result.sr.array.astype(int) - exact.sr.array).max() <= 1
    assert result.provenance["Execution"].startswith(f"{execution['backend']}, {execution['precision']}")
    assert Trial("torch", "float32").problem == "" and torch.is_inference_mode_enabled() is False
