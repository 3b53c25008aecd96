"""From high to low resolution: the engine's bicubic, and by choice blur, a slice profile, noise and JPEG.

A specification is a mapping; every range [low, high] is drawn from evenly, anew for every image:

- ``blur``: [low, high], or ``{sigma: [low, high], anisotropic: true}``: Gaussian before shrinking. Sigma in
  low-resolution pixels, so that it means the same at every scale; anisotropic draws two and a direction.
- ``slice_profile``: [low, high], or ``{fwhm: [low, high], shape: gaussian | box, axis: 0 | 1}``: along an axis
  (0: from row to row) samples of this profile take the place of bicubic. Full width at half maximum in low-resolution
  pixels: slice thickness over slice distance.
- ``noise``: [low, high], or ``{sigma: [low, high], kind: gaussian | rician | poisson}``: after shrinking. Sigma in
  units of the network's range; for Poisson it is that of a pixel of value 1, and grows with the root of the value.
  Rician (magnitude MR) takes 0 as no signal.
- ``jpeg``: [low, high]: quality, 1 to 100, of 8 bits that stand for 0 to 1. What lies outside is cut off, of the
  high resolution too.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from io import BytesIO

import numpy as np
import torch

from SuperResolutionLib.errors import DataError, UsageError
from SuperResolutionLib.resampling import bicubic_downsample

from .names import check_known

#: The steps, each with the name of its range, the limits of that, and its other settings with what they may be, the
#: default first.
STEPS = {
    "blur": ("sigma", (0.0, 8.0), {"anisotropic": (False, True)}),
    "slice_profile": ("fwhm", (0.1, 8.0), {"shape": ("gaussian", "box"), "axis": (0, 1)}),
    "noise": ("sigma", (0.0, 1.0), {"kind": ("gaussian", "rician", "poisson")}),
    "jpeg": ("quality", (1, 100), {}),
}

#: A Gaussian is cut at this many standard deviations.
REACH = 4.0

#: Standard deviation of a Gaussian whose full width at half maximum is 1.
SIGMA_OF_FWHM = 1 / np.sqrt(8 * np.log(2))


class Degradation:
    """Makes low resolution: ``degradation(hr, scale, rng)``.

    Args:
        spec: see above; an empty one is the engine's bicubic and nothing else.

    Raises:
        UsageError: for an unknown step, setting or value, or JPEG without pillow.
    """

    def __init__(self, spec: dict | None = None):
        for name in spec or {}:
            check_known(name, STEPS, "degradation")
        self.steps = {name: _read_step(name, spec[name]) for name in STEPS if (spec or {}).get(name) is not None}
        if "jpeg" in self.steps and find_spec("PIL") is None:
            raise UsageError("The degradation jpeg needs the package pillow; install it, or leave jpeg out.")

    def __call__(self, hr: np.ndarray, scale: int, rng: np.random.Generator) -> np.ndarray:
        """Degrade one image.

        Args:
            hr: (h, w, c) float32 in the network's range, h and w multiples of ``scale``; c is 1 or 3 for JPEG.
            scale: integer, 1 or more.
            rng: where all chance comes from.

        Returns:
            (h / scale, w / scale, c) float32.

        Raises:
            DataError: if the size is not a multiple of the scale, or JPEG gets another number of channels.
        """
        if hr.shape[0] % scale or hr.shape[1] % scale:
            raise DataError(f"{hr.shape[0]} x {hr.shape[1]} pixels are no multiple of the scale {scale}; crop first.")
        image = hr.astype(np.float32, copy=False)
        if "blur" in self.steps:
            image = self._blurred(image, scale, rng)
        image = self._shrunk(image, scale, rng)
        if "noise" in self.steps:
            step = self.steps["noise"]
            image = NOISES[step["kind"]](image, rng.uniform(*step["sigma"]), rng)
        if "jpeg" in self.steps:
            image = jpeg(image, int(round(rng.uniform(*self.steps["jpeg"]["quality"]))))
        return np.ascontiguousarray(image, dtype=np.float32)

    @property
    def saturates(self) -> bool:
        """Whether the result holds 0 to 1 alone, so that of the high resolution nothing else can be asked for."""
        return "jpeg" in self.steps

    @property
    def reach(self) -> int:
        """How far a low-resolution pixel looks, in low-resolution pixels; bicubic alone looks at two."""
        sigma = max(self.steps.get("blur", {"sigma": (0, 0)})["sigma"])
        width = max(self.steps.get("slice_profile", {"fwhm": (0, 0)})["fwhm"])  # a Gaussian's are 2.4 to a sigma
        return 2 + math.ceil(max(REACH * sigma, 2 * width))

    def describe(self) -> str:
        """What is done, in words and in order, for the model card."""
        words = [_WORDS[name](step) for name, step in self.steps.items()]
        words.insert(int("blur" in self.steps), "antialiased bicubic")
        return "; ".join(words)

    def _blurred(self, image: np.ndarray, scale: int, rng: np.random.Generator) -> np.ndarray:
        step = self.steps["blur"]
        one = other = rng.uniform(*step["sigma"]) * scale
        angle = 0.0
        if step["anisotropic"]:
            other, angle = rng.uniform(*step["sigma"]) * scale, rng.uniform(0, np.pi)
        return convolve(image, gaussian_kernel(one, other, angle))

    def _shrunk(self, image: np.ndarray, scale: int, rng: np.random.Generator) -> np.ndarray:
        if "slice_profile" not in self.steps:
            return shrink(image, scale)
        step = self.steps["slice_profile"]
        axis = step["axis"]
        matrix = profile_matrix(image.shape[axis], scale, rng.uniform(*step["fwhm"]), step["shape"])
        sampled = np.moveaxis(np.tensordot(matrix, image, axes=(1, axis)), 0, axis)
        return shrink_axis(sampled, scale, 1 - axis)


def shrink(image: np.ndarray, scale: int) -> np.ndarray:
    """The engine's antialiased bicubic on (h, w, c) float32, h and w multiples of ``scale``."""
    tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0)))[None]
    return np.moveaxis(bicubic_downsample(tensor, scale)[0].numpy(), 0, -1)


def gaussian_kernel(one: float, other: float, angle: float) -> np.ndarray:
    """A Gaussian (2r + 1, 2r + 1) of sum 1, its standard deviations in pixels along and across ``angle`` (radians).

    At angle 0 the first lies along the last axis. Less than a tenth of a pixel counts as a tenth, which blurs nothing.
    """
    one, other = max(one, 0.1), max(other, 0.1)
    radius = int(REACH * max(one, other) + 0.5)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-0.5 * ((along / one) ** 2 + (across / other) ** 2))
    return kernel / kernel.sum()


def convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """A (h, w, c) image with a square kernel of odd side, mirrored at its borders; by Fourier transform."""
    radius = kernel.shape[0] // 2
    padded = np.pad(image, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    size = padded.shape[:2]
    product = np.fft.rfft2(padded, axes=(0, 1)) * np.fft.rfft2(kernel, s=size)[..., None]
    full = np.fft.irfft2(product, s=size, axes=(0, 1))
    return full[2 * radius :, 2 * radius :].astype(np.float32)


def profile_matrix(length: int, scale: int, fwhm: float, shape: str) -> np.ndarray:
    """Rows of weights (length / scale, length), each of sum 1, that sample an axis through a slice profile.

    Sample i lies at the centre of the low-resolution pixel i. The profile, of ``fwhm`` low-resolution pixels, is
    integrated over every high-resolution pixel, so a box of width 1 is the mean of ``scale`` pixels. At the ends of the
    axis what lies outside is left out.
    """
    centers = (torch.arange(length // scale, dtype=torch.float64)[:, None] + 0.5) * scale
    edges = torch.arange(length + 1, dtype=torch.float64)[None] - centers
    width = fwhm * scale
    if shape == "box":
        integral = edges.clamp(-width / 2, width / 2)
    else:
        integral = torch.erf(edges / (width * SIGMA_OF_FWHM * np.sqrt(2)))
    weights = integral.diff(dim=1)
    return (weights / weights.sum(dim=1, keepdim=True)).float().numpy()


def gaussian_noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Additive, the same everywhere."""
    return image + sigma * rng.standard_normal(image.shape, dtype=np.float32)


def rician_noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Magnitude of a complex signal with Gaussian noise in both parts; values below 0 count as their magnitude."""
    real = gaussian_noise(image, sigma, rng)
    return np.hypot(real, sigma * rng.standard_normal(image.shape, dtype=np.float32))


def poisson_noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Counts with a variance of sigma squared times the value; values below 0 have none and stay."""
    if sigma == 0:
        return image
    quantum = sigma**2
    counts = rng.poisson(np.maximum(image, 0) / quantum)
    return (counts * quantum + np.minimum(image, 0)).astype(np.float32)


NOISES = {"gaussian": gaussian_noise, "rician": rician_noise, "poisson": poisson_noise}


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Through JPEG and back, (h, w, 1 or 3) float32; what lies outside 0..1 is clipped, as 8 bits do.

    Raises:
        DataError: for another number of channels.
    """
    from PIL import Image

    if image.shape[2] not in (1, 3):
        raise DataError(f"JPEG takes images of 1 or 3 channels, not {image.shape[2]}.")
    stored = np.round(image.clip(0, 1) * 255).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(stored[..., 0] if image.shape[2] == 1 else stored).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as decoded:
        return (np.asarray(decoded, dtype=np.float32) / 255).reshape(image.shape)


def shrink_axis(image: np.ndarray, scale: int, axis: int) -> np.ndarray:
    """The engine's bicubic along one axis only: every line is shrunk as an image of ``scale`` equal rows."""
    lines = np.moveaxis(image, axis, -1)
    rows = torch.from_numpy(np.ascontiguousarray(lines)).reshape(-1, 1, 1, lines.shape[-1]).expand(-1, -1, scale, -1)
    shrunk = bicubic_downsample(rows, scale).numpy()
    return np.moveaxis(shrunk.reshape(*lines.shape[:-1], -1), -1, axis)


def _read_step(name: str, value) -> dict:
    """A step's settings, complete with defaults, its range as (low, high)."""
    key, (lowest, highest), settings = STEPS[name]
    given = dict(value) if isinstance(value, dict) else {key: value}
    for setting, chosen in given.items():
        check_known(setting, [key, *settings], f"setting of the degradation {name}")
        if setting in settings and chosen not in settings[setting]:
            raise UsageError(f"{setting} of the degradation {name} is one of {settings[setting]}, not {chosen!r}.")
    limits = given.get(key)
    if not _are_numbers(limits) or not lowest <= limits[0] <= limits[1] <= highest:
        raise UsageError(
            f"{key} of the degradation {name} is a range [low, high] within {lowest:g} to {highest:g}, not {limits!r}."
        )
    return {setting: allowed[0] for setting, allowed in settings.items()} | given | {key: tuple(limits)}


def _are_numbers(limits) -> bool:
    pair = isinstance(limits, list | tuple) and len(limits) == 2
    return pair and all(isinstance(limit, int | float) and not isinstance(limit, bool) for limit in limits)


def _span(limits: tuple[float, float]) -> str:
    return f"{limits[0]:g}" if limits[0] == limits[1] else f"{limits[0]:g} to {limits[1]:g}"


_WORDS = {
    "blur": lambda step: (
        f"{'anisotropic ' if step['anisotropic'] else ''}Gaussian blur, "
        f"sigma {_span(step['sigma'])} low-resolution pixels"
    ),
    "slice_profile": lambda step: (
        f"{step['shape']} slice profile from {('row to row', 'column to column')[step['axis']]} in place of bicubic, "
        f"full width at half maximum {_span(step['fwhm'])} low-resolution pixels"
    ),
    "noise": lambda step: f"{step['kind'].capitalize()} noise, sigma {_span(step['sigma'])} of the range",
    "jpeg": lambda step: f"JPEG, quality {_span(step['quality'])}",
}
