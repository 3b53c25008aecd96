"""``python -m training limits``: measure what super-resolution cannot do, and write it into docs/LIMITS.md."""

from __future__ import annotations

from pathlib import Path

#: The parts of the page that are measured, in its order.
BLOCKS = ("small-things", "same-input", "invention", "pattern", "disagreement", "domain", "anatomy", "spoiled", "how")


def add_parser(commands) -> None:
    """The sub-command ``limits``."""
    parser = commands.add_parser("limits", help="measure what models cannot do, for docs/LIMITS.md")
    parser.add_argument("data", type=Path, help="folder with one subfolder a set, and splits.json")
    parser.add_argument("--psnr", required=True, metavar="MODEL", help="model for all the sets, trained for fidelity")
    parser.add_argument(
        "--gan", required=True, metavar="MODEL", help="model for one kind of image, trained against a discriminator"
    )
    parser.add_argument("--set", default="cxr_nih", dest="own", help="grey set of that kind; its pictures are shown")
    parser.add_argument("--others", nargs="+", default=["mri3d_ds002748", "ct"], help="grey sets of other kinds")
    parser.add_argument("--split", default="test")
    parser.add_argument("--splits", type=Path, metavar="FILE", help="list of splits, instead of DATA/splits.json")
    parser.add_argument("--images", type=int, metavar="N", help="take only the first N images a set")
    parser.add_argument("--page", type=Path, default=Path("docs/LIMITS.md"), help="page whose marked places are filled")
    parser.add_argument("--device", default="auto")
    parser.set_defaults(run=_run)


def _run(options) -> None:
    from .study import study

    chosen = (options.data, options.own, options.others, options.split, options.splits, options.images)
    for path in study(options.psnr, options.gan, *chosen, options.page, options.device):
        print(path)
