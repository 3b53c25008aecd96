"""The terminal program and what it refuses: one clear sentence, the agreed exit status, and nothing written."""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from SuperResolutionLib import catalog, cli
from SuperResolutionLib.files import write_volume
from SuperResolutionLib.volume import Volume
from Testing.run_cli import environment, listing, run_here, run_program
from Testing.tiny_model import write_model

X2, COLOUR, FAMILY = "edsr-ise-test-x2-psnr", "edsr-ise-colour-x2-psnr", "edsr-ise-test-psnr"
#: On Linux nobody may write here, not even an administrator, as whom tests often run.
UNWRITABLE = Path("/proc")


pytestmark = pytest.mark.usefixtures("only_these_models")


@pytest.fixture
def ct(tmp_path) -> Path:
    values = np.random.default_rng(0).integers(-1000, 2000, (3, 20, 24)).astype(np.int16)
    return write_volume(Volume(values, np.diag([0.5, 0.5, 2.0, 1.0])), tmp_path / "ct.nii")


@pytest.fixture
def refused(tmp_path):
    """Function: run ``superres``, which must end with a status and a sentence of these words and write nothing."""

    def run(status: int, words: list[str], *arguments) -> str:
        before = listing(tmp_path)
        ended = run_here(*arguments)
        assert ended.status == status, ended
        sentence = ended.sentence()
        assert [word for word in words if word not in sentence] == [], sentence
        assert listing(tmp_path) == before
        return sentence

    return run


def missing(folder: Path) -> Path:
    return folder / "no-such-file.nii.gz"


def text(folder: Path) -> Path:
    path = folder / "notes.txt"
    path.write_text("No image at all.")
    return path


def text_named_nifti(folder: Path) -> Path:
    return text(folder).rename(folder / "notes.nii")


def no_bytes(folder: Path) -> Path:
    path = folder / "nothing.nrrd"
    path.touch()
    return path


def empty_folder(folder: Path) -> Path:
    path = folder / "empty"
    path.mkdir()
    return path


def folder_without_dicom(folder: Path) -> Path:
    path = empty_folder(folder)
    text(path)
    return path


def volume(folder: Path, name: str, array: np.ndarray) -> Path:
    return write_volume(Volume(array, np.eye(4)), folder / name)


def cut(path: Path, share: float = 0.6) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def noise(shape=(3, 20, 24)) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 2000, shape).astype(np.int16)


def truncated_nifti(folder: Path) -> Path:
    return cut(volume(folder, "cut.nii", noise()))


def truncated_nifti_gz(folder: Path) -> Path:
    return cut(volume(folder, "cut.nii.gz", noise()))


def truncated_nrrd(folder: Path) -> Path:
    return cut(volume(folder, "cut.nrrd", noise()))


def zero_size(folder: Path) -> Path:
    path = volume(folder, "zero.nii", noise())
    content = bytearray(path.read_bytes())
    struct.pack_into("<h", content, 42, 0)  # dim[1]
    path.write_bytes(content)
    return path


def zero_size_nrrd(folder: Path) -> Path:
    path = folder / "zero.nrrd"
    path.write_bytes(b"NRRD0004\ntype: short\ndimension: 3\nsizes: 0 20 3\nencoding: raw\nendian: little\n\n")
    return path


def one_voxel(folder: Path) -> Path:
    return volume(folder, "one.nrrd", noise((1, 1, 1)))


def name_that_is_no_text(folder: Path) -> Path:
    return volume(folder, "a.nrrd", noise()).rename(folder / "lat\udce9.nrrd")


def one_pixel(folder: Path) -> Path:
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(folder / "one.png")
    return folder / "one.png"


def all_nan(folder: Path) -> Path:
    return volume(folder, "nan.nrrd", np.full((3, 8, 8), np.nan, np.float32))


def all_nan_nifti(folder: Path) -> Path:
    return volume(folder, "nan.nii.gz", np.full((3, 8, 8), np.nan, np.float32))


def dicom(folder: Path, *series: list[tuple[float, float]]) -> Path:
    """A folder with CT series 1.2.3.0, 1.2.3.1, ...; each slice lies at (y, z)."""
    path = folder / "dicom"
    path.mkdir()
    for number, places in enumerate(series):
        for index, (y, z) in enumerate(places):
            dataset = dcmread(get_testdata_file("CT_small.dcm", download=False))
            dataset.SeriesInstanceUID = f"1.2.3.{number}"
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            dataset.ImagePositionPatient = [-150, y, z]
            dataset.save_as(path / f"{number}-{index}.dcm")
    return path


def two_series(folder: Path) -> Path:
    return dicom(folder, [(0, 0), (0, 5)], [(0, 0), (0, 5), (0, 10)])


def uneven_slices(folder: Path) -> Path:
    return dicom(folder, [(0, 0), (0, 5), (0, 11.5), (0, 16)])


def missing_slice(folder: Path) -> Path:
    return dicom(folder, [(0, 0), (0, 5), (0, 15), (0, 20)])


def gantry_tilt(folder: Path) -> Path:
    return dicom(folder, [(0, 0), (1.5, 5), (3, 10), (4.5, 15)])


Bad = namedtuple("Bad", "make words")
INPUTS = [
    Bad(missing, ["There is no file or folder", "no-such-file.nii.gz"]),
    Bad(text, ["notes.txt", "not an image", "NIfTI"]),
    Bad(text_named_nifti, ["notes.nii", "not a NIfTI image"]),
    Bad(no_bytes, ["nothing.nrrd", "empty"]),
    Bad(empty_folder, ["folder", "no files"]),
    Bad(folder_without_dicom, ["None of the 1 files", "DICOM"]),
    Bad(two_series, ["2 series", "--series", "1.2.3.0", "1.2.3.1", "CT"]),
    Bad(uneven_slices, ["uneven slice spacing", "4.5", "6.5 mm"]),
    Bad(missing_slice, ["lacks 1 slice", "5 mm", "10 mm"]),
    Bad(gantry_tilt, ["gantry tilt", "degrees"]),
    Bad(truncated_nifti, ["cut.nii", "truncated"]),
    Bad(truncated_nifti_gz, ["cut.nii.gz", "truncated"]),
    Bad(truncated_nrrd, ["cut.nrrd", "truncated or damaged"]),
    Bad(zero_size, ["zero.nii", "no voxels"]),
    Bad(zero_size_nrrd, ["zero.nrrd"]),
    Bad(name_that_is_no_text, ["lat\\udce9.nrrd", "not valid UTF-8"]),
    Bad(one_voxel, ["1 x 1", "at least 4 x 4"]),
    Bad(one_pixel, ["1 x 1", "at least 4 x 4"]),
    Bad(all_nan, ["no finite voxel", "NaN"]),
    Bad(all_nan_nifti, ["no finite voxel", "NaN"]),
]


@pytest.mark.parametrize("bad", INPUTS, ids=[bad.make.__name__ for bad in INPUTS])
def test_input(bad, refused, tmp_path):
    source = bad.make(tmp_path)
    refused(3, bad.words, "upscale", source, tmp_path / "sr.nrrd", "--model", X2)
    refused(3, bad.words, "compare", source, "--model", X2)


def test_series_that_is_not_there(refused, tmp_path, ct):
    source, sr = two_series(tmp_path), tmp_path / "sr.nrrd"
    refused(3, ["no series 9.9", "1.2.3.0", "1.2.3.1"], "upscale", source, sr, "--model", X2, "--series", "9.9")
    refused(2, ["not DICOM", "--series"], "upscale", ct, sr, "--model", X2, "--series", "9.9")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--model", "foo"], ["no model 'foo'", "edsr-ise-colour-", "edsr-ise-test-"]),
        (["--model", FAMILY], ["Choose a scale", "x2, x4"]),
        (["--model", FAMILY, "--scale", "8"], ["no x8", FAMILY, "x2, x4"]),
        (["--model", X2, "--scale", "4"], [X2, "x2, not x4", "x2, x4"]),
        (["--model", COLOUR], [COLOUR, "color model", "scalar"]),
    ],
)
def test_model(arguments, words, refused, ct, tmp_path):
    refused(4, words, "upscale", ct, tmp_path / "sr.nrrd", *arguments)
    refused(4, words, "compare", ct, *arguments)


def test_model_where_none_is_installed(refused, ct, tmp_path, monkeypatch):
    monkeypatch.setenv("SUPERRESOLUTION_MODELS", str(tmp_path))
    refused(4, ["no model is installed"], "upscale", ct, tmp_path / "sr.nrrd", "--model", X2)


@pytest.mark.parametrize("damage, word", [("missing", "missing"), ("cut", "damaged"), ("flipped", "damaged")])
def test_weights(damage, word, refused, ct, tmp_path, monkeypatch):
    monkeypatch.setenv("SUPERRESOLUTION_MODELS", str(tmp_path))
    weights = write_model(tmp_path, X2) / catalog.WEIGHTS
    if damage == "missing":
        weights.unlink()
    elif damage == "cut":
        cut(weights)
    else:
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    words = ["weights", X2, str(weights), word]
    refused(4, words, "upscale", ct, tmp_path / "sr.nrrd", "--model", X2)
    refused(4, words, "compare", ct, "--model", X2)
    refused(4, words, "demo", "--output", tmp_path / "demo", "--model", X2)


def test_weights_of_another_network(refused, ct, tmp_path, monkeypatch):
    """Intact by their checksum, and yet not those of the network that the card describes."""
    monkeypatch.setenv("SUPERRESOLUTION_MODELS", str(tmp_path))
    path = write_model(tmp_path, X2) / catalog.CARD
    card = json.loads(path.read_text())
    card["config"]["blocks"] = 2
    path.write_text(json.dumps(card))
    refused(4, [X2, "do not fit"], "upscale", ct, tmp_path / "sr.nrrd", "--model", X2)


@pytest.mark.parametrize(
    "name, words",
    [
        ("no/such/folder/sr.nrrd", ["There is no folder", "no/such/folder"]),
        ("ct.nii/sr.nrrd", ["There is no folder", "ct.nii"]),
        ("sr.xyz", ["sr.xyz", "format", ".nii.gz", ".png"]),
        ("sr", ["format", ".nrrd"]),
        ("sr.dcm", ["format", ".nrrd"]),
        ("", ["format", ".nrrd"]),
        ("loop.nrrd", ["loop.nrrd", "exists already"]),
        ("lat\udce9.nrrd", ["lat\\udce9.nrrd", "not valid UTF-8"]),
        ("sr.png", ["PNG", "single slice", ".nii.gz"]),
        ("taken.nrrd", ["taken.nrrd", "is a folder"]),
    ],
)
def test_output(name, words, refused, ct, tmp_path):
    (tmp_path / "taken.nrrd").mkdir()
    (tmp_path / "loop.nrrd").symlink_to(tmp_path / "loop.nrrd")
    refused(3, words, "upscale", ct, tmp_path / name, "--model", X2)
    refused(3, words, "upscale", ct, tmp_path / "sr.nrrd", "--bicubic", tmp_path / name, "--model", X2)


@pytest.mark.parametrize("name", [".", "/", ""])
def test_folders_that_are_no_files(name, refused, ct, tmp_path):
    refused(3, ["format"], "upscale", ct, name, "--model", X2)
    refused(3, ["is a folder"], "upscale", ct, tmp_path / "sr.nrrd", "--report", name, "--model", X2)
    refused(3, ["is a folder"], "compare", ct, "--html", name, "--model", X2)


def test_a_loop_of_links_may_be_overwritten(ct, tmp_path):
    loop = tmp_path / "loop.nrrd"
    loop.symlink_to(loop)
    assert run_here("upscale", ct, loop, "--model", X2, "--overwrite").status == 0
    assert run_here("upscale", loop, tmp_path / "sr.nrrd", "--model", X2).status == 0


@pytest.mark.skipif(not UNWRITABLE.is_dir(), reason="there is no /proc, which even an administrator cannot write to")
def test_folder_that_cannot_be_written(refused, ct, tmp_path):
    words = ["cannot be written", str(UNWRITABLE)]
    refused(3, words, "upscale", ct, UNWRITABLE / "sr.nrrd", "--model", X2)
    refused(3, words, "upscale", ct, tmp_path / "sr.nrrd", "--model", X2, "--report", UNWRITABLE / "report.json")
    refused(3, words, "demo", "--output", UNWRITABLE / "demo", "--model", X2)


def test_type_that_the_format_lacks(refused, tmp_path):
    source = volume(tmp_path, "float.nrrd", np.random.default_rng(0).random((1, 8, 8)))
    refused(3, ["PNG", "float64", ".nrrd"], "upscale", source, tmp_path / "sr.png", "--model", X2)


def test_demo_folder_that_is_a_file(refused, ct):
    refused(3, [str(ct), "not a folder"], "demo", "--output", ct, "--model", X2)


def test_demo_with_a_colour_model(refused, tmp_path):
    refused(4, ["color model"], "demo", "--output", tmp_path / "demo", "--model", COLOUR)


def test_demo_without_its_examples(refused, tmp_path, monkeypatch):
    monkeypatch.setattr("pydicom.data.get_testdata_file", lambda *_, **__: None)
    refused(3, ["CT_small.dcm", "pydicom"], "demo", "--output", tmp_path / "demo", "--model", X2)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], ["command", "superres --help"]),
        (["enlarge"], ["enlarge", "superres --help"]),
        (["--unknown"], ["--unknown"]),
        (["upscale"], ["INPUT", "superres upscale --help"]),
        (["upscale", "CT", "SR", "--against", X2], ["--disagreement"]),
        (["upscale", "CT", "SR", "--model", X2, "--scale", "two"], ["--scale"]),
        (["upscale", "CT", "SR", "--model", X2, "--tile", "-1"], ["--tile", "0"]),
        (["upscale", "CT", "SR", "--model", X2, "--axis", "x"], ["i, j or k", "'x'"]),
        (["upscale", "CT", "SR", "--model", X2, "--device", "tpu"], ["cuda:N", "'tpu'"]),
        (["upscale", "CT", "SR", "--model", X2, "--precision", "half"], ["bfloat16", "'half'"]),
        (["upscale", "CT", "SR", "--model", X2, "--region", "0:8,0:8"], ["i0:i1,j0:j1,k0:k1", "'0:8,0:8'"]),
        (["upscale", "CT", "SR", "--model", X2, "--region", "a:b,0:8,0:1"], ["i0:i1,j0:j1,k0:k1"]),
        (["upscale", "CT", "SR", "--model", X2, "--region", "0:99,0:8,0:1"], ["i = 0:99", "i = 0:24"]),
        (["upscale", "CT", "SR", "--model", X2, "--region", "8:8,0:8,0:1"], ["i = 8:8", "empty"]),
        (["upscale", "CT", "SR", "--model", X2, "--bicubic", "SR"], ["different names"]),
        (["upscale", "CT", "SR", "--model", X2, "--report", "SR.provenance.json"], ["different names"]),
        (["upscale", "CT", "CT", "--model", X2, "--overwrite"], ["different names"]),
        (["compare", "CT"], ["--model", "superres compare --help"]),
        (["models", "all"], ["all"]),
    ],
)
def test_usage(arguments, words, refused, ct, tmp_path):
    places = {"CT": str(ct), "SR": str(tmp_path / "sr.nii.gz")}
    refused(2, words, *(arguments_with(places, argument) for argument in arguments))


def arguments_with(places: dict[str, str], argument: str) -> str:
    for name, path in places.items():
        if argument.startswith(name):
            return argument.replace(name, path, 1)
    return argument


def test_more_than_memory(refused, ct, tmp_path, monkeypatch):
    free = namedtuple("Memory", "available")(100_000)
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    refused(5, ["24 x 20 pixels", "memory", "upscale a region"], "upscale", ct, tmp_path / "sr.nrrd", "--model", X2)


@pytest.mark.parametrize("free, bicubic, status", [(12_000, False, 0), (11_000, False, 5), (12_000, True, 5)])
def test_more_than_the_disk(free, bicubic, status, refused, ct, tmp_path, monkeypatch):
    """The output has 48 x 40 x 3 voxels of 2 bytes, 11,520 bytes; a second one needs as much again."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: namedtuple("Disk", "free")(free))
    arguments = ["upscale", ct, tmp_path / "sr.nrrd", "--model", X2]
    arguments += ["--bicubic", tmp_path / "b.nrrd"] if bicubic else []
    if status:
        refused(status, ["48 x 40 x 3", "disk", "--region", "11.5 kB" if not bicubic else "23.0 kB"], *arguments)
    else:
        assert run_here(*arguments).status == 0


@pytest.mark.parametrize(
    "error, status, words",
    [
        (MemoryError(), 5, ["Memory ran out", "--region"]),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 1, ["torch", "not installed"]),
        (RuntimeError("first\nsecond"), 1, ["RuntimeError", "first second", "--debug"]),
    ],
)
def test_what_the_engine_does_not_foresee(error, status, words, refused, ct, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(cli, "upscale", fail)
    refused(status, words, "upscale", ct, tmp_path / "sr.nrrd", "--model", X2)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_device_that_is_not_there(device, refused, ct, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    words = [f"'{device}' is not available", "choose auto or cpu"]
    refused(6, words, "upscale", ct, tmp_path / "sr.nrrd", "--model", X2, "--device", device)


def test_traceback_only_with_debug(tmp_path):
    """``--debug`` fits before and after the command; status and sentence stay."""
    arguments = ["upscale", tmp_path / "no.nii", tmp_path / "sr.nrrd", "--model", X2]
    plain = run_program(*arguments)
    assert plain.status == 3
    for told in (run_program("--debug", *arguments), run_here(*arguments, "--debug")):
        assert (told.status, told.out) == (3, "")
        assert told.err.startswith("Traceback") and told.err.endswith(plain.sentence())
    assert listing(tmp_path) == {}


def test_refusals_are_quick(ct, tmp_path):
    """What needs no network does not wait for torch to be imported."""
    cut(ct)
    runs = [
        ["models", "--json"],
        ["upscale", tmp_path / "no.nii", tmp_path / "sr.nrrd", "--model", X2],
        ["upscale", ct, tmp_path / "sr.nrrd", "--model", X2],
        ["upscale", all_nan(tmp_path), tmp_path / "sr.nrrd", "--model", X2],
        ["upscale", one_voxel(tmp_path), tmp_path / "sr.nrrd", "--model", X2],
        ["upscale", ct, tmp_path / "sr.nrrd", "--model", "foo"],
        ["compare", ct, "--model", X2],
    ]
    script = f"""
import sys
from SuperResolutionLib import cli
statuses = []
for arguments in {[list(map(str, run)) for run in runs]!r}:
    sys.argv = ["superres", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        statuses.append(end.code)
print(statuses, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1:] == ["[0, 3, 3, 3, 3, 4, 3] False"], done


def test_damaged_stream_of_a_whole_header(refused, tmp_path):
    """A NIfTI file whose compression is whole and whose content is not."""
    path = truncated_nifti(tmp_path)
    packed = path.with_suffix(".nii.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    refused(3, ["cut.nii.gz", "truncated", "promises"], "upscale", packed, tmp_path / "sr.nrrd", "--model", X2)


def test_compare_does_not_write_over_its_image(tmp_path):
    path = write_volume(Volume(np.zeros((1, 64, 64), np.int16), np.eye(4)), tmp_path / "a.nii")
    before = path.read_bytes()
    ended = run_here("compare", path, "--model", "edsr-ise-test-x2-psnr", "--html", path, "--overwrite")
    assert ended.status == 2 and "two of them are the same file" in ended.sentence()
    assert path.read_bytes() == before


def test_a_program_without_output_streams_does_its_work(monkeypatch):
    from SuperResolutionLib import cli

    monkeypatch.setattr(cli.sys, "stdout", None)
    assert cli._run(["--version"]) == 0
