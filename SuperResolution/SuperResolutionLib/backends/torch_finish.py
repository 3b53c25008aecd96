"""What follows the network, on whatever device its result is on: consistency with the input, and stored values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..intensity import limits, store_tensor
from ..plan import Job
from ..resampling import bicubic_downsample, bicubic_upsample, make_consistent


def finish(
    enlarged: torch.Tensor, low: torch.Tensor, job: Job, consistent: bool, bicubic: bool, check: Callable[[], None]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Results in stored values. A graphics card is waited for only where an integer type's limits are looked at.

    Args:
        enlarged: (n, c, h * scale, w * scale) in network range, float32; not changed.
        low: (n, c, h, w), the input in network range, float32.
        job: what is computed; its intensity, type and scale are used.
        consistent: correct the result so that shrinking it gives ``low``. bicubic: also enlarge ``low``.
        check: called between steps; may raise to stop.

    Returns:
        The result in the job's type; what it shrinks to (n, c, h, w), float32 where that holds the type's values
        exactly, else float64; and the bicubic enlargement in the job's type, or None.
    """
    if consistent:
        enlarged = _within_limits(enlarged, low, job, check)
    stored = store_tensor(enlarged, job.intensity, job.dtype)
    check()
    exact = torch.float32 if job.dtype.kind in "iu" and job.dtype.itemsize <= 2 else torch.float64
    shrunk = bicubic_downsample(stored.to(exact), job.scale)
    check()
    cubic = store_tensor(bicubic_upsample(low, job.scale), job.intensity, job.dtype) if bicubic else None
    return stored, shrunk, cubic


def _within_limits(enlarged: torch.Tensor, low: torch.Tensor, job: Job, check: Callable[[], None]) -> torch.Tensor:
    """Consistent with the input, in network range; a new tensor.

    Clipping at the type's limits breaks the consistency, so both are repeated up to three times.
    """
    bottom, top = (float(job.intensity.to_network(np.array(limit))) for limit in limits(job.dtype))
    for _ in range(3):
        check()
        enlarged = make_consistent(enlarged, low)
        if job.dtype.kind == "f":
            break
        least, most = torch.stack(enlarged.aminmax()).tolist()
        if least >= bottom and most <= top:
            break
        enlarged.clamp_(bottom, top)
    return enlarged
