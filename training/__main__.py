"""``python -m training prepare | train | evaluate | export``: train generators on your own images."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "SuperResolution"))


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    return options.run(options) or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0 for PyTorch's choice")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    prepare = commands.add_parser("prepare", help="pack the train splits of a data folder")
    prepare.add_argument("config", type=Path, help="YAML configuration, which names the sets")
    prepare.add_argument("data", type=Path, help="folder with splits.json and one subfolder a set")
    prepare.add_argument("packed", type=Path, help="folder to write")
    prepare.set_defaults(run=_prepare)

    train = commands.add_parser("train", help="train, or resume training")
    train.add_argument("config", type=Path, help="YAML configuration")
    train.add_argument("packed", type=Path, help="folder that prepare wrote")
    train.add_argument("run_folder", type=Path, metavar="run", help="folder for checkpoints and logs")
    train.set_defaults(run=_train)

    export = commands.add_parser("export", help="write a trained run as a model folder")
    export.add_argument("config", type=Path, help="YAML configuration of the run")
    export.add_argument("run_folder", type=Path, metavar="run", help="folder of the run")
    where = export.add_mutually_exclusive_group()
    where.add_argument("--bundle", action="store_true", help="into the package instead of the user's folder")
    where.add_argument("--to", type=Path, metavar="FOLDER", help="into this folder of models")
    export.set_defaults(run=_export)

    evaluate = commands.add_parser("evaluate", help="score a model on the test splits of a data folder")
    evaluate.add_argument("model", help="id or family, or the path of a model folder")
    evaluate.add_argument("data", type=Path, help="folder with splits.json and one subfolder a set")
    evaluate.add_argument("--sets", nargs="+", required=True, help="names of the sets; a+b joins two")
    evaluate.add_argument("--split", default="test")
    evaluate.add_argument("--write", action="store_true", help="put the result into the model's card")
    evaluate.set_defaults(run=_evaluate)
    return parser


def _prepare(options) -> None:
    from .config import load_config
    from .prepare import prepare

    print(json.dumps(prepare(load_config(options.config), options.data, options.packed)))


def _train(options) -> None:
    from .config import load_config
    from .train import train

    print(train(load_config(options.config), options.packed, options.run_folder))


def _export(options) -> None:
    from SuperResolutionLib.catalog import BUNDLED

    from .config import load_config
    from .export import export

    folder = BUNDLED if options.bundle else options.to
    print(export(load_config(options.config), options.run_folder / "checkpoint.pt", folder))


def _evaluate(options) -> None:
    from SuperResolutionLib.catalog import ModelCatalog, load_card

    from .evaluate import evaluate
    from .export import write_card

    path = Path(options.model)
    card = load_card(path) if path.is_dir() else ModelCatalog.default().find(options.model)
    measured = evaluate(card, options.data, options.sets, options.split)
    print(json.dumps(measured, indent=2))
    if options.write:
        write_card(card.weights.parent, card.card | {"measured": measured})


if __name__ == "__main__":
    sys.exit(main())
