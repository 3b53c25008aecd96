"""Grids: the refined volume covers exactly the input's space, whatever its spacing, origin and direction."""

import numpy as np
import pytest

from SuperResolutionLib.errors import DataError, UsageError
from SuperResolutionLib.geometry import bounds, check_region, refine, shift, slice_axis
from SuperResolutionLib.volume import Volume


def random_matrix(seed):
    """An oblique IJK to RAS matrix with random spacing, origin, direction and handedness."""
    random = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * random.uniform(0.1, 7.0, 3)
    matrix[:3, 3] = random.uniform(-500, 500, 3)
    return matrix


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("scale", [(4, 4, 1), (2, 2, 2), (8, 1, 3), (1.5, 2.5, 4.0)])
def test_bounds_are_kept(seed, scale):
    matrix, size = random_matrix(seed), (8, 12, 10)
    finer = refine(matrix, scale)
    enlarged = tuple(int(n * s) for n, s in zip(size, scale))
    np.testing.assert_allclose(bounds(finer, enlarged), bounds(matrix, size), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(finer[:3, :3], axis=0) * scale, np.linalg.norm(matrix[:3, :3], axis=0))


def test_first_voxel_moves_inwards_by_the_pixel_area_rule():
    finer = refine(np.diag([2.0, 2.0, 6.0, 1.0]), (2, 2, 3))
    np.testing.assert_allclose(finer[:3, 3], [-0.5, -0.5, -2.0])


def test_refining_and_coarsening_cancel():
    matrix = random_matrix(3)
    np.testing.assert_allclose(refine(refine(matrix, (4, 2, 1)), (0.25, 0.5, 1)), matrix, atol=1e-9)


def test_shift_moves_the_first_voxel_to_the_start_of_the_region():
    matrix = random_matrix(4)
    np.testing.assert_allclose(shift(matrix, (3, 5, 7))[:, 3], matrix @ [3, 5, 7, 1])


@pytest.mark.parametrize(
    ("size", "spacing", "choice", "axis"),
    [
        ((64, 64, 20), (1, 1, 3), None, 2),
        ((20, 64, 64), (3, 1, 1), None, 0),
        ((64, 64, 64), (1, 1, 1), None, 2),
        ((64, 64, 64), (1.04, 1, 1), None, 2),
        ((64, 64, 64), (1, 1.06, 1), None, 1),
        ((64, 1, 64), (1, 1, 5), None, 1),
        ((64, 64, 1), (9, 1, 1), None, 2),
        ((64, 64, 20), (1, 1, 3), "i", 0),
    ],
)
def test_slice_axis(size, spacing, choice, axis):
    assert slice_axis(size, spacing, choice) == axis


def test_unknown_slice_axis():
    with pytest.raises(UsageError, match="i, j or k"):
        slice_axis((4, 4, 4), (1, 1, 1), "x")


@pytest.mark.parametrize("region", [((0, 5), (0, 4), (0, 4)), ((2, 2), (0, 4), (0, 4)), ((-1, 2), (0, 4), (0, 4))])
def test_regions_outside_are_refused(region):
    with pytest.raises(UsageError, match="i = 0:4"):
        check_region(region, (4, 4, 4))


def test_volumes_say_what_they_are():
    volume = Volume(np.zeros((3, 5, 7)), np.diag([1.0, 2.0, 3.0, 1.0]))
    assert volume.size == (7, 5, 3) and volume.spacing == (1.0, 2.0, 3.0) and volume.channels == 1


def test_tiny_spacings_are_geometry_too():
    assert Volume(np.zeros((1, 2, 2)), np.diag([1e-6, 1e-6, 1e-6, 1.0])).spacing == pytest.approx((1e-6,) * 3)


@pytest.mark.parametrize(
    ("array", "matrix"),
    [
        (np.zeros((4, 4)), np.eye(4)),
        (np.zeros((0, 4, 4)), np.eye(4)),
        (np.zeros((4, 4, 4)), np.diag([1.0, 0, 1, 1])),
        (np.zeros((4, 4, 4)), np.full((4, 4), np.nan)),
    ],
)
def test_impossible_volumes_are_refused(array, matrix):
    with pytest.raises(DataError):
        Volume(array, matrix)
