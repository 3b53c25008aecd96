"""Which parts of test images become pictures: where the rules find what was put there, in whole pixels of the input."""

import numpy as np
import pytest

from SuperResolutionLib.catalog import load_card
from SuperResolutionLib.volume import Volume
from Testing.tiny_model import write_model
from training.candidates import MODEL
from training.protocols import our_case
from training.scoring import Scorer
from training.zoo.patches import GRID, filled, reference_patches, result_patches, side_of, window_means
from training.zoo.pictures import GAP, LINE, TILE, Row, decibel, draw_rows

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return load_card(write_model(tmp_path_factory.mktemp("models"), "edsr-ise-test-x4-psnr"))


def eye(height=320, width=480) -> np.ndarray:
    """A round field of view with a bright disc, a large vessel, thin vessels at one place and spots at another."""
    y, x = np.mgrid[:height, :width].astype(float)
    field = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (0.49 * height) ** 2
    green = np.full((height, width), 100.0)
    green += 80 * np.exp(-((y - 160) ** 2 + (x - 130) ** 2) / (2 * 14**2))
    green[:, 236:244] -= 50
    for column in range(270, 320, 10):
        green[80:140, column : column + 2] -= 40
    for row, column in ((190, 280), (200, 298), (212, 276), (196, 312)):
        green[row : row + 8, column : column + 8] += 60
    picture = np.stack([green + 60, green, green / 2], axis=-1) + np.random.default_rng(0).normal(
        0, 1, (height, width, 1)
    )
    return np.where(field[..., None], np.clip(picture, 0, 255), 0).astype(np.uint8)


def holds(patch, top, left, bottom, right) -> bool:
    """Whether more than half of a rectangle lies in a patch."""
    rows = min(bottom, patch.top + patch.side) - max(top, patch.top)
    columns = min(right, patch.left + patch.side) - max(left, patch.left)
    return max(rows, 0) * max(columns, 0) > 0.5 * (bottom - top) * (right - left)


def test_thin_vessels_and_spots_are_found_and_neither_disc_nor_large_vessel():
    found = reference_patches(eye()[None], 255.0)
    assert set(found) == {"vessels", "lesions"}
    assert holds(found["vessels"], 80, 270, 140, 320) and holds(found["lesions"], 190, 275, 223, 323)
    for patch in found.values():
        assert patch.top % GRID == patch.left % GRID == patch.side % GRID == 0 and patch.value > 0


def test_the_reference_decides_alike_at_every_scale():
    picture = eye(327, 490)
    places = {
        scale: reference_patches(picture[None, : 327 - 327 % scale, : 490 - 490 % scale], 255.0) for scale in (4, 8, 16)
    }
    assert places[4] == places[8] == places[16]


def test_the_detail_is_in_the_middle_slice_where_structure_is():
    random = np.random.default_rng(1)
    volume, texture = np.full((5, 240, 320), 90, np.uint8), (random.random((240, 320)) > 0.5) * 20
    texture[128:192, 192:256] *= 2
    texture[random.random((240, 320)) > 0.985] = 150  # the worst 1 % of the pixels, no anatomy
    volume[2] += texture.astype(np.uint8)
    volume[0] += texture[::-1].astype(np.uint8)
    volume[:, :4] = 0
    patch = reference_patches(volume, 255.0)["detail"]
    assert (patch.index, patch.top, patch.left, patch.side) == (2, 128, 192, 64)
    assert reference_patches(np.zeros((1, 24, 24), np.uint8), 255.0) == {}


def case_of(card, array) -> Scorer:
    return Scorer(our_case(Volume(array, np.eye(4), "v", {"Spacing": "unknown"}), card), card.scale)


def test_failures_and_invented_structure_are_where_they_were_put(card):
    y, x = np.mgrid[:256, :256]
    plane = np.clip(120 + 40 * np.sin(x / 9) * np.cos(y / 11), 0, 255)
    plane[128:] += 30 * ((x[128:] // 2 + y[128:] // 2) % 2)
    volume = np.stack([plane, plane]).astype(np.uint8)
    scorer = case_of(card, volume)
    model = scorer.case.images["bicubic consistent"].copy()
    model[1, 0, 40:80, 150:190] += ((x[40:80, 150:190] + y[40:80, 150:190]) % 2 * 20).astype(np.uint8)
    model[0, 0, 180:220, 40:80] = 255
    images = scorer.case.images | {MODEL: model}
    found = result_patches(scorer, images)
    assert (found["failure"].index, found["invented"].index) == (0, 1)
    assert holds(found["failure"], 180, 40, 220, 80) and holds(found["invented"], 40, 150, 80, 190)
    patch = filled(found["failure"], scorer, images)
    side, scale = patch.side, card.scale
    place = slice(patch.top, patch.top + side), slice(patch.left, patch.left + side)
    np.testing.assert_array_equal(patch.crops["reference"], volume[0][place])
    np.testing.assert_array_equal(patch.crops[MODEL], model[0, 0][place])
    low = scorer.case.low.array[0, patch.top // scale :, patch.left // scale :][: side // scale, : side // scale]
    np.testing.assert_array_equal(patch.crops["low"], low)
    assert decibel(patch, MODEL) < decibel(patch, "bicubic consistent")


def test_a_model_that_is_nowhere_worse_has_no_failure(card):
    scorer = case_of(card, eye()[None, ..., 1])
    images = scorer.case.images | {MODEL: scorer.case.reference}
    assert "failure" not in result_patches(scorer, images)


def test_windows_are_means_on_a_grid():
    values = RANDOM.random((70, 90))
    means = window_means(values, 32)
    assert means.shape == (3, 4)
    assert means[2, 1] == pytest.approx(values[32:64, 16:48].mean())
    assert [side_of(shape) for shape in ((1024, 1024), (128, 300), (70, 40), (3000, 2000))] == [112, 64, 32, 112]


def test_a_picture_shows_every_pixel_of_its_parts(card):
    scorer = case_of(card, eye()[None])
    images = scorer.case.images | {MODEL: scorer.case.reference}
    patch = filled(reference_patches(scorer.planes, 255.0)["vessels"], scorer, images)
    picture = np.asarray(draw_rows([Row("a row", {"some-model-x4-psnr": patch}), Row("b", {"other": patch})]))
    times = round(TILE / patch.side)
    side = times * patch.side
    step = max(TILE, side) + GAP
    tiles = [picture[LINE + 2 :, place * step :][:side, :side] for place in range(5)]
    expected = {4: "reference", 3: MODEL, 2: "bicubic"}
    for place, name in expected.items():
        np.testing.assert_array_equal(tiles[place], patch.crops[name].repeat(times, 0).repeat(times, 1))
    np.testing.assert_array_equal(tiles[1][:: 4 * times, :: 4 * times], patch.crops["low"])
    assert (tiles[0] == (255, 204, 0)).all(axis=2).sum() > 50, "the part is marked in the slice"
