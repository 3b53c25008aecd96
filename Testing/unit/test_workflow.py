"""The workflow and the self-tests for Slicer: what they name exists, and every self-test is run and packaged."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SELF_TESTS = sorted((ROOT / "Testing").glob("SuperResolution*Test.py"))


def jobs(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]


def steps() -> list[dict]:
    return [step for path in WORKFLOWS for job in jobs(path).values() for step in job["steps"]]


def commands() -> str:
    return "\n".join(step.get("run", "") for step in steps())


def test_there_is_a_workflow_with_its_jobs():
    (path,) = WORKFLOWS
    assert set(jobs(path)) == {"lint", "test", "slicer"}
    assert jobs(path)["test"]["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12"]
    assert jobs(path)["slicer"]["strategy"]["matrix"]["stability"] == ["release", "nightly"]


def test_actions_are_pinned_by_their_major_version():
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used and all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", each) for each in used)


def test_files_and_targets_that_the_workflow_names_exist():
    files = re.findall(r"(?:Testing|SuperResolution)/[\w./-]+", commands())
    assert files and all((ROOT / name).is_file() for name in files), files
    targets = re.findall(r"make ([a-z-]+)", commands())
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {"lint", "test", "test-slicer"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_every_self_test_is_registered_with_cmake():
    text = (ROOT / "Testing" / "CMakeLists.txt").read_text(encoding="utf-8")
    registered = re.findall(r"slicer_add_python_unittest\(\s*SCRIPT (\S+)\s+SLICER_ARGS --no-main-window", text)
    assert sorted(registered) == [path.name for path in SELF_TESTS]
    module = (ROOT / "SuperResolution" / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "slicer_add_python_unittest(SCRIPT ${MODULE_NAME}.py" in module


@pytest.mark.parametrize("path", SELF_TESTS, ids=lambda path: path.name)
def test_self_tests_are_plain_unittest(path):
    """Slicer has no pytest, nothing of this folder beside the file, and loads the tests by the name of the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    named += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    roots = {name.partition(".")[0] for name in named}
    assert roots <= {"importlib", "os", "sys", "tempfile", "time", "unittest", "pathlib", "numpy", "slicer", "vtk"} | {
        "SuperResolution",
        "SuperResolutionLib",
        "SuperResolutionPanel",
    }
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    assert path.stem in classes


def test_make_starts_each_self_test_in_slicer_without_a_window(tmp_path):
    program = tmp_path / "Slicer"
    program.write_text('#!/bin/sh\nfor each in "$@"; do printf "<%s>" "$each"; done\necho\n', encoding="utf-8")
    program.chmod(0o755)
    done = subprocess.run(
        ["make", "-s", "-C", str(ROOT), "test-slicer", f"SLICER={program}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    started = [line for line in done.stdout.splitlines() if "<" in line]
    for name in ("SuperResolution", *[path.stem for path in SELF_TESTS]):
        (line,) = [each for each in started if f", '{name}')>" in each.replace("],", ",")]
        for argument in ("--testing", "--no-main-window", "--additional-module-paths", f"{ROOT}/SuperResolution"):
            assert f"<{argument}>" in line


def test_make_says_when_a_self_test_fails(tmp_path):
    program = tmp_path / "Slicer"
    program.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    command = ["make", "-s", "-C", str(ROOT), "test-slicer", f"SLICER={program}"]
    assert subprocess.run(command, capture_output=True).returncode != 0
