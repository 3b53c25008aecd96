"""What control groups leave to this process, in files as Linux writes them."""

import types

import psutil
import pytest

from SuperResolutionLib.backends import threads
from SuperResolutionLib.backends.limits import cpu_quota, free_memory


@pytest.fixture(autouse=True)
def free(monkeypatch):
    """The machine has 10000 bytes that are free."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=10_000))


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


CURRENT, FIRST = "0::/outer/inner\n", "4:memory:/outer/inner\n3:cpu,cpuacct:/outer/inner\n1:name=systemd:/\n"
HERE = "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({}, 10_000),
        ({f"{HERE}/memory.max": "3000\n", f"{HERE}/memory.current": "1000\n"}, 2000),  # in a container
        ({f"{HERE}/outer/memory.max": "3000\n", f"{HERE}/outer/memory.current": "1000\n"}, 2000),
        ({f"{HERE}/outer/inner/memory.max": "max\n", f"{HERE}/outer/inner/memory.current": "1000\n"}, 10_000),
        ({f"{HERE}/outer/inner/memory.max": "99000\n", f"{HERE}/outer/inner/memory.current": "1000\n"}, 10_000),
        ({f"{HERE}/outer/inner/memory.max": "900\n", f"{HERE}/outer/inner/memory.current": "1000\n"}, 0),
        (
            {
                f"{HERE}/memory.max": "3000\n",
                f"{HERE}/memory.current": "2500\n",
                f"{HERE}/memory.stat": "anon 700\ninactive_file 1000\nactive_file 800\nshmem 5\n",
            },
            2300,
        ),
    ],
)
def test_memory(tmp_path, files, left):
    assert free_memory(write(tmp_path, {"proc/self/cgroup": CURRENT, **files})) == left


def test_memory_in_the_first_version(tmp_path):
    group = f"{HERE}/memory/outer"
    files = {"proc/self/cgroup": FIRST, f"{group}/memory.limit_in_bytes": "3000\n"}
    files |= {f"{group}/memory.usage_in_bytes": "2500\n", f"{group}/inner/memory.usage_in_bytes": "2500\n"}
    files[f"{group}/memory.stat"] = "inactive_file 1\ntotal_inactive_file 400\ntotal_active_file 600\n"
    files[f"{group}/inner/memory.limit_in_bytes"] = "9223372036854771712\n"
    assert free_memory(write(tmp_path, files)) == 1500


@pytest.mark.parametrize(
    ("files", "processors"),
    [
        ({}, None),
        ({f"{HERE}/cpu.max": "150000 100000\n"}, 2),
        ({f"{HERE}/outer/cpu.max": "100000 100000\n", f"{HERE}/outer/inner/cpu.max": "max 100000\n"}, 1),
        ({f"{HERE}/outer/cpu.max": "1000 100000\n"}, 1),
    ],
)
def test_processors(tmp_path, files, processors):
    assert cpu_quota(write(tmp_path, {"proc/self/cgroup": CURRENT, **files})) == processors


@pytest.mark.parametrize(("quota", "processors"), [("250000", 3), ("-1", None)])
def test_processors_in_the_first_version(tmp_path, quota, processors):
    group = f"{HERE}/cpu/outer/inner"
    files = {f"{group}/cpu.cfs_quota_us": f"{quota}\n", f"{group}/cpu.cfs_period_us": "100000\n"}
    assert cpu_quota(write(tmp_path, {"proc/self/cgroup": FIRST, **files})) == processors


def test_threads_keep_to_the_quota(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "cpu_quota", lambda: 1)
    assert threads.physical_cores() == 1
    monkeypatch.setattr(threads, "cpu_quota", lambda: None)
    assert threads.physical_cores() >= 1


def test_without_control_groups_nothing_is_limited(tmp_path):
    assert free_memory(tmp_path) == 10_000 and cpu_quota(tmp_path) is None
