"""The subcommands ``train`` and ``schema``."""

from __future__ import annotations

import json
import os
from pathlib import Path

from .config import Config, load_config
from .schema import json_schema
from .train import STATUS, train


def add_train_parser(commands) -> None:
    """Add ``train`` to the subcommands."""
    parser = commands.add_parser("train", help="train, or resume training")
    parser.add_argument("config", type=Path, help="YAML configuration")
    parser.add_argument("packed", type=Path, help="folder that prepare wrote")
    parser.add_argument("run_folder", type=Path, metavar="run", help="folder for checkpoints and logs")
    parser.add_argument("--minutes", type=float, help="save and stop after so long")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<n>")
    parser.add_argument("--features", type=Path, metavar="FOLDER", help="where VGG19's and other networks' weights are")
    parser.set_defaults(run=_train)


def add_schema_parser(commands) -> None:
    """Add ``schema`` to the subcommands."""
    parser = commands.add_parser("schema", help="print the JSON schema of a configuration")
    parser.set_defaults(run=_schema)


def _train(options) -> None:
    config = load_config(options.config)
    settings = {"minutes": options.minutes, "device": options.device, "features": options.features}
    checkpoint = train(config, options.packed, options.run_folder, **settings)
    # Of several processes one writes and tells; a run that stopped early has said how it goes on.
    if int(os.environ.get("RANK", 0)) == 0 and json.loads((checkpoint.parent / STATUS).read_text())["finished"]:
        print(checkpoint)


def _schema(options) -> None:
    print(json.dumps(json_schema(Config), indent=2))
