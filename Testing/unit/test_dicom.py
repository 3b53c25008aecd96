"""Reading DICOM: order, geometry and rescale of synthetic and real series, and refusal of what is no straight stack."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    BasicTextSRStorage,
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from SuperResolutionLib.errors import DataError
from SuperResolutionLib.files import read_volume

SERIES = "1.2.826.0.1.3680043.8.498.1"
STUDY = "1.2.826.0.1.3680043.8.498.2"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


pytestmark = pytest.mark.usefixtures("nothing_is_printed")


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def image_dataset(pixels: np.ndarray, storage, **attributes) -> Dataset:
    """A file's content; pixels (j, i), (j, i, 3) or (frames, j, i) of 8 or 16 bits."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = storage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = SERIES, STUDY
    dataset.PatientName, dataset.PatientID = "Secret^Sam", "SECRET-17"
    dataset.Modality = "OT"
    colour = pixels.shape[-1] == 3
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    elif pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    dataset.Rows, dataset.Columns = pixels.shape[:2] if colour else pixels.shape[-2:]
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def write_series(folder: Path, pixels: np.ndarray, positions, orientation=AXIAL, storage=CTImageStorage, **attributes):
    """One file for each slice, named so that names, instance numbers and positions are in three different orders."""
    folder.mkdir(exist_ok=True)
    names = np.random.default_rng(0).permutation(len(pixels))
    for slice_pixels, position, name in zip(pixels, positions, names):
        own = {keyword: value[name] if isinstance(value, list) else value for keyword, value in attributes.items()}
        dataset = image_dataset(
            slice_pixels,
            storage,
            **{
                "Modality": "CT",
                "ImagePositionPatient": [float(value) for value in position],
                "ImageOrientationPatient": list(orientation),
                "PixelSpacing": [0.75, 0.5],
                "SliceThickness": 2.5,
                "InstanceNumber": int((name * 3) % len(pixels)),
                **own,
            },
        )
        dataset.save_as(folder / f"IM{name:03}.dcm", enforce_file_format=True)


def along_z(*heights: float) -> list[tuple[float, float, float]]:
    return [(-10.0, 20.0, height) for height in heights]


def oblique() -> tuple[np.ndarray, np.ndarray]:
    """Directions of the i and j axes, (2, 3), and the normal."""
    a, b = 0.4, -0.7
    row = np.array([np.cos(a), np.sin(a), 0])
    column = np.cross([np.sin(a) * np.sin(b), -np.cos(a) * np.sin(b), np.cos(b)], row)
    return np.array([row, column]), np.cross(row, column)


def stored_slices(rng, count=5, dtype=np.uint16, high=4096) -> np.ndarray:
    return rng.integers(0, high, (count, 8, 10)).astype(dtype)


# Order, geometry, values


@pytest.mark.parametrize("upside_down", [False, True])
def test_slices_are_sorted_by_position_and_geometry_is_exact(tmp_path, rng, upside_down):
    orientation, normal = oblique()
    pixels = stored_slices(rng, 7)
    origin = np.array([-31.4, 27.2, 11.1])
    positions = [origin + 1.25 * index * normal for index in range(7)]
    if upside_down:
        positions = positions[::-1]
    write_series(tmp_path, pixels, positions, orientation.ravel())
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, pixels[::-1] if upside_down else pixels)
    expected = np.eye(4)
    expected[:3, :3] = np.stack([*orientation, normal], axis=1) * (0.5, 0.75, 1.25)
    expected[:3, 3] = origin
    expected[:2] *= -1
    np.testing.assert_allclose(volume.ijk_to_ras, expected, rtol=0, atol=1e-9)


def itk_series(folder: Path, uid: str):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), uid))
    return reader.Execute()


def assert_same_as_itk(volume, image) -> None:
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))
    i, j, k = (length - 1 for length in volume.size)
    for index in ((0, 0, 0), (i, 0, 0), (0, j, 0), (0, 0, k), (i, j, k)):
        expected = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        np.testing.assert_allclose((volume.ijk_to_ras @ [*index, 1])[:3], expected, rtol=0, atol=1e-6)


def test_series_equals_what_simpleitk_reads(tmp_path, rng):
    orientation, normal = oblique()
    positions = [np.array([5.0, 6.0, 7.0]) + 1.5 * index * normal for index in range(6)]
    pixels = stored_slices(rng, 6)
    write_series(tmp_path, pixels, positions, orientation.ravel(), RescaleSlope=1, RescaleIntercept=-1024)
    assert_same_as_itk(read_volume(tmp_path), itk_series(tmp_path, SERIES))


def test_source_tells_the_series_and_not_the_patient(tmp_path, rng):
    write_series(tmp_path, stored_slices(rng), along_z(0, 1, 2, 3, 4), SeriesDescription="Thorax 2.5")
    volume = read_volume(tmp_path)
    assert volume.source == {
        "path": str(tmp_path),
        "SeriesInstanceUID": SERIES,
        "StudyInstanceUID": STUDY,
        "Modality": "CT",
    }
    assert volume.name == "Thorax 2.5"


@pytest.mark.parametrize(
    "dtype,high,slope,intercept,expected",
    [
        (np.uint16, 4096, 1, -1024, np.int16),
        (np.int16, 4096, 1, -1024, np.int16),
        (np.uint16, 65536, 1, -1024, np.int32),
        (np.uint16, 4096, 2, 0, np.uint16),
        (np.int16, 4096, 0.5, 1.5, np.float32),
        (np.uint8, 256, 1, 0, np.uint8),
    ],
)
@pytest.mark.parametrize("storage", [CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage])
def test_rescale_gives_units_in_the_smallest_honest_type(tmp_path, storage, dtype, high, slope, intercept, expected):
    pixels = np.linspace(0, high - 1, 2 * 8 * 10).reshape(2, 8, 10).astype(dtype)
    write_series(tmp_path, pixels, along_z(0, 1), storage=storage, RescaleSlope=slope, RescaleIntercept=intercept)
    volume = read_volume(tmp_path)
    wanted = pixels.astype(np.float64) * slope + intercept
    np.testing.assert_array_equal(volume.array, wanted)
    if expected == np.int16 or expected == np.uint16:
        assert volume.array.dtype in (np.int16, np.uint16)
    else:
        assert volume.array.dtype == expected


def test_each_slice_has_its_own_rescale(tmp_path, rng):
    pixels = stored_slices(rng, 4)
    slopes = [0.25, 1.75, 3.1, 0.6]
    names = np.random.default_rng(0).permutation(4)
    write_series(tmp_path, pixels, along_z(0, 3, 6, 9), RescaleSlope=slopes, RescaleIntercept=0)
    volume = read_volume(tmp_path)
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array, pixels * np.array(slopes)[names][:, None, None], rtol=1e-6)


def test_rounded_positions_are_even(tmp_path, rng):
    """0.625 mm written with one decimal, and a hundredth of a millimetre of sideways noise."""
    heights = np.round(0.625 * np.arange(20), 1)
    sideways = rng.normal(0, 0.01, (20, 2))
    positions = [(x, y, z) for (x, y), z in zip(sideways, heights)]
    write_series(tmp_path, stored_slices(rng, 20), positions)
    assert read_volume(tmp_path).spacing[2] == pytest.approx(heights[-1] / 19)


def test_one_file_is_one_slice(tmp_path, rng):
    pixels = stored_slices(rng, 3)
    write_series(tmp_path, pixels, along_z(0, 1, 2))
    name = next(path for path in tmp_path.iterdir() if pydicom.dcmread(path).ImagePositionPatient[2] == 1)
    volume = read_volume(name)
    np.testing.assert_array_equal(volume.array, pixels[1:2])
    assert volume.spacing == pytest.approx((0.5, 0.75, 2.5))
    assert volume.ijk_to_ras[:3, 3] == pytest.approx((10, -20, 1))


def test_other_files_beside_a_series_are_ignored(tmp_path, rng):
    pixels = stored_slices(rng, 3)
    write_series(tmp_path, pixels, along_z(0, 1, 2))
    (tmp_path / "readme.txt").write_text("a note")
    (tmp_path / ".DS_Store").write_bytes(bytes(200))
    (tmp_path / "subfolder").mkdir()
    report = image_dataset(pixels[0], BasicTextSRStorage, Modality="SR", SeriesInstanceUID=generate_uid())
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(report, keyword)
    report.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_volume(tmp_path).array, pixels)


def test_file_without_preamble(tmp_path, rng):
    pixels = stored_slices(rng, 1)
    dataset = image_dataset(pixels[0], CTImageStorage, Modality="CT")
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    pydicom.dcmwrite(tmp_path / "bare", dataset, implicit_vr=True, little_endian=True, enforce_file_format=False)
    data = (tmp_path / "bare").read_bytes()
    (tmp_path / "bare").write_bytes(data[data.index(b"\x08\x00\x16\x00") :])
    np.testing.assert_array_equal(read_volume(tmp_path / "bare").array, pixels)


@pytest.mark.parametrize("compressed", [False, True])
def test_colour(tmp_path, rng, compressed):
    pixels = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)
    dataset = image_dataset(pixels, SecondaryCaptureImageStorage, NominalScannedPixelSpacing=[2, 1])
    if compressed:
        dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    volume = read_volume(tmp_path / "a.dcm")
    np.testing.assert_array_equal(volume.array, pixels[None])
    assert volume.spacing == (1, 2, 1)
    assert "Notice" not in volume.source


def test_frames_without_positions_are_kept_with_a_notice(tmp_path, rng):
    pixels = stored_slices(rng, 6, np.uint8, 256)
    attributes = {
        "ImagerPixelSpacing": [0.2, 0.1],
        "ImagePositionPatient": [1, 2, 3],
        "ImageOrientationPatient": list(AXIAL),
    }
    dataset = image_dataset(pixels, "1.2.840.10008.5.1.4.1.1.3.1", Modality="US", **attributes)
    dataset.save_as(tmp_path / "cine.dcm", enforce_file_format=True)
    volume = read_volume(tmp_path / "cine.dcm")
    np.testing.assert_array_equal(volume.array, pixels)
    assert volume.spacing == pytest.approx((0.1, 0.2, 1))
    assert "6 frames have no positions" in volume.source["Notice"]


def test_inverted_grey_scale_is_turned_round_with_a_notice(tmp_path, rng):
    pixels = stored_slices(rng, 1)
    attributes = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
    dataset = image_dataset(pixels[0], SecondaryCaptureImageStorage, **attributes)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    volume = read_volume(tmp_path / "a.dcm")
    np.testing.assert_array_equal(volume.array, 4095 - pixels)
    assert "MONOCHROME1" in volume.source["Notice"]


# Padding


def read_padded(path: Path, pixels: np.ndarray, **attributes):
    image_dataset(pixels, CTImageStorage, Modality="CT", **attributes).save_as(path, enforce_file_format=True)
    return read_volume(path)


@pytest.mark.parametrize(
    "stored,attributes,expected",
    [
        (np.int16(-2000), {"RescaleIntercept": 0, "RescaleSlope": 1}, "-2000"),
        (np.int16(-2000), {"RescaleIntercept": -1024, "RescaleSlope": 2}, "-5024"),
        (np.uint16(63536), {}, "63536"),
        (np.uint8(255), {"RescaleIntercept": 0.3, "RescaleSlope": 0.1}, repr(float(np.float32(255 * 0.1 + 0.3)))),
        (np.uint8(250), {"PhotometricInterpretation": "MONOCHROME1"}, "5"),
        (np.int16(-2000), {"PhotometricInterpretation": "MONOCHROME1", "RescaleIntercept": -1000}, "999"),
    ],
    ids=str,
)
def test_padding_is_told_in_the_units_of_the_voxels(tmp_path, stored, attributes, expected):
    pixels = np.zeros((8, 10), stored.dtype)
    pixels[0, 0] = stored
    if "RescaleIntercept" in attributes:
        attributes = {"RescaleSlope": 1} | attributes
    volume = read_padded(tmp_path / "a.dcm", pixels, PixelPaddingValue=int(stored), **attributes)
    assert volume.source["Padding"] == expected
    assert np.argwhere(volume.array == float(expected)).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("vr,value", [("US", 63536), ("SS", -2000)])
def test_padding_has_the_sign_of_the_pixels_whatever_it_is_stated_as(tmp_path, vr, value, syntax):
    pixels = np.full((8, 10), -2000, np.int16)
    for kind, expected in (("i", "-2000"), ("u", "63536")):
        dataset = image_dataset(pixels.view(kind + "2"), CTImageStorage, Modality="CT")
        dataset.add_new("PixelPaddingValue", vr, value)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        volume = read_volume(tmp_path / "a.dcm")
        assert volume.source["Padding"] == expected
        assert (volume.array == int(expected)).all()


@pytest.mark.parametrize(
    "value,limit,expected",
    [
        (-2000, -1999, "-4024 -4022"),
        (-1999, -2000, "-4024 -4022"),
        (5, 5, "-14"),
        (0, 15, " ".join(str(2 * stored - 24) for stored in range(16))),
        (0, 16, "-24 8"),
    ],
)
def test_range_of_padding(tmp_path, value, limit, expected):
    attributes = {"RescaleSlope": 2, "RescaleIntercept": -24, "PixelPaddingRangeLimit": limit}
    volume = read_padded(tmp_path / "a.dcm", np.zeros((8, 10), np.int16), PixelPaddingValue=value, **attributes)
    assert volume.source["Padding"] == expected


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"PixelPaddingValue": None},
        {"PixelPaddingRangeLimit": 5},
        {"PixelPaddingValue": 63536, "BitsStored": 12, "HighBit": 11},
    ],
    ids=str,
)
def test_padding_that_no_voxel_can_have_is_not_told(tmp_path, attributes):
    assert "Padding" not in read_padded(tmp_path / "a.dcm", np.zeros((8, 10), np.uint16), **attributes).source


def test_each_slice_has_its_own_padding(tmp_path):
    pixels = np.zeros((3, 8, 10), np.int16)
    slopes, intercepts = [1, 2, 3], [-5, 0, 0]
    write_series(
        tmp_path,
        pixels,
        along_z(0, 1, 2),
        RescaleSlope=slopes,
        RescaleIntercept=intercepts,
        PixelPaddingValue=[-10, -10, None],
    )
    assert read_volume(tmp_path).source["Padding"] == "-20 -15"


def test_padding_of_enhanced_frames(tmp_path, rng):
    dataset = enhanced_dataset(stored_slices(rng, 3), along_z(0, 4, 8), [(1, 0), (0.5, 0.25), (2, 0)])
    dataset.PixelPaddingValue = 7
    dataset.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    assert read_volume(tmp_path).source["Padding"] == "3.75 7 14"


def item(**attributes) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def enhanced_dataset(pixels, positions, rescales, orientation=AXIAL) -> Dataset:
    dataset = image_dataset(pixels, EnhancedMRImageStorage, Modality="MR")
    measures = item(PixelSpacing=[0.75, 0.5], SliceThickness=3.0)
    shared = item(
        PixelMeasuresSequence=[measures],
        PlaneOrientationSequence=[item(ImageOrientationPatient=list(orientation))],
    )
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[float(value) for value in position])],
            PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US")],
        )
        for position, (slope, intercept) in zip(positions, rescales)
    ]
    return dataset


@pytest.mark.parametrize(
    "rescales,dtype",
    [
        ([(1, -5)] * 4, np.int16),
        ([(1, 0), (2, -10), (3, -20), (4, 7)], np.int16),
        ([(2.5, -3), (1.25, 0), (0.3, 7), (1, 0)], np.float32),
    ],
)
def test_enhanced_frames_are_sorted_and_rescaled_one_by_one(tmp_path, rng, rescales, dtype):
    orientation, normal = oblique()
    pixels = stored_slices(rng, 4)
    order = [2, 0, 3, 1]
    positions = [4.0 * height * normal for height in order]
    enhanced_dataset(pixels, positions, rescales, orientation.ravel()).save_as(
        tmp_path / "enhanced.dcm", enforce_file_format=True
    )
    volume = read_volume(tmp_path)
    scaled = np.array([slope * frame + intercept for frame, (slope, intercept) in zip(pixels.astype(float), rescales)])
    np.testing.assert_allclose(volume.array, scaled[np.argsort(order)], rtol=1e-6, atol=1e-4)
    assert volume.array.dtype == dtype
    assert volume.spacing == pytest.approx((0.5, 0.75, 4.0))
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 2], 4.0 * normal * (-1, -1, 1), atol=1e-6)


def test_enhanced_frames_at_the_same_place_are_refused(tmp_path, rng):
    dataset = enhanced_dataset(stored_slices(rng, 6), along_z(0, 4, 8, 0, 4, 8), [(1, 0)] * 6)
    dataset.save_as(tmp_path / "echoes.dcm", enforce_file_format=True)
    with pytest.raises(DataError, match="6 images at 3 positions"):
        read_volume(tmp_path / "echoes.dcm")


# Which series


def test_two_series_have_to_be_told_apart(tmp_path, rng):
    first, second = stored_slices(rng, 3), stored_slices(rng, 4)
    other = "1.2.826.0.1.3680043.8.498.9"
    write_series(tmp_path, first, along_z(0, 1, 2), SeriesDescription="T1 axial", Modality="MR")
    write_series(tmp_path / "b", second, along_z(0, 1, 2, 3), SeriesInstanceUID=other, SeriesDescription="Bone")
    for file in (tmp_path / "b").iterdir():
        shutil.move(file, tmp_path / f"other-{file.name}")
    with pytest.raises(DataError, match=r"2 series; choose one with --series") as caught:
        read_volume(tmp_path)
    assert f"{SERIES} (MR, T1 axial, 3 images)" in str(caught.value)
    assert f"{other} (CT, Bone, 4 images)" in str(caught.value)
    np.testing.assert_array_equal(read_volume(tmp_path, series=SERIES).array, first)
    np.testing.assert_array_equal(read_volume(tmp_path, series=other).array, second)
    with pytest.raises(DataError, match=f"no series 1.2.3; it holds: .*{SERIES}"):
        read_volume(tmp_path, series="1.2.3")


def test_series_of_a_single_file_is_checked_too(tmp_path, rng):
    write_series(tmp_path, stored_slices(rng, 1), along_z(0))
    file = next(tmp_path.iterdir())
    assert read_volume(file, series=SERIES).size == (10, 8, 1)
    with pytest.raises(DataError, match="no series 1.2.3"):
        read_volume(file, series="1.2.3")


def test_folders_without_a_series(tmp_path):
    with pytest.raises(DataError, match="holds no files; name"):
        read_volume(tmp_path)
    (tmp_path / "inner").mkdir()
    with pytest.raises(DataError, match="subfolders are not searched"):
        read_volume(tmp_path)
    (tmp_path / "note.txt").write_text("no image")
    with pytest.raises(DataError, match="None of the 1 files .* is DICOM"):
        read_volume(tmp_path)


# What is no straight, even, complete stack


@pytest.mark.parametrize(
    "positions,message",
    [
        (along_z(0, 1, 2, 4, 5), r"lacks 1 slice: its 5 slices are 1 mm apart with gaps of up to 2 mm"),
        (along_z(0, 1.5, 3, 12, 13.5), r"lacks 5 slices: .* 1.5 mm apart with gaps of up to 9 mm"),
        (along_z(0, 1, 2, 3.3, 4.3), r"uneven slice spacing, from 1 to 1.3 mm"),
        (along_z(0, 1, 2.2, 3.6, 5.2), r"uneven slice spacing, from 1 to 1.6 mm"),
        (along_z(0, 1, 2, 2, 3), r"5 images at 4 positions"),
        (along_z(7, 7, 7, 7, 7), r"5 images at 1 positions"),
        ([(0, np.tan(np.radians(12)) * z, z) for z in range(5)], r"gantry tilt .* 12.0 degrees, 0.85 mm sideways"),
        ([(0, np.tan(np.radians(2)) * z, z) for z in range(5)], r"gantry tilt .* 2.0 degrees"),
        ([(0.4 * (z == 2), 0, z) for z in range(5)], r"shifted slices.* 0.40 mm sideways"),
    ],
)
def test_stacks_that_are_not_straight_and_even(tmp_path, rng, positions, message):
    write_series(tmp_path, stored_slices(rng), positions)
    with pytest.raises(DataError, match=message) as caught:
        read_volume(tmp_path)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_mixed_orientations_sizes_and_spacings(tmp_path, rng):
    coronal = [1, 0, 0, 0, 0, -1]
    for name, difference in (
        ("orientations", {"ImageOrientationPatient": [list(AXIAL), list(AXIAL), coronal]}),
        ("pixel spacings", {"PixelSpacing": [[0.75, 0.5], [0.75, 0.5], [0.8, 0.5]]}),
        ("sizes", {"Rows": [8, 8, 4]}),
    ):
        write_series(tmp_path / name, stored_slices(rng, 3), along_z(0, 1, 2), **difference)
        with pytest.raises(DataError, match=f"different {name}"):
            read_volume(tmp_path / name)


def test_directions_that_are_not_at_right_angles(tmp_path, rng):
    write_series(tmp_path, stored_slices(rng, 2), along_z(0, 1), (1, 0, 0, 0.5, 0.866, 0))
    with pytest.raises(DataError, match="right angles"):
        read_volume(tmp_path)


def test_files_without_positions_are_not_stacked(tmp_path, rng):
    for index in range(2):
        dataset = image_dataset(stored_slices(rng, 1)[0], SecondaryCaptureImageStorage, Modality="CR")
        dataset.save_as(tmp_path / f"{index}.dcm", enforce_file_format=True)
    with pytest.raises(DataError, match="2 files, not all with a position"):
        read_volume(tmp_path)
    assert read_volume(tmp_path / "0.dcm").size == (10, 8, 1)


def test_grey_and_colour_in_one_series(tmp_path, rng):
    place = {"ImageOrientationPatient": list(AXIAL), "PixelSpacing": [1, 1]}
    grey, colour = rng.integers(0, 256, (8, 10), dtype=np.uint8), rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)
    for index, pixels in enumerate((grey, colour)):
        dataset = image_dataset(pixels, SecondaryCaptureImageStorage, ImagePositionPatient=[0, 0, index], **place)
        dataset.save_as(tmp_path / f"{index}.dcm", enforce_file_format=True)
    with pytest.raises(DataError, match="mixes grey and color"):
        read_volume(tmp_path)


@pytest.mark.parametrize("modality,kind", [("SEG", "segmentation"), ("RTDOSE", "dose"), ("SR", "without pixels")])
def test_objects_that_are_no_images(tmp_path, rng, modality, kind):
    storage = BasicTextSRStorage if modality == "SR" else SecondaryCaptureImageStorage
    dataset = image_dataset(stored_slices(rng, 1)[0], storage, Modality=modality)
    if modality == "SR":
        del dataset.Rows, dataset.Columns, dataset.PixelData
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    for path in (tmp_path, tmp_path / "a.dcm"):
        with pytest.raises(DataError, match=f"{kind}.*not an image"):
            read_volume(path)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_truncated_slice(tmp_path, rng, compressed, fraction):
    write_series(tmp_path, rng.integers(0, 4096, (3, 64, 64)).astype(np.uint16), along_z(0, 1, 2))
    file = sorted(tmp_path.iterdir())[1]
    if compressed:
        dataset = pydicom.dcmread(file)
        dataset.compress(RLELossless)
        dataset.save_as(file)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * fraction)])
    for path in (tmp_path, file):
        with pytest.raises(DataError, match="damaged or truncated") as caught:
            read_volume(path)
        assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"PixelData": bytes(80)}, "damaged or truncated"),
        ({"BitsStored": 12, "HighBit": 15}, "12 bits a pixel with 15 as the highest"),
        ({"RescaleSlope": 0, "RescaleIntercept": 5}, "rescale slope of 0"),
        ({"NumberOfFrames": 3}, "damaged or truncated"),
    ],
)
def test_pixels_that_would_be_misread_are_refused(tmp_path, rng, attributes, message):
    dataset = image_dataset(stored_slices(rng, 1)[0], SecondaryCaptureImageStorage, **attributes)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(DataError, match=message):
        read_volume(tmp_path / "a.dcm")


@pytest.mark.parametrize("high", [0, 11])
def test_a_highest_bit_that_leaves_no_choice_does_not_matter(tmp_path, rng, high):
    pixels = stored_slices(rng, 1, high=65536)[0]
    image_dataset(pixels, SecondaryCaptureImageStorage, HighBit=high).save_as(
        tmp_path / "a.dcm", enforce_file_format=True
    )
    np.testing.assert_array_equal(read_volume(tmp_path / "a.dcm").array[0], pixels)


def test_colors_of_16_bits_in_rle_are_refused(tmp_path, rng):
    pixels = rng.integers(0, 65535, (8, 10, 3)).astype(np.uint16)
    dataset = image_dataset(pixels, SecondaryCaptureImageStorage)
    dataset.save_as(tmp_path / "plain.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_volume(tmp_path / "plain.dcm").array, pixels[None])
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "packed.dcm", enforce_file_format=True)
    with pytest.raises(DataError, match="colors of 16 bits in RLE"):
        read_volume(tmp_path / "packed.dcm")


def test_a_file_of_no_image_class_stops_no_series(tmp_path, rng):
    write_series(tmp_path, stored_slices(rng, 3), along_z(0, 1, 2))
    other = Dataset()
    other.file_meta = FileMetaDataset()
    other.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    other.file_meta.MediaStorageSOPClassUID = "1.2.3"
    other.PatientName = "Nobody"
    other.save_as(tmp_path / "other.dcm", implicit_vr=False, little_endian=True)
    raw = (tmp_path / "other.dcm").read_bytes().replace(b"\x02\x00\x02\x00UI", b"\x02\x00\x02\x00LO")
    (tmp_path / "other.dcm").write_bytes(raw)  # as text its class is no identifier with a name
    assert read_volume(tmp_path).size == (10, 8, 3)


def test_a_slice_cut_short_in_its_header_is_not_passed_over(tmp_path, rng):
    write_series(tmp_path, stored_slices(rng, 3), along_z(0, 1, 2))
    last = sorted(tmp_path.iterdir())[-1]
    data = last.read_bytes()
    last.write_bytes(data[: data.index(b"\x28\x00\x10\x00")])
    for path in (tmp_path, last):
        with pytest.raises(DataError, match="damaged or truncated"):
            read_volume(path)


@pytest.mark.parametrize("held", [0, 100])
def test_an_empty_slice_is_not_passed_over(tmp_path, rng, held):
    write_series(tmp_path, stored_slices(rng, 3), along_z(0, 1, 2))
    last = sorted(tmp_path.iterdir())[-1]
    last.rename(last.with_suffix(".dcm"))
    last.with_suffix(".dcm").write_bytes(bytes(held))
    with pytest.raises(DataError, match="damaged or truncated"):
        read_volume(tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"NumberOfFrames": -1}, {"NumberOfFrames": 2_000_000_000}, {"BitsAllocated": None}], ids=str
)
def test_numbers_that_no_image_has(tmp_path, rng, wrong):
    path = tmp_path / "a.dcm"
    image_dataset(stored_slices(rng)[0], CTImageStorage).save_as(path, enforce_file_format=True)
    dataset = pydicom.dcmread(path)
    for keyword, value in wrong.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)
    with pytest.raises(DataError, match="damaged or truncated"):
        read_volume(path)


@pytest.mark.parametrize("keywords", [{}, {"PixelSpacing": [0.0, 0.0]}, {"ImagerPixelSpacing": [0.5, 0.25]}], ids=str)
def test_an_unknown_spacing_is_told(tmp_path, rng, keywords):
    path = tmp_path / "a.dcm"
    image_dataset(stored_slices(rng)[0], SecondaryCaptureImageStorage, **keywords).save_as(
        path, enforce_file_format=True
    )
    volume = read_volume(path)
    known = "ImagerPixelSpacing" in keywords
    assert volume.spacing == ((0.25, 0.5, 1.0) if known else (1.0, 1.0, 1.0))
    assert (volume.source.get("Spacing"), "how large" in volume.source.get("Notice", "")) == (
        (None, False) if known else ("unknown", True)
    )


def test_damaged_header(tmp_path, rng):
    write_series(tmp_path, stored_slices(rng, 1), along_z(0), NumberOfFrames="1")
    file = next(tmp_path.iterdir())
    file.write_bytes(file.read_bytes()[:132] + b"\xff\x00garbage" * 50)
    with pytest.raises(DataError):
        read_volume(file)


# Real files


def test_real_mr_series(data_folder):
    folder = data_folder / "dicom" / "mr_vsseg001"
    uid = str(pydicom.dcmread(next(folder.glob("*.dcm")), stop_before_pixels=True).SeriesInstanceUID)
    volume = read_volume(folder)
    assert volume.array.dtype == np.uint16
    assert volume.source["Modality"] == "MR"
    assert_same_as_itk(volume, itk_series(folder, uid))


def test_real_ct_slices_with_gaps_are_refused_and_one_of_them_is_read(data_folder):
    folder = data_folder / "dicom" / "ct_lidc0314"
    with pytest.raises(DataError, match="lacks 230 slices: its 10 slices are 1 mm apart with gaps of up to 94 mm"):
        read_volume(folder)
    file = sorted(folder.glob("*.dcm"))[0]
    dataset = pydicom.dcmread(file)
    volume = read_volume(file)
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array[0], dataset.pixel_array.astype(int) - 1000)
    assert volume.spacing[:2] == (0.78125, 0.78125)


def test_real_padding(data_folder):
    volume = read_volume(data_folder / "dicom" / "pydicom_test_files" / "CT_small.dcm")
    assert volume.source["Padding"] == "-3024"


def test_real_enhanced_multi_frame_series(data_folder):
    folder = data_folder / "dicom" / "mr_philips_enhanced_multiframe"
    dataset = pydicom.dcmread(next(folder.glob("*.dcm")))
    volume = read_volume(folder)
    frames = dataset.PerFrameFunctionalGroupsSequence
    slope = float(frames[0].PixelValueTransformationSequence[0].RescaleSlope)
    for frame, pixels in zip(frames, dataset.pixel_array):
        place = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float) * (-1, -1, 1)
        k = (np.linalg.inv(volume.ijk_to_ras) @ [*place, 1])[:3]
        np.testing.assert_allclose(k, [0, 0, round(k[2])], atol=1e-3)
        np.testing.assert_allclose(volume.array[round(k[2])], pixels * slope, rtol=1e-6)


@pytest.mark.parametrize(
    "name,shape,dtype",
    [
        ("CT_small", (1, 128, 128), "int16"),
        ("JPEG-lossy", (1, 1024, 256), "uint16"),
        ("JPEG2000", (1, 1024, 256), "int16"),
        ("MR_small", (1, 64, 64), "int16"),
        ("SC_rgb_jpeg_dcmtk", (1, 100, 100, 3), "uint8"),
        ("SC_rgb_rle", (1, 100, 100, 3), "uint8"),
        ("SC_rgb_rle_2frame", (2, 100, 100, 3), "uint8"),
        ("SC_rgb_small_odd", (1, 3, 3, 3), "uint8"),
        ("SC_ybr_full_422_uncompressed", (1, 100, 100, 3), "uint8"),
        ("examples_jpeg2k", (1, 480, 640, 3), "uint8"),
        ("examples_overlay", (1, 300, 484), "uint16"),
        ("examples_palette", (1, 350, 800, 3), "uint8"),
        ("examples_rgb_color", (1, 240, 320, 3), "uint8"),
        ("examples_ybr_color", (30, 240, 320, 3), "uint8"),
        ("image_dfl", (1, 512, 512), "uint8"),
    ],
)
def test_real_files_of_many_kinds(data_folder, name, shape, dtype):
    path = data_folder / "dicom" / "pydicom_test_files" / f"{name}.dcm"
    volume = read_volume(path)
    assert volume.array.shape == shape
    assert volume.array.dtype == dtype
    assert volume.array.min() < volume.array.max()
    # What pydicom decodes with numpy alone and without a rescale must be the same, voxel for voxel.
    dataset = pydicom.dcmread(path)
    plain = dataset.file_meta.TransferSyntaxUID in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless)
    if plain and dataset.PhotometricInterpretation in ("MONOCHROME2", "RGB"):
        stored = dataset.pixel_array.astype(int) + int(dataset.get("RescaleIntercept", 0))
        np.testing.assert_array_equal(volume.array.reshape(stored.shape), stored)


def test_real_objects_that_are_no_images(data_folder):
    folder = data_folder / "dicom" / "pydicom_test_files"
    for name in ("liver_1frame", "rtdose"):
        with pytest.raises(DataError, match="not an image"):
            read_volume(folder / f"{name}.dcm")
    with pytest.raises(DataError, match="9 series; choose one with --series"):
        read_volume(folder)
