"""Results that are written slice by slice, and need not fit into memory."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from SuperResolutionLib import output, upscaler
from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.cli import explain
from SuperResolutionLib.errors import DataError, OutputTooLarge, ResourceError
from SuperResolutionLib.files import read_volume, write_volume
from SuperResolutionLib.output import sidecar_path
from SuperResolutionLib.raw_output import check_raw, raw_sinks
from SuperResolutionLib.upscaler import Options, upscale
from SuperResolutionLib.volume import Volume
from Testing.run_cli import run_here
from Testing.tiny_model import write_model
from Testing.unit.test_geometry import random_matrix


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return ModelCatalog([write_model(tmp_path_factory.mktemp("models"), "edsr-ise-test-x2-psnr").parent]).cards[0]


def source(dtype=np.int16, shape=(5, 12, 14)):
    array = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    return Volume(array, random_matrix(3), "v")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii"])
@pytest.mark.parametrize("axis", ["i", "j", "k"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_the_file_holds_what_memory_would(card, tmp_path, suffix, axis, dtype):
    options = Options(device="cpu", axis=axis)
    expected = upscale(source(dtype), card, options)
    places = {"sr": tmp_path / f"sr{suffix}", "bicubic": tmp_path / f"bicubic{suffix}"}
    made = upscale(source(dtype), card, options, open_sink=raw_sinks(places), fits_memory=False)
    for volume, kind in ((expected.sr, "sr"), (expected.bicubic, "bicubic")):
        again = read_volume(places[kind])
        assert again.array.dtype == dtype
        np.testing.assert_array_equal(again.array, volume.array)
        np.testing.assert_allclose(again.ijk_to_ras, volume.ijk_to_ras, atol=1e-3 if suffix == ".nii" else 1e-6)
    np.testing.assert_array_equal(made.sr.array, expected.sr.array)
    assert isinstance(made.sr.array, np.memmap)
    if suffix == ".nii":
        assert json.loads(sidecar_path(places["sr"]).read_text())["Model"] == card.id
    else:
        assert b"SuperResolution.WeightsSHA256" in places["sr"].read_bytes()[:4000]


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_colours(card, tmp_path, suffix):
    volume = source(np.uint8, (3, 12, 14, 3))
    expected = upscale(volume, card, Options(device="cpu", bicubic=False))
    places = {"sr": tmp_path / f"sr{suffix}"}
    upscale(volume, card, Options(device="cpu", bicubic=False), open_sink=raw_sinks(places))
    np.testing.assert_array_equal(read_volume(places["sr"]).array, expected.sr.array)
    with pytest.raises(DataError, match="Colors"):
        check_raw(tmp_path / "sr.nii", 3)


@pytest.mark.parametrize("name", ["sr.nii.gz", "sr.png", "sr.tif", "sr.xyz"])
def test_other_formats_are_refused(tmp_path, name):
    with pytest.raises(DataError, match="uncompressed.*nrrd"):
        check_raw(tmp_path / name)


def test_a_disk_without_room_is_one_sentence(card, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("SuperResolutionLib.sinks._reserve", full)
    monkeypatch.setattr("SuperResolutionLib.output.disk_free", lambda _path: 0)
    with pytest.raises(ResourceError, match="is full"):
        upscale(source(), card, Options(device="cpu", bicubic=False), open_sink=raw_sinks({"sr": tmp_path / "sr.mha"}))


def test_what_memory_cannot_hold_is_refused_with_a_choice_and_runs_into_a_file(card, tmp_path, monkeypatch):
    import types

    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=2_000_000))
    monkeypatch.setattr(upscaler, "memory_bytes", lambda *_: 3_000_000)
    with pytest.raises(OutputTooLarge, match="region.*smaller scale") as refused:
        upscale(source(), card, Options(device="cpu"))
    assert "--uncompressed" in explain(refused.value)[1], "in the terminal there is another choice"
    places = {"sr": tmp_path / "sr.mha", "bicubic": tmp_path / "bicubic.mha"}
    upscale(source(), card, Options(device="cpu"), open_sink=raw_sinks(places), fits_memory=False)
    assert read_volume(places["sr"]).size == (28, 24, 5)


@pytest.mark.usefixtures("only_these_models")
def test_from_the_terminal(tmp_path):
    write_volume(source(), tmp_path / "in.nrrd")
    model = ["--model", "edsr-ise-test-x2-psnr"]
    ended = run_here("upscale", tmp_path / "in.nrrd", tmp_path / "a.nrrd", *model)
    assert ended.status == 0, ended.err
    extra = ["--uncompressed", "--bicubic", tmp_path / "b.mha", "--report", tmp_path / "r.json"]
    ended = run_here("upscale", tmp_path / "in.nrrd", tmp_path / "b.nii", *model, *extra)
    assert ended.status == 0, ended.err
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").array, read_volume(tmp_path / "b.nii").array)
    assert read_volume(tmp_path / "b.mha").size == (28, 24, 5)
    assert json.loads((tmp_path / "r.json").read_text())["execution"]["backend"] == "torch"
    ended = run_here("upscale", tmp_path / "in.nrrd", tmp_path / "c.nii.gz", *model, "--uncompressed")
    assert ended.status == 3 and not (tmp_path / "c.nii.gz").exists()


def test_memory_stays_flat_while_the_file_grows(card, tmp_path):
    """630 MB of output: the peak of the process must stay far below that. Constant slices are computed once."""
    program = textwrap.dedent("""
        import sys
        sys.path[:0] = eval(sys.argv[1])
        from pathlib import Path
        import numpy as np
        from SuperResolutionLib.catalog import load_card
        from SuperResolutionLib.cli_bench_child import peak_bytes
        from SuperResolutionLib.raw_output import raw_sinks
        from SuperResolutionLib.upscaler import Options, upscale
        from SuperResolutionLib.volume import Volume
        from SuperResolutionLib.backends import torch_backend

        array = np.broadcast_to(np.int16(5), (300, 512, 512))
        card = load_card(Path(sys.argv[2]))
        torch_backend.load(card, "cpu")
        before = peak_bytes()
        sinks = raw_sinks({"sr": Path(sys.argv[3])})
        options = Options(device="cpu", backend="torch", precision="float32", bicubic=False, consistent=False)
        upscale(Volume(array, np.eye(4)), card, options, open_sink=sinks, fits_memory=False)
        print(peak_bytes() - before)
    """)
    paths = [str(Path(upscaler.__file__).parents[1])]
    arguments = [repr(paths), str(card.weights.parent), str(tmp_path / "large.mha")]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "large.mha").stat().st_size > 620e6
    assert int(done.stdout) < 450e6


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64, ">i2"])
def test_large_volumes_are_written_as_small_ones_are(tmp_path, suffix, dtype, monkeypatch):
    """Slice by slice, with the same voxels, geometry, provenance and compression."""
    volume, provenance = source(np.dtype(dtype)), {"Model": "m", "Notice": "n"}
    small = write_volume(volume, tmp_path / f"small{suffix}", provenance)
    monkeypatch.setattr(output, "_LARGE_BYTES", 0)
    monkeypatch.setattr(output.slicewise, "_SLAB_BYTES", 700)
    monkeypatch.setattr(output.itk, "volume_image", only_one_slice(output.itk.volume_image))
    large = write_volume(volume, tmp_path / f"large{suffix}", provenance)
    one, other = read_volume(small), read_volume(large)
    assert one.array.dtype == other.array.dtype
    np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_array_equal(one.ijk_to_ras, other.ijk_to_ras)
    assert abs(small.stat().st_size - large.stat().st_size) < 100
    in_header = {".nrrd": b"SuperResolution.Model:=m", ".mha": b"SuperResolution.Model = m"}.get(suffix)
    if in_header is None:
        assert sidecar_path(small).read_bytes() == sidecar_path(large).read_bytes()
    else:
        assert in_header in large.read_bytes()[:2000]
    assert len(list(tmp_path.iterdir())) == (4 if in_header is None else 2)


def only_one_slice(volume_image):
    def checked(volume):
        assert len(volume.array) == 1
        return volume_image(volume)

    return checked


def test_writing_a_large_volume_takes_no_copy_of_it(tmp_path):
    program = f"""
    import sys; sys.path[:0] = {sys.path!r}
    import numpy as np
    from pathlib import Path
    from SuperResolutionLib.cli_bench_child import peak_bytes
    from SuperResolutionLib.files import write_volume
    from SuperResolutionLib.volume import Volume
    volume = Volume(np.ones((60, 1024, 1024), np.int16), np.eye(4))
    write_volume(Volume(volume.array[:1], np.eye(4)), Path({str(tmp_path)!r}) / "one.nii.gz")
    before = peak_bytes()
    write_volume(volume, Path({str(tmp_path)!r}) / "all.nii.gz")
    print((peak_bytes() - before) / volume.array.nbytes)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.6
