"""Which library executes a network: the quickest one that agrees with PyTorch in float32 on this very volume.

Every candidate enlarges the same few windows of the volume, the roughest, where a short precision errs most. PyTorch in
float32 says what is right and how long it takes; another one is taken if it is quicker and its largest difference stays
within what the voxels' type can show.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np

from ..errors import Cancelled, SuperResolutionError, UsageError
from ..missing import Gaps
from . import BACKENDS
from .conversions import first_line

#: Pixels along a window that candidates are tried on, how many windows there are, and how many of small slices.
SIDE, WINDOWS, MOST_WINDOWS = 128, 3, 256

#: How often the windows are timed, after a first time that does not count.
REPEATS = 2

#: Pixels along the windows that say whether a run is worth a trial.
QUICK_SIDE = 64

#: Pixels along the blocks whose roughness is compared.
BLOCK = 16

#: A run that PyTorch finishes within so many seconds is not worth a trial.
WORTH_SECONDS = 20.0

#: No further candidate is tried once trials have taken this share of the time that PyTorch would take for the run: to
#: get a library ready can cost more than it gains.
TRIALS_SHARE = 0.15

#: A candidate has to be quicker by this factor, so that chance does not choose.
QUICKER = 1.1

#: What may differ: half a unit of an integer type, this share of the range of a floating one.
FLOAT_TOLERANCE = 1e-4

#: In a short precision the trial must stay within this share of it, for it sees a small part of the volume.
SHARE = 0.5


@dataclass
class Trial:
    """How a candidate did: seconds for all windows and largest difference in network range; or why it could not."""

    backend: str
    precision: str
    seconds: float | None = None
    largest_difference: float | None = None
    problem: str = ""


@dataclass
class Choice:
    """What executes the network, and why, in a sentence for the user."""

    backend: str
    precision: str
    reason: str
    trials: list[Trial] = field(default_factory=list)

    def summary(self) -> dict:
        """JSON-ready, for a report."""
        return asdict(self)


def tolerance(dtype: np.dtype, width: float) -> float:
    """How far results may be apart, in network range: half a unit of an integer type, else 1e-4 of the range.

    Args:
        dtype: of the voxels. width: of the intensity map, in their unit.
    """
    return 0.5 / width if np.dtype(dtype).kind in "iu" else FLOAT_TOLERANCE


#: Number of a slice to its images (m, c, h, w) in network range.
Read = Callable[[int], np.ndarray]


def samples(slices: np.ndarray, channels: int, read: Read) -> np.ndarray:
    """Small windows from the middle of a few images, (n, c, side, side); see ``windows``."""
    count, components, height, width = slices.shape
    each, (rows, columns) = components // channels, (min(QUICK_SIDE, height), min(QUICK_SIDE, width))
    images, parts = count * each, _parts(count * each, QUICK_SIDE, rows, columns)
    top, left = (height - rows) // 2, (width - columns) // 2
    chosen = [divmod((2 * part + 1) * images // (2 * parts), each) for part in range(parts)]
    return np.stack([read(number)[index, :, top : top + rows, left : left + columns] for number, index in chosen])


def windows(slices: np.ndarray, channels: int, read: Read, poll: Callable[..., None], gaps: Gaps) -> np.ndarray:
    """The roughest window of each of a few parts of a volume, (n, c, side, side) in network range.

    Args:
        slices: (n, components, h, w), stored values, of which every one is looked at; sides of at least 4.
        channels: of the images that the network takes; a grey one gets each component as an image.
        read: see ``Read``. poll: called for each slice; may raise to stop it. gaps: which voxels are missing.
    """
    count, components, height, width = slices.shape
    each, (rows, columns) = components // channels, (min(SIDE, height), min(SIDE, width))
    parts = _parts(count * each, SIDE, rows, columns)
    roughest: dict[int, tuple] = {}
    for number, plane in enumerate(slices):
        poll(0)
        blocks = _roughness(plane, gaps)
        for index, image in enumerate(blocks.reshape(each, channels, *blocks.shape[1:]).sum(axis=1)):
            y, x = np.unravel_index(image.argmax(), image.shape)
            part = (number * each + index) * parts // (count * each)
            roughest[part] = max(roughest.get(part, (-1.0,)), (float(image[y, x]), number, index, y, x))
    chosen = []
    for _, number, index, y, x in roughest.values():
        top, left = _start(y, rows, height), _start(x, columns, width)
        chosen.append(read(number)[index, :, top : top + rows, left : left + columns])
    return np.stack(chosen)


def choose(
    model,
    few: np.ndarray,
    look: Callable[[], np.ndarray],
    pixels: int,
    allowed: float,
    backend: str,
    precision: str,
    poll: Callable[..., None],
) -> Choice:
    """Put the best backend under a model and say why it is.

    Args:
        model: TorchModel. few: see ``samples``. look: gives what ``windows`` does. pixels: of all planes of the run.
        allowed: see ``tolerance``. It does not hold for a short ``precision`` that was asked for, which is what it is.
        backend: "auto" or one of BACKENDS. precision: "auto", "float32", "bfloat16" or "float16".
        poll: called between layers; may raise to stop it.

    Raises:
        UsageError: if there is no such backend.
    """
    if backend not in ("auto", *BACKENDS):
        raise UsageError(f"There is no backend '{backend}'; choose auto, {', '.join(BACKENDS)}.")
    if backend != "auto" and precision != "auto":
        return _as_asked(model, few, backend, precision, poll)
    expected = _expected_seconds(model, few, pixels, poll) if backend == "auto" else np.inf
    if expected < WORTH_SECONDS:
        model.use("torch", "float32" if precision == "auto" else precision)
        return Choice("torch", model.precision, "so short a run is not worth a trial")
    planes = look()
    model.use("torch", "float32")
    reference, seconds = _timed(model, planes, poll)
    trials, began = [Trial("torch", "float32", seconds, 0.0)], time.perf_counter()
    for candidate in _candidates(model.device, backend, precision):
        if time.perf_counter() - began > TRIALS_SHARE * expected:
            break
        trials.append(_try(model, *candidate, planes, reference, poll))
    within = allowed if precision in ("auto", "float32") else np.inf
    best = _best(trials, within, backend, precision)
    model.use(best.backend, best.precision)
    return Choice(best.backend, best.precision, _reason(best, allowed, trials, backend), trials)


def _expected_seconds(model, few: np.ndarray, pixels: int, poll) -> float:
    """What PyTorch in float32 takes for a run, by a few windows; 0 where they would be a good part of it."""
    tried = few.shape[0] * few.shape[2] * few.shape[3]
    if pixels < 8 * tried:
        return 0.0
    model.use("torch", "float32")
    _, seconds = _timed(model, few, poll)
    return seconds * pixels / tried


def _as_asked(model, few: np.ndarray, backend: str, precision: str, poll) -> Choice:
    """A backend that executes one window, for libraries tell what is wrong only then; else PyTorch."""
    try:
        model.use(backend, precision)
        if backend != "torch":
            model.enlarge(few[:1], model.strip_rows(few.shape[3], 0), poll)
        return Choice(backend, precision, "as asked for")
    except Cancelled:
        raise
    except Exception as error:
        model.use("torch", precision)
        return Choice("torch", precision, f"PyTorch took its place: {_said(error)}")


def _candidates(device: str, backend: str, precision: str) -> list[tuple[str, str]]:
    """What is tried beside PyTorch in float32."""
    on_cpu = device == "cpu"
    known = ["torch", "openvino", "onnxruntime"] if on_cpu else ["torch", "compile"]
    backends = known if backend == "auto" else [backend]
    short = ["bfloat16"] if on_cpu else ["float16", "bfloat16"]
    precisions = ["float32", *short] if precision == "auto" else [precision]
    pairs = [(name, kind) for name in backends for kind in precisions]  # what takes long to get ready comes last
    return [pair for pair in pairs if pair != ("torch", "float32") and pair != ("onnxruntime", "bfloat16")]


def _try(model, backend: str, precision: str, planes: np.ndarray, reference: np.ndarray, poll) -> Trial:
    trial = Trial(backend, precision)
    try:
        model.use(backend, precision)
        enlarged, seconds = _timed(model, planes, poll)
        trial.largest_difference = float(np.abs(enlarged - reference).max())
        trial.seconds = seconds
    except Cancelled:
        raise
    except Exception as error:  # whatever it is, PyTorch in float32 is there
        trial.problem = _said(error)
    return trial


def _said(error: Exception) -> str:
    """What went wrong, as a sentence."""
    return str(error) if isinstance(error, SuperResolutionError) else f"{first_line(error)}."


def _timed(model, planes: np.ndarray, poll) -> tuple[np.ndarray, float]:
    """What a model makes of the planes, and the seconds that they take together once it is warm."""
    rows = model.strip_rows(planes.shape[3], 0)
    enlarged, seconds = model.enlarge(planes, rows, poll), []
    for _ in range(REPEATS):
        began = time.perf_counter()
        model.enlarge(planes, rows, poll)
        seconds.append(time.perf_counter() - began)
    return enlarged, min(seconds)


def _best(trials: list[Trial], allowed: float, backend: str, precision: str) -> Trial:
    """The quickest that may be taken; PyTorch in float32 only if nothing else fits what was asked for."""
    reference, *others = trials
    fit = [trial for trial in others if trial.seconds is not None and _agrees(trial, allowed)]
    if (backend == "auto" or backend == "torch") and precision in ("auto", "float32"):
        fit = [trial for trial in fit if trial.seconds * QUICKER < reference.seconds]
    return min(fit, key=lambda trial: trial.seconds, default=reference)


def _agrees(trial: Trial, allowed: float) -> bool:
    share = 1.0 if trial.precision == "float32" else SHARE
    return trial.largest_difference <= share * allowed


def _reason(best: Trial, allowed: float, trials: list[Trial], backend: str) -> str:
    reference, *others = trials
    problems = [trial.problem for trial in others if trial.problem]
    if best is reference and backend not in ("auto", "torch"):
        return f"PyTorch took its place: {'; '.join(problems) or f'it differs by more than {allowed:.1e} of the range'}"
    if best is reference:
        tried = ", ".join(f"{trial.backend} {trial.precision}" for trial in others if not trial.problem)
        text = f"of what agrees with it nothing was clearly quicker (tried: {tried or 'nothing'})"
        return "; ".join([text, *problems])
    gain = reference.seconds / best.seconds
    return (
        f"{gain:.1f} times as quick as PyTorch in float32 on a part of this volume, where it differs by at most "
        f"{best.largest_difference:.1e} of the range ({allowed:.1e} is allowed)"
    )


def _parts(images: int, side: int, rows: int, columns: int) -> int:
    """How many windows are taken: of images that are smaller than a window should be, more."""
    return min(images, MOST_WINDOWS, WINDOWS * max(1, side * side // (rows * columns)))


def _roughness(plane: np.ndarray, gaps: Gaps) -> np.ndarray:
    """For each block of (c, h, w) the sum of squared differences of neighbours in it; missing voxels do not count.

    Rows are taken in pairs: within their first, and between the two. So each voxel counts, at half the cost.
    """
    missing = gaps.mask(plane)
    if missing.any():
        plane = np.where(missing, np.nan, plane.astype(np.float32))
    first, second = (plane[:, start::2].astype(np.float32) for start in (0, 1))
    rough = np.zeros(first.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        across, down = first[:, :, 1:] - first[:, :, :-1], second - first[:, : second.shape[1]]
        for difference, place in ((across, rough[:, :, 1:]), (down, rough[:, : second.shape[1]])):
            if plane.dtype.kind == "f":
                difference[~np.isfinite(difference)] = 0
            place += np.square(difference, out=difference)
        for axis, step in ((1, BLOCK // 2), (2, BLOCK)):
            rough = np.add.reduceat(rough, range(0, rough.shape[axis], step), axis=axis)
    return rough


def _start(block: int, window: int, length: int) -> int:
    """Where a window begins that has a block in its middle, as far as the image goes."""
    return min(max(0, block * BLOCK + BLOCK // 2 - window // 2), length - window)
