"""Batches, strips and precisions, memory that runs out, cancelling, and what a run leaves behind."""

import contextlib
import subprocess
import sys
import textwrap
import threading
import time
import types

import numpy as np
import psutil
import pytest
import torch

from SuperResolutionLib import intensity, pipeline, tiling, upscaler, worker
from SuperResolutionLib.backends import torch_backend, torch_finish, torch_transfer
from SuperResolutionLib.backends.choice import Choice
from SuperResolutionLib.backends.memory import out_of_memory as is_out_of_memory
from SuperResolutionLib.backends.torch_backend import TorchModel
from SuperResolutionLib.backends.torch_lean import LeanPixelShuffle
from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.errors import Cancelled, ResourceError, UsageError
from SuperResolutionLib.plan import plan
from SuperResolutionLib.resampling import bicubic_upsample, make_consistent
from SuperResolutionLib.sinks import ArraySink
from SuperResolutionLib.upscaler import Options, upscale
from SuperResolutionLib.volume import Volume
from Testing.run_cli import environment
from Testing.tiny_model import write_model
from Testing.unit.test_tiling import SMALL, build

CPU = {"device": "cpu"}


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return ModelCatalog([write_model(tmp_path_factory.mktemp("models"), "edsr-ise-test-x4-psnr").parent]).cards[0]


def image(slices=5, height=40, width=32, dtype=np.int16, seed=0):
    array = np.random.default_rng(seed).integers(-900, 900, (slices, height, width)).astype(dtype)
    return Volume(array, np.eye(4), "v")


def nothing(*_):
    return None


def pretend_a_card(model, monkeypatch):
    """The model is told that it is on a graphics card, and everything stays where it is."""
    model.device = "cuda:0"
    monkeypatch.setattr(TorchModel, "_upload", lambda _self, array: torch.from_numpy(np.ascontiguousarray(array)))


@pytest.mark.parametrize("name", sorted(SMALL))
def test_batches_and_strips_do_not_change_the_result(name):
    net = build(name, 4, bicubic_skip=name not in ("vdsr", "pgan"))
    planes = np.random.default_rng(3).random((5, 1, 37, 29)).astype(np.float32)
    with torch.inference_mode():
        expected = net(torch.from_numpy(planes)).numpy()
    model = TorchModel(net, 4, "cpu")
    scale = max(1.0, float(np.abs(expected).max()))
    for count in (1, 2, 5):
        for rows in (3, 8, 100):
            parts = [model.enlarge(planes[first : first + count], rows, nothing) for first in range(0, 5, count)]
            assert np.abs(np.concatenate(parts) - expected).max() <= 1e-5 * scale
    assert np.abs(model.enlarge(planes[0], 8, nothing) - expected[0]).max() <= 1e-5 * scale


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_detail_made_consistent_is_the_whole_made_consistent(name):
    """So the bicubic enlargement that a network adds need not be computed where consistency is asked for."""
    net = build(name, 4, bicubic_skip=True)
    planes = np.random.default_rng(3).random((2, 1, 21, 30)).astype(np.float32)
    model = TorchModel(net, 4, "cpu")
    whole, detail = model.enlarge(planes, 8, nothing), model.enlarge(planes, 8, nothing, detail=True)
    assert model.adds_bicubic == (name != "pgan"), "it has two stages, and the second adds to the first's result"
    if model.adds_bicubic:
        low, detail, whole = map(torch.from_numpy, (planes, detail, whole))
        torch.testing.assert_close(detail + bicubic_upsample(low, 4), whole, atol=2e-6, rtol=0)
        torch.testing.assert_close(make_consistent(detail, low), make_consistent(whole, low), atol=5e-6, rtol=0)


def test_the_bicubic_enlargement_is_left_out_only_where_consistency_puts_it_back(card, monkeypatch):
    model, asked = torch_backend.load(card, "cpu"), []
    inner = model.begin
    monkeypatch.setattr(model, "begin", lambda *given: asked.append(given[3]) or inner(*given))
    for consistent in (True, False):
        upscale(image(slices=1), card, Options(**CPU, consistent=consistent), load=lambda *_: model)
        assert asked[-1] is consistent


def test_a_pixel_shuffle_to_one_channel_in_one_pass():
    shuffle, maps = LeanPixelShuffle(3), torch.rand(2, 9, 5, 4)
    for given in (maps, maps.to(memory_format=torch.channels_last), maps.repeat(1, 2, 1, 1)):
        torch.testing.assert_close(shuffle(given), torch.nn.functional.pixel_shuffle(given, 3), rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_short_precision_is_close(name):
    net = build(name, 2, bicubic_skip=True)
    planes = np.random.default_rng(3).random((2, 1, 21, 18)).astype(np.float32)
    model = TorchModel(net, 2, "cpu")
    exact = model.enlarge(planes, 8, nothing)
    model.use("torch", "bfloat16")
    rough = model.enlarge(planes, 8, nothing)
    assert 0 < np.abs(rough - exact).max() < 0.05 * max(1.0, float(np.abs(exact).max()))
    model.use("torch", "float32")
    np.testing.assert_array_equal(model.enlarge(planes, 8, nothing), exact)


def test_sums_over_blocks_stay_in_float32():
    """What makes the short precision safe: the same network rounded throughout is several times farther off."""
    net = build("edsr_ise", 2, bicubic_skip=True)
    planes = np.random.default_rng(3).random((1, 1, 48, 48)).astype(np.float32)
    model = TorchModel(net, 2, "cpu")
    exact = model.enlarge(planes, 8, nothing)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        rounded = net(torch.from_numpy(planes)).float().numpy()
    model.use("torch", "bfloat16")
    kept = model.enlarge(planes, 8, nothing)
    assert 1.5 * np.abs(kept - exact).mean() < np.abs(rounded - exact).mean()


def out_of_memory(*_):
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes.")


def test_memory_that_runs_out_takes_fewer_planes_then_fewer_rows(monkeypatch):
    net = build("srgan", 2)
    planes = np.random.default_rng(3).random((4, 1, 40, 16)).astype(np.float32)
    model, inner, tried = TorchModel(net, 2, "cpu"), tiling.run, []
    expected = model.enlarge(planes, 40, nothing)

    def scarce(net, batch, rows, *rest):
        tried.append((len(batch), rows))
        if len(batch) > 1 or rows > 10:
            out_of_memory()
        return inner(net, batch, rows, *rest)

    monkeypatch.setattr(tiling, "run", scarce)
    made = model.enlarge(planes, 40, nothing)
    assert np.abs(made - expected).max() <= 1e-5 * np.abs(expected).max()
    assert tried[:4] == [(4, 40), (1, 40), (1, 20), (1, 10)]
    tried.clear()
    model.enlarge(planes[:1], 40, nothing)
    assert tried == [(1, 10)], "what was found out once is kept"


def test_memory_that_runs_out_on_a_graphics_card_goes_on_on_the_cpu(card, monkeypatch):
    """No graphics card is needed: the model is told that it is on one, and its memory is made to run out."""
    source, inner, left = image(slices=4), tiling.run, []
    expected = upscale(source, card, Options(**CPU)).sr.array
    model = torch_backend.load(card, "cpu")

    def scarce(*arguments):
        left.append(model.device)
        if model.device != "cpu" and len(left) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return inner(*arguments)

    monkeypatch.setattr(tiling, "run", scarce)
    pretend_a_card(model, monkeypatch)
    monkeypatch.setattr(pipeline, "BATCH_PIXELS_GPU", 1)
    result = upscale(source, card, Options(**CPU), load=lambda *_: model)
    assert np.abs(result.sr.array.astype(int) - expected).max() <= 1
    assert left[:3] == ["cuda:0"] * 3 and left[3:] == ["cpu"] * 2
    assert result.report["device"] == "cpu" and any(
        "the rest was computed" in text for text in result.report["notices"]
    )


def test_on_a_graphics_card_cudnn_computes_and_does_not_round():
    model, seen = TorchModel(build("edsr_ise", 2), 2, "cpu"), set()
    flags = torch.backends.cudnn
    model.enlarge(np.zeros((1, 8, 8), np.float32), 8, lambda *_: seen.add((flags.enabled, flags.allow_tf32)))
    assert seen == {(True, False)}


def test_on_a_graphics_card_the_next_slices_begin_before_the_result_is_there(card, monkeypatch):
    """No graphics card is needed: the model is told that it is on one, and its results come late."""
    source = image(slices=4)
    expected = upscale(source, card, Options(**CPU))
    model, second_began, waits = torch_backend.load(card, "cpu"), threading.Event(), []
    inner = model.begin

    def begin(*arguments):
        waits.append(inner(*arguments))
        if len(waits) == 2:
            second_began.set()
        return lambda wait=waits[-1]: (wait()[0], 0.5) if second_began.wait(20) else pytest.fail("it waited")

    model.begin = begin
    pretend_a_card(model, monkeypatch)
    monkeypatch.setattr(pipeline, "BATCH_PIXELS_GPU", 1)
    result = upscale(source, card, Options(**CPU, backend="torch", precision="float32"), load=lambda *_: model)
    assert np.abs(result.sr.array.astype(int) - expected.sr.array).max() <= 1
    assert len(waits) == 4 and result.report["network_seconds"] == 2.0 and result.report["skipped_share"] == 0


def test_what_follows_the_network_has_a_stream_of_its_own(card, monkeypatch):
    model, entered = torch_backend.load(card, "cpu"), []
    model._beside = lambda: entered.append(None) or contextlib.nullcontext()
    pretend_a_card(model, monkeypatch)
    source = image(slices=1)
    enlarged = model.enlarge(np.ones((1, 40, 32), np.float32), 8, nothing)
    assert not entered
    model.finish(enlarged, np.ones((1, 40, 32), np.float32), plan(source, card), True, True, nothing)
    assert len(entered) == 1


def test_a_result_leaves_the_graphics_card_through_pinned_memory(monkeypatch):
    """The copy goes on while the program does; its numbers are there only once the stream has been waited for."""
    made = torch.rand(2, 3)

    class OnCard(types.SimpleNamespace):
        def __getitem__(self, _index):
            return self

    on_card = OnCard(is_cuda=True, shape=made.shape, dtype=made.dtype, device="cuda:0")
    pinned, copies = torch.full(made.shape, np.nan), []

    def copy(source, non_blocking):
        assert source is on_card and non_blocking
        copies.append(None)
        return memory

    memory = types.SimpleNamespace(copy_=copy, numpy=lambda: pinned.numpy().copy())
    recorded = []
    event = types.SimpleNamespace(
        record=lambda stream: recorded.append((stream, len(copies))), synchronize=lambda: pinned.copy_(made)
    )
    monkeypatch.setattr(torch, "empty", lambda *_, pin_memory, **__: memory if pin_memory else pytest.fail())
    monkeypatch.setattr(torch.cuda, "Event", lambda **_: event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    wait = torch_transfer.begin_download((on_card, on_card, None))
    assert recorded == [("stream of cuda:0", 2)] and pinned.isnan().all()
    for array in wait()[:2]:
        np.testing.assert_array_equal(array, made.numpy())
    assert wait()[2] is None
    np.testing.assert_array_equal(torch_transfer.download(on_card), made.numpy())
    np.testing.assert_array_equal(torch_transfer.download(made), made.numpy())


@pytest.mark.parametrize("stage", ["bicubic_upsample", "bicubic_downsample", "make_consistent"])
def test_memory_that_runs_out_after_the_network_on_a_graphics_card(card, monkeypatch, stage):
    source = image(slices=2)
    expected = upscale(source, card, Options(**CPU))
    model, inner, calls = torch_backend.load(card, "cpu"), getattr(torch_finish, stage), []

    def scarce(*arguments):
        calls.append(None)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return inner(*arguments)

    monkeypatch.setattr(torch_finish, stage, scarce)
    pretend_a_card(model, monkeypatch)
    result = upscale(source, card, Options(**CPU), load=lambda *_: model)
    assert len(calls) > 2
    assert np.abs(result.sr.array.astype(int) - expected.sr.array).max() <= 1
    np.testing.assert_array_equal(result.bicubic.array, expected.bicubic.array)
    assert result.report["consistency"] == expected.report["consistency"]
    assert result.report["notices"].count(torch_backend.FINISHED_ON_CPU) == 1
    assert result.report["device"] == "cuda:0", "the network stays there"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 3.00 GiB for an array"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:116] data. DefaultCPUAllocator: not enough memory: you tried to"),
        Exception("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of 10"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_memory_that_runs_out_is_recognised_whoever_says_so(card, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(tiling, "run", fail)
    with pytest.raises(ResourceError, match="32 x 40.*region"):
        upscale(image(), card, Options(**CPU))
    assert worker._explain(error)[0] == "resources"
    assert not is_out_of_memory(Cancelled("The run was cancelled."))


def test_float16_that_overflows_later_goes_on_in_float32(card, monkeypatch):
    """No graphics card is needed. The first slices fit into float16, which a trial has seen."""
    source = image(slices=5, dtype=np.float32)
    source.array[3, 20, 16] = 1e9
    monkeypatch.setattr(intensity, "OUT_OF_REACH", np.inf)  # else it would count as no measurement
    expected = upscale(source, card, Options(**CPU, backend="torch", precision="float32")).sr.array
    model, run, precisions = torch_backend.load(card, "cpu"), tiling.run, []
    monkeypatch.setattr(tiling, "run", lambda *given: precisions.append(model.precision) or run(*given))
    monkeypatch.setattr(
        upscaler, "choose", lambda model, *_: model.use("torch", "float16") or Choice("torch", "float16", "tried")
    )
    pretend_a_card(model, monkeypatch)
    monkeypatch.setattr(pipeline, "BATCH_PIXELS_GPU", 1)
    result = upscale(source, card, Options(**CPU, skip_constant=False), load=lambda *_: model)
    assert precisions.count("float16") >= 4 and precisions[-1] == "float32" == result.report["precision"]
    assert result.report["notices"].count(torch_backend.REST_IN_FLOAT32) == 1
    assert np.isfinite(result.sr.array).all()
    np.testing.assert_allclose(result.sr.array[3], expected[3], rtol=1e-5, atol=1e-6 * 1e9)
    model.use("torch", "float32")
    with pytest.raises(UsageError, match="float16 does not suffice"):
        upscale(source, card, Options(**CPU, precision="float16"), load=lambda *_: model)


def test_the_memory_that_a_network_takes_is_foreseen_roughly(tmp_path):
    write_model(tmp_path, "span-test-x2-psnr", architecture="span", fused=True, features=48, blocks=6)
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        import numpy as np
        from SuperResolutionLib.backends.memory import kept_memory
        from SuperResolutionLib.backends.torch_backend import load
        from SuperResolutionLib.catalog import load_card
        from SuperResolutionLib.cli_bench_child import peak_bytes

        model = load(load_card(Path(sys.argv[1])), "cpu")
        rows = model.strip_rows(320, 0)
        model.enlarge(np.zeros((1, 32, 32), np.float32), rows, lambda *_: None)
        before = peak_bytes()
        with kept_memory("torch"):
            model.enlarge(np.zeros((1, 320, 320), np.float32), rows, lambda *_: None)
        print((peak_bytes() - before) / model.working_bytes(1, 320, 320, rows))
    """)
    command = [sys.executable, "-c", program, str(tmp_path / "span-test-x2-psnr")]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert ended.returncode == 0 and 0.4 < float(ended.stdout) < 1.05, ended.stdout + ended.stderr


def test_memory_is_given_back_after_a_run():
    """What is freed after it goes back to the system as well, in a process of its own: nobody else allocates there."""
    program = textwrap.dedent("""
        import ctypes, sys
        import numpy as np, psutil
        from SuperResolutionLib.backends.memory import kept_memory
        if not hasattr(ctypes.CDLL(None), "malloc_trim"):
            print(150e6)
            sys.exit()
        with kept_memory("torch"):
            pass
        arrays, process = [np.ones(30_000_000, np.uint8) for _ in range(5)], psutil.Process()
        hold, most = np.ones(200_000, np.uint8), process.memory_info().rss
        del arrays
        print(most - process.memory_info().rss)
    """)
    ended = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True)
    assert ended.returncode == 0 and float(ended.stdout) > 140e6, ended.stderr


def test_a_second_sink_that_cannot_be_opened_closes_the_first(card):
    closed = []

    class Sink(ArraySink):
        def close(self):
            closed.append(self)

    def opens(kind, job, _provenance):
        if kind == "bicubic":
            raise OSError("no room")
        return Sink(job)

    with pytest.raises(OSError, match="no room"):
        upscale(image(), card, Options(**CPU), open_sink=opens)
    assert len(closed) == 1


def test_memory_that_never_suffices_is_one_sentence(card, monkeypatch):
    monkeypatch.setattr(tiling, "run", out_of_memory)
    with pytest.raises(ResourceError, match="32 x 40.*region"):
        upscale(image(), card, Options(**CPU))


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
@pytest.mark.parametrize("stage", ["make_consistent", "bicubic_downsample", "bicubic_upsample"])
def test_memory_that_runs_out_after_the_network_is_one_sentence(card, monkeypatch, stage, device):
    model = torch_backend.load(card, "cpu")
    if device != "cpu":
        pretend_a_card(model, monkeypatch)

    def fail(*_):
        raise RuntimeError(f"{stage}: DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes.")

    monkeypatch.setattr(torch_finish, stage, fail)
    with pytest.raises(ResourceError, match="Memory ran out; upscale a region"):
        upscale(image(), card, Options(**CPU), load=lambda *_: model)


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
@pytest.mark.parametrize("stage", ["run", "make_consistent", "bicubic_downsample", "bicubic_upsample"])
def test_cancel_at_every_stage(card, monkeypatch, stage, device):
    model, wish = torch_backend.load(card, "cpu"), []
    if device != "cpu":
        pretend_a_card(model, monkeypatch)
    module = tiling if stage == "run" else torch_finish
    inner = getattr(module, stage)

    def and_cancel(*arguments):
        wish.append(time.monotonic())
        return inner(*arguments)

    monkeypatch.setattr(module, stage, and_cancel)
    with pytest.raises(Cancelled):
        upscale(image(slices=50), card, Options(**CPU), cancelled=lambda: bool(wish), load=lambda *_: model)
    assert time.monotonic() - wish[0] < 1


def test_cancel_inside_one_large_trunk():
    """The trunk of one slice takes many seconds; between two of its layers it is left."""
    net = build("edsr_ise", 2, **{})
    model = TorchModel(net, 2, "cpu")
    asked = []

    def poll(_layers=1):
        asked.append(time.monotonic())
        if len(asked) > 2:
            raise Cancelled("stopped")

    began = time.monotonic()
    with pytest.raises(Cancelled):
        model.enlarge(np.zeros((1, 1000, 1000), np.float32), 16, poll)
    layers = tiling.count_polls(net, 1000, 1000, 16)
    assert len(asked) == 3 < layers and time.monotonic() - began < 5


def test_a_thousand_tiny_slices_go_through_in_batches(card):
    source, seen = image(slices=1000, height=8, width=8), []
    model = torch_backend.load(card, "cpu")
    inner = model.enlarge
    model.enlarge = lambda planes, *rest: seen.append(len(planes)) or inner(planes, *rest)
    result = upscale(source, card, Options(**CPU, bicubic=False), load=lambda *_: model)
    assert result.sr.size == (32, 32, 1000) and sum(seen) >= 1000 and len(seen) <= 6
    one = upscale(Volume(source.array[500:501], np.eye(4)), card, Options(**CPU, region=None))
    assert one.sr.size == (32, 32, 1)


def test_fifty_runs_do_not_grow(card):
    model, source, process = torch_backend.load(card, "cpu"), image(slices=3), psutil.Process()

    def run(count):
        for _ in range(count):
            upscale(source, card, Options(**CPU), load=lambda *_: model)
        return process.memory_info().rss

    first, later = run(10), run(50)
    assert later - first < 20e6
    assert model.notices == [] or len(model.notices) < 5


def test_progress_of_a_backend_that_counts_layers_itself(card):
    """Others than torch poll with the number of layers that they have done, and with 0 while they work."""
    told, model = [], torch_backend.load(card, "cpu")

    def execute(module, x, poll):
        poll(0)
        made = module(x)
        poll(len([layer for layer in module.modules() if isinstance(layer, torch.nn.Conv2d)]))
        return made

    model._execute = execute
    model.use = types.MethodType(lambda *_: None, model)
    upscale(image(), card, Options(**CPU), lambda *about: told.append(about[0]), load=lambda *_: model)
    assert told == sorted(told) and told[-1] == 1.0


@pytest.mark.parametrize(("scale", "slices"), [(2, 16), (4, 16), (8, 4), (16, 1)])
def test_a_batch_is_bounded_by_what_it_becomes_and_memory_is_planned_for_it(scale, slices, tmp_path):
    write_model(tmp_path, f"edsr-ise-test-x{scale}-psnr", scale=scale)
    card = ModelCatalog([tmp_path]).cards[0]
    model = torch_backend.load(card, "cpu")
    job = plan(Volume(np.arange(40 * 64 * 64, dtype=np.int16).reshape(40, 64, 64), np.eye(4)), card)
    seen = ((0, 64), (0, 64))
    batch = pipeline.batch_of(job, model, 1, True, seen)
    assert batch == pipeline.Batch(slices, slices)
    rows = model.strip_rows(64, 0)
    needed = pipeline.working_bytes(job, model, batch, seen, rows)
    outputs = (4 * slices + 24 + 2 * 2 * slices * (1 + pipeline.WAITING)) * 64 * 64 * scale**2
    assert needed == outputs + slices * model.working_bytes(1, 64, 64, rows)
    model.device = "cuda:0"  # whose batches take its own memory
    on_card = pipeline.working_bytes(job, model, pipeline.batch_of(job, model, 1, True, seen), seen, rows)
    assert on_card <= needed and on_card < 5 * model.working_bytes(1, 64, 64, rows)
