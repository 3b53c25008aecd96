"""Runs in real child processes, with a tiny model: how they end, what they leave, and that nobody waits for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import psutil
import pytest

from SuperResolutionLib import child, handover
from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.errors import Cancelled, DataError, ModelError, ResourceError, UsageError, WorkerError
from SuperResolutionLib.jobs import Worker
from SuperResolutionLib.upscaler import Options, upscale
from SuperResolutionLib.volume import Volume
from Testing.tiny_model import write_model

CPU = Options(device="cpu")
#: Generous: other programs may keep this machine busy, and a child imports torch.
PATIENCE = 120.0


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_model(folder, "edsr-ise-test-x2-psnr")
    return ModelCatalog([folder]).cards[0]


@pytest.fixture(scope="module", autouse=True)
def threads_before():
    """Threads of this process that are not of these tests: compilers that other tests used keep some."""
    return threading.enumerate()


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """One worker for all tests that leave its child alive."""
    worker = Worker(temporary=tmp_path_factory.mktemp("warm"))
    yield worker
    worker.close()


@pytest.fixture
def worker(tmp_path):
    worker = Worker(temporary=tmp_path)
    yield worker
    worker.close()
    assert list(tmp_path.glob("superresolution-*")) == []


def image(shape=(2, 12, 16), dtype=np.int16):
    voxels = (np.random.default_rng(0).random(shape) * 1000).astype(dtype)
    matrix = np.array([[0.8, 0, 0.6, 10], [0, 0.7, 0, -20], [-0.6, 0, 2.4, 30], [0, 0, 0, 1.0]])
    return Volume(voxels, matrix, "phantom", {"Modality": "CT"})


def long_run(worker, card):
    """A run of many slices that has begun to work on them."""
    job = worker.start(image((400, 64, 64)), card, CPU)
    wait_for(lambda: job.poll() != "running" or job.fraction > 0)
    assert job.state == "running"
    return job


def wait_for(condition, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "It took too long."
        time.sleep(0.01)


def ended(job):
    wait_for(lambda: job.poll() != "running")
    return job.state


def child_of(worker):
    return psutil.Process(worker._child.pid)


def is_gone(process):
    """A grandchild whose parent was killed stays as a zombie until the system's first process looks."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_run_equals_the_same_run_here(warm, card):
    volume = image()
    job = warm.start(volume, card, CPU)
    assert ended(job) == "done" and (job.fraction, job.seconds_left) == (1.0, 0.0)
    here, there = upscale(volume, card, CPU), job.result()
    for one, other in ((here.sr, there.sr), (here.bicubic, there.bicubic)):
        np.testing.assert_array_equal(one.array, other.array)
        np.testing.assert_array_equal(one.ijk_to_ras, other.ijk_to_ras)
        assert isinstance(other.array, np.memmap) and (one.name, one.source) == (other.name, other.source)
    assert here.provenance == there.provenance and there.report["device"] == "cpu"
    assert warm.devices[0] == ("cpu", "CPU")
    folder = job.folder
    job.release()
    job.release()
    wait_for(lambda: not folder.exists())
    with pytest.raises(UsageError, match="released"):
        job.result()


def test_options_and_kinds_of_voxels_arrive(warm, card):
    strided = image((3, 16, 24)).array[::2, ::-1, ::3].astype(">f4").transpose(0, 2, 1)
    options = Options(device="cpu", bicubic=False, region=((0, 5), (1, 6), (0, 1)), axis="k", precision="bfloat16")
    job = warm.start(Volume(strided, np.eye(4)), card, options)
    assert ended(job) == "done", job.result()
    result = job.result()
    assert result.bicubic is None and result.sr.size == (10, 10, 1) and result.report["precision"] == "bfloat16"
    job.release()
    rgb = warm.start(Volume(np.zeros((1, 8, 8, 3), np.uint8), np.eye(4)), card, CPU)
    assert ended(rgb) == "done" and rgb.result().sr.array.shape == (1, 16, 16, 3)
    rgb.release()


def test_errors_of_the_engine_keep_their_kind_and_the_child(warm, card):
    assert ended(first := warm.start(image(), card, CPU)) == "done"
    first.release()
    pid = child_of(warm).pid
    job = warm.start(image((1, 2, 2)), card, CPU)
    assert ended(job) == "failed"
    with pytest.raises(DataError, match="at least 4 x 4"):
        job.result()
    objects = warm.start(Volume(np.zeros((1, 8, 8), object), np.eye(4)), card, CPU)
    assert ended(objects) == "failed"
    with pytest.raises(DataError, match="object"):
        objects.result()
    assert child_of(warm).pid == pid


def test_one_run_at_a_time_and_results_only_of_ended_ones(warm, card):
    job = warm.start(image(), card, CPU)
    with pytest.raises(UsageError, match="under way"):
        warm.start(image(), card, CPU)
    with pytest.raises(UsageError, match="under way"):
        job.result()
    assert ended(job) == "done"
    job.release()


def test_twenty_runs_leave_nothing_behind(warm, card):
    assert ended(first := warm.start(image(), card, CPU)) == "done"
    first.release()
    child = child_of(warm)
    me = psutil.Process()
    before = (me.num_fds(), child.num_fds())
    for _ in range(20):
        job = warm.start(image(), card, CPU)
        assert ended(job) == "done"
        job.release()
    wait_for(lambda: list(warm._temporary.glob("superresolution-*")) == [])
    wait_for(lambda: me.num_fds() <= before[0] and child.num_fds() <= before[1], 10)
    assert child_of(warm).pid == child.pid and me.children(recursive=True).count(child) == 1
    assert len(warm._threads) <= 2 and warm._folders == set()


def test_nothing_is_copied_by_the_callers_thread(warm, card):
    volume, spent = image((64, 512, 512)), []  # 34 MB

    def timed(call, *arguments):
        began = time.thread_time()
        result = call(*arguments)
        spent.append(time.thread_time() - began)
        return result

    job = timed(warm.start, volume, card, Options(device="cpu", region=((0, 8), (0, 8), (0, 1))))
    while timed(job.poll) == "running":
        time.sleep(0.002)
    timed(job.result)
    timed(job.release)
    assert job.state == "done" and max(spent) < 0.01


def test_cancel_ends_the_whole_tree_within_a_second(card, tmp_path):
    launcher = tmp_path / "launcher.py"
    launcher.write_text("import subprocess, sys; sys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))")
    worker = Worker([sys.executable, str(launcher)], temporary=tmp_path)
    job = long_run(worker, card)
    folder, tree = job.folder, [child_of(worker), *child_of(worker).children(recursive=True)]
    assert len(tree) == 2
    began = time.monotonic()
    job.cancel()
    assert job.state == "cancelled" and not worker.alive
    wait_for(lambda: all(map(is_gone, tree)), 1.0)
    assert time.monotonic() - began < 1.0
    with pytest.raises(Cancelled):
        job.result()
    job.cancel()
    wait_for(lambda: not folder.exists())
    again = worker.start(image(), card, CPU)  # with a fresh child
    assert ended(again) == "done" and again.result().sr.size == (32, 24, 2)
    worker.close()


def test_without_psutil_the_child_still_ends(card, tmp_path, monkeypatch):
    launcher = tmp_path / "launcher.py"
    launcher.write_text("import subprocess, sys; sys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))")
    worker = Worker([sys.executable, str(launcher)], temporary=tmp_path)
    job = long_run(worker, card)
    tree = [child_of(worker), *child_of(worker).children(recursive=True)]
    monkeypatch.setattr(child, "_psutil", lambda: None)
    job.cancel()
    wait_for(lambda: all(map(is_gone, tree)), 5.0)
    worker.close()


@pytest.mark.parametrize("moment", ["at once", "while it starts"])
def test_cancel_before_the_child_has_begun(worker, card, moment):
    job = worker.start(image(), card, CPU)
    if moment == "while it starts":
        wait_for(lambda: worker._child.pid is not None)
    process = worker._child
    job.cancel()
    assert job.state == "cancelled"
    wait_for(process.ended.is_set, 1.0)
    assert not worker.alive


def test_close_during_a_run(card, tmp_path):
    worker = Worker(temporary=tmp_path)
    job = long_run(worker, card)
    process = child_of(worker)
    worker.close()
    worker.close()
    assert job.poll() == "cancelled" and not process.is_running() and not worker.alive
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "words"), [("SIGKILL", "memory ran out"), ("SIGSEGV", "crashed"), ("SIGTERM", "ended from outside")]
)
def test_a_child_that_is_killed(worker, card, number, words):
    job = long_run(worker, card)
    child_of(worker).send_signal(getattr(signal, number))
    assert ended(job) == "failed"
    with pytest.raises(WorkerError, match=words) as caught:
        job.result()
    assert ("most recent call" in caught.value.details) == (number == "SIGSEGV")  # faulthandler's last words
    assert not worker.alive


def child_that(tmp_path, program):
    """A command whose Python first executes a program, in the place where Slicer's launcher works."""
    first = tmp_path / "first.py"
    first.write_text(textwrap.dedent(program) + "\nimport runpy, sys\nsys.argv = sys.argv[2:]\nexec(sys.argv[0])\n")
    return [sys.executable, str(first)]


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        ("MemoryError()", ResourceError, "Memory ran out"),
        ("RuntimeError('CUDA error: out of memory')", ResourceError, "Memory ran out"),
        ("ModuleNotFoundError('x', name='safetensors')", WorkerError, "safetensors is not installed"),
        ("KeyError('odd')", WorkerError, "unexpected KeyError"),
    ],
)
def test_a_run_that_fails_in_the_child(card, tmp_path, raised, kind, words):
    program = f"""
    import sys; sys.path.insert(0, sys.argv[3])
    import SuperResolutionLib.worker as worker
    def fail(*_, **__): raise {raised}
    worker.upscale = fail
    """
    worker = Worker(child_that(tmp_path, program), temporary=tmp_path)
    job = worker.start(image(), card, CPU)
    assert ended(job) == "failed"
    with pytest.raises(kind, match=words) as caught:
        job.result()
    assert "Traceback" in caught.value.details
    wait_for(lambda: not worker.alive)  # it is not trusted with another run
    worker.close()


def test_garbage_is_ignored_and_kept_for_details(card, tmp_path):
    program = r"""
    import os, sys
    print("Switch to module: welcome", 42, "[]", '{"event": 1}', '{"event": "ready"}', "null", sep="\n", flush=True)
    os.write(1, b"\xff\xfe no line end: ")
    os.write(2, b"x" * 300_000 + b"\nlast words\n")
    """
    worker = Worker(child_that(tmp_path, program), temporary=tmp_path)
    job = worker.start(image(), card, CPU)
    assert ended(job) == "done" and worker.devices[0] == ("cpu", "CPU")
    job.release()
    job = long_run(worker, card)
    child_of(worker).kill()
    assert ended(job) == "failed"
    with pytest.raises(WorkerError) as caught:
        job.result()
    assert "last words" in caught.value.details and "Switch to module" in caught.value.details
    assert len(caught.value.details) < 300_000
    worker.close()


def test_a_child_that_cannot_start(card, tmp_path):
    worker = Worker([str(tmp_path / "nowhere")], temporary=tmp_path)
    job = worker.start(image(), card, CPU)
    assert ended(job) == "failed"
    with pytest.raises(WorkerError, match="cannot be started: no such file"):
        job.result()
    worker.close()
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_ends_at_once(card, tmp_path):
    worker = Worker([sys.executable, "-c", "import sys; sys.exit('no module named numpy')"], temporary=tmp_path)
    job = worker.start(image(), card, CPU)
    assert ended(job) == "failed"
    with pytest.raises(WorkerError, match="ended with status 1") as caught:
        job.result()
    assert caught.value.details == "no module named numpy"
    worker.close()


def test_folders_that_cannot_be_written(card, tmp_path, monkeypatch):
    nowhere = Worker(temporary=tmp_path / "missing")
    job = nowhere.start(image(), card, CPU)
    assert job.state == "failed" and not nowhere.alive
    with pytest.raises(ResourceError, match="missing cannot be written: no such file"):
        job.result()
    nowhere.close()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(handover, "_write_array", full)
    worker = Worker([sys.executable, "-c", "input()"], temporary=tmp_path)
    job = worker.start(image(), card, CPU)
    assert ended(job) == "failed"
    with pytest.raises(ResourceError, match="no space left"):
        job.result()
    worker.close()


def test_an_output_that_cannot_be_written(warm, card, monkeypatch):
    # Before the child hears of the run, which it begins at once.
    monkeypatch.setattr(warm, "warm", lambda: (warm._job.folder / handover.SR).mkdir())
    job = warm.start(image(), card, CPU)
    assert ended(job) == "failed"
    with pytest.raises(ResourceError, match="is a directory; make room"):
        job.result()


def test_weights_that_vanish_between_two_runs(warm, card, tmp_path):
    other = ModelCatalog([write_model(tmp_path, "edsr-ise-test-x4-psnr").parent]).cards[0]
    assert ended(job := warm.start(image(), other, CPU)) == "done"
    job.release()
    other.weights.unlink()
    job = warm.start(image(), other, CPU)
    assert ended(job) == "failed"
    with pytest.raises(ModelError, match="missing"):
        job.result()


def test_an_idle_child_ends_and_the_next_run_starts_another(card, tmp_path):
    worker = Worker(temporary=tmp_path, idle_seconds=0.2)
    worker.warm()
    wait_for(lambda: worker._child is not None and not worker.alive)
    job = worker.start(image(), card, CPU)
    assert ended(job) == "done"
    job.release()
    worker.close()


def test_a_child_that_turns_idle_just_when_the_run_starts(worker, card):
    """Its end is told as a regular one, before it has begun: the run goes to a second child."""
    worker._command, proper = [sys.executable, "-c", "input()"], worker._command
    job = worker.start(image(), card, CPU)
    worker._command = proper
    assert ended(job) == "done" and job.repeated
    job.release()


def test_a_warm_child_that_is_killed_before_it_begins(warm, card):
    pid = warm._child.pid
    os.kill(pid, signal.SIGSTOP)
    job = warm.start(image(), card, CPU)
    os.kill(pid, signal.SIGKILL)
    assert ended(job) == "done" and job.repeated
    job.release()


def test_the_second_child_waits_until_the_image_is_written(worker, card, monkeypatch):
    from SuperResolutionLib import jobs

    write, at_work = jobs.write_request, []

    def write_slowly(*arguments, **named):
        at_work.append(threading.current_thread())
        wait_for(lambda: worker._job is not None and worker._job.repeated)
        time.sleep(0.2)
        assert len(at_work) == 1, "two threads write the same files"
        write(*arguments, **named)

    monkeypatch.setattr(jobs, "write_request", write_slowly)
    worker._command, proper = [sys.executable, "-c", "pass"], worker._command
    job = worker.start(image(), card, CPU)
    worker._command = proper
    assert ended(job) == "done" and job.repeated and len(at_work) == 1
    job.release()


def test_a_child_without_torch_says_that_there_are_no_devices(tmp_path):
    worker = Worker(child_that(tmp_path, "import sys; sys.modules['torch'] = None"), temporary=tmp_path)
    worker.warm()
    wait_for(lambda: worker.poll() or worker.devices is not None)
    assert worker.devices == [] and worker.alive
    worker.discard_child()
    worker.warm()
    assert worker.devices is None, "it may have been installed since"
    worker.close()


def test_the_child_dies_with_its_parent(card, tmp_path):
    program = f"""
    import sys, time; sys.path[:0] = {sys.path!r}
    from pathlib import Path
    from SuperResolutionLib.catalog import ModelCatalog
    from Testing.unit.test_jobs import CPU, image, long_run
    from SuperResolutionLib.jobs import Worker
    worker = Worker(temporary=Path({str(tmp_path)!r}))
    job = long_run(worker, ModelCatalog([Path({str(card.weights.parents[1])!r})]).cards[0])
    print(worker._child.pid, flush=True)
    time.sleep(600)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE) as parent:
        process = psutil.Process(int(parent.stdout.readline()))
        assert len(list(tmp_path.iterdir())) == 1
        parent.kill()
    wait_for(lambda: is_gone(process), 5.0)
    wait_for(lambda: list(tmp_path.iterdir()) == [], 5.0)


def test_leaving_without_closing_leaves_nothing(card, tmp_path):
    program = f"""
    import sys; sys.path[:0] = {sys.path!r}
    from pathlib import Path
    from SuperResolutionLib.catalog import ModelCatalog
    from Testing.unit.test_jobs import CPU, image, long_run
    from SuperResolutionLib.jobs import Worker
    worker = Worker(temporary=Path({str(tmp_path)!r}))
    long_run(worker, ModelCatalog([Path({str(card.weights.parents[1])!r})]).cards[0])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_threads_and_processes_of_ended_runs_are_gone(threads_before):
    """Runs last in this file: what the tests above left is what a long session leaves."""
    wait_for(lambda: not [t for t in threading.enumerate() if t not in threads_before and not t.daemon], 5.0)
    zombies = [p for p in psutil.Process().children() if p.status() == psutil.STATUS_ZOMBIE]
    assert zombies == []


def test_statuses_in_words():
    assert child.describe_status(0) == "ended" and child.describe_status(3) == "ended with status 3"
    assert "memory" in child.describe_status(-9) and "memory" in child.describe_status(128 + 9)
    assert child.describe_status(-11) == "crashed (SIGSEGV)" == child.describe_status(139)
    assert child.describe_status(0xC0000005) == "crashed (status 0xc0000005)"
    assert os.name == "nt" or child.describe_status(-15) == "was ended from outside (SIGTERM)"


def test_what_slicers_launcher_hides():
    said = "error: [python-real] exit abnormally - Report the problem."
    assert child.describe_status(1, "Traceback") == "ended with status 1"
    assert "memory" in child.describe_status(1, said)
    assert child.describe_status(1, f"Fatal Python error: Segmentation fault\n{said}") == "crashed"
