"""``python -m training COMMAND``: train generators on your own images. ``--help`` lists the commands."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "SuperResolution"))


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; returns the exit status: 0, or with one line on standard error 1, or 130 after Ctrl-C."""
    from SuperResolutionLib.errors import SuperResolutionError

    try:
        options = _parser().parse_args(arguments)
        if options.threads:
            import torch

            torch.set_num_threads(options.threads)
        status = options.run(options) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read the output has gone, as head does; what is left of it goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SuperResolutionError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    from . import commands, evaluate, export, interpolate, limits, prepare, queue, speed, zoo

    parser = argparse.ArgumentParser(prog="python -m training", description="Train generators on your own images.")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0 for PyTorch's choice")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    prepare.add_parser(subparsers)
    commands.add_train_parser(subparsers)
    export.add_parser(subparsers)
    evaluate.add_parser(subparsers)
    interpolate.add_parser(subparsers)
    limits.add_parser(subparsers)
    queue.add_parser(subparsers)
    speed.add_parser(subparsers)
    zoo.add_parser(subparsers)
    commands.add_schema_parser(subparsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
