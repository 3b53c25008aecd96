"""The PSNR phase: absolute error, Adam, cosine schedule, averaged weights, checkpoints and exact resume."""

from __future__ import annotations

import csv
import math
import signal
import time
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn

from SuperResolutionLib.networks import create

from .config import Config
from .dataset import PackedSet, PatchSampler

CHECKPOINT_SECONDS = 180
LOG_STEPS = 50


def train(config: Config, packed: Path, run: Path, log=print) -> Path:
    """Train, resuming from ``run/checkpoint.pt`` if it is there; SIGTERM saves and returns.

    Args:
        packed: folder that ``prepare`` wrote.
        run: folder for the checkpoint and ``log.csv`` (step, loss, learning rate, seconds).

    Returns:
        Path of the checkpoint.

    Raises:
        FloatingPointError: if the loss is not finite; the last checkpoint is kept.
    """
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    state = _State(config, packed, run / "checkpoint.pt")
    before = signal.signal(signal.SIGTERM, lambda *_: setattr(state, "stop", True))
    try:
        _loop(state, run / "log.csv", log)
    finally:
        signal.signal(signal.SIGTERM, before)
    state.save()
    return state.path


def _loop(state: _State, table: Path, log) -> None:
    saved = began = time.monotonic()
    total, counted = 0.0, 0
    while state.step < state.config.steps and not state.stop:
        total, counted = total + state.advance(), counted + 1
        if state.step % LOG_STEPS == 0:
            _log(table, state, total / counted, time.monotonic() - began, log)
            total, counted = 0.0, 0
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            state.save()
            saved = time.monotonic()


class _State:
    """All that a step changes, so that saving and loading it resumes exactly."""

    def __init__(self, config: Config, packed: Path, path: Path):
        self.config, self.path, self.step, self.stop = config, path, 0, False
        self.net = start_as_bicubic(create(config.architecture, **config.network)).to(memory_format=torch.channels_last)
        self.average = deepcopy(self.net).requires_grad_(False)
        self.adam = torch.optim.Adam(self.net.parameters(), lr=config.learning_rate)
        sets = {name: (PackedSet(packed, name), share) for name, share in config.sets.items()}
        self.sampler = PatchSampler(sets, config.network["scale"], config.patch, config.hard, config.seed)
        if path.exists():
            self.load()

    def advance(self) -> float:
        """One optimiser step; returns the loss."""
        for group in self.adam.param_groups:
            group["lr"] = learning_rate(self.config, self.step)
        low, high = self.sampler.batch(self.config.batch)
        error = self.net(low.to(memory_format=torch.channels_last)) - high
        loss = error.abs().mean() + self.config.mse * error.square().mean()
        if not torch.isfinite(loss):
            raise FloatingPointError(f"The loss is not finite at step {self.step}; lower the learning rate.")
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip)
        self.adam.step()
        self.step += 1
        self._average()
        return loss.item()

    @torch.no_grad()
    def _average(self):
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for mean, value in zip(self.average.parameters(), self.net.parameters()):
            mean.lerp_(value, 1 - decay)
        for mean, value in zip(self.average.buffers(), self.net.buffers()):  # batch norm averages its own
            mean.copy_(value)

    def save(self):
        state = {"step": self.step, "net": self.net.state_dict(), "average": self.average.state_dict()}
        state |= {"adam": self.adam.state_dict(), "random": self.sampler.random.bit_generator.state}
        temporary = self.path.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self.path)

    def load(self):
        state = torch.load(self.path, weights_only=True)
        self.step = state["step"]
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.adam.load_state_dict(state["adam"])
        self.sampler.random.bit_generator.state = state["random"]


def start_as_bicubic(net: nn.Module) -> nn.Module:
    """Zero each tail's last convolution where a bicubic skip carries the image, so that training starts from it."""
    for stage in net.stages:
        if stage.bicubic_skip:
            last = [layer for layer in stage.tail.modules() if isinstance(layer, nn.Conv2d)][-1]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
    return net


def learning_rate(config: Config, step: int) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def _log(path: Path, state: _State, loss: float, seconds: float, log) -> None:
    rate = learning_rate(state.config, state.step)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["step", "loss", "learning_rate", "seconds"])
        writer.writerow([state.step, f"{loss:.6f}", f"{rate:.3e}", f"{seconds:.1f}"])
    log(f"step {state.step}/{state.config.steps}  loss {loss:.5f}  lr {rate:.2e}  {seconds:.0f} s")
