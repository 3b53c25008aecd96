"""A list of experiments, trained and exported one after another, within a time and across machines."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from SuperResolutionLib.catalog import CARD
from SuperResolutionLib.errors import SuperResolutionError, UsageError

from .bundle import LARGEST, is_finished, note_cut_sets, pack_bundle, read_status, run_name, unpack_bundle
from .config import Config, load_config
from .export import export
from .schema import STRICT, check
from .train import CHECKPOINT, train

#: Share of the time that is left for saving, exporting and packing, and the most that it is, in minutes.
RESERVE, RESERVE_MOST = 0.08, 1.0


@dataclass(frozen=True)
class Zoo:
    """What a zoo file holds: paths of configurations, relative to it, in the order in which they are trained."""

    __pydantic_config__ = STRICT

    experiments: tuple[str, ...]


@dataclass(frozen=True)
class Places:
    """Folders of the packed sets, the runs, and the exported models."""

    packed: Path
    runs: Path
    models: Path


def load_zoo(path: Path) -> list[Config]:
    """The configurations of a zoo file.

    Raises:
        UsageError: for a faulty zoo file or configuration, or two experiments with one id.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"The queue {path} cannot be read: {' '.join(str(error).split())}.") from error
    zoo, problems = check(Zoo, values)
    if problems:
        raise UsageError(f"{path}: {'; '.join(map(str, problems))}.")
    configs = [load_config(path.parent / name) for name in zoo.experiments]
    ids = [config.id for config in configs]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise UsageError(f"{path} names {', '.join(twice)} twice; a model has one place.")
    return configs


def work(configs: list[Config], places: Places, minutes: float | None, device: str = "auto", log=print) -> list[str]:
    """Train and export what is not finished, in order, until all is done, the time is up, or a signal stops it.

    An experiment that fails is told, and the next one begins.

    Returns:
        Ids of the experiments that failed.
    """
    reserve = min(RESERVE_MOST, RESERVE * minutes) if minutes is not None else 0.0
    deadline = time.monotonic() + 60 * (minutes - reserve) if minutes is not None else None
    failed = []
    for config in configs:
        left = None if deadline is None else (deadline - time.monotonic()) / 60
        if is_done(config, places):
            log(f"{config.id}: finished before")
        elif left is None or left > 0:
            try:
                _advance(config, places, left, device, log)
            except Exception as error:  # whatever it is, the others are trained and packed
                failed.append(config.id)
                told = "" if isinstance(error, SuperResolutionError) else f"{type(error).__name__}: "
                log(f"{config.id}: failed: {told}{error}")
            except KeyboardInterrupt:
                log(f"{config.id}: interrupted, the queue ends here")
                break
    return failed


def is_done(config: Config, places: Places) -> bool:
    """Whether an experiment is trained and exported."""
    return is_finished(places.runs / run_name(config)) and (places.models / config.id / CARD).exists()


def report(configs: list[Config], places: Places) -> str:
    """A line an experiment: how far it is."""
    lines = []
    for config in configs:
        status = read_status(places.runs / run_name(config))
        state = "done" if is_done(config, places) else "begun" if status else "waiting"
        step, hours = status.get("step", 0), status.get("hours", 0.0)
        lines.append(f"{config.id:34} {step:>8}/{config.steps:<8} {hours:8.2f} h  {state}")
    return "\n".join(lines)


def _advance(config: Config, places: Places, minutes: float | None, device: str, log) -> None:
    """Raises KeyboardInterrupt if a signal stopped the training, which saved and returned."""
    run = places.runs / run_name(config)
    if not is_finished(run):
        log(f"{config.id}: training" + (f", {minutes:.1f} minutes left" if minutes is not None else ""))
        begun = read_status(run).get("step", 0)
        train(config, places.packed, run, minutes=minutes, device=device)
        note_cut_sets(run, config, places.packed, begun)
        if read_status(run).get("interrupted"):
            raise KeyboardInterrupt
    if is_finished(run):
        log(f"{config.id}: exported to {export(config, run / CHECKPOINT, places.models)}")


def add_parser(commands) -> None:
    """Add ``queue`` to the subcommands."""
    parser = commands.add_parser("queue", help="train and export a list of experiments within a time")
    parser.add_argument("zoo", type=Path, help="YAML file that lists configurations")
    parser.add_argument("--minutes", type=float, help="stop after so long; 0 trains nothing")
    parser.add_argument("--packed", type=Path, default=Path("packed"), help="folder that prepare wrote")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs, one a model")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder for the exported models")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<n>")
    parser.add_argument("--unpack", type=Path, metavar="FOLDER", help="before: restore runs and data from a bundle")
    parser.add_argument("--pack", type=Path, metavar="FOLDER", help="after: write runs and data as a bundle")
    parser.add_argument("--mib", type=float, default=LARGEST, help="largest size of the bundle (%(default)s)")
    parser.set_defaults(run=_queue)


def _queue(options) -> int:
    places = Places(options.packed, options.runs, options.models)
    configs = load_zoo(options.zoo)
    if options.unpack:
        restored = unpack_bundle(options.unpack, places.packed, places.runs)
        print(f"unpacked {', '.join(restored) or 'nothing that is newer'}")
    # Between two trainings, too, SIGTERM ends the work and nothing else.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        failed = work(configs, places, options.minutes, options.device)
    finally:
        signal.signal(signal.SIGTERM, before)
    if options.pack:
        sizes = pack_bundle(options.pack, configs, places.packed, places.runs, options.mib)
        for note in sizes.pop("notes"):
            print(note)
        print(json.dumps(sizes))
    print(report(configs, places))
    return 1 if failed else 0
