"""From a folder of images to packed sets: patients, splits, duplicates, unreadable files, and what is stored."""

import gzip
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from SuperResolutionLib.errors import DataError, UsageError
from SuperResolutionLib.files import read_volume
from SuperResolutionLib.intensity import choose_map
from training.duplicates import exact_pairs, near_pairs, pixel_hash, thumbnail
from training.packed import AUTO, PackedSet, PackWriter, pack
from training.prepare import prepare, table, training_files
from training.slices import cut_slices, fit_channels, slice_axes
from training.sources import Source, find_sources, patient_scope, patients_of
from training.splits import SPLITS, draw_splits, draw_together, files_of, patients_in_two_splits, read_splits

RANDOM = np.random.default_rng(0)


def picture(seed: int, shape=(48, 40)) -> np.ndarray:
    """Smooth blobs: pictures that differ, and stay the same when they are a little changed."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    waves = sum(np.sin(x * random.uniform(-0.3, 0.3) + y * random.uniform(-0.3, 0.3) + k) for k in range(6))
    return np.uint8(np.interp(waves, (waves.min(), waves.max()), (5, 250)))


def write(path, array, spacing=None, color=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array, isVector=color)
    if spacing:
        image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


def config(*sets, channels=1, intensity=AUTO):
    card = {"intensity": intensity}
    return SimpleNamespace(data=SimpleNamespace(sets=dict.fromkeys(sets, 1.0)), channels=channels, card=card)


@pytest.fixture
def xrays(tmp_path):
    """Twelve X-rays of six patients by the names of NIH ChestX-ray14."""
    for patient in range(6):
        for visit in range(2):
            write(tmp_path / "data" / "xray" / f"{patient:08d}_{visit:03d}.png", picture(10 * patient + visit))
    return tmp_path / "data"


def quiet(*arguments, **options):
    return prepare(*arguments, log=lambda text: None, **options)


def test_splits_are_drawn_by_patient_and_the_same_every_time(xrays, tmp_path):
    report = quiet(config("xray"), xrays, tmp_path / "one")["xray"]
    assert report["images"] == {"train": 8, "val": 2, "test": 2}
    assert report["patients"] == {"train": 4, "val": 1, "test": 1}
    lists = json.loads((tmp_path / "one" / "splits.json").read_text())["xray"]
    patients = {split: {file[:8] for file in files} for split, files in lists.items()}
    assert not patients["train"] & patients["test"] and not patients["train"] & patients["val"]
    quiet(config("xray"), xrays, tmp_path / "two")
    for name in ("xray.bin", "xray.json", "report.json", "splits.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    packed = PackedSet(tmp_path / "one", "xray")
    assert len(packed) == 8 and packed.channels == 1
    first = packed.rows[0]["source"]
    assert first in lists["train"]
    np.testing.assert_array_equal(packed.stored(0)[..., 0], read_volume(xrays / "xray" / first).array[0])


def test_the_folder_of_the_images_itself_and_given_shares(xrays, tmp_path):
    report = quiet(config("mine"), xrays / "xray", tmp_path / "out", shares=(1, 0, 0))
    assert report["mine"]["images"] == {"train": 12, "val": 0, "test": 0}


def test_a_given_list_is_kept_to_and_a_patient_in_two_splits_refused(xrays, tmp_path):
    names = sorted(path.name for path in (xrays / "xray").iterdir())
    lists = {"xray": {"train": names[:4], "val": names[4:6], "test": names[6:]}}
    (xrays / "splits.json").write_text(json.dumps(lists))
    report = quiet(config("xray"), xrays, tmp_path / "out")["xray"]
    assert report["splits"] == "given" and report["slices"] == 4
    lists["xray"]["test"].append(names[0])
    (xrays / "splits.json").write_text(json.dumps(lists))
    with pytest.raises(DataError, match="00000000 of xray in two splits"):
        quiet(config("xray"), xrays, tmp_path / "out")


def test_a_mistyped_set_does_not_become_the_whole_folder(xrays, tmp_path):
    (xrays / "brain").mkdir()
    with pytest.raises(DataError, match="There is no folder .*xrya for the set xrya; there are brain, xray. Check"):
        quiet(config("xrya"), xrays, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_listed_file_that_is_not_there_is_named(xrays, tmp_path):
    lists = {"xray": {"train": ["00000000_000.png", "sub/00000009_000.png"], "val": [], "test": ["00000001_009.png"]}}
    (xrays / "xray" / "sub").mkdir()
    (xrays / "splits.json").write_text(json.dumps(lists))
    with pytest.raises(DataError, match="lists 00000001_009.png and 1 more of xray, but .*xray does not hold it"):
        quiet(config("xray"), xrays, tmp_path / "out")


@pytest.mark.parametrize("suffix", [".ppm", ".ppm.gz", ".pgm"])
def test_netpbm_images(tmp_path, suffix):
    array = np.stack([picture(seed) for seed in (1, 2, 3)], axis=-1)
    array = array[..., 0] if suffix == ".pgm" else array
    kind = b"P5" if suffix == ".pgm" else b"P6"
    data = kind + b"\n# a comment\n40 48\n255\n" + array.tobytes()
    path = tmp_path / f"im0001{suffix}"
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    source = find_sources(tmp_path)[0]
    volume = source.read()
    assert source.patient == "im0001" and volume.name == "im0001" and volume.array.dtype == np.uint8
    np.testing.assert_array_equal(volume.array[0], array)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="cannot be read as a PPM or PGM"):
        source.read()
    with pytest.raises(DataError, match="There is no file"):
        Source.listed(tmp_path, f"im0002{suffix}").read()


def test_blank_slices_and_unfit_files_are_counted(tmp_path):
    volume = RANDOM.integers(0, 1000, (6, 40, 50)).astype(np.int16)
    volume[:2] = 0
    write(tmp_path / "data" / "mr" / "sub-01_T1w.nii.gz", volume, (1.0, 1.0, 5.0))
    color = np.stack([picture(seed) for seed in (1, 2, 3)], axis=-1)
    write(tmp_path / "data" / "eye" / "im0001.png", color, color=True)
    write(tmp_path / "data" / "eye" / "im0002.png", picture(4))
    alone = {"shares": (1, 0, 0)}
    report = quiet(config("mr"), tmp_path / "data", tmp_path / "out", **alone)
    report |= quiet(config("eye", channels=3), tmp_path / "data", tmp_path / "out", **alone)
    assert (report["mr"]["slices"], report["mr"]["blank_slices"]) == (4, 2)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["mr"]["blank_slices"] == 2
    head, *rows = (line.split() for line in table(report).replace(" / ", "/").splitlines())
    head = " ".join(head).split()
    assert [row[head.index("blank")] for row in rows] == ["2", "0"]
    assert [row[head.index("unfit")] for row in rows] == ["0", "1"]


def test_a_set_may_be_a_pattern(xrays, tmp_path):
    report = quiet(config("xray/*_000.png"), xrays, tmp_path / "out")
    assert report["xray/*_000.png"]["files"] == 6
    assert len(PackedSet(tmp_path / "out", "xray/*_000.png")) == 4
    lists = read_splits(tmp_path / "out" / "splits.json")
    assert files_of(lists, "xray/0*", "train", tmp_path) == lists["xray"]["train"]
    with pytest.raises(UsageError, match="fits the pattern"):
        files_of(lists, "xray/z*", "train", tmp_path)
    with pytest.raises(UsageError, match="no set 'brain'; it has xray"):
        files_of(lists, "brain", "train", tmp_path)


def test_splits_are_drawn_once_for_all_patterns_of_a_folder(tmp_path):
    for patient in range(10):
        for view in "xy" if patient % 2 else "x":
            write(tmp_path / "data" / "a" / f"p{patient}_{view}.png", picture(20 * patient + ord(view)))
    both = ("a/*_x.png", "a/*_y.png")
    report = quiet(config(*both), tmp_path / "data", tmp_path / "out", rule=r"^(p\d)")
    lists = read_splits(tmp_path / "out" / "splits.json")["a"]
    assert sum(map(len, lists.values())) == 15, "no list is lost"
    whose = {file: file[:2] for files in lists.values() for file in files}
    assert patients_in_two_splits(lists, whose) == []
    for name in both:
        taken = {split: sum(file.endswith(name[-6:]) for file in files) for split, files in lists.items()}
        assert report[name]["images"] == taken
        assert {row["source"] for row in PackedSet(tmp_path / "out", name).rows} <= set(lists["train"])
    quiet(config(both[1]), tmp_path / "data", tmp_path / "out", rule=r"^(p\d)")
    assert read_splits(tmp_path / "out" / "splits.json")["a"] == lists, "the same for each alone"
    with pytest.raises(UsageError, match="folder a fits the pattern z"):
        quiet(config("a/z"), tmp_path / "data", tmp_path / "out", rule="file")


def test_a_set_lies_in_one_folder_under_several_mappings(tmp_path):
    for patient in range(3):
        write(tmp_path / "data" / "ct" / f"{patient}.nii.gz", picture(patient)[None].astype(np.int16) * 4)
    units, out = {"mapping": "fixed", "low": -1024, "high": 3071}, tmp_path / "out"
    for intensity in (AUTO, units):
        entry = quiet(config("ct", intensity=intensity), tmp_path / "data", out, rule="file")["ct"]
        assert entry["intensity"] == intensity
    assert {path.name for path in out.glob("ct*")} == {
        "ct.bin",
        "ct.json",
        "ct_fixed_-1024_3071.bin",
        "ct_fixed_-1024_3071.json",
    }
    for intensity in (AUTO, units):
        packed = PackedSet(out, "ct", intensity)
        volume = read_volume(tmp_path / "data" / "ct" / packed.rows[0]["source"]).array
        expected = choose_map(volume, intensity).to_network(volume)[0]
        np.testing.assert_allclose(packed.slice(0)[..., 0], expected, atol=1e-6)
    with pytest.raises(UsageError, match="no packed set 'ct' under the intensity mapping percentile 1 99; run"):
        PackedSet(out, "ct", {"mapping": "percentile", "low": 1, "high": 99})


def test_a_pack_of_another_set_or_mapping_is_refused(tmp_path):
    pack(tmp_path, "a/*.png", [picture(0)])
    with pytest.raises(
        UsageError, match=r"from the set 'a/\*.png' .* auto, and what is wanted is 'a/\?.png' under auto"
    ):
        PackedSet(tmp_path, "a/?.png")
    about = json.loads((tmp_path / "a_.png.json").read_text())
    (tmp_path / "a_.png.json").write_text(json.dumps(about | {"intensity": {"mapping": "fixed", "low": 0, "high": 9}}))
    with pytest.raises(UsageError, match="mapping fixed 0 9, and what is wanted is .* under auto; run"):
        PackedSet(tmp_path, "a/*.png")


def test_without_a_card_nothing_is_packed(xrays, tmp_path):
    bare = config("xray")
    bare.card = {}
    with pytest.raises(UsageError, match="has no card whose intensity says how images are packed"):
        quiet(bare, xrays, tmp_path / "out")


def test_duplicates_and_unreadable_files_are_reported(xrays, tmp_path, capsys):
    folder = xrays / "xray"
    shutil.copy(folder / "00000001_000.png", folder / "00000001_002.png")
    near = picture(30).astype(int) + RANDOM.integers(-2, 3, (48, 40))
    write(folder / "00000009_000.png", np.uint8(np.clip(near, 0, 255)))  # another number, patient 3's picture
    (folder / "00000004_002.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"broken")
    report = quiet(config("xray"), xrays, tmp_path / "out")
    found = report["xray"]
    assert [entry["file"] for entry in found["unreadable"]] == ["00000004_002.png"]
    assert "00000004_002.png" in found["unreadable"][0]["why"]
    assert [entry["files"] for entry in found["exact_duplicates"]] == [("00000001_000.png", "00000001_002.png")]
    pairs = [entry["files"] for entry in found["near_duplicates"]]
    assert pairs == [["00000003_000.png", "00000009_000.png"]]
    assert len(set(found["near_duplicates"][0]["splits"])) == 1, "what looks alike stays in one split"
    text = table(report)
    assert "unreadable" in text and "xray" in text


def test_a_test_image_never_trains_under_another_name():
    parts = {"train": ["a", "b", "c", "d"], "val": [], "test": ["t"]}
    kept, dropped = training_files(parts, [("b", "t"), ("c", "d")], {"a", "b", "c", "d", "t"})
    assert kept == {"a", "c"}
    assert [entry["file"] for entry in dropped] == ["b", "d"] and "must not train" in dropped[0]["why"]


@pytest.fixture
def two_folders(tmp_path):
    """Patients 0 to 11 by NIH's names, an image in each folder; the picture 0 of b is 3 of a under another name."""
    for number in range(12):
        write(tmp_path / "data" / "a" / f"{number:08d}_000.png", picture(100 + number))
        write(tmp_path / "data" / "b" / f"{number:08d}_001.png", picture(200 + number))
    write(tmp_path / "data" / "b" / "00000099_001.png", picture(103))
    return tmp_path / "data"


def splits_by_patient(lists: dict) -> dict[str, set[str]]:
    return {split: {file[:8] for parts in lists.values() for file in parts[split]} for split in SPLITS}


def test_a_patient_lies_in_one_split_of_all_folders(two_folders, tmp_path):
    report = quiet(config("a", "b", "b@32"), two_folders, tmp_path / "out")
    lists = read_splits(tmp_path / "out" / "splits.json")
    assert all(parts[split] for parts in lists.values() for split in parts)
    found = splits_by_patient(lists)
    assert not found["train"] & (found["val"] | found["test"]) and not found["val"] & found["test"]
    where = {file: split for parts in lists.values() for split, files in parts.items() for file in files}
    assert where["00000003_000.png"] == where["00000099_001.png"], "nor does the same picture under two names"
    assert not any(entry["left_out_of_training"] for entry in report.values())
    pair = report["a"]["exact_duplicates"][0]
    assert pair["files"] == ["00000003_000.png", "b/00000099_001.png"] and len(set(pair["splits"])) == 1
    assert report["b"]["slices"] == report["b@32"]["slices"] and len(report["b@32"]["exact_duplicates"]) == 1
    quiet(config("a"), two_folders, tmp_path / "alone")
    assert read_splits(tmp_path / "alone" / "splits.json")["a"] == lists["a"], "as if it were alone"


def test_by_file_pictures_of_one_name_in_two_folders_may_look_alike(tmp_path):
    for number in range(4):
        write(tmp_path / "data" / "a" / f"{number}.png", picture(100 + number))
        write(tmp_path / "data" / "b" / f"{number}.png", picture(103 if number == 3 else 200 + number) + np.uint8(1))
    report = quiet(config("a", "b"), tmp_path / "data", tmp_path / "out", rule="file")
    [pair] = report["b"]["near_duplicates"]
    assert pair["files"] == ["3.png", "a/3.png"] and len(set(pair["splits"])) == 1


def test_by_file_equal_names_in_two_folders_are_two_patients():
    files = [f"{number}.png" for number in range(20)]
    alone = draw_splits({file: file for file in files})
    patients = {folder: {file: (patient_scope(files, "file", folder), file) for file in files} for folder in "ab"}
    assert draw_together(patients) == {"a": alone, "b": alone}
    joined = draw_together(patients, [(("a", "0.png"), ("b", "7.png"))])
    where = {(f, file): split for f, parts in joined.items() for split, files in parts.items() for file in files}
    assert where["a", "0.png"] == where["b", "7.png"] and len(where) == 40


@pytest.mark.parametrize("same", ["pixels", "patient"])
def test_what_one_given_set_holds_out_does_not_train_in_another(two_folders, tmp_path, same):
    a, b = (sorted(path.name for path in (two_folders / folder).iterdir()) for folder in "ab")
    lists = {"a": {"train": a[:4], "val": a[4:6], "test": []}, "b": {"train": b[5:8], "val": [], "test": b[10:]}}
    if same == "patient":
        lists["b"] = {"train": b[5:8], "val": b[8:9], "test": [b[2]]}
    (two_folders / "splits.json").write_text(json.dumps(lists))
    report = quiet(config("a", "b", "b@32"), two_folders, tmp_path / "out")
    why = {entry["file"]: entry["why"] for entry in report["a"]["left_out_of_training"]}
    if same == "pixels":
        assert why == {a[3]: f"has the same pixels as b/{b[12]}, which must not train"}
        assert report["a"]["exact_duplicates"] == [{"files": [a[3], f"b/{b[12]}"], "splits": ["train", "test"]}]
    else:
        assert why == {a[2]: f"is of the patient 00000002, as b/{b[2]} is, which must not train"}
    assert report["a"]["slices"] == 3
    for name in ("b", "b@32"):
        [left] = report[name]["left_out_of_training"]
        assert left["file"] == b[5] and "as a/00000005_000.png is" in left["why"], "a validates on that patient"
        assert report[name]["slices"] == 2


def test_folders_without_images_and_without_enough_patients(xrays, tmp_path):
    (tmp_path / "empty" / "xray").mkdir(parents=True)
    with pytest.raises(DataError, match="is empty; put the images there"):
        quiet(config("xray"), tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty" / "xray" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="None of the 1 files"):
        quiet(config("xray"), tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty" / "xray" / "00000001_000.png").write_text("x")
    with pytest.raises(DataError, match="None of the 1 images of xray can be read"):
        quiet(config("xray"), tmp_path / "empty", tmp_path / "out")
    few = tmp_path / "few" / "xray"
    few.mkdir(parents=True)
    for name in ("00000001_000.png", "00000001_001.png", "00000002_000.png"):
        shutil.copy(xrays / "xray" / name, few / name)
    with pytest.raises(DataError, match="too few patients: 2 for train, val, test"):
        quiet(config("xray"), tmp_path / "few", tmp_path / "out")
    with pytest.raises(DataError, match="There is no folder"):
        quiet(config("xray"), tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "out" / "xray.bin").exists()


@pytest.mark.parametrize(
    ("names", "rule", "patients"),
    [
        (["00000013_005.png", "00000013_006.png"], "auto", ["00000013", "00000013"]),
        (["IXI002-Guys-0828-T1.nii.gz", "IXI012-HH-1211-T1.nii.gz"], "auto", ["IXI002", "IXI012"]),
        (["CNV-81630-1.jpeg", "NORMAL-81630-2.jpeg"], "auto", ["81630", "81630"]),
        (["im0001.png", "im0002.png"], "auto", ["im0001", "im0002"]),
        (["Image_01L.jpg", "Image_01R.jpg"], "auto", ["01", "01"]),
        (["sub-07_T1w.nii.gz", "sub-07_T2w.nii.gz"], "auto", ["sub-07", "sub-07"]),
        (["anna/1.png", "anna/left/2.png", "bo/1.png"], "folder", ["anna", "anna", "bo"]),
        (["s01_average.png", "s01_test.png"], r"^(s\d+)_", ["s01", "s01"]),
        (["a.png", "b.png"], "file", ["a.png", "b.png"]),
    ],
)
def test_whose_an_image_is(tmp_path, names, rule, patients):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [source.patient for source in find_sources(tmp_path, rule)] == patients
    assert list(patients_of(names, rule).values()) == patients


def test_patients_are_never_guessed(tmp_path):
    for name in ("scan1.png", "scan2.png"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UsageError, match="State whose the images are with --patient"):
        find_sources(tmp_path)
    assert patients_of(["scan1.png"], "auto") == {}
    with pytest.raises(UsageError, match="does not fit the file scan1.png"):
        find_sources(tmp_path, r"^(patient\d+)")
    with pytest.raises(UsageError, match="nor a regular expression"):
        find_sources(tmp_path, "(")
    with pytest.raises(UsageError, match="not DICOM"):
        find_sources(tmp_path, "dicom")


def test_dicom_says_whose_it_is(data_folder, tmp_path):
    source = data_folder / "dicom"
    for name in ("CT_small.dcm", "MR_small.dcm"):
        shutil.copy(source / "pydicom_test_files" / name, tmp_path / name.removesuffix(".dcm"))
    for path in sorted((source / "mr_vsseg001").glob("*.dcm"))[:4]:
        (tmp_path / "series").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "series" / path.name)
    found = find_sources(tmp_path)
    assert [entry.name for entry in found if entry.series is None] == ["CT_small", "MR_small"]
    series = next(entry for entry in found if entry.series)
    assert series.read().array.shape[0] == 4 and series.patient
    assert type(series).listed(tmp_path, series.name).read().array.shape[0] == 4
    assert len({entry.patient for entry in found}) == 3


@pytest.mark.parametrize("rule", ["auto", "dicom"])
def test_dicom_that_names_no_patient_needs_a_rule(tmp_path, rule):
    for number in range(3):
        image = sitk.GetImageFromArray(picture(number)[None])
        image.SetMetaData("0010|0020", " " * number)
        sitk.WriteImage(image, str(tmp_path / f"{number}.dcm"))
    with pytest.raises(UsageError, match="have no PatientID, for example 0.dcm. State whose the images are with"):
        find_sources(tmp_path, rule)
    assert [source.patient for source in find_sources(tmp_path, "file")] == ["0.dcm", "1.dcm", "2.dcm"]


def dicom(path, patient: str, number: int) -> None:
    image = sitk.GetImageFromArray(picture(number)[None])
    image.SetMetaData("0010|0020", patient)
    sitk.WriteImage(image, str(path))


def test_a_given_list_may_not_part_a_dicom_patients_images(tmp_path):
    (tmp_path / "data" / "ct").mkdir(parents=True)
    for number in range(4):
        dicom(tmp_path / "data" / "ct" / f"{number}.dcm", f"P{number // 2}", number)
    (tmp_path / "l.json").write_text(json.dumps({"ct": {"train": ["0.dcm", "1.dcm", "2.dcm"], "test": ["3.dcm"]}}))
    with pytest.raises(DataError, match="has the patient P1 of ct in two splits"):
        quiet(config("ct"), tmp_path / "data", tmp_path / "out", splits=tmp_path / "l.json")
    (tmp_path / "l.json").write_text(json.dumps({"ct": {"train": ["0.dcm", "1.dcm"], "test": ["2.dcm", "3.dcm"]}}))
    report = quiet(config("ct"), tmp_path / "data", tmp_path / "out", splits=tmp_path / "l.json", rule="dicom")
    assert report["ct"]["patients"] == {"train": 1, "val": 0, "test": 1}
    for number in range(4):
        (tmp_path / "data" / "ct" / f"p{number}").mkdir()
        (tmp_path / "data" / "ct" / f"{number}.dcm").rename(tmp_path / "data" / "ct" / f"p{number}" / "a.dcm")
    (tmp_path / "l.json").write_text(json.dumps({"ct": {"train": ["p0", "p1", "p2"], "test": ["p3/a.dcm"]}}))
    with pytest.raises(DataError, match="has the patient P1 of ct in two splits"):
        quiet(config("ct"), tmp_path / "data", tmp_path / "out", splits=tmp_path / "l.json")


def test_a_series_by_itself_is_found_where_it_lies(tmp_path):
    (tmp_path / "1.2.3").mkdir()
    assert Source.listed(tmp_path, "1.2.3").series is None
    assert Source.listed(tmp_path, "1.2.840.7").series == "1.2.840.7"
    assert Source.listed(tmp_path, "gone").series is None and Source.listed(tmp_path, "1.2.png").series is None


def test_images_stay_in_the_split_in_which_they_trained(xrays, tmp_path):
    for patient in range(3, 9):
        write(tmp_path / "data" / "ct" / f"{patient:08d}_000.png", picture(500 + patient))
    first = quiet(config("xray", "ct"), xrays, tmp_path / "out")
    before = json.loads((tmp_path / "out" / "splits.json").read_text())
    write(tmp_path / "data" / "ct" / "00000020_000.png", picture(900))
    quiet(config("ct"), xrays, tmp_path / "out", seed=5)
    after = json.loads((tmp_path / "out" / "splits.json").read_text())
    assert after["xray"] == before["xray"] and first["ct"]["splits"] == "drawn by patient"
    assert all(set(before["ct"][split]) <= set(after["ct"][split]) for split in SPLITS)
    assert sum(map(len, after["ct"].values())) == 7
    alone = tmp_path / "alone"
    quiet(config("ct"), xrays, alone, shares=(1, 0, 0))
    with pytest.raises(DataError, match="Nobody is left for val, test"):
        quiet(config("ct"), xrays, alone)


def test_drawn_splits():
    patients = {f"{patient}-{image}": str(patient) for patient in range(20) for image in range(3)}
    splits = draw_splits(patients)
    assert [len(files) for files in splits.values()] == [48, 6, 6]
    assert patients_in_two_splits(splits, patients) == []
    assert draw_splits(dict(reversed(patients.items()))) == splits and draw_splits(patients, seed=1) != splits
    joined = draw_splits(patients, same=[("0-0", "1-0"), ("1-2", "2-0")])
    where = {file: split for split, files in joined.items() for file in files}
    assert len({where["0-0"], where["1-1"], where["2-2"]}) == 1
    with pytest.raises(UsageError, match="three numbers"):
        draw_splits(patients, shares=(1, -1, 0))


def test_duplicate_search_finds_pairs_among_many():
    pictures = [picture(seed)[None] for seed in range(60)]
    pictures.append(np.uint8(np.clip(pictures[7].astype(int) + 3, 0, 255)))
    pictures.append(pictures[20].repeat(2, axis=1).repeat(2, axis=2))
    found = near_pairs(np.array([thumbnail(array) for array in pictures]))
    assert [(a, b) for a, b, _ in found] == [(7, 60), (20, 61)]
    assert near_pairs(np.zeros((3, 1024), np.float32)) == [] and near_pairs(np.zeros((0, 1024), np.float32)) == []
    hashes = [pixel_hash(array) for array in (pictures[0], pictures[1], pictures[0].copy(), pictures[0])]
    assert exact_pairs(hashes) == [(0, 2), (0, 3)]
    assert pixel_hash(pictures[0]) != pixel_hash(pictures[0].astype(np.int16))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
def test_slices_are_stored_without_loss_where_they_can_be(tmp_path, dtype):
    array = RANDOM.integers(0, 250, (3, 20, 31)).astype(dtype) - dtype(100 if dtype == np.int16 else 0)
    mapping = choose_map(array, {"mapping": "auto"})
    with PackWriter(tmp_path, "s", 1) as writer:
        for plane, gain, offset in cut_slices(array, (0,), {"mapping": "auto"}):
            writer.add(plane, gain, offset)
    packed = PackedSet(tmp_path, "s")
    exact = 1e-6 if dtype != np.float32 else 1e-3
    np.testing.assert_allclose(packed.slice(1)[..., 0], mapping.to_network(array)[1], atol=exact)
    assert packed.rows[0]["type"] == {"uint8": "uint8", "float32": "float16"}.get(np.dtype(dtype).name, "uint16")


def test_slices_of_volumes():
    array = RANDOM.integers(0, 1000, (20, 40, 50)).astype(np.int16)
    wild = array.astype(np.float32)
    wild[0, 0, 0] = 1e9  # no pixel of float16
    for plane, _gain, _offset in cut_slices(wild, (0,), {"mapping": "auto"}):
        assert np.isfinite(plane.astype(np.float16)).all() and np.abs(plane).max() < 100
    thick = cut_slices(array, (0,), {"mapping": "auto"})
    assert len(thick) == 20 and {plane.shape for plane, _, _ in thick} == {(40, 50)}
    assert len(cut_slices(array, slice_axes(array, (1.0, 1.0, 1.0)), {"mapping": "auto"})) == 20 + 40 + 50
    assert cut_slices(np.zeros((3, 32, 32), np.int16), (0, 1, 2), {"mapping": "auto"}) == []
    broken = RANDOM.random((2, 8, 8)).astype(np.float32)
    broken[0, 3, 3] = np.nan
    assert all(np.isfinite(plane).all() for plane, _, _ in cut_slices(broken, (0,), {"mapping": "auto"}))


def test_color_and_grey(tmp_path):
    color = np.stack([picture(seed) for seed in (1, 2, 3)], axis=-1)[None]
    grey, converted = fit_channels(color, 1)
    assert converted and grey.shape == (1, 48, 40) and grey.dtype == np.uint8
    np.testing.assert_allclose(grey[0], np.rint(color[0] @ [0.299, 0.587, 0.114]), atol=1)
    same, converted = fit_channels(color[..., :1].repeat(3, axis=-1), 1)
    assert not converted and np.array_equal(same, color[..., 0])
    with pytest.raises(UsageError, match="network with 1 channel"):
        fit_channels(color[..., 0], 3)
    for number in range(4):
        write(tmp_path / "data" / "eyes" / f"im{number:04d}.png", color[0] + np.uint8(number), color=True)
    write(tmp_path / "data" / "eyes" / "im0009.png", picture(9))
    report = quiet(config("eyes", channels=3), tmp_path / "data", tmp_path / "out", shares=(1, 0, 0))["eyes"]
    packed = PackedSet(tmp_path / "out", "eyes")
    assert packed.channels == 3 and packed.slice(0).shape == (48, 40, 3) and report["stored_as"] == ["uint8"]
    assert [entry["file"] for entry in report["unfit"]] == ["im0009.png"]


def test_packs_that_are_not_there_or_incomplete(tmp_path):
    with pytest.raises(UsageError, match="no packed set 's'"):
        PackedSet(tmp_path, "s")
    pack(tmp_path, "s", [picture(0), picture(1)])
    assert PackedSet(tmp_path, "s").slice(1).max() <= 1
    (tmp_path / "s.bin").write_bytes(b"12")
    with pytest.raises(UsageError, match="incomplete"):
        PackedSet(tmp_path, "s")
    with pytest.raises(RuntimeError), PackWriter(tmp_path / "new", "t", 1) as writer:
        writer.add(picture(0))
        raise RuntimeError("stopped")
    assert list((tmp_path / "new").iterdir()) == []
    with PackWriter(tmp_path / "new", "t", 3) as writer, pytest.raises(ValueError, match="3 channels"):
        writer.add(picture(0))
