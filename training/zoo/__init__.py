"""``python -m training zoo-report``: measure every model and write docs/MODELS.md, its pictures and README's list."""

from __future__ import annotations

from pathlib import Path


def add_parser(commands) -> None:
    """The sub-command ``zoo-report``."""
    parser = commands.add_parser("zoo-report", help="measure every model, for docs/MODELS.md")
    where = "folder of the test images; else the environment variable SUPERRESOLUTION_DATA names it"
    parser.add_argument("data", nargs="?", type=Path, help=where)
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="further models, that are not bundled")
    runs = "folders of runs named after models, whose curves are kept; a later one goes on from an earlier one"
    parser.add_argument("--runs", type=Path, nargs="+", default=(), metavar="FOLDER", help=runs)
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the page (%(default)s)")
    parser.add_argument("--readme", type=Path, default=Path("README.md"), help="where the models are listed")
    parser.add_argument("--cache", type=Path, default=Path("evaluation") / "zoo", help="folder of what was measured")
    parser.add_argument("--ensemble", action="store_true", help="also as self-ensemble; takes several times as long")
    parser.add_argument("--features", type=Path, metavar="FOLDER", help="where SqueezeNet's weights are")
    parser.add_argument("--no-distance", action="store_true", help="leave the distance between features out")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--write", action="store_true", help="put the results into the cards of the models")
    parser.set_defaults(run=_run)


def _run(options) -> None:
    from .command import run

    run(options)
