"""A round field of view on patches: where it is black, that it is round, and that chance alone decides."""

import numpy as np
import pytest

from Testing.training.test_dataset import sampler
from training.apertures import OUTSIDE, RADII, draw_aperture
from training.packed import pack

RED = np.full((90, 120, 3), (0.6, 0.4, 0.2), np.float32)


def drawn(seed):
    return draw_aperture(RED, np.random.default_rng(seed))


def test_part_of_the_image_is_black_and_the_rest_is_left():
    images = [drawn(seed) for seed in range(60)]
    assert all(image.shape == RED.shape and image.dtype == np.float32 and image.min() >= 0 for image in images)
    black = np.array([(image.max(axis=2) <= OUTSIDE).mean() for image in images])
    assert (black > 0.005).all() and (black < 0.95).all() and 0.3 < black.mean() < 0.6
    untouched = np.array([(np.abs(image - RED).max(axis=2) < 0.05).mean() for image in images])
    assert np.mean(untouched > 0.1) > 0.7
    assert (RED[..., 0] == np.float32(0.6)).all()
    np.testing.assert_array_equal(images[7], drawn(7))


@pytest.mark.parametrize("seed", range(6))
def test_it_is_round(seed):
    """The border's points lie on one circle with a radius from the range, by least squares."""
    image = drawn(seed)[..., 0]
    dark = image < 0.25
    y, x = np.nonzero(
        dark[:-1, :-1] & ~(dark[1:, :-1] & dark[:-1, 1:]) | ~dark[:-1, :-1] & (dark[1:, :-1] | dark[:-1, 1:])
    )
    a, b, c = np.linalg.lstsq(np.stack([2 * x, 2 * y, np.ones(len(x))], 1).astype(float), x**2.0 + y**2.0, rcond=None)[
        0
    ]
    radius = np.sqrt(c + a * a + b * b)
    assert RADII[0] * 0.8 < radius < RADII[1] * 3
    assert np.abs(np.hypot(x - a, y - b) - radius).max() < 2.5


def test_only_the_named_set_has_one(tmp_path):
    for name in ("photographs", "others"):
        pack(tmp_path, name, [np.random.default_rng(0).integers(90, 110, (96, 96, 3), dtype=np.uint8)])
    options = {"augment": (), "drawings": {"apertures": {"photographs": 1.0}}}
    _, high = sampler(tmp_path, "photographs", "others", **options).batch(200)
    black = (high.amax(1) < 0.05).flatten(1).any(1).float().mean()
    assert 0.25 < black < 0.6, "about four in five of half, since a margin around the patch may hold the edge"
