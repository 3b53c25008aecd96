"""The terminal door: superres upscale | compare | models | bench | view | demo."""

from __future__ import annotations

import errno
import io
import math
import os
import re
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated

import typer

from . import __version__
from .backends import BACKENDS
from .backends.memory import out_of_memory
from .catalog import ModelCatalog
from .cli_disagreement import compare_results, find_second, provenance
from .cli_models import find_model, model_rows, recommended, summary
from .cli_output import (
    all_or_none,
    check_names,
    check_places,
    check_sizes,
    part_of,
    print_report,
    print_table,
    progress_bar,
    to_json,
)
from .compare import degrade_and_enlarge, score
from .errors import OutputTooLarge, ResourceError, SuperResolutionError, UsageError
from .files import read_volume, write_volume
from .geometry import Region
from .output import check_place, write_text
from .plan import plan
from .raw_output import check_uncompressed, raw_sinks
from .upscaler import PRECISIONS, Options, upscale

#: What a program sees of an error; 1 is an error that nobody foresaw.
EXIT_STATUS = {"usage": 2, "data": 3, "model": 4, "resources": 5, "device": 6, "backend": 6, "cancelled": 130}

#: Of a program whose reader has gone, as the shell says it of one that SIGPIPE ends.
CLOSED_PIPE = 141

app = typer.Typer(
    help="Super-resolution of medical images with trained networks. For research use only.",
    epilog="Exit status: 0 done, 2 usage, 3 bad input or output, 4 model, 5 memory or disk would not suffice, "
    "6 device or backend not available, 130 cancelled.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

ModelOption = Annotated[
    str, typer.Option("--model", metavar="ID-or-FAMILY", help="Which model; 'superres models' lists them.")
]
ScaleOption = Annotated[
    int | None, typer.Option("--scale", metavar="S", help="Enlargement, where the family has several.")
]
DeviceOption = Annotated[str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N.")]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="TYPE",
        help="auto, float32, bfloat16 or float16; auto is a short one where a trial on the image shows no difference.",
    ),
]
BackendOption = Annotated[
    str,
    typer.Option(
        "--backend", metavar="NAME", help=f"auto (the quickest that agrees), {', '.join(BACKENDS)}, where installed."
    ),
]
SeriesOption = Annotated[
    str | None, typer.Option("--series", metavar="UID", help="SeriesInstanceUID, where a DICOM folder holds several.")
]
AxisOption = Annotated[
    str | None, typer.Option("--axis", metavar="i|j|k", help="What the slices are stacked along, if not as found.")
]
NoConsistencyOption = Annotated[
    bool, typer.Option("--no-consistency", help="Leave the network's result as it is, not made consistent.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Interrupted(BaseException):
    """Ctrl-C or a request to end; not KeyboardInterrupt, of which typer's versions make different things."""


def main() -> None:
    """Run the program and exit with the agreed status; one sentence on stderr says what went wrong."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    if not debug:
        warnings.simplefilter("ignore")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr has it: no name that is printed ends a run
    for number in _endings():
        signal.signal(number, _interrupt)
    try:
        status = _run(arguments)
    except (Exception, Interrupted) as error:
        if debug:
            traceback.print_exc()
        status, sentence = explain(error)
        print(f"superres: {' '.join(sentence.splitlines())}", file=sys.stderr)
    sys.exit(status)


def _run(arguments: list[str]) -> int:
    """Exit status of a command; quietly that of a closed pipe where nobody reads what is printed."""
    shown = sys.stdout
    try:
        status = app(arguments, prog_name="superres", standalone_mode=False) or 0
        if shown is not None:  # a program that was started without one
            shown.flush()
        return status
    except (BrokenPipeError, SystemExit):  # typer leaves with 1 where a pipe is closed, and in no other case
        _give_up(shown)
        return CLOSED_PIPE
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _give_up(shown)
        raise ResourceError(
            "The disk is full, so that nothing more can be printed; make room and repeat it."
        ) from error


def _give_up(stream) -> None:
    """Let what a stream still holds go nowhere: Python flushes it once more at its end."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _endings() -> list[int]:
    """The signals that end a run; not the loss of the terminal where it is to be survived (nohup)."""
    hangup = getattr(signal, "SIGHUP", None)
    outlives = hangup is None or signal.getsignal(hangup) == signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if outlives else [hangup])]


def _interrupt(*_) -> None:
    for number in _endings():
        signal.signal(number, signal.SIG_IGN)  # another one must not disturb what puts everything in order
    raise Interrupted


def explain(error: BaseException) -> tuple[int, str]:
    """Exit status and sentence of an error."""
    if isinstance(error, OutputTooLarge):
        return EXIT_STATUS[error.code], f"{error} 'superres upscale --uncompressed' writes slices as they are computed."
    if isinstance(error, SuperResolutionError):
        return EXIT_STATUS.get(error.code, 1), str(error)
    if isinstance(error, Interrupted):
        return EXIT_STATUS["cancelled"], "The run was cancelled; nothing was written."
    if out_of_memory(error):
        return EXIT_STATUS["resources"], "Memory ran out; upscale a part of the image with --region."
    if isinstance(error, ModuleNotFoundError):
        return 1, f"The Python package {error.name} is not installed; install it and run this again."
    if hasattr(error, "format_message"):  # typer's, whose classes have different homes in its versions
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "superres"
        return EXIT_STATUS["usage"], f"{error.format_message().strip().rstrip('.')}; see '{command} --help'."
    return 1, f"Unexpected {type(error).__name__}: {error}; run it again with --debug and report what it shows."


def _version(wanted: bool) -> None:
    if wanted:
        print(f"superres {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; fits anywhere.")] = False,
) -> None:
    """Options of the program itself; both have been dealt with when this runs."""


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List the models that are installed."""
    catalog = ModelCatalog.default()
    if as_json:
        print(to_json({"models": [summary(card) for card in catalog.cards], "problems": catalog.problems}))
        return
    for problem in catalog.problems:
        print(f"superres: {problem}", file=sys.stderr)
    if not catalog.cards:
        print("No model is installed; SUPERRESOLUTION_MODELS names folders with models.")
        return
    print_table(*model_rows(catalog.cards))
    print(f"A family is an id without its scale: --model {catalog.cards[0].family} --scale {catalog.cards[0].scale}")


@app.command(name="upscale")
def upscale_command(
    input_path: Annotated[
        Path, typer.Argument(metavar="INPUT", readable=False, help="Image file, DICOM file or DICOM folder.")
    ],
    output_path: Annotated[
        Path, typer.Argument(metavar="OUTPUT", help="NIfTI, NRRD or MHA file; PNG or TIFF for a single slice.")
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="ID-or-FAMILY", help="Which model, if not the one that suits the image best."),
    ] = None,
    scale: ScaleOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    backend: BackendOption = "auto",
    bicubic: Annotated[
        Path | None, typer.Option("--bicubic", metavar="PATH", help="Also write the bicubic enlargement here.")
    ] = None,
    disagreement: Annotated[
        Path | None,
        typer.Option("--disagreement", metavar="PATH", help="Also write here how far a second model's result differs."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="ID-or-FAMILY", help="The second model, if not a recommended one."),
    ] = None,
    no_consistency: NoConsistencyOption = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="PATH.json", help="Also write the report here.")
    ] = None,
    region: Annotated[
        str | None,
        typer.Option("--region", metavar="i0:i1,j0:j1,k0:k1", help="Only these voxels; ends are excluded."),
    ] = None,
    axis: AxisOption = None,
    series: SeriesOption = None,
    tile: Annotated[
        int, typer.Option("--tile", metavar="N", min=0, help="Rows of input pixels in a strip; 0 chooses.")
    ] = 0,
    uncompressed: Annotated[
        bool,
        typer.Option(
            "--uncompressed",
            help="Write slices as they are computed, so that the result need not fit into memory; .nrrd, .mha, .nii.",
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Enlarge an image."""
    options = Options(
        consistent=not no_consistency,
        bicubic=bicubic is not None,
        device=parse_device(device),
        region=parse_region(region),
        axis=axis,
        strip_rows=tile,
        precision=parse_precision(precision),
        backend=parse_backend(backend),
    )
    if against is not None and disagreement is None:
        raise UsageError("--against names the second model of --disagreement; say with that where its map goes.")
    images = [path for path in (output_path, bicubic) if path is not None]
    maps = [disagreement] if disagreement is not None else []
    check_places([*images, *maps], report, input_path, overwrite)
    if uncompressed:
        check_uncompressed(images, bool(maps))
    card = find_model(model, scale) if model is not None else None  # a wrong name is said before an image is read
    volume = read_volume(input_path, series)
    choice = None if card else recommended(volume, scale)
    card = card or choice.card
    second = find_second(against, volume, card, options) if maps else None
    check_sizes(images, plan(volume, card, options.region, options.axis), overwrite, maps)
    with all_or_none([*images, *maps, *([report] if report else [])], overwrite) as place:
        places = {"sr": place(output_path), "bicubic": place(bicubic) if bicubic else None}
        into = {"open_sink": raw_sinks(places), "fits_memory": False} if uncompressed else {}
        with progress_bar(not as_json) as advance:
            result = upscale(volume, card, options, part_of(advance, 0, 1 + len(maps)), **into)
            found = compare_results(volume, card, result, second, options, part_of(advance, 1, 2)) if maps else None
        told = result.report
        if choice:
            told["notices"].insert(0, choice.reason)
        if not uncompressed:
            write_volume(result.sr, places["sr"], result.provenance)
        if bicubic is not None and not uncompressed:
            write_volume(result.bicubic, places["bicubic"], result.bicubic_provenance)
        if found is not None:
            write_volume(found.map, place(disagreement), provenance(result, second))
        del result  # its maps, before their files are renamed
        if report is not None:
            place(report).write_text(to_json(told) + "\n", encoding="utf-8")
    if as_json:
        print(to_json(told))
    else:
        print_report(told, [*images, *maps])


def parse_device(text: str) -> str:
    """The device's name as it is; whether it is there only torch can say.

    Raises:
        UsageError: if it is no name of a device.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text, re.ASCII):
        raise UsageError(f"--device reads auto, cpu, cuda or cuda:N, not '{text}'.")
    return text


def parse_precision(text: str) -> str:
    """The precision's name as it is.

    Raises:
        UsageError: if it is none.
    """
    if text not in PRECISIONS:
        raise UsageError(f"--precision is one of {', '.join(PRECISIONS)}, not '{text}'.")
    return text


def parse_backend(text: str) -> str:
    """The backend's name as it is.

    Raises:
        UsageError: if it is none.
    """
    if text not in ("auto", *BACKENDS):
        raise UsageError(f"--backend is one of auto, {', '.join(BACKENDS)}, not '{text}'.")
    return text


def parse_region(text: str | None) -> Region | None:
    """``i0:i1,j0:j1,k0:k1`` to half-open voxel ranges.

    Raises:
        UsageError: if it does not read so.
    """
    if text is None:
        return None
    try:
        ranges = tuple(tuple(int(number) for number in part.split(":")) for part in text.split(","))
        if [len(part) for part in ranges] == [2, 2, 2]:
            return ranges
    except ValueError:
        pass
    raise UsageError(f"--region reads i0:i1,j0:j1,k0:k1 in voxels, for example 0:64,0:64,10:20, not '{text}'.")


@app.command(name="compare", short_help="Score a model beside other methods, with PSNR and SSIM.")
def compare_command(
    reference: Annotated[
        Path,
        typer.Argument(metavar="HR", readable=False, help="High-resolution image file, DICOM file or DICOM folder."),
    ],
    model: ModelOption,
    scale: ScaleOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    backend: BackendOption = "auto",
    no_consistency: NoConsistencyOption = False,
    axis: AxisOption = None,
    series: SeriesOption = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="PATH.html", help="Also write a page with the images, for any browser."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page if it exists.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Degrade an image, enlarge it again, and print PSNR and SSIM beside other methods."""
    if html is not None:
        check_place(html, overwrite)
        check_names(reference, html)
    options = Options(
        not no_consistency,
        device=parse_device(device),
        axis=axis,
        precision=parse_precision(precision),
        backend=parse_backend(backend),
    )
    card = find_model(model, scale)
    volume = read_volume(reference, series)
    with progress_bar(not as_json) as advance:
        enlarged = degrade_and_enlarge(volume, card, options, advance)
    scores = score(enlarged, card, options)
    if html is not None:
        from .cli_html import comparison_page

        write_text(html, comparison_page(enlarged, scores), overwrite)
    if as_json:
        print(to_json(scores))
        return
    print(f"{card.id}, mean over {scores['slices']} slice{'s' * (scores['slices'] != 1)}")
    rows = [(name, f"{score['psnr']:.2f}", f"{score['ssim']:.4f}") for name, score in scores["methods"].items()]
    print_table(("method", "PSNR (dB)", "SSIM"), *rows)
    if html is not None:
        print(html)


@app.command(short_help="Open an image in a web page on this computer: upscale it and compare.")
def view(
    input_path: Annotated[
        Path | None, typer.Argument(metavar="FILE", readable=False, help="Image file, DICOM file or DICOM folder.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", metavar="PATH", help="High-resolution image to score results against.")
    ] = None,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")
    ] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    max_upload: Annotated[
        float, typer.Option("--max-upload", metavar="MB", min=0, help="Size that an upload may have.")
    ] = 512,
) -> None:
    """Serve a web page with Slicer's slice views, for one browser on this computer, until Ctrl-C."""
    if reference is not None and input_path is None:
        raise UsageError("--reference belongs to an image: name the FILE to open as well.")
    if not math.isfinite(max_upload):
        raise UsageError(f"--max-upload is a number of MB, not {max_upload}.")
    from .cli_view import run_view

    run_view(input_path, reference, port, not no_browser, int(max_upload * 1e6))


@app.command(short_help="Upscale a real CT and a real MR slice, and draw a picture.")
def demo(
    folder: Annotated[
        Path, typer.Option("--output", metavar="FOLDER", help="Folder for the results; earlier ones are replaced.")
    ] = Path("demo"),
    model: Annotated[
        str, typer.Option("--model", metavar="ID-or-FAMILY", help="Which model, of 1 channel.")
    ] = "edsr-ise-general-psnr",
    device: DeviceOption = "auto",
) -> None:
    """Upscale a real CT slice and a real MR slice, which come with pydicom, and draw a side-by-side picture."""
    from .cli_demo import run_demo

    run_demo(folder, find_model(model, None), parse_device(device))


@app.command(name="bench", short_help="Measure speed and memory on this machine.")
def bench_command(
    model: ModelOption,
    scale: ScaleOption = None,
    device: DeviceOption = "auto",
    size: Annotated[str, typer.Option("--size", metavar="IxJxK", help="Voxels of the input.")] = "256x256x16",
    dtype: Annotated[str, typer.Option("--type", metavar="TYPE", help="uint8, int16 or float32.")] = "int16",
    peers: Annotated[bool, typer.Option("--peers", help="Also the ways in which others run the same network.")] = False,
    repeats: Annotated[int, typer.Option("--repeats", metavar="N", min=1, help="Runs of each way.")] = 5,
    peer_slices: Annotated[
        int, typer.Option("--peer-slices", metavar="N", min=1, help="Slices that the others enlarge.")
    ] = 8,
    series: Annotated[
        str | None, typer.Option("--series", metavar="NAME", help="Instead: scaling, memory, or skipping with --image.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option("--image", metavar="PATH", help="A real image for --series skipping.")
    ] = None,
    backend: BackendOption = "torch",
    output: Annotated[
        Path | None, typer.Option("--output", metavar="PATH.json", help="Also write the result here.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="PATH.png", help="Also draw it.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace these files if they exist.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure a model on this machine: speed beside the ceiling of the hardware, memory, and beside other ways.

    At a scale that the family lacks, the same network is measured with random weights.
    """
    from .cli_bench_command import run_bench

    run_bench(
        model,
        scale,
        parse_device(device),
        size,
        dtype,
        peers,
        repeats,
        peer_slices,
        series,
        image,
        parse_backend(backend),
        output,
        plot,
        overwrite,
        as_json,
    )


@app.command(name="bench-report", short_help="Write docs/PERFORMANCE.md from measurements.")
def bench_report_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="With what 'superres bench --output' wrote.")],
    target: Annotated[Path, typer.Argument(metavar="PAGE.md", help="The page to write.")],
) -> None:
    """Write a page with the tables and pictures of measurements."""
    from .cli_bench_report import write_document

    if not list(folder.glob("*.json")):
        raise UsageError(f"There is no measurement in {folder}; make some with 'superres bench --output'.")
    write_document(folder, target)
    print(target)


if __name__ == "__main__":
    main()
