"""How fast each model was on this computer, remembered in the user's settings from run to run."""

from __future__ import annotations

import qt

GROUP = "SuperResolution/SecondsPerWork"


def remember(modelId: str, device: str, work: float, seconds: float, precision: str = "auto") -> None:
    """Keep what a finished run took, for the next forecast of this model on this device.

    Args:
        device: as for ``upscale``; "auto" is a device of its own.
        work: ``Forecast.work`` of the run. seconds: what it took, without loading torch.
    """
    if work <= 0 or seconds <= 0:
        return
    settings, key = qt.QSettings(), _key(modelId, device, precision)
    rate, before = seconds / work, _rate(settings, key)
    # One run may have shared the computer with another program: half the weight to what was known.
    settings.setValue(key, rate if before is None else (rate + before) / 2)


def secondsFor(modelId: str, device: str, work: float, precision: str = "auto") -> float | None:
    """Seconds that so much work will take; None if this model did not run on this device yet."""
    rate = _rate(qt.QSettings(), _key(modelId, device, precision))
    return None if rate is None else rate * work


def _key(modelId: str, device: str, precision: str) -> str:
    return f"{GROUP}/{modelId}/{device}/{precision}"


def _rate(settings, key: str) -> float | None:
    # Settings are files that people edit and copy: whatever is no rate is as good as none.
    try:
        rate = float(settings.value(key))
    except (TypeError, ValueError):
        return None
    return rate if 0 < rate < float("inf") else None
