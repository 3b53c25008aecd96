"""How fast the loop trains a configuration here, beside a plain one: float32, contiguous, patches made in between."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from SuperResolutionLib.networks import create

from .config import Config, load_config
from .distributed import Group, connect
from .loss_terms import read_losses
from .state import State
from .train import make_sampler


def compare(config: Config, packed: Path, rounds: int, group: Group, log=print) -> dict[str, float]:
    """Time single steps of both loops in turn, so that what else the machine does meets both.

    Only the first phase is timed, which must be a PSNR phase.

    Returns:
        ``plain`` and ``ours``: median seconds a step; ``ratio``: median over the rounds; ``waiting``: share of our
        steps spent on waiting for patches.
    """
    sampler, other = make_sampler(config, packed, group), make_sampler(config, packed, group)
    other.close()  # makes its batches when they are asked for
    with tempfile.TemporaryDirectory() as folder:
        state = State(replace(config, start=None), sampler, group, Path(folder))
    steps = {"plain": _plain_step(config, other, group.device), "ours": _our_step(config, state, sampler)}
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    waited = 0.0
    for number in range(rounds + 2):
        for name, step in steps.items():
            _settle(group.device)
            began = time.perf_counter()
            waiting = step()
            _settle(group.device)
            if number >= 2:
                times[name].append(time.perf_counter() - began)
                waited += waiting
        if number >= 2:
            log(f"plain {times['plain'][-1]:.3f} s, ours {times['ours'][-1]:.3f} s")
    sampler.close()
    return {
        "plain": statistics.median(times["plain"]),
        "ours": statistics.median(times["ours"]),
        "ratio": statistics.median(one / two for one, two in zip(*times.values())),
        "waiting": waited / sum(times["ours"]),
    }


def _our_step(config: Config, state: State, sampler):
    def step() -> float:
        waited = 0.0

        def batch():
            nonlocal waited
            began = time.perf_counter()
            pair = sampler.batch(config.data.batch)
            waited = time.perf_counter() - began
            return pair

        state.advance(batch)
        return waited

    return step


def _plain_step(config: Config, sampler, device: torch.device):
    """A step as one writes it first, of the same loss, network and optimiser."""
    net = create(config.architecture, **config.arguments).to(device)
    plan = config.phases[0]
    adam = torch.optim.Adam(net.parameters(), plan.learning_rate)
    terms = {term.name: term.weight for term in read_losses(plan.losses)}
    weights = {name: terms.get(name, 0.0) for name in ("l1", "mse")}

    def step() -> float:
        low, high = (part.to(device) for part in sampler.batch(config.data.batch))
        error = net(low) - high
        loss = weights["l1"] * error.abs().mean() + weights["mse"] * error.square().mean()
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), config.clip)
        adam.step()
        loss.item()
        return 0.0

    return step


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def add_parser(commands) -> None:
    """Add ``speed`` to the subcommands."""
    parser = commands.add_parser("speed", help="time the loop beside a plain one")
    parser.add_argument("config", type=Path, help="YAML configuration, whose first phase has l1 or mse only")
    parser.add_argument("packed", type=Path, help="folder that prepare wrote")
    parser.add_argument("--rounds", type=int, default=10, help="steps of each loop")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<n>")
    parser.set_defaults(run=_run)


def _run(options) -> None:
    group = connect(options.device)
    result = compare(load_config(options.config), options.packed, options.rounds, group)
    print(
        f"plain {result['plain']:.3f} s a step, ours {result['ours']:.3f} s: {result['ratio']:.2f} times as fast, "
        f"waiting for patches {100 * result['waiting']:.1f} %"
    )
