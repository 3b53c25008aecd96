"""The main job: a volume and a model card to a super-resolved volume, its bicubic twin, provenance and a report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np

from . import __version__
from .catalog import ModelCard
from .errors import Cancelled, ResourceError, UsageError
from .fidelity import ConsistencyResidual
from .forecast import MEMORY_SHARE, memory_bytes, too_large
from .geometry import Region
from .intensity import limits, round_to
from .missing import fill_missing, put_missing_back
from .plan import CONSISTENCY_REACH, Job, Window, plan
from .volume import Volume

NOTICE = "Research use only; invented detail is possible"

PRECISIONS = ("float32", "bfloat16", "float16")

Progress = Callable[[float, str, "float | None"], None]


@dataclass(frozen=True)
class Options:
    """How to upscale.

    Attributes:
        consistent: correct the result so that shrinking it gives the input back.
        bicubic: also return the bicubic enlargement.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        region: ((i0, i1), (j0, j1), (k0, k1)), half-open voxel ranges of the input, or None for all of it.
        axis: "i", "j" or "k", the axis that slices are stacked along, or None to choose it from the geometry.
        strip_rows: rows of input pixels whose enlargement is computed at once; 0 chooses.
        precision: ``float32``, ``bfloat16`` or ``float16``, in which the network's inner layers compute.
    """

    consistent: bool = True
    bicubic: bool = True
    device: str = "auto"
    region: Region | None = None
    axis: str | None = None
    strip_rows: int = 0
    precision: str = "float32"


@dataclass(frozen=True)
class UpscaleResult:
    """``sr`` and ``bicubic`` (None if not asked for) share geometry and scalar type; ``report`` is JSON-ready."""

    sr: Volume
    bicubic: Volume | None
    provenance: dict[str, str]
    report: dict = field(default_factory=dict)

    @property
    def bicubic_provenance(self) -> dict[str, str]:
        """What the bicubic volume carries: no model, and the method in its place."""
        kept = {key: self.provenance[key] for key in ("Scale", "Software", "Source") if key in self.provenance}
        return {"Method": "bicubic, Keys a = -0.5", **kept}


def upscale(
    volume: Volume,
    card: ModelCard,
    options: Options | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    load: Callable | None = None,
) -> UpscaleResult:
    """Enlarge a volume in the plane of its slices.

    Args:
        volume: scalar or RGB; alpha is dropped with a notice. Its type is kept, CT stays in HU.
        card: the model; a grey one runs on each colour channel, with a notice.
        options: see ``Options``; None means the defaults.
        progress: called with the fraction done (0 to 1), the stage in words, and the seconds left or None.
        cancelled: asked between layers; True stops the run.
        load: called instead of the backend's ``load``, for example to keep a model between runs.

    Raises:
        DataError: if the image is too small or holds no finite voxel.
        UsageError: if the region or the axis does not fit the image.
        ModelError: if the model is damaged or does not fit the image's channels.
        ResourceError: if memory would not suffice.
        DeviceError: if the device is not there.
        Cancelled: if ``cancelled`` said so.
    """
    from .backends import torch_backend

    options = options or Options()
    if options.precision not in PRECISIONS:
        raise UsageError(f"There is no precision '{options.precision}'; choose {', '.join(PRECISIONS)}.")
    began = time.monotonic()
    job = plan(volume, card, options.region, options.axis)
    model = (load or torch_backend.load)(card, options.device, options.precision)
    # What the network and the correction look at around a region, so that its voxels are those of the whole volume.
    around = model.reach + CONSISTENCY_REACH
    seen, place = job.layout.surroundings(around)
    height, width = (stop - start for start, stop in seen)
    rows = model.strip_rows(width, options.strip_rows)
    _check_memory(job, options.bicubic, model.working_bytes(job.layout.channels, height, width, rows))
    calls = job.layout.channels // card.channels
    clock = _Clock(len(job.slices), calls * model.polls(height, rows), progress, cancelled)
    sr, bicubic = job.empty(), job.empty() if options.bicubic else None
    residual = ConsistencyResidual()
    for index, whole in enumerate(job.slices):
        clock.start_slice(index)
        finite, missing = _bridge(whole, seen)
        low = job.intensity.to_network(finite)
        enlarged = _per_channel(model.enlarge, low, card.channels, rows, clock.poll)
        stored = _to_stored(model, enlarged, low, job, options.consistent, clock.check)
        residual.add(_cut(model.shrink(stored.astype(np.float64)) - finite, place))
        plane, missing = job.planes[index], _cut(missing, place)
        sr[index] = put_missing_back(_cut(stored, place, card.scale), plane, missing, card.scale)
        clock.check()
        if bicubic is not None:
            cubic = round_to(job.intensity.to_stored(model.bicubic(low)), job.dtype)
            bicubic[index] = put_missing_back(_cut(cubic, place, card.scale), plane, missing, card.scale)
        job.missing += int(missing.sum())
    clock.finish()
    if model.global_gates and (height, width) != job.slices.shape[2:]:
        job.notices.append(
            f"{card.id} weighs its features by means over the slice; here over the region and {around} voxels "
            "around it, so it may differ slightly from the same place in the whole volume's result."
        )
    return _result(job, card, options, model, sr, bicubic, residual.summary(), time.monotonic() - began)


def _check_memory(job: Job, bicubic: bool, working: int) -> None:
    import psutil

    needed, free = memory_bytes(job.layout, bicubic) + working, psutil.virtual_memory().available
    if needed > MEMORY_SHARE * free:
        raise ResourceError(too_large(job.layout, needed, free))


def _cut(planes: np.ndarray, window: Window, scale: int = 1) -> np.ndarray:
    """A window of planes (..., h, w), given in pixels of the input; a view."""
    (top, bottom), (left, right) = window
    return planes[..., top * scale : bottom * scale, left * scale : right * scale]


def _bridge(whole: np.ndarray, seen: Window) -> tuple[np.ndarray, np.ndarray]:
    """What is seen of a slice (c, h, w), with finite values where some were missing; and the mask of those."""
    plane = _cut(whole, seen)
    if plane.dtype.kind != "f" or np.isfinite(plane).all():
        return plane, np.zeros(plane.shape, bool)
    finite, missing = fill_missing(whole)  # the median of the whole slice is among the values that bridge
    return _cut(finite, seen), _cut(missing, seen)


class _Clock:
    """Turns polls between layers into progress and cancellation."""

    def __init__(self, slices: int, polls_a_slice: int, progress: Progress | None, cancelled: Callable | None):
        self.slices, self.polls_a_slice, self.progress, self.cancelled = slices, polls_a_slice, progress, cancelled
        self.index, self.polls = 0, 0
        self.began = time.monotonic()

    def start_slice(self, index: int) -> None:
        self.index, self.polls = index, -1
        self.poll()

    def check(self) -> None:
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("The run was cancelled.")

    def poll(self) -> None:
        self.check()
        self.polls += 1
        self._tell((self.index + min(self.polls / self.polls_a_slice, 1.0)) / self.slices)

    def finish(self) -> None:
        self._tell(1.0)

    def _tell(self, fraction: float) -> None:
        if self.progress is None:
            return
        elapsed = time.monotonic() - self.began
        left = elapsed / fraction * (1 - fraction) if fraction > 0 else None
        self.progress(fraction, f"slice {min(self.index + 1, self.slices)} of {self.slices}", left)


def _per_channel(enlarge, low: np.ndarray, channels: int, rows: int, poll) -> np.ndarray:
    """Run a grey model on each channel of a colour plane; any other pair fits as it is."""
    if low.shape[0] == channels:
        return enlarge(low, rows, poll)
    return np.concatenate([enlarge(low[c : c + 1], rows, poll) for c in range(low.shape[0])])


def _to_stored(model, enlarged: np.ndarray, low: np.ndarray, job: Job, consistent: bool, check) -> np.ndarray:
    """Network range to stored values of the input's type, made consistent with the input if asked.

    Clipping at the type's limits breaks the consistency, so both are repeated up to three times.
    """
    if consistent:
        bottom, top = (job.intensity.to_network(np.array(limit, np.float64)) for limit in limits(job.dtype))
        for _ in range(3):
            check()
            enlarged = model.consistent(enlarged, low)
            clipped = np.clip(enlarged, bottom, top)
            if np.array_equal(clipped, enlarged):
                break
            enlarged = clipped
    return round_to(job.intensity.to_stored(enlarged), job.dtype)


def _result(job, card, options, model, sr, bicubic, residual, seconds) -> UpscaleResult:
    name = job.source.name or "volume"
    sr_volume = job.as_volume(sr, f"{name} SR x{card.scale}")
    cubic = job.as_volume(bicubic, f"{name} bicubic x{card.scale}") if bicubic is not None else None
    choices = {key: value for key, value in asdict(options).items() if key not in ("bicubic", "device")}
    if job.missing:
        job.notices.append(f"{job.missing} NaN or infinite voxels were bridged for the network and put back.")
    provenance = {
        "Method": "super-resolution",
        "Model": card.id,
        "WeightsSHA256": card.sha256,
        "Scale": str(card.scale),
        "Options": json.dumps(choices, sort_keys=True),
        "Software": f"SuperResolution {__version__}",
        "Source": job.source.source.get("SeriesInstanceUID") or name,
        "Notice": NOTICE,
    }
    report = {
        "model": card.id,
        "device": model.device,
        "precision": model.precision,
        "seconds": round(seconds, 3),
        "input": _describe(job.source),
        "output": _describe(sr_volume),
        "slice_axis": "ijk"[job.axis],
        "intensity": asdict(job.intensity),
        "consistency": {"applied": options.consistent, **residual},
        "missing_voxels": job.missing,
        "notices": job.notices,
        "provenance": provenance,
    }
    return UpscaleResult(sr_volume, cubic, provenance, report)


def _describe(volume: Volume) -> dict:
    return {
        "size": list(volume.size),
        "spacing_mm": [round(value, 6) for value in volume.spacing],
        "channels": volume.channels,
        "type": volume.array.dtype.name,
    }
