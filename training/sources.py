"""Which images a folder holds, and whose they are: the patient behind a file, by its name, its folder or its header."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SuperResolutionLib.errors import DataError, UsageError
from SuperResolutionLib.volume import Volume

#: Netpbm images, as STARE comes.
NETPBM = (".ppm", ".pgm", ".ppm.gz", ".pgm.gz")

#: Names that end so are images; DICOM files are found by their content, whatever their name.
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".png", ".tif", ".tiff", ".jpg", ".jpeg", *NETPBM)

#: Usual file layouts: what the patient's part of a file name is. OCT2017 numbers its patients over all classes.
LAYOUTS = {
    "nih": r"^(\d{8})_\d{3}\.png$",
    "ixi": r"^(IXI\d+)-",
    "oct2017": r"^(?:CNV|DME|DRUSEN|NORMAL)-(\d+)-\d+\.",
    "bids": r"^(sub-[A-Za-z0-9]+)[_.]",
    "chase": r"^Image_(\d+)[LR]\.",
    "stare": r"^(im\d{4})\.",
}

_TAGS = ["PatientID", "SeriesInstanceUID", "ImagePositionPatient", "Rows"]

RULES = ("auto", "dicom", "folder", "file", *LAYOUTS)

_STATE_IT = (
    "State whose the images are with --patient: folder (one folder a patient), file (every file is another patient), "
    f"{', '.join(LAYOUTS)}, or a regular expression whose first group is the patient."
)

#: A DICOM series by itself.
_UID = re.compile(r"[0-9.]+")


@dataclass(frozen=True)
class Source:
    """One image or volume: ``name`` as lists name it, where it is, its DICOM series if any, and whose it is."""

    name: str
    path: Path
    series: str | None = None
    patient: str = ""

    @classmethod
    def listed(cls, folder: Path, name: str, patient: str = "") -> Source:
        """The source that a list of splits names: a file, a folder, or a DICOM series as ``<folder>/<its UID>``."""
        path = folder / name
        may_be_series = not path.exists() and path.parent.is_dir() and not _is_named_image(path)
        if path.parent == folder:  # where other names are those of files that are not there
            may_be_series = may_be_series and _UID.fullmatch(path.name) is not None
        series = path.name if may_be_series else None
        return cls(name, path.parent if series else path, series, patient)

    def read(self):
        """The volume. Raises SuperResolutionError where it cannot be read."""
        if self.path.name.lower().endswith(NETPBM):
            return read_netpbm(self.path)
        from SuperResolutionLib.files import read_volume

        return read_volume(self.path, self.series)


def find_sources(folder: Path, rule: str = "auto") -> list[Source]:
    """The images of a folder and its subfolders, sorted by name, each with its patient.

    Args:
        folder: where they are.
        rule: one of ``RULES``, or a regular expression searched in the path below the folder; its first group, or all
            that it matches, is the patient. ``auto`` takes DICOM's PatientID, else the first of ``LAYOUTS`` that fits
            every name, and never guesses: other images, and DICOM files without a PatientID, need a rule.

    Raises:
        DataError: if the folder is missing, is empty, or holds no image.
        UsageError: if the rule is no expression, does not fit a file, or has to be stated.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; check the name.")
    files = _files_below(folder)
    if not files:
        raise DataError(f"The folder {folder} is empty; put the images there, or name another folder.")
    found = [Source(path.relative_to(folder).as_posix(), path) for path in files if _is_named_image(path)]
    dicom = list(_dicom_sources(folder, [path for path in files if not _is_named_image(path)]))
    if not found and not dicom:
        raise DataError(
            f"None of the {len(files)} files in {folder} is an image that can be read; training takes PNG, TIFF, JPEG, "
            "PPM, PGM, DICOM, NIfTI, NRRD and MetaImage files."
        )
    whose = _patient_rule([source.name for source in found], rule, folder)
    by_header = rule in ("auto", "dicom")
    found = [Source(source.name, source.path, None, whose(source.name)) for source in found]
    unknown = [source.name for source in dicom if not source.patient]
    if not by_header:
        dicom = [Source(source.name, source.path, source.series, whose(source.name)) for source in dicom]
    elif unknown:
        raise UsageError(f"DICOM files in {folder} have no PatientID, for example {unknown[0]}. {_STATE_IT}")
    return sorted(found + dicom, key=lambda source: source.name)


def holds_images(folder: Path) -> bool:
    """Whether images lie in a folder itself, not only in its subfolders."""
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    return any(map(_is_named_image, files)) or any(_dicom_header(path) is not None for path in files)


def read_netpbm(path: Path) -> Volume:
    """A PPM or PGM file, also packed by gzip, as a volume of one slice whose spacing is not known.

    Raises:
        DataError: if it is missing, damaged or something else. UsageError: if pillow is missing.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise UsageError("PPM and PGM images need pillow; install it with pip install pillow.") from error
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
        with Image.open(io.BytesIO(data), formats=["PPM"]) as image:
            array = np.asarray(image)
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}; check the name.") from error
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as a PPM or PGM image; copy it again.") from error
    array = np.ascontiguousarray(array, np.uint8 if array.dtype == np.uint8 else np.uint16)
    return Volume(array[None], np.eye(4), path.name.partition(".")[0], {"path": str(path), "Spacing": "unknown"})


def _is_named_image(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def patients_of(names: list[str], rule: str) -> dict[str, str]:
    """File -> patient for a list whose splits are fixed; empty where ``auto`` does not know.

    Raises:
        UsageError: as ``find_sources``, for a rule that was stated.
    """
    if rule == "auto":
        form = _layout(names)
        return {name: _matched(LAYOUTS[form], Path(name).name, form) for name in names} if form else {}
    whose = _patient_rule(names, rule, Path())
    return {name: whose(name) for name in names}


def patient_scope(names: list[str], rule: str, folder: str) -> str:
    """How far a patient's name reaches: folders with the same word here mean the same patient by the same name.

    A layout numbers its patients over all folders, and so do DICOM files and a stated rule; by ``file`` every file is
    another patient, also of another folder's file of that name.
    """
    if rule == "file":
        return f"file {folder}"
    named = [name for name in names if _is_named_image(Path(name))]
    return (_layout(named) if named else "dicom") or "" if rule == "auto" else rule


def _layout(names: list[str]) -> str | None:
    """The first usual layout that fits every name."""
    fits = (form for form in LAYOUTS if all(re.search(LAYOUTS[form], Path(name).name) for name in names))
    return next(fits, None)


def _patient_rule(names: list[str], rule: str, folder: Path):
    """A function from a file's name to its patient."""
    if rule == "auto" and names:
        rule = _layout(names)
        if rule is None:
            raise UsageError(
                f"The file names in {folder} do not say which images are of one patient, for example {names[0]}. "
                f"{_STATE_IT}"
            )
    if rule == "dicom" and names:
        raise UsageError(f"{names[0]} is not DICOM, so it names no patient; choose another rule for --patient.")
    if rule == "file":
        return lambda name: name
    if rule == "folder":
        return lambda name: _matched(r"^([^/]+)/", name, "one folder a patient")
    form = LAYOUTS.get(rule, rule)
    try:
        re.compile(form)
    except re.error as error:
        raise UsageError(f"'{rule}' is neither a rule for patients nor a regular expression: {error}.") from error
    return lambda name: _matched(form, Path(name).name if rule in LAYOUTS else name, rule)


def _matched(form: str, name: str, rule: str) -> str:
    match = re.search(form, name)
    if not match:
        raise UsageError(f"The rule '{rule}' for patients does not fit the file {name}; choose another --patient.")
    return match[1] if match.groups() else match[0]


def dicom_patients(folder: Path) -> dict[str, str]:
    """What a list may name of a folder's DICOM files -> their patient: files, series, and folders of one patient."""
    files = _files_below(folder)
    patients: dict[Path, set[str]] = {}
    for (parent, uid), members in _dicom_series(path for path in files if not _is_named_image(path)).items():
        for path, patient in members:
            for place in (path, parent / uid, parent):
                patients.setdefault(place, set()).add(patient)
    alone = {place: found.pop() for place, found in patients.items() if len(found) == 1}
    return {place.relative_to(folder).as_posix(): patient for place, patient in alone.items() if patient}


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _dicom_sources(folder: Path, files: Iterable[Path]) -> Iterable[Source]:
    """One source a series, where its files have places in space and share a folder; other files by themselves."""
    for (parent, uid), members in _dicom_series(files).items():
        first, patient = members[0]
        name = first if len(members) == 1 else parent / uid
        name = name.relative_to(folder).as_posix()
        yield Source(name, *((first, None) if len(members) == 1 else (parent, uid)), patient)


def _dicom_series(files: Iterable[Path]) -> dict[tuple[Path, str], list[tuple[Path, str]]]:
    """Folder and UID (of a file without a place in space, its name) -> files, each with its patient."""
    series: dict[tuple[Path, str], list[tuple[Path, str]]] = {}
    for path in files:
        header = _dicom_header(path)
        if header is not None:
            stacked = "ImagePositionPatient" in header and "SeriesInstanceUID" in header
            key = str(header["SeriesInstanceUID"].value) if stacked else path.name
            series.setdefault((path.parent, key), []).append((path, str(header.get("PatientID") or "").strip()))
    return series


def _dicom_header(path: Path):
    """The few fields of a DICOM file with pixels that are needed here; None for any other file."""
    from SuperResolutionLib.dicom import looks_like_dicom

    with path.open("rb") as file:
        head = file.read(256)
    if not looks_like_dicom(head):
        return None
    import pydicom

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    except (pydicom.errors.InvalidDicomError, OSError, ValueError, AttributeError):
        return None
    return header if "Rows" in header else None
