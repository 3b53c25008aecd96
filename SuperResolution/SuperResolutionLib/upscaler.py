"""The main job: a volume and a model card to a super-resolved volume, its bicubic twin, provenance and a report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np

from . import __version__
from .backends.choice import Choice, choose, samples, tolerance, windows
from .backends.limits import free_memory
from .backends.memory import RAN_OUT, kept_memory, out_of_memory
from .catalog import ModelCard
from .clock import Clock, Progress
from .errors import OutputTooLarge, ResourceError, SuperResolutionError, UsageError
from .forecast import MEMORY_SHARE, memory_bytes, too_large
from .geometry import Region
from .pipeline import Pipeline, as_images, batch_of, bridge, working_bytes
from .plan import CONSISTENCY_REACH, Job, Window, plan
from .sinks import Open, in_memory
from .volume import Volume

NOTICE = "Research use only; invented detail is possible"

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


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
        precision: ``float32``, ``bfloat16`` or ``float16``, in which the network's inner layers compute; ``auto`` is
            a short one only where a trial on this very volume stays below what its voxels' type can show.
        backend: ``torch``, ``openvino``, ``onnxruntime`` or ``compile``, what executes the network; ``auto`` is the
            quickest of them on that trial.
        skip_constant: compute parts of constant value only once; the result is the same.
    """

    consistent: bool = True
    bicubic: bool = True
    device: str = "auto"
    region: Region | None = None
    axis: str | None = None
    strip_rows: int = 0
    precision: str = "auto"
    backend: str = "auto"
    skip_constant: bool = True


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
        return of_bicubic(self.provenance)


def of_bicubic(provenance: dict[str, str]) -> dict[str, str]:
    """What a bicubic volume carries beside a super-resolved one."""
    kept = {key: provenance[key] for key in ("Scale", "Software", "Source") if key in provenance}
    return {"Method": "bicubic, Keys a = -0.5", **kept}


def upscale(
    volume: Volume,
    card: ModelCard,
    options: Options | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    load: Callable | None = None,
    open_sink: Open | None = None,
    fits_memory: bool = True,
) -> UpscaleResult:
    """Enlarge a volume in the plane of its slices.

    Args:
        volume: scalar or RGB; alpha is dropped with a notice. Its type is kept, CT stays in HU.
        card: the model; a grey one runs on each color channel, with a notice.
        options: see ``Options``; None means the defaults.
        progress: called with the fraction done (0 to 1), the stage in words, and the seconds left or None.
        cancelled: asked between layers; True stops the run.
        load: called instead of the backend's ``load``, for example to keep a model between runs.
        open_sink: where the slices of the result go; None is memory. See ``sinks``.
        fits_memory: refuse a result that would not fit into memory; False where it goes to a file to stay there.

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
    first_precision = "float32" if options.precision == "auto" else options.precision
    model = (load or torch_backend.load)(card, options.device, first_precision)
    # What the network and the correction look at around a region, so that its voxels are those of the whole volume.
    around = model.reach + CONSISTENCY_REACH
    seen, place = job.layout.surroundings(around)
    height, width = (stop - start for start, stop in seen)
    rows = model.strip_rows(width, options.strip_rows)
    plain = isinstance(model, torch_backend.TorchModel) and model.takes_batches
    batch = batch_of(job, model, card.channels, plain, seen)
    working = working_bytes(job, model, batch, seen, rows)
    _check_memory(job, working, memory_bytes(job.layout, options.bicubic) if fits_memory else 0, (height, width))
    clock = Clock(len(job.slices), progress, cancelled)
    if plain:
        model.notices = job.notices
        execution = _execution(model, card, job, seen, options, clock)
    else:  # a model that another door brought is executed as it came
        execution = Choice(getattr(model, "backend", "torch"), model.precision, "as the model came")
    rows = model.strip_rows(width, options.strip_rows)
    provenance = _provenance(job, card, options, execution)
    pipeline = Pipeline(
        job,
        model,
        card.channels,
        plain,
        batch,
        options.skip_constant,
        options.consistent,
        options.bicubic,
        seen,
        place,
        rows,
        open_sink or in_memory,
        {"sr": provenance, "bicubic": of_bicubic(provenance)},
        clock,
    )
    with kept_memory(execution.backend):
        try:
            pipeline.run()
        except SuperResolutionError:
            raise
        except Exception as error:
            if out_of_memory(error):  # after the network, which has its own ways out
                raise ResourceError(RAN_OUT) from error
            raise
    if model.global_gates and (height, width) != job.slices.shape[2:]:
        job.notices.append(
            f"{card.id} weighs its features by means over the slice; here over the region and {around} voxels "
            "around it, so it may differ slightly from the same place in the whole volume's result."
        )
    return _result(job, card, options, model, pipeline, execution, provenance, time.monotonic() - began)


def _check_memory(job: Job, working: int, outputs: int, shape: tuple[int, int]) -> None:
    free = free_memory()
    if working > MEMORY_SHARE * free:
        raise ResourceError(
            f"The network needs about {working / 1e9:.1f} GB of memory for slices of {shape[1]} x {shape[0]} pixels, "
            f"more than {MEMORY_SHARE:.0%} of the {free / 1e9:.1f} GB that are free; upscale a region of the image or "
            "choose a faster model."
        )
    if working + outputs > MEMORY_SHARE * free:
        raise OutputTooLarge(too_large(job.layout, working + outputs, free))


def _execution(model, card: ModelCard, job: Job, seen: Window, options: Options, clock: Clock) -> Choice:
    """Choose what executes the network, and put it under the model."""
    clock.tell_stage("choosing how to compute")
    (top, bottom), (left, right) = seen

    def read(number: int) -> np.ndarray:
        finite, _missing = bridge(job.slices[number], seen, job.gaps)
        return as_images(job.intensity.to_network(finite), card.channels)

    def check(*_) -> None:
        clock.check()

    slices = job.slices[:, :, top:bottom, left:right]
    few = samples(slices, card.channels, read)
    model.insists = True  # a trial is to say that float16 does not suffice
    choice = choose(
        model,
        few,
        lambda: windows(slices, card.channels, read, check, job.gaps),
        slices.size // card.channels,
        tolerance(job.dtype, job.intensity.width),
        options.backend,
        options.precision,
        check,
    )
    model.insists = options.precision == "float16"
    if options.backend not in ("auto", choice.backend):
        job.notices.append(f"The backend {options.backend} was not used. {choice.reason}".rstrip(".") + ".")
    clock.restart()
    return choice


def _provenance(job: Job, card: ModelCard, options: Options, execution: Choice) -> dict[str, str]:
    left_out = ("bicubic", "device", "backend", "precision")
    choices = {key: value for key, value in asdict(options).items() if key not in left_out}
    return {
        "Method": "super-resolution",
        "Model": card.id,
        "WeightsSHA256": card.sha256,
        "Scale": str(card.scale),
        "Options": json.dumps({**choices, "precision": execution.precision}, sort_keys=True),
        "Execution": f"{execution.backend}, {execution.precision}: {execution.reason}",
        "Software": f"SuperResolution {__version__}",
        "Source": job.source.source.get("SeriesInstanceUID") or job.source.name or "volume",
        "Notice": NOTICE,
    }


def _result(job, card, options, model, pipeline, execution, provenance, seconds) -> UpscaleResult:
    name = job.source.name or "volume"

    def volume(sink, kind: str) -> Volume:
        return Volume(sink.array, job.output_ijk_to_ras, f"{name} {kind} x{card.scale}", dict(job.source.source))

    sr_volume = volume(pipeline.sr, "SR")
    cubic = volume(pipeline.bicubic, "bicubic") if pipeline.bicubic is not None else None
    if job.missing:
        job.notices.append(
            f"{job.missing} voxels without a measurement ({job.gaps.told()}) were bridged for the network and put back."
        )
    seen = len(job.slices) * pipeline.slice_pixels
    report = {
        "model": card.id,
        "device": model.device,
        "precision": model.precision,
        "execution": execution.summary(),
        "seconds": round(seconds, 3),
        "network_seconds": round(pipeline.network_seconds, 3),
        "skipped_share": round(max(0.0, 1 - pipeline.pixels / seen), 4),
        "input": _describe(job.source),
        "output": _describe(sr_volume),
        "slice_axis": "ijk"[job.axis],
        "intensity": asdict(job.intensity),
        "consistency": {"applied": options.consistent, **pipeline.residual.summary()},
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
