"""The terminal program: what its commands write and print, and that a run leaves all of its files or none."""

from __future__ import annotations

import json
import os
import pty
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from SuperResolutionLib import __version__, catalog, cli, cli_output
from SuperResolutionLib.errors import DataError
from SuperResolutionLib.files import read_volume, sidecar_path, write_volume
from SuperResolutionLib.geometry import bounds, refine, shift
from SuperResolutionLib.volume import Volume
from Testing.run_cli import PROGRAM, environment, listing, run_here, run_program
from Testing.tiny_model import write_model

X2, X4, COLOUR = "edsr-ise-test-x2-psnr", "edsr-ise-test-x4-psnr", "edsr-ise-colour-x2-psnr"
FAMILY = "edsr-ise-test-psnr"
MATRIX = np.array([[-0.6, 0.2, 0.3, 20.0], [0.1, -0.5, 1.9, -30.5], [-0.3, -0.3, 1.2, 7.25], [0.0, 0.0, 0.0, 1.0]])


pytestmark = pytest.mark.usefixtures("only_these_models")


def straight(matrix: np.ndarray) -> np.ndarray:
    """The matrix with its axes at right angles and its spacings kept."""
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    turned = np.eye(4)
    turned[:3, :3] = np.linalg.qr(matrix[:3, :3])[0] * spacing
    turned[:3, 3] = matrix[:3, 3]
    return turned


def smooth(shape: tuple[int, ...], dtype=np.int16, low=-1000, high=2000, seed=0) -> np.ndarray:
    """Something like an image: blurred noise from low to high."""
    noise = np.random.default_rng(seed).random(shape)
    for axis in (-2, -1) if len(shape) == 3 else (-3, -2):
        noise = (np.roll(noise, 1, axis) + noise + np.roll(noise, -1, axis)) / 3
    noise = (noise - noise.min()) / np.ptp(noise)
    return (low + (high - low) * noise).astype(dtype)


@pytest.fixture
def ct(tmp_path) -> Path:
    """An oblique int16 volume of 24 x 20 x 3 voxels."""
    return write_volume(Volume(smooth((3, 20, 24)), straight(MATRIX)), tmp_path / "ct.nii.gz")


@pytest.fixture
def upscale(ct, tmp_path):
    """Function: run ``upscale`` on the volume with more arguments; fails unless that ends well."""

    def run(output: str, *more, model: str = X2, source: Path = ct) -> str:
        ended = run_here("upscale", source, tmp_path / output, "--model", model, *more)
        assert (ended.status, ended.err) == (0, "")
        return ended.out

    return run


def test_program_twice(ct, tmp_path):
    """As a user runs it: geometry and type kept, pure JSON, and the same voxels on the second run."""
    sr, again, cubic = (tmp_path / name for name in ("sr.nii.gz", "again.nii.gz", "bicubic.nrrd"))
    report = tmp_path / "report.json"
    ended = run_program("upscale", ct, sr, "--model", X2, "--bicubic", cubic, "--report", report, "--json")
    assert (ended.status, ended.err) == (0, "")
    assert json.loads(ended.out) == json.loads(report.read_text(encoding="utf-8"))
    written = {"ct.nii.gz", sr.name, sidecar_path(sr).name, cubic.name, report.name}
    assert set(listing(tmp_path)) == written
    source, volume, twin = read_volume(ct), read_volume(sr), read_volume(cubic)
    assert volume.array.dtype == twin.array.dtype == np.int16
    assert volume.size == twin.size == (48, 40, 3)
    np.testing.assert_allclose(volume.ijk_to_ras, refine(source.ijk_to_ras, (2, 2, 1)), atol=1e-4)
    np.testing.assert_allclose(twin.ijk_to_ras, refine(source.ijk_to_ras, (2, 2, 1)), atol=1e-6)
    assert np.abs(volume.array.astype(int) - twin.array).max() > 0

    installed = shutil.which("superres", path=os.path.dirname(sys.executable))
    program = (installed,) if installed else PROGRAM
    ended = run_program("upscale", ct, again, "--model", X2, program=program)
    assert (ended.status, ended.err) == (0, "")
    assert np.array_equal(read_volume(again).array, volume.array)


def test_interrupt_leaves_nothing(tmp_path):
    """Ctrl-C while the bar moves: status 130, one sentence, and not even a hidden file."""
    source = write_volume(Volume(smooth((300, 64, 64)), np.diag([1.0, 1.0, 3.0, 1.0])), tmp_path / "many.nrrd")
    before = listing(tmp_path)
    terminal, theirs = pty.openpty()
    command = [*PROGRAM, "upscale", source, tmp_path / "sr.nrrd", "--model", X4, "--bicubic", tmp_path / "b.nrrd"]
    run = subprocess.Popen(command, env=environment(TERM="xterm"), stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    try:
        assert b" of 300" in read_until(terminal, b" of 300")
        run.send_signal(signal.SIGINT)
        shown = read_until(terminal, b"nothing was written.")
        out, _ = run.communicate(timeout=60)
    finally:
        run.kill()
        os.close(terminal)
    assert run.returncode == 130
    assert out == b""
    assert b"superres: The run was cancelled; nothing was written." in shown
    assert b"Traceback" not in shown
    assert listing(tmp_path) == before


def read_until(terminal: int, mark: bytes) -> bytes:
    """What a program shows on a terminal up to a mark, or to its end."""
    text = b""
    deadline = time.monotonic() + 90
    while mark not in text:
        assert select.select([terminal], [], [], deadline - time.monotonic())[0], text
        try:
            text += os.read(terminal, 4096)
        except OSError:  # how Linux reports that the other side was closed
            break
    return text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_cancel(number, ct, tmp_path, monkeypatch):
    """Also one that is sent again while the files are being removed."""
    before = listing(tmp_path)

    def stopped(*_, **__):
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(cli, "upscale", stopped)
    inherited = signal.signal(number, signal.SIG_DFL)  # whoever started the tests may have it ignored
    try:
        ended = run_here("upscale", ct, tmp_path / "sr.nrrd", "--model", X2)
    finally:
        signal.signal(number, inherited)
    assert ended.status == 130
    assert "cancelled" in ended.sentence()
    assert listing(tmp_path) == before


def test_a_run_outlives_its_terminal_where_it_should(ct, tmp_path, monkeypatch):
    """nohup ignores the loss of the terminal."""
    monkeypatch.setattr(cli, "upscale", lambda *_, **__: os.kill(os.getpid(), signal.SIGHUP))
    kept = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert "cancelled" not in run_here("upscale", ct, tmp_path / "sr.nrrd", "--model", X2).err
    finally:
        signal.signal(signal.SIGHUP, kept)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_is_no_error(unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    told = {"env": environment(PYTHONUNBUFFERED=unbuffered), "stdout": writing, "stderr": subprocess.PIPE}
    done = subprocess.run([*PROGRAM, "models"], text=True, timeout=120, **told)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_disk_that_fills_up_leaves_nothing(ct, tmp_path):
    """A real limit on the size of files, met while an output is being written."""
    before = listing(tmp_path)
    sr, cubic = tmp_path / "sr.nrrd", tmp_path / "bicubic.nrrd"
    ended = run_program(
        *("upscale", ct, sr, "--model", X2, "--bicubic", cubic),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000)),
        PYTHONDONTWRITEBYTECODE="1",
    )
    assert ended.status == 3
    assert f"{sr} cannot be written" in ended.sentence()
    assert listing(tmp_path) == before


@pytest.mark.parametrize("old", [False, True])
def test_second_output_that_fails(old, upscale, ct, tmp_path, monkeypatch):
    """The first of two outputs does not appear alone, and does not replace an older one."""
    sr, cubic = tmp_path / "sr.nii.gz", tmp_path / "bicubic.nrrd"
    if old:
        upscale(sr.name)
    before = listing(tmp_path)

    def fail_on_second(volume, path, provenance):
        if path.name == cubic.name:
            raise DataError(f"{path} cannot be written: it is a test.")
        return write_volume(volume, path, provenance)

    monkeypatch.setattr(cli, "write_volume", fail_on_second)
    ended = run_here("upscale", ct, sr, "--model", X4, "--bicubic", cubic, "--overwrite", "--scale", "4")
    assert ended.status == 3
    assert f"{cubic} cannot be written" in ended.sentence()
    assert listing(tmp_path) == before


def test_output_that_appears_meanwhile_is_kept(ct, tmp_path, monkeypatch):
    sr, upscale = tmp_path / "sr.nrrd", cli.upscale

    def write_meanwhile(*arguments, **options):
        sr.write_text("someone else's")
        return upscale(*arguments, **options)

    monkeypatch.setattr(cli, "upscale", write_meanwhile)
    ended = run_here("upscale", ct, sr, "--model", X2)
    assert ended.status == 3
    assert "exists already" in ended.sentence()
    assert sr.read_text() == "someone else's"
    assert set(listing(tmp_path)) == {ct.name, sr.name}


def test_overwrite(upscale, ct, tmp_path):
    sr, report = tmp_path / "sr.nii.gz", tmp_path / "r.json"
    upscale(sr.name, "--report", report)
    before = listing(tmp_path)
    for outputs in ((sr,), (tmp_path / "b.nrrd", "--report", report), (tmp_path / "b.nrrd", "--bicubic", sr)):
        ended = run_here("upscale", ct, *outputs, "--model", X4)
        assert ended.status == 3
        assert "--overwrite" in ended.sentence()
        assert listing(tmp_path) == before
    upscale(sr.name, "--report", report, "--overwrite", model=X4)
    assert read_volume(sr).size == (96, 80, 3)
    assert json.loads(report.read_text())["model"] == json.loads(sidecar_path(sr).read_text())["Model"] == X4


@pytest.mark.parametrize("name", ["sr.nii", "sr.nii.gz", "sr.nrrd", "sr.mha"])
def test_volume_formats(name, upscale, tmp_path):
    text = upscale(name)
    image = sitk.ReadImage(str(tmp_path / name))
    assert image.GetSize() == (48, 40, 3)
    assert image.GetPixelID() == sitk.sitkInt16
    assert text.splitlines()[-1] == str(tmp_path / name)
    assert "Research use only" in text


@pytest.mark.parametrize("name", ["sr.png", "sr.tiff", "sr.tif"])
def test_slice_formats(name, upscale, tmp_path):
    grey = tmp_path / "grey.png"
    Image.fromarray(smooth((1, 20, 24), np.uint8, 0, 255)[0]).save(grey)
    upscale(name, source=grey)
    with Image.open(tmp_path / name) as image:
        assert image.size == (48, 40)
        assert image.mode == "L"


@pytest.mark.parametrize("model", [COLOUR, X2])
def test_colour_slice(model, upscale, tmp_path):
    """A grey model takes the channels one by one and says so."""
    source = tmp_path / "colour.png"
    Image.fromarray(smooth((20, 24, 3), np.uint8, 0, 255)).save(source)
    text = upscale("sr.png", model=model, source=source)
    with Image.open(tmp_path / "sr.png") as image:
        assert image.size == (48, 40)
        assert image.mode == "RGB"
    assert ("grey model" in text) == (model == X2)


def test_provenance_in_the_file(upscale, tmp_path):
    upscale("sr.nrrd", "--bicubic", tmp_path / "b.nrrd")
    image = sitk.ReadImage(str(tmp_path / "sr.nrrd"))
    assert image.GetMetaData("SuperResolution.Model") == X2
    assert image.GetMetaData("SuperResolution.Scale") == "2"
    assert "Research use only" in image.GetMetaData("SuperResolution.Notice")
    assert len(image.GetMetaData("SuperResolution.WeightsSHA256")) == 64
    assert "SuperResolution.Model" not in sitk.ReadImage(str(tmp_path / "b.nrrd")).GetMetaDataKeys()


@pytest.mark.parametrize(
    "model, scale, chosen",
    [(FAMILY, 2, X2), (FAMILY, 4, X4), (X4, 4, X4), (X4, None, X4), ("edsr-ise-colour-psnr", None, COLOUR)],
)
def test_model_by_id_or_family(model, scale, chosen, upscale, tmp_path):
    colour = tmp_path / "colour.png"
    Image.fromarray(smooth((20, 24, 3), np.uint8, 0, 255)).save(colour)
    arguments = [] if scale is None else ["--scale", scale]
    assert json.loads(upscale("sr.png", "--json", *arguments, model=model, source=colour))["model"] == chosen


def test_region(upscale, ct, tmp_path):
    """A region lies where it lay, and its intensities are mapped as the whole volume's are."""
    whole = json.loads(upscale("whole.nrrd", "--json"))
    part = json.loads(upscale("part.nrrd", "--json", "--region", "4:16,2:18,1:2"))
    assert part["intensity"] == whole["intensity"]
    source, volume = read_volume(ct), read_volume(tmp_path / "part.nrrd")
    assert volume.size == (24, 32, 1)
    np.testing.assert_allclose(
        volume.ijk_to_ras, refine(shift(source.ijk_to_ras, (4, 2, 1)), (2, 2, 1)), atol=1e-6, rtol=0
    )


def test_a_region_may_be_thin_and_equals_the_whole(upscale, tmp_path):
    """The tiny model has gates: what surrounds the region reaches its image's border, so they see the same."""
    upscale("whole.nrrd")
    upscale("part.nrrd", "--region", "5:6,0:8,0:1")
    whole, part = (read_volume(tmp_path / name).array for name in ("whole.nrrd", "part.nrrd"))
    np.testing.assert_allclose(part, whole[:1, :16, 10:12], atol=1)


def test_precision(upscale, tmp_path):
    report = json.loads(upscale("sr.nrrd", "--json", "--precision", "bfloat16"))
    assert report["precision"] == "bfloat16"
    assert json.loads(report["provenance"]["Options"])["precision"] == "bfloat16"


def test_axis(upscale, tmp_path):
    source = write_volume(Volume(smooth((6, 8, 10)), np.eye(4)), tmp_path / "cube.nrrd")
    report = json.loads(upscale("sr.nrrd", "--axis", "i", "--json", source=source))
    assert report["slice_axis"] == "i"
    assert read_volume(tmp_path / "sr.nrrd").size == (10, 16, 12)


def test_strips_make_no_difference(upscale, tmp_path):
    upscale("whole.nrrd")
    upscale("strips.nrrd", "--tile", "5")
    whole, strips = (read_volume(tmp_path / name).array.astype(int) for name in ("whole.nrrd", "strips.nrrd"))
    assert np.abs(whole - strips).max() <= 1


def test_no_consistency(upscale, tmp_path):
    reports = [json.loads(upscale(f"sr{i}.nrrd", "--json", *(["--no-consistency"] * i))) for i in range(2)]
    assert [report["consistency"]["applied"] for report in reports] == [True, False]
    assert reports[0]["consistency"]["max"] < 1 < reports[1]["consistency"]["max"]


def test_series(upscale, tmp_path):
    folder = tmp_path / "dicom"
    folder.mkdir()
    uids = [generate_uid() for _ in range(2)]
    for uid, count in zip(uids, (2, 3)):
        for index in range(count):
            dataset = dcmread(get_testdata_file("CT_small.dcm", download=False))
            dataset.SeriesInstanceUID = uid
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            dataset.ImagePositionPatient = [-150, -150, 5 * index]
            dataset.save_as(folder / f"{uid}-{index}.dcm")
    report = json.loads(upscale("sr.nrrd", "--series", uids[1], "--region", "0:8,0:8,0:3", "--json", source=folder))
    assert report["output"]["size"] == [16, 16, 3]
    assert report["provenance"]["Source"] == uids[1]


def test_compare(tmp_path):
    source = write_volume(Volume(smooth((2, 42, 40)), np.diag([0.5, 0.5, 3.0, 1.0])), tmp_path / "hr.nrrd")
    before = listing(tmp_path)
    ended = run_here("compare", source, "--model", FAMILY, "--scale", "2", "--json")
    assert (ended.status, ended.err) == (0, "")
    scores = json.loads(ended.out)
    assert (scores["model"], scores["scale"], scores["slices"]) == (X2, 2, 2)
    assert list(scores["methods"]) == ["nearest", "bicubic", "bicubic consistent", "model"]
    assert all(set(score) == {"psnr", "ssim"} for score in scores["methods"].values())
    assert scores["methods"]["bicubic"]["psnr"] > scores["methods"]["nearest"]["psnr"]
    ended = run_here("compare", source, "--model", X2)
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == f"{X2}, mean over 2 slices"
    cubic = scores["methods"]["bicubic"]
    assert lines[3].split() == ["bicubic", f"{cubic['psnr']:.2f}", f"{cubic['ssim']:.4f}"]
    assert listing(tmp_path) == before


def test_compare_of_a_constant_image_is_json(tmp_path):
    """Its PSNR is infinite, for which JSON has no word."""
    source = write_volume(Volume(np.zeros((1, 16, 16), np.int16), np.eye(4)), tmp_path / "flat.nrrd")
    ended = run_here("compare", source, "--model", X2, "--json")
    assert ended.status == 0
    assert json.loads(ended.out, parse_constant=pytest.fail)["methods"]["model"] == {"psnr": None, "ssim": 1.0}


def test_demo(tmp_path):
    folder = tmp_path / "new" / "demo"
    folder.mkdir(parents=True)
    (folder / "side-by-side.png").write_text("of an earlier demo")
    ended = run_here("demo", "--output", folder, "--model", X2, "--device", "cpu")
    assert (ended.status, ended.err) == (0, "")
    written = {f"{kind}-x2-{what}.nrrd" for kind in ("ct", "mr") for what in ("sr", "bicubic")}
    assert set(listing(folder)) == written | {"side-by-side.png"}
    assert ended.out.splitlines()[-1] == f"Side by side: {folder / 'side-by-side.png'}"
    assert "128 x 128  256 x 256" in ended.out and "64 x 64    128 x 128" in ended.out
    for kind, file in (("ct", "CT_small.dcm"), ("mr", "MR_small.dcm")):
        source = read_volume(get_testdata_file(file, download=False))
        for what in ("sr", "bicubic"):
            volume = read_volume(folder / f"{kind}-x2-{what}.nrrd")
            assert volume.array.dtype == source.array.dtype
            corners = [bounds(item.ijk_to_ras, item.size) for item in (source, volume)]
            np.testing.assert_allclose(*corners, atol=1e-6, rtol=0)
    with Image.open(folder / "side-by-side.png") as image:
        assert image.width > 1.5 * image.height > 900


def test_models_as_json(models):
    ended = run_here("models", "--json")
    assert (ended.status, ended.err) == (0, "")
    listed = json.loads(ended.out)["models"]
    assert [entry["id"] for entry in listed] == [COLOUR, X2, X4]
    contract = {"id", "family", "scale", "channels", "domain", "weights_available"}
    assert all(contract <= set(entry) for entry in listed)
    assert {key: listed[2][key] for key in contract} == {
        "id": X4,
        "family": FAMILY,
        "scale": 4,
        "channels": 1,
        "domain": "test",
        "weights_available": True,
    }


def test_models_for_a_person(models, tmp_path, monkeypatch):
    """Ids are never cut; missing weights and unusable folders are told."""
    write_model(tmp_path, "edsr-ise-a-rather-long-name-for-a-model-that-a-narrow-terminal-would-cut-x2-psnr")
    (write_model(tmp_path, "edsr-ise-gone-x2-psnr") / catalog.WEIGHTS).unlink()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / catalog.CARD).write_text("{")
    monkeypatch.setenv("SUPERRESOLUTION_MODELS", os.pathsep.join([str(models), str(tmp_path)]))
    monkeypatch.setenv("COLUMNS", "40")
    ended = run_here("models")
    assert ended.status == 0
    rows = {line.split()[0]: line.split()[1:] for line in ended.out.splitlines()}
    assert rows[COLOUR] == ["x2", "3", "test", "yes"]
    assert rows["edsr-ise-gone-x2-psnr"][-1] == "missing"
    assert any("narrow-terminal-would-cut-x2-psnr" in name for name in rows)
    assert "broken" in ended.err and ended.err.count("\n") == 1
    listed = json.loads(run_here("models", "--json").out)
    assert {entry["id"]: entry["weights_available"] for entry in listed["models"]}["edsr-ise-gone-x2-psnr"] is False
    assert len(listed["problems"]) == 1


def test_no_models(monkeypatch, tmp_path):
    monkeypatch.setenv("SUPERRESOLUTION_MODELS", str(tmp_path))
    ended = run_here("models")
    assert (ended.status, ended.err) == (0, "")
    assert "No model is installed" in ended.out
    assert json.loads(run_here("models", "--json").out)["models"] == []


def test_help_names_every_option():
    options = {
        "upscale": "--model --scale --device --precision --bicubic --disagreement --against --no-consistency --report "
        "--region --axis --series --tile --overwrite --json INPUT OUTPUT i0:i1,j0:j1,k0:k1 PATH.json",
        "compare": "--model --precision --json HR",
        "models": "--json",
        "demo": "--output --model --device",
    }
    for command, words in options.items():
        ended = run_here(command, "--help")
        assert (ended.status, ended.err) == (0, "")
        assert [word for word in words.split() if word not in ended.out] == []
        assert all(len(line) <= 100 for line in ended.out.splitlines())
    ended = run_here("--help")
    assert (ended.status, ended.err) == (0, "")
    assert [word for word in [*options, "--version", "--debug", "Exit status"] if word not in ended.out] == []
    assert "..." not in ended.out.replace("[ARGS]...", "")


def test_version():
    ended = run_program("--version")
    assert (ended.status, ended.out, ended.err) == (0, f"superres {__version__}\n", "")


def test_a_result_that_is_not_finite_is_told(tmp_path):
    voxels = smooth((2, 20, 24), np.float32)
    random = np.random.default_rng(0)
    high = random.uniform(0.9, 1, voxels[0].shape) * np.finfo(np.float32).max  # enlarged, it overshoots the type
    voxels[0] = np.where(random.random(high.shape) < 0.5, -high, high)
    source = write_volume(Volume(voxels, np.eye(4)), tmp_path / "hot.nrrd")
    ended = run_here("upscale", source, tmp_path / "sr.nrrd", "--model", X2)
    assert ended.status == 0 and "NaN or infinite" in ended.out and "extreme values" in ended.out
    assert (
        json.loads(run_here("upscale", source, tmp_path / "b.nrrd", "--model", X2, "--json").out)["consistency"]["max"]
        is None
    )
    assert np.isfinite(read_volume(tmp_path / "sr.nrrd").array[1]).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_scores_that_are_not_finite(tmp_path):
    voxels = smooth((1, 32, 32), np.float32)
    voxels[0] = np.where(np.arange(32) % 11 < 5, 1, -1) * np.random.default_rng(0).uniform(0.9, 1, (32, 32)) * 3.4e38
    source, page = write_volume(Volume(voxels, np.eye(4)), tmp_path / "hot.nrrd"), tmp_path / "page.html"
    ended = run_here("compare", source, "--model", X2, "--html", page)
    assert ended.status == 0 and "-inf" in ended.out
    assert '"psnr": "not finite"' in page.read_text(encoding="utf-8")


def test_figures_that_json_lacks():
    assert json.loads(cli_output.to_json({"a": [1.5, float("nan")], "b": float("-inf"), "c": None})) == {
        "a": [1.5, None],
        "b": None,
        "c": None,
    }
