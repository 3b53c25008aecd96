"""What a run gives and costs is foreseen from the sizes alone, and agrees with the run."""

import dataclasses

import numpy as np
import pytest

from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.errors import DataError, ModelError, UsageError
from SuperResolutionLib.forecast import forecast, reach
from SuperResolutionLib.networks import create, layout
from SuperResolutionLib.plan import CONSISTENCY_REACH
from SuperResolutionLib.upscaler import Options, upscale
from SuperResolutionLib.volume import Volume
from Testing.tiny_model import write_model
from Testing.unit.test_tiling import SMALL, build

SIZE, SPACING = (200, 160, 3), (0.8, 0.8, 3.0)


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for channels, name in ((1, "grey"), (3, "colour")):
        write_model(folder, f"edsr-ise-{name}-x2-psnr", channels)
    return {card.channels: card for card in ModelCatalog([folder]).cards}


@pytest.mark.parametrize("axis", [None, "i"])
@pytest.mark.parametrize("region", [None, ((10, 40), (5, 45), (0, 2))])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_run_gives_what_was_foreseen(cards, axis, region, channels):
    shape = (20, 30, 40) if channels == 1 else (20, 30, 40, channels)
    volume = Volume(np.zeros(shape, np.int16), np.eye(4))
    region = region and ((3, 13), (5, 25), (0, 2))
    foreseen = forecast(volume.size, volume.spacing, channels, np.int16, cards[1], region, axis)
    result = upscale(volume, cards[1], Options(device="cpu", region=region, axis=axis))
    assert result.sr.size == foreseen.size and result.sr.array.nbytes == foreseen.output_bytes
    assert foreseen.memory_bytes >= 3 * foreseen.output_bytes
    notices = {text for text in result.report["notices"] if "means over the slice" not in text}  # of its gates
    assert notices <= set(foreseen.warnings)


def test_work_is_in_proportion_to_voxels_and_calls(cards):
    whole = forecast(SIZE, SPACING, 1, np.int16, cards[1])
    assert whole.work == 200 * 160 * 3 and whole.warnings == ()
    assert forecast(SIZE, SPACING, 3, np.uint8, cards[1]).work == 3 * whole.work
    assert forecast(SIZE, SPACING, 3, np.uint8, cards[3]).work == whole.work
    assert forecast(SIZE, SPACING, 1, np.int16, cards[1], region=((0, 200), (0, 160), (1, 2))).work == whole.work // 3
    less = forecast(SIZE, SPACING, 1, np.int16, cards[1], bicubic=False)
    assert less.output_bytes == whole.output_bytes and less.memory_bytes < whole.memory_bytes


def test_work_counts_what_surrounds_a_region(cards):
    around = reach(cards[1].architecture, cards[1].config) + CONSISTENCY_REACH
    part = forecast(SIZE, SPACING, 1, np.int16, cards[1], region=((100, 104), (0, 4), (1, 2)))
    assert part.work == (4 + 2 * around) * (4 + around)


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_reach_is_that_of_the_layers(name, scale):
    config = {**SMALL[name], "scale": scale}
    assert reach(name, config) == layout.reach(build(name, scale))
    assert reach(name, {"scale": scale}) == layout.reach(create(name, scale=scale, channels=1))


def test_warnings(cards):
    trained = dataclasses.replace(cards[1], spacing_range=(1.0, 2.0))
    (spacing,) = forecast(SIZE, SPACING, 1, np.int16, trained).warnings
    assert "0.8 x 0.8 mm" in spacing and "1 to 2 mm" in spacing
    assert forecast(SIZE, SPACING, 1, np.int16, trained, spacing_known=False).warnings == ()
    (small,) = forecast((200, 127, 3), SPACING, 1, np.int16, cards[1]).warnings
    assert "200 x 127" in small and "invented" in small
    (large,) = forecast(SIZE, SPACING, 1, np.int16, cards[1], free_bytes=10**6).warnings
    assert "400 x 320 x 3" in large
    assert forecast(SIZE, SPACING, 1, np.int16, cards[1], free_bytes=10**9).warnings == ()
    (colour,) = forecast(SIZE, SPACING, 3, np.uint8, cards[1]).warnings
    assert "color channel" in colour


def test_what_cannot_run_is_refused(cards):
    with pytest.raises(ModelError, match="color model"):
        forecast(SIZE, SPACING, 1, np.int16, cards[3])
    with pytest.raises(DataError, match="2 components"):
        forecast(SIZE, SPACING, 2, np.int16, cards[1])
    with pytest.raises(DataError, match="complex64"):
        forecast(SIZE, SPACING, 1, np.complex64, cards[1])
    with pytest.raises(DataError, match="at least 4 x 4"):
        forecast((3, 200, 9), SPACING, 1, np.int16, cards[1])
    with pytest.raises(UsageError, match="leaves the image"):
        forecast(SIZE, SPACING, 1, np.int16, cards[1], region=((0, 201), (0, 1), (0, 1)))
    with pytest.raises(UsageError, match="not 'x'"):
        forecast(SIZE, SPACING, 1, np.int16, cards[1], axis="x")
