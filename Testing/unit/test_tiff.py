"""TIFF files of unusual kinds: read as they are, or refused for the reason that is true."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from SuperResolutionLib import tiff
from SuperResolutionLib.errors import DataError
from SuperResolutionLib.files import read_volume

SHAPE = (40, 50)
TILES = {"tile": (32, 32)}

pytestmark = pytest.mark.usefixtures("nothing_is_printed")


def values(dtype, *channels: int, planes: int = 0) -> np.ndarray:
    shape = (planes,) * bool(planes) + SHAPE + channels
    array = np.random.default_rng(7).integers(0, 120, shape)
    # Low bytes too, so that what is cut to 8 bits is noticed.
    return (array * 257 if np.dtype(dtype).itemsize > 1 else array).astype(dtype)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("layout", [{}, TILES], ids=["strips", "tiles"])
@pytest.mark.parametrize("channels", [3, 4, 7])
def test_several_grey_channels_are_refused(tmp_path, channels, layout, dtype, planar, photometric):
    array = values(dtype, channels) if planar == "contig" else values(dtype, planes=channels)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric=photometric, planarconfig=planar, **layout)
    with pytest.raises(DataError, match=f"holds {channels} channels; extract one and use that"):
        read_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    "planar,layout,where,better",
    [
        ("contig", TILES, "in tiles", "in strips"),
        ("separate", TILES, "in tiles", "in strips"),
        ("separate", {}, "in separate planes", "in strips with the samples of a pixel together"),
    ],
    ids=["tiles", "planes in tiles", "planes"],
)
def test_what_would_be_cut_to_8_bits_is_refused(tmp_path, dtype, channels, planar, layout, where, better):
    if channels == 1 and planar == "separate":
        planar = "contig"
        layout, where, better = TILES, "in tiles", "in strips"
    array = values(dtype, channels) if planar == "contig" else values(dtype, planes=channels)
    kind = {"photometric": "rgb", "planarconfig": planar} if channels > 1 else {"photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", array, **kind, **layout)
    kind = "signed sample" if dtype == "int16" else "sample"
    message = (
        f"holds {8 * array.dtype.itemsize} bits a {kind} {where}, which cannot be read without loss; save it {better}."
    )
    with pytest.raises(DataError, match=message):
        read_volume(tmp_path / "a.tif")


def test_what_was_cut_to_8_bits_for_an_unknown_reason_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", values("uint16", 3), photometric="rgb")
    with pytest.raises(DataError, match="holds 16 bits a sample in an unusual way, which cannot be read without loss"):
        tiff.correct(tmp_path / "a.tif", np.zeros((1, *SHAPE, 4), np.uint8))


@pytest.mark.parametrize("channels", [(), (3,)])
def test_signed_bytes_in_tiles_are_refused(tmp_path, channels):
    kind = "rgb" if channels else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", values("int8", *channels), photometric=kind, **TILES)
    with pytest.raises(DataError, match="8 bits a signed sample in tiles"):
        read_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("layout", [{}, TILES], ids=["strips", "tiles"])
@pytest.mark.parametrize(
    "dtype,message",
    [
        ("float16", "holds 16-bit floats; save it as 32-bit float"),
        ("float64", "holds 64 bits a sample and TIFF is read with at most 32; save it as 32-bit float"),
        ("int64", "holds 64 bits a sample and TIFF is read with at most 32; save it with 32 bits, or as NRRD"),
        ("complex64", "holds complex pixels; save its magnitude"),
        ("complex128", "holds complex pixels; save its magnitude"),
    ],
)
def test_samples_that_are_not_read_are_named(tmp_path, dtype, message, layout):
    tifffile.imwrite(tmp_path / "a.tif", values(dtype), photometric="minisblack", **layout)
    with pytest.raises(DataError, match=message):
        read_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("layout", [{}, TILES], ids=["strips", "tiles"])
def test_colors_other_than_rgb_are_named(tmp_path, layout):
    for photometric, channels, name in (("separated", 4, "CMYK"), ("cielab", 3, "CIELAB")):
        tifffile.imwrite(tmp_path / "a.tif", values("uint16", channels), photometric=photometric, **layout)
        with pytest.raises(DataError, match=f"16 bits a sample in {name}, which .* save it as RGB"):
            read_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("layout", [{}, TILES], ids=["strips", "tiles"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colors_without_an_alpha_channel_are_read_without_a_word_of_one(tmp_path, planar, layout):
    array = values("uint8", 3) if planar == "contig" else values("uint8", planes=3)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", planarconfig=planar, **layout)
    volume = read_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.array[0], array if planar == "contig" else np.moveaxis(array, 0, -1))
    assert "alpha" not in volume.source["Notice"]


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_other_colors_of_8_bits_are_read_without_a_word_of_an_alpha_channel(tmp_path, mode):
    picture = Image.fromarray(values("uint8", 3).repeat(2, 0).repeat(2, 1)).convert(mode)
    picture.save(tmp_path / "a.tif")
    volume = read_volume(tmp_path / "a.tif")
    assert np.abs(volume.array[0].astype(int) - np.asarray(picture.convert("RGB"))).max() <= 2
    assert "alpha" not in volume.source["Notice"]


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("layout", [{}, TILES], ids=["strips", "tiles"])
@pytest.mark.parametrize("opaque", [True, False])
def test_alpha_channel_in_tiles_and_planes(tmp_path, opaque, layout, planar):
    """The TIFF library multiplies colors by it, which does nothing where all is opaque."""
    array = values("uint8", 4)
    if opaque:
        array[..., 3] = 255
    stored = array if planar == "contig" else np.moveaxis(array, -1, 0)
    kind = {"photometric": "rgb", "planarconfig": planar, "extrasamples": ["unassalpha"]}
    tifffile.imwrite(tmp_path / "a.tif", stored, **kind, **layout)
    if opaque or (planar == "contig" and not layout):
        volume = read_volume(tmp_path / "a.tif")
        np.testing.assert_array_equal(volume.array[0], array[..., :3])
        assert "alpha channel (transparency) is dropped" in volume.source["Notice"]
    else:
        with pytest.raises(
            DataError, match="transparent colors in (tiles|separate planes), which .* save it in strips"
        ):
            read_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("later", [TILES, {"extratags": [(274, 3, 1, 4, True)]}], ids=["tiles", "upside down"])
def test_pages_that_lie_otherwise_than_the_first_are_refused(tmp_path, later):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for options in ({}, later):
            file.write(values("uint8"), photometric="minisblack", **options)
    with pytest.raises(DataError, match="mixes pages"):
        read_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("layout", [{}, TILES], ids=["strips", "tiles"])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_pages_of_8_bits_are_read_in_strips_and_tiles(tmp_path, channels, layout):
    pages = values("uint8", *channels, planes=3)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="rgb" if channels else "minisblack", **layout)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array, pages)
