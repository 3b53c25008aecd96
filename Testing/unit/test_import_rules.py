"""Who may import whom: the rules that keep the engine free of its doors, and Slicer's start free of torch."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "SuperResolution"
ENGINE = MODULE / "SuperResolutionLib"

DOORS = {"SuperResolution", "SuperResolutionPanel", "SuperResolutionViewer", "training", "Testing"}
QT = {"qt", "ctk", "PythonQt", "PySide6", "PyQt5", "PyQt6"}
SLICER = {"slicer", "slicer_core", "vtk", "vtkmodules"}
# What Slicer has or its user has agreed to install, and what the terminal door brings with its extra.
PACKAGED = {"numpy", "SimpleITK", "pydicom", "torch", "safetensors", "psutil", "skimage"}
TERMINAL = {"typer", "rich", "click", "PIL", "matplotlib"}
WEB_PAGE = {"SuperResolutionViewer", "trame", "trame_slicer", "aiohttp", "wslink"}


def engine_files() -> list[Path]:
    return sorted(ENGINE.rglob("*.py"))


def panel_files() -> list[Path]:
    return sorted([*MODULE.glob("*.py"), *(MODULE / "SuperResolutionPanel").rglob("*.py")])


def viewer_files() -> list[Path]:
    return sorted((MODULE / "SuperResolutionViewer").rglob("*.py"))


def training_files() -> list[Path]:
    return sorted((ROOT / "training").rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def needs_torch(path: Path) -> bool:
    """Whether the file may import torch when it is imported itself."""
    relative = path.relative_to(ENGINE)
    in_backends = relative.parts[0] == "backends" and path.stem.startswith("torch")
    return relative.parts[0] == "networks" or in_backends or path.stem == "cli_bench_peers"


def is_mrml(path: Path) -> bool:
    """Whether the file is one of the adapters to Slicer's scene."""
    return path.parent == ENGINE and path.stem.startswith("mrml")


def is_terminal(path: Path) -> bool:
    return path.name in ("cli.py", "__main__.py") or path.stem.startswith("cli_") or "cli" in path.parts


def only_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(path: Path, file_scope_only: bool = False) -> Iterator[str]:
    """The top-level names of what a file imports from outside its own package."""
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"), filename=str(path))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]
        elif file_scope_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        elif only_for_type_checkers(node):
            pending.extend(node.orelse)
        else:
            pending.extend(ast.iter_child_nodes(node))


def third_party(names: Iterator[str]) -> set[str]:
    return {name for name in names if name not in sys.stdlib_module_names}


@pytest.mark.parametrize("path", engine_files(), ids=name_of)
def test_engine_imports_no_door_and_no_qt(path):
    assert not set(imports(path)) & (DOORS | QT)


@pytest.mark.parametrize("path", engine_files(), ids=name_of)
def test_only_the_mrml_adapters_import_slicer_or_vtk(path):
    if not is_mrml(path):
        assert not set(imports(path)) & SLICER


@pytest.mark.parametrize("path", engine_files(), ids=name_of)
def test_engine_uses_only_what_it_may(path):
    allowed = PACKAGED | {"SuperResolutionLib"} | (SLICER if is_mrml(path) else set())
    allowed |= TERMINAL if is_terminal(path) else set()
    allowed |= {"openvino", "onnxruntime"} if path.parent.name == "backends" else set()
    allowed |= {"openvino", "onnxruntime", "monai"} if path.stem == "cli_bench_peers" else set()
    assert third_party(imports(path)) <= allowed


@pytest.mark.parametrize("path", engine_files(), ids=name_of)
def test_engine_asks_for_packages_only_when_it_uses_them(path):
    """At file scope nothing that Slicer may lack: not torch, and not what the user installs at first use either."""
    allowed = {"numpy", "SimpleITK"}
    allowed |= SLICER if is_mrml(path) else set()
    allowed |= {"torch", "safetensors"} if needs_torch(path) else set()
    allowed |= TERMINAL if is_terminal(path) else set()
    assert third_party(imports(path, file_scope_only=True)) <= allowed


@pytest.mark.parametrize("path", panel_files(), ids=name_of)
def test_panel_opens_in_a_slicer_without_torch(path):
    at_file_scope = third_party(imports(path, file_scope_only=True))
    own = {"SuperResolutionLib", "SuperResolutionPanel"}
    assert at_file_scope <= {"numpy", "qt", "ctk"} | SLICER | own
    assert not set(imports(path)) & {"training", "Testing", "SuperResolutionViewer"}


@pytest.mark.parametrize("path", viewer_files(), ids=name_of)
def test_the_web_page_uses_the_engine_and_nothing_of_the_other_doors(path):
    packages = {"numpy", "trame", "trame_slicer", "aiohttp", "wslink", "PIL"} | SLICER
    assert third_party(imports(path)) <= packages | {"SuperResolutionLib"}
    assert not set(imports(path)) & (QT | (DOORS - {"SuperResolutionViewer"}))


@pytest.mark.parametrize("path", training_files(), ids=name_of)
def test_training_runs_on_a_bare_machine(path):
    """Once a data set is packed, torch, numpy, safetensors and PyYAML are all there is; Slicer never is."""
    own, with_torch = {"SuperResolutionLib", "training"}, {"torch", "filelock"}  # torch itself asks for filelock
    assert third_party(imports(path, file_scope_only=True)) <= with_torch | {"numpy", "safetensors", "yaml"} | own
    assert not set(imports(path)) & (SLICER | QT)


def import_all(modules: list[str], blocked: set[str]) -> None:
    """Imports the modules in a fresh interpreter where the blocked packages do not exist."""
    program = textwrap.dedent("""
        import importlib, sys

        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in blocked:
                    raise ModuleNotFoundError(f"No module named {name!r} (blocked)", name=name)

        modules, blocked = eval(sys.argv[1])
        sys.meta_path.insert(0, Blocker())
        for module in modules:
            importlib.import_module(module)
        assert not blocked & set(sys.modules)
    """)
    search_path = f"import sys; sys.path[:0] = {[str(MODULE), str(ROOT)]!r}\n"
    command = [sys.executable, "-c", search_path + program, repr((modules, blocked))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def module_name(path: Path, top: Path) -> str:
    parts = path.relative_to(top).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_engine_is_imported_without_anything_but_numpy_and_simpleitk():
    plain = [path for path in engine_files() if not (is_mrml(path) or needs_torch(path) or is_terminal(path))]
    blocked = {"torch", "safetensors", "psutil", "pydicom", "skimage", "yaml", "pydantic"} | TERMINAL | SLICER | QT
    import_all([module_name(path, MODULE) for path in plain], blocked)


def test_mrml_adapters_are_imported_without_torch_and_qt():
    adapters = [module_name(path, MODULE) for path in engine_files() if is_mrml(path)]
    assert "SuperResolutionLib.mrml" in adapters
    import_all(adapters, {"torch", "psutil", "safetensors", "skimage"} | QT)


def test_terminal_door_starts_without_torch():
    import_all(["SuperResolutionLib.cli"], {"torch", "psutil", "skimage"} | WEB_PAGE | SLICER | QT)


def test_training_is_imported_without_what_a_bare_machine_lacks():
    modules = [module_name(path, ROOT) for path in training_files() if path.name != "__main__.py"]
    import_all(modules, {"SimpleITK", "pydantic", "pydicom", "psutil", "skimage"} | TERMINAL | SLICER | QT)
