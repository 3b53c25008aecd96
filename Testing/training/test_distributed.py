"""Two processes with half of the batch each do what one does with all of it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as multiprocessing

from SuperResolutionLib.errors import UsageError
from Testing.training.tiny import CPU, Patches, tiny
from training.dataset import pack
from training.distributed import Group, connect
from training.train import make_sampler, train, train_on

BATCH = {"data": {"sets": {"s": 1.0}, "batch": 4, "patch": 12, "workers": 0}}


def in_two_processes(work, *arguments) -> None:
    """Call ``work(rank, *arguments)`` in two processes joined as torchrun would join them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_joined, (port, work, arguments), nprocs=2)


def _joined(rank: int, port: int, work, arguments) -> None:
    import os

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    work(rank, *arguments)
    threads = [name.read_text().strip() for name in Path("/proc/self/task").glob("*/comm")]
    assert not [name for name in threads if "gloo" in name], "closed, but its threads can abort the process"


def one_step_each(config, group: Group) -> dict:
    """The gradients and numbers of one step of the last phase."""
    from training.state import State

    patches = Patches(rank=group.rank, world=group.world)
    state = State(config, patches, group, Path())
    if len(config.phases) > 1:
        state.step = config.phases[0].steps
        state.next_phase()
    values = state.phase.step(5, lambda: patches.batch(config.data.batch // group.world))
    networks = {"net": state.net, "discriminator": state.phase.discriminator or torch.nn.Module()}
    gradients = {f"{a}.{b}": p.grad for a, net in networks.items() for b, p in net.named_parameters()}
    return {"gradients": gradients, "values": group.mean(values), "columns": state.phase.columns}


def step_of_half(rank: int, folder: str, gan: int) -> None:
    group = connect("cpu")
    torch.save(one_step_each(tiny(gan=gan, **BATCH), group), f"{folder}/{rank}.pt")
    group.close()


@pytest.mark.parametrize("gan", [0, 3], ids=["psnr", "relativistic"])
def test_two_processes_have_the_gradients_of_the_whole_batch(tmp_path, gan):
    in_two_processes(step_of_half, str(tmp_path), gan)
    halves = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    whole = one_step_each(tiny(gan=gan, **BATCH), CPU)
    assert len(whole["gradients"]) > (30 if gan else 10)
    for name, gradient in whole["gradients"].items():
        scale = max(float(gradient.abs().max()), 1e-2)
        for half in halves:
            assert torch.allclose(half["gradients"][name], gradient, atol=2e-5 * scale, rtol=1e-4), name
        assert torch.equal(halves[0]["gradients"][name], halves[1]["gradients"][name])
    if gan:
        assert any(float(g.abs().max()) > 0 for name, g in whole["gradients"].items() if name.startswith("discr"))
    assert torch.allclose(halves[0]["values"], whole["values"], rtol=1e-4, atol=1e-6)


def run_of_half(rank: int, packed: str, run: str) -> None:
    config = tiny(gan=4, **BATCH)
    group = connect("cpu")
    sampler = make_sampler(config, Path(packed), group)
    train_on(sampler, config, Path(run), group, lambda text: None)
    group.close()


def test_a_run_in_two_processes_follows_that_of_one_and_goes_on_alone(tmp_path):
    from Testing.training.test_resume import curve
    from Testing.training.tiny import stripes

    pack(tmp_path / "packed", "s", [stripes(64, 48, phase) for phase in range(4)])
    in_two_processes(run_of_half, str(tmp_path / "packed"), str(tmp_path / "two"))
    train(tiny(gan=4, **BATCH), tmp_path / "packed", tmp_path / "one", log=lambda text: None)
    one, two = (curve(tmp_path / name)[0] for name in ("one", "two"))
    assert [row["step"] for row in two] == [str(step) for step in range(1, 17)]
    for a, b in zip(one, two):
        assert float(b["loss"]) == pytest.approx(float(a["loss"]), rel=2e-3)
    longer = tiny(gan=6, **BATCH)
    train(longer, tmp_path / "packed", tmp_path / "two", log=lambda text: None)
    assert curve(tmp_path / "two")[0][-1]["step"] == "18"


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    pack(tmp_path, "s", [torch.rand(64, 64).numpy()])
    with pytest.raises(UsageError, match="data.batch is 2, which 3 processes cannot share"):
        make_sampler(tiny(), tmp_path, Group(torch.device("cpu"), 0, 3))


def test_a_process_alone_changes_nothing():
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1.0, 2.0])
    CPU.average_gradients([parameter])
    assert parameter.grad.tolist() == [1.0, 2.0]
    assert CPU.any(True, False) == [True, False] and CPU.leads
