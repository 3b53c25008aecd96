"""What every test shares: a quiet environment, the folder of real images, and the rule about skipping.

Tests that need real images take the fixture ``data_folder``. Without SUPERRESOLUTION_DATA they skip by name; with it no
test may skip at all, whatever the reason, so that a complete run cannot hide a test that did not run.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

DATA_VARIABLE = "SUPERRESOLUTION_DATA"
SELF_TEST = re.compile(r"SuperResolution\w*Test\.py")

# Before anything imports Qt or torch, and inherited by the programs that tests start.
os.environ["QT_QPA_PLATFORM"] = "offscreen"
threads = os.environ.setdefault("OMP_NUM_THREADS", str(min(4, os.cpu_count() or 1)))
os.environ.setdefault("MKL_NUM_THREADS", threads)
# Models of the person who runs the tests are not part of them.
os.environ.pop("SUPERRESOLUTION_MODELS", None)


@pytest.fixture(scope="session", autouse=True)
def no_models_of_the_user(tmp_path_factory):
    """Nor are the models in that person's own folder, which lies under one of these (on macOS it stays)."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("XDG_DATA_HOME", "LOCALAPPDATA"):
            patch.setenv(variable, str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real images that SUPERRESOLUTION_DATA names."""
    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        pytest.skip(f"needs real images: set {DATA_VARIABLE} to their folder")
    path = Path(folder)
    assert path.is_dir(), f"{DATA_VARIABLE} names {folder}, which is not a folder."
    return path


@pytest.fixture(autouse=True)
def host_of_self_tests(request):
    """The files that Slicer runs as well find here, in the host, the module loaded as Slicer loads it."""
    if not SELF_TEST.fullmatch(request.path.name):
        yield
        return
    pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
    pytest.importorskip("PySide6", reason="PySide6 is not installed")
    from Testing.panel_host.self_tests import modulesOfSlicer

    with modulesOfSlicer():
        yield


def _forbid_skipping(report) -> None:
    expected_failure = hasattr(report, "wasxfail")
    if report.skipped and not expected_failure and os.environ.get(DATA_VARIABLE):
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, and with {DATA_VARIABLE} set no test may skip. {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    _forbid_skipping(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    _forbid_skipping(report)
    return report
