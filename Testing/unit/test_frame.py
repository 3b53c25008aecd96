"""The project's frame says everything once, or the same everywhere."""

from __future__ import annotations

import json
import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from PIL import Image

from SuperResolutionLib import __version__

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "SuperResolution"
HOME = "https://github.com/SlicerSuperResolution/SlicerSuperResolution"
HOME_PATH = "SlicerSuperResolution/SlicerSuperResolution"
RAW = f"https://raw.githubusercontent.com/{HOME_PATH}/main/"
MEGABYTE = 1024 * 1024


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project_files(top: Path = ROOT) -> list[Path]:
    """Every file that belongs to the project: nothing that .gitignore names, nothing of git's own."""
    ignored = [".git", *(line.strip().rstrip("/") for line in read(".gitignore").splitlines() if line.strip())]

    def belongs(path: Path) -> bool:
        return not any(fnmatch(part, pattern) for part in path.relative_to(ROOT).parts for pattern in ignored)

    return sorted(path for path in top.rglob("*") if belongs(path) and path.is_file())


def texts() -> dict[str, str]:
    """Every text file of the project by its path."""
    found = {}
    for path in project_files():
        content = path.read_bytes()
        if b"\0" not in content:
            found[path.relative_to(ROOT).as_posix()] = content.decode("utf-8")
    return found


def cmake_value(name: str) -> str:
    """The value of a one-line set(NAME "value"), which is the only form that the extension catalog reads."""
    values = re.findall(rf'^set\({name} "([^"\n]+)"\)$', read("CMakeLists.txt"), re.MULTILINE)
    assert len(values) == 1, f"CMakeLists.txt must say set({name} ...) once, as one literal on one line."
    return values[0]


def cmake_list(name: str) -> list[str]:
    text = re.sub(r"#.*", "", read("SuperResolution/CMakeLists.txt"))
    return re.search(rf"set\({name}\s+(.*?)\)", text, re.DOTALL)[1].split()


def s4ext() -> dict[str, str]:
    lines = [line for line in read("SuperResolution.s4ext").splitlines() if line and not line.startswith("#")]
    pairs = [line.split(" ", 1) for line in lines]
    assert len({key for key, _ in pairs}) == len(pairs), "SuperResolution.s4ext says a key twice."
    return dict(pairs)


def catalog_entry() -> dict:
    return json.loads(read("SuperResolution.json"))


def pyproject() -> dict:
    return tomllib.loads(read("pyproject.toml"))


def test_name_is_the_same_everywhere_and_fits_the_catalog():
    projects = re.findall(r"project\s*\(\s*([^\s)]+)", read("CMakeLists.txt"))
    assert projects[0] == "SuperResolution"
    assert (ROOT / f"{projects[0]}.json").is_file() and (ROOT / f"{projects[0]}.s4ext").is_file()
    assert "set(MODULE_NAME SuperResolution)" in read("SuperResolution/CMakeLists.txt")
    assert HOME.rsplit("/", 1)[1].startswith("Slicer")


@pytest.mark.parametrize(
    ("key", "variable"),
    [
        ("homepage", "EXTENSION_HOMEPAGE"),
        ("category", "EXTENSION_CATEGORY"),
        ("contributors", "EXTENSION_CONTRIBUTORS"),
        ("description", "EXTENSION_DESCRIPTION"),
        ("iconurl", "EXTENSION_ICONURL"),
        ("screenshoturls", "EXTENSION_SCREENSHOTURLS"),
        ("depends", "EXTENSION_DEPENDS"),
    ],
)
def test_s4ext_agrees_with_cmake(key, variable):
    assert s4ext()[key] == cmake_value(variable)


def test_catalog_entry_agrees_with_s4ext_and_cmake():
    entry, description = catalog_entry(), s4ext()
    assert entry["category"] == description["category"] == "Image Synthesis"
    assert entry["build_dependencies"] == description["depends"].split() == ["PyTorch"]
    assert entry["scm_url"] == description["scmurl"] == f"{HOME}.git"
    assert entry["scm_revision"] == description["scmrevision"]
    assert entry["build_subdirectory"] == description["build_subdirectory"]
    assert str(entry["tier"]) == description["tier"]
    assert description["scm"] == "git"


def test_module_agrees_with_the_extension():
    module = read("SuperResolution/SuperResolution.py")
    assert f'"{s4ext()["category"]}"' in module
    assert f'"{s4ext()["contributors"]}"' in module


def test_catalog_entry_has_only_known_keys():
    entry = catalog_entry()
    required = {"$schema", "category", "scm_url"}
    known = required | {"scm_revision", "scm_type", "build_dependencies", "build_subdirectory", "enabled", "tier"}
    assert required <= entry.keys() <= known
    assert entry["tier"] in (1, 3, 5)


def test_pictures_that_the_catalog_shows_are_in_the_tree():
    urls = [cmake_value("EXTENSION_ICONURL"), *cmake_value("EXTENSION_SCREENSHOTURLS").split()]
    for url in urls:
        assert url.startswith(RAW) and url.endswith(".png")  # the catalog takes no WebP
        with Image.open(ROOT / url.removeprefix(RAW)) as picture:
            assert picture.format == "PNG"


def test_pictures_that_the_readme_shows_are_small_and_in_the_tree():
    names = re.findall(r"!\[[^]]+\]\(([^)]+)\)", read("README.md"))
    shown = {path.relative_to(ROOT).as_posix() for path in (ROOT / "Resources" / "Screenshots").iterdir()}
    assert shown == set(names)
    for name in names:
        assert (ROOT / name).stat().st_size < 400_000, name


@pytest.mark.parametrize(
    "icon", ["Resources/SuperResolution.png", "SuperResolution/Resources/Icons/SuperResolution.png"]
)
def test_icons_are_128_pixels(icon):
    with Image.open(ROOT / icon) as picture:
        assert picture.size == (128, 128)


def test_every_file_of_the_module_is_packaged_and_every_packaged_file_exists():
    """Slicer's build packages what is listed and silently leaves out what is not."""
    files = {path.relative_to(MODULE).as_posix() for path in project_files(MODULE)}
    files = {name for name in files if name != "CMakeLists.txt" and not name.startswith("SuperResolutionViewer/")}
    complaints = []
    for variable, wanted in [
        ("MODULE_PYTHON_SCRIPTS", {name for name in files if name.endswith(".py")}),
        ("MODULE_PYTHON_RESOURCES", {name for name in files if not name.endswith(".py")}),
    ]:
        listed = cmake_list(variable)
        complaints += [f"add to {variable}:      {name}" for name in sorted(wanted - set(listed))]
        complaints += [f"remove from {variable}: {name}" for name in sorted(set(listed) - wanted)]
        complaints += [f"listed twice in {variable}: {name}" for name in sorted(set(listed)) if listed.count(name) > 1]
    assert not complaints, "SuperResolution/CMakeLists.txt:\n  " + "\n  ".join(complaints)


def test_version_is_the_same_everywhere():
    project = pyproject()
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "SuperResolutionLib.__version__"
    assert str(yaml.safe_load(read("CITATION.cff"))["version"]) == __version__
    assert re.search(r"^## \[(\d[^]]*)\]", read("CHANGELOG.md"), re.MULTILINE)[1] == __version__


def test_licence_is_the_same_everywhere():
    assert "Apache License" in read("LICENSE") and "Version 2.0, January 2004" in read("LICENSE")
    assert pyproject()["project"]["license"] == "Apache-2.0"
    assert yaml.safe_load(read("CITATION.cff"))["license"] == "Apache-2.0"


def test_home_url_is_the_same_everywhere():
    assert cmake_value("EXTENSION_HOMEPAGE") == HOME
    assert pyproject()["project"]["urls"]["Homepage"] == HOME
    assert yaml.safe_load(read("CITATION.cff"))["repository-code"] == HOME


def test_contributing_lists_the_files_that_name_the_home():
    naming = {name for name, text in texts().items() if HOME_PATH in text}
    section = re.search(r"^## Changing the home.*?(?=^## |\Z)", read("CONTRIBUTING.md"), re.MULTILINE | re.DOTALL)[0]
    listed = set(re.findall(r"^- `([^`]+)`", section, re.MULTILINE))
    assert listed == naming, f"add {sorted(naming - listed)}, remove {sorted(listed - naming)}"


def test_requirements_inside_slicer_are_few_and_never_pinned():
    """Slicer's users install these at first use; torch has its own way in and pins break other extensions."""
    lines = [line for line in read("SuperResolution/Resources/requirements.txt").splitlines() if line[:1] not in "#"]
    assert all(re.fullmatch(r"[a-z-]+>=[\d.]+", line) for line in lines)
    names = {line.split(">=")[0] for line in lines}
    assert names == {"safetensors", "psutil"}
    base = {re.split("[>=]", line)[0] for line in pyproject()["project"]["dependencies"]}
    assert names <= base


def test_the_style_checker_has_one_version():
    pinned = set(re.findall(r"ruff==[\d.]+", read(".pre-commit-config.yaml")))
    assert len(pinned) == 1 and pinned <= set(pyproject()["project"]["optional-dependencies"]["dev"])


def test_no_package_registry_is_named():
    """Where packages come from is the user's own setting."""
    hosts = ["pypi" + ".org", "python" + "hosted.org", "download." + "pytorch.org", "conda" + ".anaconda.org"]
    naming = [name for name, text in texts().items() if any(host in text for host in hosts)]
    assert not naming


def test_text_files_have_unix_line_ends():
    assert not [name for name, text in texts().items() if "\r\n" in text]


def test_clone_stays_small():
    """The catalog refuses what takes above 100 MB with its history; this project keeps below 80, weights below 32."""
    files = project_files()
    weights = sum(path.stat().st_size for path in files if path.suffix == ".safetensors")
    assert weights < 32 * MEGABYTE
    total = sum(path.stat().st_size for path in files) + history_size()
    largest = sorted(files, key=lambda path: path.stat().st_size)[-3:]
    assert total < 80 * MEGABYTE, f"largest files: {[path.name for path in largest]}"


def history_size() -> int:
    """Bytes of the history that a clone brings: differences are looked for anew, because .git may lack them here."""
    if not (ROOT / ".git").exists():  # an archive of the sources
        return 0
    git = ["git", "-c", "safe.directory=*", "-C", str(ROOT)]
    pack = [*git, "pack-objects", "--revs", "--no-reuse-delta", "--stdout", "-q"]
    return len(subprocess.run(pack, input=b"HEAD\n", capture_output=True, check=True).stdout)
