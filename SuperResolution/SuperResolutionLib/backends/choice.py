"""Which library executes a network: the quickest one that agrees with PyTorch in float32 on this very volume.

Every candidate enlarges the same few windows of the volume. PyTorch in float32 says what is right and how long it
takes; another one is taken if it is quicker and its largest difference stays within what the voxels' type can show.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np

from ..errors import BackendError, ResourceError, UsageError
from . import BACKENDS

#: Pixels along a window that candidates are tried on, how many windows there are, and how many of small slices.
SIDE, WINDOWS, MOST_WINDOWS = 128, 3, 256

#: How often the windows are timed, after a first time that does not count.
REPEATS = 2

#: Pixels along the windows that say whether a run is worth a trial.
QUICK_SIDE = 64

#: A run that PyTorch finishes within so many seconds is not worth a trial.
WORTH_SECONDS = 20.0

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


def windows(slices: int, height: int, width: int, read: Callable[[int], np.ndarray]) -> np.ndarray:
    """The most structured window of some slices, (n, c, side, side).

    Args:
        slices: how many there are. height, width: of each, at least 4.
        read: slice number to plane (c, h, w) in network range.
    """
    rows, columns = min(SIDE, height), min(SIDE, width)
    count = min(slices, MOST_WINDOWS, WINDOWS * max(1, SIDE * SIDE // (rows * columns)))
    chosen = []
    for number in sorted({int((index + 0.5) * slices / count) for index in range(count)}):
        plane = read(number)
        places = [(y, x) for y in _starts(height, rows) for x in _starts(width, columns)]
        spread = [float(plane[:, y : y + rows, x : x + columns].std()) for y, x in places]
        y, x = places[int(np.argmax(spread))]
        chosen.append(plane[:, y : y + rows, x : x + columns])
    return np.ascontiguousarray(np.stack(chosen))


def choose(
    model, planes: np.ndarray, pixels: int, allowed: float, backend: str, precision: str, poll: Callable[..., None]
) -> Choice:
    """Put the best backend under a model and say why it is.

    Args:
        model: TorchModel. planes: see ``windows``. pixels: of all planes of the run.
        allowed: see ``tolerance``. It holds where ``precision`` is "auto"; one that was asked for is what it is.
        backend: "auto" or one of BACKENDS. precision: "auto", "float32", "bfloat16" or "float16".
        poll: called between layers; may raise to stop it.

    Raises:
        UsageError: if there is no such backend.
    """
    if backend not in ("auto", *BACKENDS):
        raise UsageError(f"There is no backend '{backend}'; choose auto, {', '.join(BACKENDS)}.")
    if backend != "auto" and precision != "auto":
        return _as_asked(model, backend, precision)
    if backend == "auto" and _is_short(model, planes, pixels, poll):
        model.use("torch", "float32" if precision == "auto" else precision)
        return Choice("torch", model.precision, "so short a run is not worth a trial")
    model.use("torch", "float32")
    reference, seconds = _timed(model, planes, poll)
    trials = [Trial("torch", "float32", seconds, 0.0)]
    for candidate in _candidates(model.device, backend, precision):
        trials.append(_try(model, *candidate, planes, reference, poll))
    within = allowed if precision == "auto" else np.inf
    best = _best(trials, within, backend, precision)
    model.use(best.backend, best.precision)
    return Choice(best.backend, best.precision, _reason(best, trials[0], allowed, trials), trials)


def _is_short(model, planes: np.ndarray, pixels: int, poll) -> bool:
    """Whether PyTorch in float32 takes less than ``WORTH_SECONDS``, by windows that are small themselves."""
    part = planes[:, :, :QUICK_SIDE, :QUICK_SIDE]
    tried = part.shape[0] * part.shape[2] * part.shape[3]
    if pixels < 8 * tried:
        return True
    model.use("torch", "float32")
    _, seconds = _timed(model, part, poll)
    return seconds * pixels / tried < WORTH_SECONDS


def _as_asked(model, backend: str, precision: str) -> Choice:
    try:
        model.use(backend, precision)
        return Choice(backend, precision, "as asked for")
    except BackendError as error:
        model.use("torch", precision)
        return Choice("torch", precision, f"PyTorch took its place: {error}")


def _candidates(device: str, backend: str, precision: str) -> list[tuple[str, str]]:
    """What is tried beside PyTorch in float32."""
    on_cpu = device == "cpu"
    known = ["torch", "openvino", "onnxruntime"] if on_cpu else ["torch", "compile"]
    backends = known if backend == "auto" else [backend]
    short = ["bfloat16"] if on_cpu else ["float16", "bfloat16"]
    precisions = ["float32", *short] if precision == "auto" else [precision]
    pairs = [(name, kind) for kind in precisions for name in backends]
    return [pair for pair in pairs if pair != ("torch", "float32") and pair != ("onnxruntime", "bfloat16")]


def _try(model, backend: str, precision: str, planes: np.ndarray, reference: np.ndarray, poll) -> Trial:
    trial = Trial(backend, precision)
    try:
        model.use(backend, precision)
        enlarged, trial.seconds = _timed(model, planes, poll)
        trial.largest_difference = float(np.abs(enlarged - reference).max())
    except (BackendError, ResourceError, UsageError) as error:  # UsageError: float16 overflowed
        trial.problem = str(error)
    return trial


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


def _reason(best: Trial, reference: Trial, allowed: float, trials: list[Trial]) -> str:
    problems = [trial.problem for trial in trials if trial.problem]
    if best is reference:
        tried = ", ".join(f"{trial.backend} {trial.precision}" for trial in trials[1:] if not trial.problem)
        text = f"of what agrees with it nothing was clearly quicker (tried: {tried or 'nothing'})"
        return "; ".join([text, *problems])
    gain = reference.seconds / best.seconds
    return (
        f"{gain:.1f} times as quick as PyTorch in float32 on a part of this volume, where it differs by at most "
        f"{best.largest_difference:.1e} of the range ({allowed:.1e} is allowed)"
    )


def _starts(length: int, window: int) -> list[int]:
    return sorted({0, (length - window) // 2, length - window})
