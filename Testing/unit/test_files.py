"""Reading and writing image files: voxels, geometry, provenance, and what happens when something is wrong."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from SuperResolutionLib import itk
from SuperResolutionLib.errors import DataError, ResourceError, UsageError
from SuperResolutionLib.files import check_output, disk_free, read_volume, sidecar_path, write_volume
from SuperResolutionLib.output import write_text
from SuperResolutionLib.volume import Volume

MODULE = Path(__file__).resolve().parents[2] / "SuperResolution"
INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32"]
PROVENANCE = {"Model": "edsr-ise-general-x4-psnr", "Scale": "4", "Statement": "research use only", "Weights": "a" * 64}


pytestmark = pytest.mark.usefixtures("nothing_is_printed")


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def oblique_matrix(spacing=(0.7123456789, 0.31, 2.2)) -> np.ndarray:
    a, b = 0.3, 0.2
    about_k = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_i = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_k @ about_i * spacing
    matrix[:3, 3] = 123.456789012345, -77.123456789, 3.3
    return matrix


def random_array(rng, shape, dtype) -> np.ndarray:
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 1000, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def metadata(path: Path) -> dict[str, str]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}


# Round trips


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [*INTEGERS, "float32", "float64"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_volume_survives_writing_and_reading(tmp_path, rng, suffix, dtype, channels):
    array = random_array(rng, (3, 4, 5) if channels == 1 else (3, 4, 5, 3), dtype)
    volume = Volume(array, oblique_matrix(), "input")
    path = write_volume(volume, tmp_path / f"volume{suffix}")
    back = read_volume(path)
    assert back.array.dtype == dtype
    np.testing.assert_array_equal(back.array, array)
    tolerance = 1e-4 if suffix.startswith(".nii") else 1e-9
    np.testing.assert_allclose(back.ijk_to_ras, volume.ijk_to_ras, rtol=0, atol=tolerance)
    assert back.name == "volume"
    assert back.source["path"] == str(path)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 1)])
def test_flat_and_left_handed_volumes_keep_their_geometry(tmp_path, rng, suffix, mirrored, shape):
    matrix = oblique_matrix()
    matrix[:3, 0] *= -1 if mirrored else 1
    volume = Volume(random_array(rng, shape, "int16"), matrix)
    back = read_volume(write_volume(volume, tmp_path / f"flat{suffix}"))
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.ijk_to_ras, matrix, rtol=0, atol=1e-4)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_sheared_axes_survive_where_the_format_can_hold_them(tmp_path, rng, suffix):
    matrix = oblique_matrix()
    matrix[:3, 1] += 0.2 * matrix[:3, 0]
    volume = Volume(random_array(rng, (3, 4, 5), "int16"), matrix)
    back = read_volume(write_volume(volume, tmp_path / f"sheared{suffix}"))
    np.testing.assert_allclose(back.ijk_to_ras, matrix, rtol=0, atol=1e-9)
    with pytest.raises(DataError, match="sheared.*nrrd"):
        write_volume(volume, tmp_path / "sheared.nii.gz")


def test_ras_is_what_a_radiologist_expects(tmp_path):
    """ITK's x points to the left of the patient, ours to the right."""
    image = sitk.GetImageFromArray(np.zeros((2, 3, 4), np.int16))
    image.SetOrigin((10, 20, 30))
    image.SetSpacing((1, 2, 3))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    expected = [[-1, 0, 0, -10], [0, -2, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]]
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").ijk_to_ras, expected)


def test_non_contiguous_and_big_endian_arrays_are_written_right(tmp_path, rng):
    array = random_array(rng, (6, 8, 10), "int16").astype(">i2")[::2, ::-1, 1::3]
    back = read_volume(write_volume(Volume(array, np.eye(4)), tmp_path / "view.nrrd"))
    np.testing.assert_array_equal(back.array, array)


@pytest.mark.parametrize("flat", [0, 1, 2])
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize(
    "suffix,dtype", [(".png", "uint8"), (".png", "uint16"), (".TIF", "int16"), (".tiff", "float32")]
)
def test_single_slice_survives_as_a_picture(tmp_path, rng, suffix, dtype, colour, flat):
    shape = [12, 14, 16]
    shape[flat] = 1
    volume = Volume(random_array(rng, (*shape, 3) if colour else tuple(shape), dtype), oblique_matrix((0.5, 0.25, 2.0)))
    back = read_volume(write_volume(volume, tmp_path / f"slice{suffix}"))
    assert back.array.dtype == dtype
    np.testing.assert_array_equal(back.array[0], volume.array.take(0, axis=flat))
    kept = [volume.spacing[axis] for axis in range(3) if axis != 2 - flat]
    assert back.spacing == pytest.approx((*kept, 1.0), rel=1e-4)


# Reading what others wrote


def test_png_of_every_common_kind(tmp_path, rng):
    grey = rng.integers(0, 256, (20, 30), dtype=np.uint8)
    colour = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    wide = rng.integers(0, 65536, (20, 30), dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(colour).save(tmp_path / "colour.png")
    Image.fromarray(wide).save(tmp_path / "wide.png")
    palette = Image.fromarray(colour).quantize(16)
    palette.save(tmp_path / "palette.png")
    expected = {"grey": grey, "colour": colour, "wide": wide, "palette": np.asarray(palette.convert("RGB"))}
    for name, array in expected.items():
        volume = read_volume(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(volume.array, array[None])
        np.testing.assert_array_equal(volume.ijk_to_ras, np.diag([-1, -1, 1, 1]))
        assert "Notice" not in volume.source


def test_alpha_is_dropped_with_a_notice(tmp_path, rng):
    array = rng.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    for suffix in ("png", "tif"):
        Image.fromarray(array).save(tmp_path / f"alpha.{suffix}")
        volume = read_volume(tmp_path / f"alpha.{suffix}")
        np.testing.assert_array_equal(volume.array[0], array[..., :3])
        assert "alpha" in volume.source["Notice"]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_with_alpha_is_refused_rather_than_misread(tmp_path, rng, suffix):
    Image.fromarray(rng.integers(0, 256, (20, 30, 2), dtype=np.uint8), "LA").save(tmp_path / f"a.{suffix}")
    with pytest.raises(DataError, match="grey image with transparency"):
        read_volume(tmp_path / f"a.{suffix}")


def test_spacing_tags(tmp_path, rng):
    image = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    image.save(tmp_path / "inch.tif", dpi=(300, 150))
    image.save(tmp_path / "centimetre.tif", resolution=100, resolution_unit=3)
    image.save(tmp_path / "inch.jpg", dpi=(254, 254))
    image.save(tmp_path / "none.jpg")
    image.save(tmp_path / "print.png", dpi=(72, 72))
    spacings = {path.name: read_volume(path).spacing for path in tmp_path.iterdir()}
    assert "Spacing" not in read_volume(tmp_path / "inch.tif").source
    assert spacings["inch.tif"] == pytest.approx((25.4 / 300, 25.4 / 150, 1))
    assert spacings["centimetre.tif"] == pytest.approx((0.1, 0.1, 1))
    assert spacings["inch.jpg"] == pytest.approx((0.1, 0.1, 1))
    assert spacings["none.jpg"] == (1, 1, 1)
    # PNG says how large to print, which is not how large the subject is (ITK writes the latter in a field of its own).
    assert spacings["print.png"] == (1, 1, 1)


def test_tiff_with_pages_is_a_volume(tmp_path, rng):
    pages = rng.integers(0, 256, (4, 20, 30), dtype=np.uint8)
    first, *others = [Image.fromarray(page) for page in pages]
    first.save(tmp_path / "pages.tif", save_all=True, append_images=others)
    np.testing.assert_array_equal(read_volume(tmp_path / "pages.tif").array, pages)
    data = (tmp_path / "pages.tif").read_bytes()
    (tmp_path / "fewer.tif").write_bytes(data[: int(len(data) * 0.6)])
    with pytest.raises(DataError, match="truncated"):
        read_volume(tmp_path / "fewer.tif")


@pytest.mark.parametrize("order", ["<", ">"])
def test_pages_of_a_big_tiff_are_followed(tmp_path, order):
    pixels = np.arange(6, dtype=np.uint8)
    entries = [(256, 3), (257, 2), (258, 8), (259, 1), (262, 1), (273, 16), (277, 1), (278, 2), (279, 6)]
    directory = struct.pack(order + "Q", len(entries))
    for tag, value in entries:
        directory += struct.pack(order + "HHQ", tag, 3, 1) + struct.pack(order + "H", value) + bytes(6)
    header = (b"II" if order == "<" else b"MM") + struct.pack(order + "HHHQ", 43, 8, 0, 24)
    complete = header + pixels.tobytes() + bytes(2) + directory
    (tmp_path / "big.tif").write_bytes(complete + bytes(8))
    np.testing.assert_array_equal(read_volume(tmp_path / "big.tif").array, pixels.reshape(1, 2, 3))
    (tmp_path / "cut.tif").write_bytes(complete + struct.pack(order + "Q", 5000))
    with pytest.raises(DataError, match="truncated"):
        read_volume(tmp_path / "cut.tif")


def tiff(pixels: np.ndarray, bits: int, photometric: int, orientation: int = 1) -> bytes:
    """A grey page 16 pixels wide, of packed rows."""
    data, height = pixels.tobytes(), len(pixels)
    entries = {256: 16, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 274: orientation, 277: 1, 278: height}
    directory = [struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in (entries | {279: len(data)}).items()]
    header = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    return header + data + struct.pack("<H", len(directory)) + b"".join(directory) + bytes(4)


@pytest.mark.parametrize("bits", [1, 4, 8, 16])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_grey_tiff_of_every_depth_is_grey(tmp_path, rng, bits, white_is_zero):
    values = rng.integers(0, 2**bits, (12, 16))
    if bits == 1:
        packed = np.packbits(values.astype(np.uint8), axis=1)
    else:
        packed = (
            (values[:, ::2] * 16 + values[:, 1::2]).astype(np.uint8) if bits == 4 else values.astype(f"<u{bits // 8}")
        )
    (tmp_path / "a.tif").write_bytes(tiff(packed, bits, 0 if white_is_zero else 1))
    volume = read_volume(tmp_path / "a.tif")
    expected = (2**bits - 1 - values if white_is_zero else values) * {1: 255, 4: 17}.get(bits, 1)
    np.testing.assert_array_equal(volume.array[0], expected)
    assert ("inverted" in volume.source["Notice"]) == white_is_zero
    assert "how large" in volume.source["Notice"] and "alpha" not in volume.source["Notice"]
    assert volume.source["Spacing"] == "unknown"


def test_grey_tiff_that_does_not_lie_upright(tmp_path, rng):
    values = rng.integers(0, 256, (12, 16)).astype(np.uint8)
    (tmp_path / "a.tif").write_bytes(tiff(values, 8, 1, orientation=3))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array[0], values[::-1, ::-1])
    (tmp_path / "a.tif").write_bytes(tiff(values.astype("<u2"), 16, 1, orientation=3))
    with pytest.raises(DataError, match="16 bits.*save it upright"):
        read_volume(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "other", [np.zeros((20, 16), np.uint8), np.zeros((20, 30), np.uint16), np.zeros((20, 30, 3), np.uint8)]
)
def test_tiff_that_mixes_pages_is_refused(tmp_path, other):
    page = Image.fromarray(np.zeros((20, 30), np.uint8))
    page.save(tmp_path / "a.tif", save_all=True, append_images=[Image.fromarray(other)])
    with pytest.raises(DataError, match="mixes pages"):
        read_volume(tmp_path / "a.tif")


def test_fill_bytes_before_a_marker_of_a_jpeg(tmp_path, rng):
    Image.fromarray(rng.integers(0, 256, (20, 30), dtype=np.uint8)).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    at = data.index(b"\xff\xdb")
    (tmp_path / "filled.jpg").write_bytes(data[:at] + b"\xff\xff" + data[at:])
    np.testing.assert_array_equal(read_volume(tmp_path / "filled.jpg").array, read_volume(tmp_path / "a.jpg").array)


def test_grey_png_with_a_transparent_value_is_refused_as_such(tmp_path, rng):
    picture = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(picture[..., 0]).save(tmp_path / "grey.png", transparency=0)
    with pytest.raises(DataError, match="grey image with transparency"):
        read_volume(tmp_path / "grey.png")
    Image.fromarray(picture).save(tmp_path / "color.png", transparency=(1, 2, 3))
    np.testing.assert_array_equal(read_volume(tmp_path / "color.png").array[0], picture)


def test_jpeg_is_read_whatever_its_layout(tmp_path, rng):
    smooth = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    image = Image.fromarray(smooth)
    image.save(tmp_path / "baseline.jpg", quality=95, subsampling=0)
    image.save(tmp_path / "progressive.jpg", quality=95, subsampling=0, progressive=True)
    image.save(tmp_path / "restarts.jpg", quality=95, subsampling=0, restart_marker_blocks=2)
    image.convert("L").save(tmp_path / "grey.jpg")
    (tmp_path / "trailer.jpg").write_bytes((tmp_path / "baseline.jpg").read_bytes() + b"\xff\xda appended by a camera")
    for path in tmp_path.iterdir():
        array = read_volume(path).array
        expected = np.asarray(Image.open(path))
        assert np.abs(array[0].astype(int) - expected).max() <= 2, path.name


def test_content_counts_not_the_name(tmp_path, rng):
    volume = Volume(random_array(rng, (3, 4, 5), "int16"), np.eye(4))
    write_volume(volume, tmp_path / "a.nrrd").rename(tmp_path / "a.img")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.img").array, volume.array)
    Image.fromarray(volume.array[0].astype(np.uint8)).save(tmp_path / "b.png")
    (tmp_path / "b.png").rename(tmp_path / "b.jpg")
    np.testing.assert_array_equal(read_volume(tmp_path / "b.jpg").array[0], volume.array[0].astype(np.uint8))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a", "a.img", "a.Nii.Gz", "a.NII", "caf\udce9.nii"])
def test_nifti_of_any_name(tmp_path, rng, name, compressed):
    volume = Volume(random_array(rng, (3, 4, 5), "int16"), np.eye(4))
    write_volume(volume, tmp_path / ("b.nii.gz" if compressed else "b.nii")).rename(tmp_path / name)
    back = read_volume(tmp_path / name)
    np.testing.assert_array_equal(back.array, volume.array)
    (back.name + back.source["path"]).encode("utf-8")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("links", [True, False])
def test_a_nifti_beside_another_of_its_name_is_not_read_for_it(tmp_path, rng, monkeypatch, links):
    volumes = {name: Volume(random_array(rng, (3, 4, 5), "int16"), np.eye(4)) for name in ("head.nii.gz", "head.nii")}
    for name, volume in volumes.items():
        write_volume(volume, tmp_path / name)
    if not links:
        for link in ("symlink", "link"):
            monkeypatch.setattr(os, link, lambda *_: (_ for _ in ()).throw(OSError(1, "Operation not permitted")))
    for name, volume in volumes.items():
        np.testing.assert_array_equal(read_volume(tmp_path / name).array, volume.array)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["a", "a.img"])
def test_metaimage_of_any_name(tmp_path, rng, name, compressed):
    array = random_array(rng, (3, 4, 5), "int16")
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "a.mha"), compressed)
    (tmp_path / "a.mha").rename(tmp_path / name)
    np.testing.assert_array_equal(read_volume(tmp_path / name).array, array)


def test_detached_headers_find_their_data(tmp_path, rng):
    array = random_array(rng, (3, 4, 5), "int16")
    for suffix in (".nhdr", ".mhd"):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"a{suffix}"))
        np.testing.assert_array_equal(read_volume(tmp_path / f"a{suffix}").array, array)
    for data in (*tmp_path.glob("*.raw*"), *tmp_path.glob("*.zraw")):
        data.unlink()
    for suffix in (".nhdr", ".mhd"):
        with pytest.raises(DataError, match="data file that it names"):
            read_volume(tmp_path / f"a{suffix}")


def test_flat_metaimage_gets_a_third_axis(tmp_path, rng):
    array = random_array(rng, (4, 5), "int16")
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.5, 0.25))
    sitk.WriteImage(image, str(tmp_path / "flat.mha"))
    volume = read_volume(tmp_path / "flat.mha")
    np.testing.assert_array_equal(volume.array, array[None])
    assert volume.spacing == (0.5, 0.25, 1.0)


def nifti(datatype, bits, axes, data=b"", sform=None, slope=0.0, intercept=0.0, order="<") -> bytes:
    header = bytearray(352)
    struct.pack_into(order + "i", header, 0, 348)
    struct.pack_into(order + "8h", header, 40, len(axes), *axes, *[1] * (7 - len(axes)))
    struct.pack_into(order + "hh", header, 70, datatype, bits)
    lengths = [1.0, 1.0, 1.0] if sform is None else np.linalg.norm(np.asarray(sform)[:3, :3], axis=0)
    struct.pack_into(order + "8f", header, 76, 1.0, *lengths, *[1.0] * 4)
    struct.pack_into(order + "3f", header, 108, 352, slope, intercept)
    if sform is not None:
        struct.pack_into(order + "h", header, 254, 1)
        struct.pack_into(order + "12f", header, 280, *np.asarray(sform, float)[:3].ravel())
    header[344:348] = b"n+1\0"
    return bytes(header) + data


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_a_slice_of_colors_keeps_its_place(tmp_path, rng, suffix, dtype):
    matrix = oblique_matrix()[:, [1, 2, 0, 3]] * (1, 1, -1, 1)
    volume = Volume(random_array(rng, (1, 4, 5, 3), dtype), matrix)
    back = read_volume(write_volume(volume, tmp_path / f"slice{suffix}"))
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.ijk_to_ras, matrix, atol=1e-4)


def test_flat_nifti_is_placed_by_its_header(tmp_path):
    stored = np.arange(12, dtype=np.int16).reshape(3, 4)
    sagittal = np.array([[0, 0, 3, 10], [0.5, 0, 0, -20], [0, 0.5, 0, 5], [0, 0, 0, 1]])
    without_thickness = sagittal * (1, 1, 0, 1)
    for sform, expected in (
        (sagittal, sagittal),
        (without_thickness, sagittal / (1, 1, 3, 1)),
        (None, np.diag([-1, -1, 1, 1])),
    ):
        (tmp_path / "flat.nii").write_bytes(nifti(4, 16, (4, 3), stored.tobytes(), sform))
        volume = read_volume(tmp_path / "flat.nii")
        np.testing.assert_array_equal(volume.array[0], stored)
        np.testing.assert_allclose(volume.ijk_to_ras, expected, atol=1e-6)


@pytest.mark.parametrize("axes", [(4, 3), (4, 3, 1), (4, 3, 1, 1), (4, 3, 1, 1, 1), (4, 3, 1, 1, 1, 1)])
def test_a_slice_keeps_its_place_whatever_axes_it_counts(tmp_path, axes):
    sagittal = np.array([[0, 0, 3, 10], [0.5, 0, 0, -20], [0, 0.5, 0, 5], [0, 0, 0, 1]])
    (tmp_path / "a.nii").write_bytes(nifti(4, 16, axes, bytes(24), sagittal))
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").ijk_to_ras, sagittal, atol=1e-6)


def test_flat_nifti_placed_by_its_qform(tmp_path, rng):
    """As ITK places the same slice as a volume."""
    path = write_volume(
        Volume(random_array(rng, (1, 4, 5), "int16"), oblique_matrix() * (1, 1, -1, 1)), tmp_path / "a.nii"
    )
    content = bytearray(path.read_bytes())
    struct.pack_into("<2h", content, 252, 1, 0)  # no sform
    path.write_bytes(content)
    expected = read_volume(path)
    struct.pack_into("<h", content, 40, 2)
    (tmp_path / "flat.nii").write_bytes(content)
    flat = read_volume(tmp_path / "flat.nii")
    np.testing.assert_array_equal(flat.array, expected.array)
    np.testing.assert_allclose(flat.ijk_to_ras, expected.ijk_to_ras, atol=1e-4)


def test_flat_nrrd_in_space_is_not_called_damaged(tmp_path):
    header = "NRRD0004\ntype: short\ndimension: 2\nsizes: 4 3\nendian: little\nencoding: raw\n"
    header += "space: left-posterior-superior\nspace directions: (0,1,0) (0,0,1)\nspace origin: (7,8,9)\n\n"
    (tmp_path / "a.nrrd").write_bytes(header.encode() + bytes(24))
    with pytest.raises(DataError, match="flat image that lies in 3-D space"):
        read_volume(tmp_path / "a.nrrd")


def test_nifti_scale_is_applied_and_byte_order_is_respected(tmp_path):
    stored = np.arange(24, dtype=">i2").reshape(2, 3, 4)
    (tmp_path / "a.nii").write_bytes(nifti(4, 16, (4, 3, 2), stored.tobytes(), np.diag([2, 3, 4, 1]), 2.0, -1000, ">"))
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.array, stored * 2.0 - 1000)
    np.testing.assert_array_equal(volume.ijk_to_ras, np.diag([2, 3, 4, 1]))


def test_nifti_whose_voxel_sizes_contradict_its_sform(tmp_path):
    content = bytearray(nifti(4, 16, (4, 3, 2), bytes(48), np.diag([2, 3, 4, 1])))
    struct.pack_into("<3f", content, 80, 1, 1, 1)
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(DataError, match="contradicts itself.*1 x 1 x 1 mm.*2 x 3 x 4 mm"):
        read_volume(tmp_path / "a.nii")


def test_nifti_colour_and_a_single_time_point(tmp_path):
    colours = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    for slope in (0.0, 1.0, np.nan):
        (tmp_path / "rgb.nii").write_bytes(nifti(128, 24, (2, 2, 2), colours.tobytes(), slope=slope))
        np.testing.assert_array_equal(read_volume(tmp_path / "rgb.nii").array, colours)
    grey = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    (tmp_path / "one.nii").write_bytes(nifti(4, 16, (4, 3, 2, 1), grey.tobytes()))
    np.testing.assert_array_equal(read_volume(tmp_path / "one.nii").array, grey)


@pytest.mark.parametrize(
    "content,message",
    [
        (nifti(4, 16, (4, 3, 2, 5), bytes(240)), "holds 5 volumes.*extract one"),
        (nifti(4, 16, (4, 0, 2)), "holds no voxels.*4 x 0 x 2"),
        (nifti(4, 16, (4, -3, 2)), "holds no voxels"),
        (nifti(32, 64, (4, 3, 2), bytes(192)), "complex.*magnitude"),
        (nifti(1536, 128, (1, 1, 3), bytes(48)), "cannot be read"),
        (nifti(4, 16, (4, 3, 2), bytes(48), [[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]), "sheared"),
        (nifti(4, 16, (400, 300, 200), bytes(48)), "truncated.*promises 48000352 bytes and 400 are there"),
    ],
)
def test_unusable_nifti(tmp_path, content, message):
    for name, data in (("a.nii", content), ("a.nii.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=message) as caught:
            read_volume(tmp_path / name)
        assert_one_sentence(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        nifti(128, 24, (2, 2, 2), bytes(24), slope=2.0),
        nifti(4, 16, (4, 3, 2, 1, 3), bytes(144), slope=2.0),
        nifti(4, 16, (4, 3, 2, 1, 3), bytes(144), intercept=-1.0),
    ],
)
def test_nifti_components_that_are_to_be_scaled_are_refused(tmp_path, content):
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(DataError, match="to be scaled .scl_slope . *.*as they are"):
        read_volume(tmp_path / "a.nii")


# Bad input


def assert_one_sentence(error) -> None:
    text = str(error)
    assert "\n" not in text
    assert text.endswith(".")
    assert "itk::" not in text and ".cxx" not in text and "0x" not in text


@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(
    "suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".tif", ".jpg", ".raw.nrrd", ".raw.mha"]
)
def test_truncated_files_are_refused(tmp_path, rng, suffix, fraction):
    array = random_array(rng, (1, 60, 80), "uint16" if suffix != ".jpg" else "uint8")
    complete = tmp_path / f"complete{suffix}"
    if suffix == ".jpg":
        Image.fromarray(array[0]).save(complete)
    elif suffix.startswith(".raw"):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(complete), False)
    else:
        write_volume(Volume(array, oblique_matrix()), complete)
    read_volume(complete)
    data = complete.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(DataError, match="truncated|damaged|incomplete") as caught:
        read_volume(cut)
    assert_one_sentence(caught.value)


def test_damage_inside_a_compressed_nifti_is_found(tmp_path, rng):
    path = write_volume(Volume(random_array(rng, (8, 60, 80), "int16"), np.eye(4)), tmp_path / "a.nii.gz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(DataError, match="truncated or damaged"):
        read_volume(path)


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9])
def test_damage_inside_a_compressed_metaimage_is_found(tmp_path, rng, at):
    path = write_volume(Volume(random_array(rng, (8, 60, 80), "int16") // 64, np.eye(4)), tmp_path / "a.mha")
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(DataError, match="truncated or damaged"):
        read_volume(path)


def flipped_bit(path: Path, at: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("at", [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.9999])
@pytest.mark.parametrize("encoding", ["gzip", "gz"])
def test_damage_inside_a_compressed_nrrd_is_found(tmp_path, rng, at, encoding):
    smooth = np.cumsum(rng.integers(-2, 3, (8, 60, 80)), axis=2).astype(np.int16)
    path = write_volume(Volume(smooth, np.eye(4)), tmp_path / "a.nrrd")
    path.write_bytes(path.read_bytes().replace(b"encoding: gzip", b"encoding: " + encoding.encode(), 1))
    np.testing.assert_array_equal(read_volume(path).array, smooth)
    flipped_bit(path, at)
    with pytest.raises(DataError, match="truncated or damaged") as caught:
        read_volume(path)
    assert_one_sentence(caught.value)


def test_a_damaged_nrrd_is_found_where_it_was_written(tmp_path, rng, monkeypatch):
    written = itk.write_image

    def damage(image, path, format_name, **options):
        written(image, path, format_name, **options)
        flipped_bit(path, 0.9)

    monkeypatch.setattr(itk, "write_image", damage)
    with pytest.raises(DataError, match="cannot be written: the written file is incomplete"):
        write_volume(Volume(random_array(rng, (8, 60, 80), "int16"), np.eye(4)), tmp_path / "a.nrrd")
    assert os.listdir(tmp_path) == []


def detached_nrrd(folder: Path, array: np.ndarray, how: str, skipped: int = 0) -> list[Path]:
    """A header ``a.nhdr`` and the compressed data that it names as told; the paths of the data."""
    pieces = array[:, None] if how != "one.gz" else array[None]
    files = [folder / (how if how == "one.gz" else f"p{index:02}.gz") for index in range(1, len(pieces) + 1)]
    for file, piece in zip(files, pieces):
        file.write_bytes(b"skipped\n" * skipped + gzip.compress(piece.tobytes()))
    names = "".join(f"\n{file.name}" for file in files) if how == "LIST" else ""
    sizes = " ".join(map(str, array.shape[::-1]))
    header = f"NRRD0004\n# data file: none\ntype: short\ndimension: 3\nsizes: {sizes}\nendian: little\n"
    header += f"encoding: gzip\nline skip: {skipped}\nkey:=data file: no\ndata file: {how}{names}\n"
    (folder / "a.nhdr").write_text(header)
    return files


@pytest.mark.parametrize("skipped", [0, 2])
@pytest.mark.parametrize("how", ["one.gz", "LIST", "p%02d.gz 1 8 1"])
def test_damage_inside_the_compressed_data_of_a_detached_nrrd_is_found(tmp_path, rng, how, skipped):
    smooth = np.cumsum(rng.integers(-2, 3, (8, 60, 80)), axis=2).astype(np.int16)
    *_, last = detached_nrrd(tmp_path, smooth, how, skipped)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nhdr").array, smooth)
    flipped_bit(last, 0.9)
    with pytest.raises(DataError, match="truncated or damaged") as caught:
        read_volume(tmp_path / "a.nhdr")
    assert str(last) in str(caught.value)
    last.unlink()
    with pytest.raises(DataError, match="data file that it names"):
        read_volume(tmp_path / "a.nhdr")


@pytest.mark.parametrize("how", ["p%02d.gz 1 8 0", "p%d%d.gz 1 8 1", "%s 1 2 3", "LIST", "LIST 2", "", "."])
def test_nrrd_that_names_its_data_oddly(tmp_path, how):
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 8\nencoding: gzip\nendian: little\n"
    (tmp_path / "a.nhdr").write_text(header + f"data file: {how}\n")
    (tmp_path / "p01.gz").write_bytes(gzip.compress(bytes(40)))
    with pytest.raises(DataError, match="cannot be read|truncated") as caught:
        read_volume(tmp_path / "a.nhdr")
    assert_one_sentence(caught.value)


def test_nrrd_compressed_in_pieces_and_followed_by_something(tmp_path, rng):
    array = random_array(rng, (8, 60, 80), "int16")
    path = write_volume(Volume(array, np.eye(4)), tmp_path / "a.nrrd")
    header = path.read_bytes().split(b"\n\n")[0] + b"\n\n"
    data = array.tobytes()
    path.write_bytes(header + gzip.compress(data) + b"\n")
    np.testing.assert_array_equal(read_volume(path).array, array)
    path.write_bytes(header + gzip.compress(data[:999]) + gzip.compress(data[999:]))
    np.testing.assert_array_equal(read_volume(path).array, array)
    flipped_bit(path, 0.9)
    with pytest.raises(DataError, match="truncated or damaged"):
        read_volume(path)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.nii.gz", "a.nrrd", "a.mha", "a.png", "a.dcm"])
@pytest.mark.parametrize("content", [b"This is no image.\n" * 40, b"\0" * 1000, gzip.compress(b"text" * 500)])
def test_not_an_image(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="is not a") as caught:
        read_volume(tmp_path / name)
    assert_one_sentence(caught.value)


@pytest.mark.parametrize(
    "name,content",
    [
        ("a.nrrd", b"NRRD0004\ntype: short\ndimension: 3\nsizes: 0 4 5\nencoding: raw\nendian: little\n\n"),
        (
            "a.mha",
            b"ObjectType = Image\nNDims = 3\nDimSize = 0 4 5\nElementType = MET_SHORT\nElementDataFile = LOCAL\n",
        ),
        ("a.nrrd", b"NRRD0004\nnonsense\n\n"),
        ("a.mha", b"ObjectType = Image\nNDims = 3\n"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(100)),
        ("a.tif", b"II*\0" + bytes(100)),
        ("a.jpg", b"\xff\xd8\xff\xe0" + bytes(100)),
    ],
)
def test_right_start_but_nothing_usable(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_volume(tmp_path / name)
    assert_one_sentence(caught.value)


def test_missing_empty_and_odd_files(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="There is no file or folder"):
        read_volume(tmp_path / "missing.nii.gz")
    (tmp_path / "empty.nii.gz").touch()
    with pytest.raises(DataError, match="empty"):
        read_volume(tmp_path / "empty.nii.gz")
    with pytest.raises(DataError, match="cannot be read"):
        read_volume(tmp_path / ("a" * 400 + ".nii"))
    os.mkfifo(tmp_path / "pipe.nii")
    with pytest.raises(DataError, match="not an ordinary file"):
        read_volume(tmp_path / "pipe.nii")
    (tmp_path / "a.nrrd").write_text("NRRD0004")
    monkeypatch.setattr(Path, "open", lambda self, *_: (_ for _ in ()).throw(PermissionError(13, "no", str(self))))
    with pytest.raises(DataError, match="permission denied"):
        read_volume(tmp_path / "a.nrrd")


def test_a_series_is_only_for_dicom(tmp_path, rng):
    path = write_volume(Volume(random_array(rng, (3, 4, 5), "int16"), np.eye(4)), tmp_path / "a.nrrd")
    with pytest.raises(UsageError, match="not DICOM"):
        read_volume(path, series="1.2.3")


@pytest.mark.parametrize("components", [2, 4, 6])
def test_vectors_that_are_no_colours_are_refused(tmp_path, components):
    image = sitk.GetImageFromArray(np.zeros((3, 4, 5, components), np.float32), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "vectors.nrrd"))
    with pytest.raises(DataError, match=f"{components} values in each voxel"):
        read_volume(tmp_path / "vectors.nrrd")


def test_out_of_memory_is_told_as_such(tmp_path, monkeypatch):
    (tmp_path / "a.nrrd").write_text("NRRD0004")

    def fail(reader):
        raise RuntimeError("Failed to allocate memory for image.")

    monkeypatch.setattr(sitk.ImageFileReader, "ReadImageInformation", fail)
    with pytest.raises(ResourceError, match="memory"):
        read_volume(tmp_path / "a.nrrd")


# Writing


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_provenance_in_the_header(tmp_path, suffix):
    provenance = {
        **PROVENANCE,
        "Source": "/home/müller/α.nii",
        "Options": "a=b := c\nsecond line",
        "Empty": "",
        "Long": "x" * 3000,
    }
    volume = Volume(np.zeros((2, 3, 4), np.int16), np.eye(4))
    path = write_volume(volume, tmp_path / f"sr{suffix}", provenance)
    found = metadata(path)
    for key, value in PROVENANCE.items():
        assert found[f"SuperResolution.{key}"] == value
    assert found["SuperResolution.Source"] == "/home/m\\xfcller/\\u03b1.nii"
    assert found["SuperResolution.Options"] == "a=b := c second line"
    assert len(found["SuperResolution.Long"]) == 3000
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", [".nii.gz", ".png", ".tif"])
def test_provenance_beside_the_image(tmp_path, suffix):
    volume = Volume(np.zeros((1, 3, 4), np.uint8), oblique_matrix())
    path = write_volume(volume, tmp_path / f"sr{suffix}", {**PROVENANCE, "Source": "α"})
    sidecar = sidecar_path(path)
    assert sidecar.name == f"sr{suffix}.provenance.json"
    content = json.loads(sidecar.read_text(encoding="utf-8"))
    assert {key: content[key] for key in PROVENANCE} == PROVENANCE
    assert content["Source"] == "α"
    if suffix != ".nii.gz":
        np.testing.assert_array_equal(json.loads(content["IJKToRAS"]), volume.ijk_to_ras)
    assert sorted(os.listdir(tmp_path)) == [path.name, sidecar.name]
    # An image written anew without provenance must not keep the old one's.
    write_volume(volume, path, overwrite=True)
    assert os.listdir(tmp_path) == [path.name]


def test_nifti_description_holds_what_fits(tmp_path):
    path = write_volume(Volume(np.zeros((2, 3, 4), np.int16), np.eye(4)), tmp_path / "sr.nii", PROVENANCE)
    description = path.read_bytes()[148:228].rstrip(b"\0").decode("ascii")
    assert description == "SuperResolution; Model=edsr-ise-general-x4-psnr; Scale=4"
    assert "research" in json.loads(sidecar_path(path).read_text())["Statement"]


def test_existing_output_is_kept_unless_told(tmp_path):
    path = tmp_path / "a.nrrd"
    path.write_text("precious")
    volume = Volume(np.zeros((2, 3, 4), np.int16), np.eye(4))
    with pytest.raises(DataError, match="exists already.*--overwrite"):
        write_volume(volume, path)
    assert path.read_text() == "precious"
    write_volume(volume, path, overwrite=True)
    assert read_volume(path).size == (4, 3, 2)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".png"])
def test_failure_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, suffix):
    def fail(image, path, format_name):
        path.write_bytes(b"half an image")
        raise RuntimeError("sitk::ERROR at 0x123 in file.cxx")

    path = tmp_path / f"a{suffix}"
    path.write_text("precious")
    monkeypatch.setattr(itk, "write_image", fail)
    with pytest.raises(DataError, match="cannot be written") as caught:
        write_volume(Volume(np.zeros((1, 3, 4), np.uint8), np.eye(4)), path, PROVENANCE, overwrite=True)
    assert_one_sentence(caught.value)
    assert path.read_text() == "precious"
    assert os.listdir(tmp_path) == [path.name]


def test_cancelling_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(image, path, format_name):
        path.write_bytes(b"half an image")
        raise KeyboardInterrupt

    monkeypatch.setattr(itk, "write_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_volume(Volume(np.zeros((1, 3, 4), np.uint8), np.eye(4)), tmp_path / "a.nrrd")
    assert os.listdir(tmp_path) == []


def test_full_disk_is_noticed_in_every_format(tmp_path):
    """ITK reports nothing when the rest of a NIfTI file finds no room; a limit on file sizes acts like a full disk."""
    program = """
        import resource, signal, sys
        import numpy as np
        from SuperResolutionLib.errors import DataError
        from SuperResolutionLib.files import write_volume
        from SuperResolutionLib.volume import Volume

        noise = np.random.default_rng(0).integers(0, 60000, (1, 300, 400)).astype(np.uint16)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))
        for suffix in sys.argv[2:]:
            try:
                write_volume(Volume(noise, np.eye(4)), sys.argv[1] + "/a" + suffix, {"Model": "m"})
            except DataError as error:
                print(suffix, error)
    """
    suffixes = [".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".tif"]
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path), *suffixes]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(MODULE)})
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert [line.split()[0] for line in run.stdout.splitlines()] == suffixes
    assert run.stdout.count("cannot be written") == len(suffixes)
    assert os.listdir(tmp_path) == []


def test_text_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = write_text(tmp_path / "report.json", '{"größe": 1}')
    assert path.read_text(encoding="utf-8") == '{"größe": 1}'
    with pytest.raises(DataError, match="exists already"):
        write_text(path, "other")
    write_text(path, "other", overwrite=True)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(DataError, match="cannot be written: input/output error"):
        write_text(path, "third", overwrite=True)
    assert path.read_text() == "other"
    assert os.listdir(tmp_path) == [path.name]


def test_full_disk_is_told_as_such(tmp_path, monkeypatch):
    monkeypatch.setattr("SuperResolutionLib.output.disk_free", lambda path: 10)
    monkeypatch.setattr(itk, "write_image", lambda *_: (_ for _ in ()).throw(RuntimeError("write failed")))
    with pytest.raises(ResourceError, match="full"):
        write_volume(Volume(np.zeros((2, 3, 4), np.int16), np.eye(4)), tmp_path / "a.nrrd")


def test_axes_too_long_for_nifti(tmp_path):
    volume = Volume(np.zeros((1, 2, 32768), np.uint8), np.eye(4))
    with pytest.raises(DataError, match="32767.*nrrd"):
        write_volume(volume, tmp_path / "long.nii.gz")
    assert read_volume(write_volume(volume, tmp_path / "long.nrrd")).size == volume.size


# What is known before


def test_a_good_output_passes_and_nothing_is_left(tmp_path):
    for name in ("a.nii", "a.NII.GZ", "a.b.nrrd", "a.mha"):
        assert check_output(tmp_path / name, False, dtype="int16") == tmp_path / name
    for name in ("a.png", "a.tif", "a.tiff"):
        assert check_output(str(tmp_path / name), True, dtype=np.dtype("uint16"), channels=3) == tmp_path / name
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "name,keywords,message",
    [
        ("a.jpg", {}, r"not known.*\.nii\.gz.*\.nrrd.*\.png"),
        ("a", {}, "must end in one of"),
        ("a.mhd", {}, "must end in one of"),
        ("missing/a.nrrd", {}, "no folder .*missing"),
        ("folder.nrrd", {}, "is a folder"),
        ("there.nrrd", {}, "exists already"),
        ("a.png", {"volume_is_single_slice": False}, r"single slice.*\.nii\.gz"),
        ("a.tif", {"volume_is_single_slice": False}, "single slice"),
        ("a.png", {"volume_is_single_slice": True, "dtype": "int16"}, r"PNG cannot hold int16.*\.nrrd.*\.tif"),
        ("a.png", {"volume_is_single_slice": True, "dtype": "float32"}, r"PNG cannot hold float32.*\.nii\.gz.*\.tif"),
        ("a.tif", {"volume_is_single_slice": True, "dtype": "float64"}, r"TIFF cannot hold float64.*\.mha\.$"),
        ("a.nrrd", {"dtype": "float16"}, "convert it to 32-bit float"),
        ("a.nrrd", {"channels": 4}, "4 values"),
        ("a" * 260 + ".nrrd", {}, "cannot be written.*name too long"),
        ("a" * 250 + ".png", {}, "cannot be written.*name too long"),
    ],
)
def test_outputs_that_cannot_be(tmp_path, name, keywords, message):
    (tmp_path / "folder.nrrd").mkdir()
    (tmp_path / "there.nrrd").touch()
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(DataError, match=message) as caught:
        check_output(tmp_path / name, **keywords)
    assert_one_sentence(caught.value)
    assert sorted(os.listdir(tmp_path)) == before


def test_folder_that_may_not_be_written(tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(DataError, match="cannot be written: permission denied"):
        check_output(tmp_path / "a.nrrd")


def test_disk_free_of_folders_and_files_to_be(tmp_path):
    for path in (tmp_path, tmp_path / "a.nrrd", tmp_path / "not" / "yet" / "a.nrrd", "a.nrrd"):
        assert disk_free(path) > 0


def test_importing_files_loads_no_image_library():
    check = (
        "import sys; import SuperResolutionLib.files; assert not {'SimpleITK', 'pydicom', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True, env={**os.environ, "PYTHONPATH": str(MODULE)})


# Real images


@pytest.mark.parametrize("pattern", ["ct/*.nii.gz", "mri3d_misc/*.nrrd", "mri3d_misc/*M2*.nii.gz"])
def test_real_volumes_read_as_simpleitk_reads_them(data_folder, pattern):
    paths = sorted(data_folder.glob(pattern))
    assert paths
    for path in paths:
        image = sitk.ReadImage(str(path))
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))
        last = [length - 1 for length in volume.size]
        corner = np.array(image.TransformIndexToPhysicalPoint(last)) * (-1, -1, 1)
        np.testing.assert_allclose((volume.ijk_to_ras @ [*last, 1])[:3], corner, atol=1e-6)


@pytest.mark.parametrize(
    "folder,suffix,channels", [("cxr_nih", "png", 1), ("fundus_stare", "png", 3), ("fundus_chase", "jpg", 3)]
)
def test_real_pictures(data_folder, folder, suffix, channels):
    path = sorted((data_folder / folder).glob(f"*.{suffix}"))[0]
    volume = read_volume(path)
    assert volume.channels == channels
    assert volume.array.dtype == np.uint8
    difference = np.abs(volume.array[0].astype(int) - np.asarray(Image.open(path)))
    # Decoders of JPEG differ in how they enlarge the colour channels.
    assert difference.mean() < 1 if suffix == "jpg" else difference.max() == 0


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_nan_and_infinity_survive_nifti(tmp_path, suffix, dtype, channels):
    shape = (3, 4, 5) if channels == 1 else (3, 4, 5, channels)
    array = np.random.default_rng(0).random(shape).astype(dtype)
    array[1, 2, 3], array[0, 0, 1] = np.nan, -np.inf
    path = tmp_path / f"image{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=channels > 1), str(path))
    np.testing.assert_array_equal(read_volume(path).array, array)


@pytest.mark.parametrize("suffix", [".nii.gz", ".tif"])
def test_a_file_in_the_sidecars_place_is_replaced_only_on_request(tmp_path, suffix):
    volume = Volume(np.zeros((1, 4, 5), np.uint8), np.eye(4))
    path = tmp_path / f"sr{suffix}"
    sidecar_path(path).write_text("mine")
    with pytest.raises(DataError, match=r"provenance\.json exists already"):
        write_volume(volume, path, PROVENANCE)
    assert sidecar_path(path).read_text() == "mine" and not path.exists()
    write_volume(volume, path, PROVENANCE, overwrite=True)
    assert json.loads(sidecar_path(path).read_text())["Model"] == PROVENANCE["Model"]


@pytest.mark.parametrize("filling", [b"\0\0", b"\0" * 40])
def test_bytes_that_fill_up_the_end_of_a_jpeg_are_no_damage(tmp_path, rng, filling, capfd):
    sitk.WriteImage(sitk.GetImageFromArray(rng.integers(0, 255, (64, 64)).astype(np.uint8)), tmp_path / "a.jpg")
    expected = read_volume(tmp_path / "a.jpg").array
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(data[:-2] + filling + data[-2:])
    np.testing.assert_array_equal(read_volume(tmp_path / "b.jpg").array, expected)
    assert capfd.readouterr() == ("", "")


def test_itk_warns_again_after_a_file_that_cannot_be_read(tmp_path):
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(DataError):
        read_volume(tmp_path / "a.png")
    assert sitk.ProcessObject.GetGlobalWarningDisplay() == shown


def test_reading_needs_no_temporary_folder(tmp_path, rng, monkeypatch):
    picture = rng.integers(0, 255, (16, 16)).astype(np.uint8)
    monkeypatch.setattr(itk, "TemporaryFile", lambda: open(tmp_path / "no" / "such" / "folder", "w+b"))
    for name in ("a.jpg", "a.png"):
        sitk.WriteImage(sitk.GetImageFromArray(picture), tmp_path / name)
        assert read_volume(tmp_path / name).size == (16, 16, 1)


def test_a_jpeg_that_its_decoder_complains_of_is_refused(tmp_path, rng, capfd):
    sitk.WriteImage(sitk.GetImageFromArray(rng.integers(0, 255, (64, 64)).astype(np.uint8)), tmp_path / "a.jpg")
    data = bytearray((tmp_path / "a.jpg").read_bytes())
    scan = data.index(b"\xff\xda")
    data[scan + 200 : scan + 240] = bytes(40)
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(DataError, match="compressed data are damaged"):
        read_volume(tmp_path / "a.jpg")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("space: left-posterior-superior\nspace directions: (0,0,0) (0,1,0) (0,0,1)\nencoding: raw", "measure 0 mm"),
        ("spacings: 0 1 1\nencoding: raw", "measure 0 mm"),
        ("encoding: bzip2", "compressed in a way that is not supported"),
    ],
)
def test_what_is_whole_and_cannot_be_read_is_not_called_damaged(tmp_path, header, words):
    start = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 5 4 3\n{header}\n\n"
    (tmp_path / "a.nrrd").write_bytes(start.encode() + bytes(60))
    with pytest.raises(DataError, match=words):
        read_volume(tmp_path / "a.nrrd")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.nrrd", "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 3 3 1\nencoding: raw\ndata file: {}\n\n"),
        (
            "a.nrrd",
            "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 3 3 1\nencoding: raw\n" + "#" * 65536 + "\ndata file: {}\n\n",
        ),
        ("a.mha", "NDims = 3\nDimSize = 3 3 1\nElementType = MET_UCHAR\nElementDataFile = {}\n"),
        (
            "a.mha",
            "NDims = 3\nDimSize = 3 3 1\nElementType = MET_UCHAR\nElementDataFile : {}\nElementDataFile = LOCAL\n",
        ),
    ],
)
def test_a_file_from_somebody_else_names_no_other_files(tmp_path, name, content):
    (tmp_path / "secret").write_bytes(bytes(range(9)))
    (tmp_path / name).write_text(content.format(tmp_path / "secret"))
    assert read_volume(tmp_path / name).array.max() == 8
    with pytest.raises(DataError, match="is a header alone"):
        read_volume(tmp_path / name, alone=True)
    whole = write_volume(read_volume(tmp_path / name), tmp_path / f"whole{name[1:]}")
    assert read_volume(whole, alone=True).array.max() == 8


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_what_is_no_ordinary_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "a.nrrd")
    with pytest.raises(DataError, match="not an ordinary file"):
        check_output(tmp_path / "a.nrrd", overwrite=True)
