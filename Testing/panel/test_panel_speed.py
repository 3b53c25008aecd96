"""The remembered speed, in the settings of the host, which are a temporary file."""

from __future__ import annotations

import tempfile

import pytest


@pytest.fixture
def speed(module):
    import qt

    from SuperResolutionPanel import speed

    assert qt.QSettings().fileName().startswith(tempfile.gettempdir()), "never a person's own settings"
    qt.QSettings().remove(speed.GROUP)
    yield speed
    qt.QSettings().remove(speed.GROUP)


def test_rememberedPerModelDeviceAndPrecision(speed):
    assert speed.secondsFor("a-x4-psnr", "cpu", 100) is None
    speed.remember("a-x4-psnr", "cpu", 100, 20)
    assert speed.secondsFor("a-x4-psnr", "cpu", 50) == pytest.approx(10)
    others = [("b-x4-psnr", "cpu", 50), ("a-x4-psnr", "cuda:0", 50), ("a-x4-psnr", "cpu", 50, "float16")]
    assert [speed.secondsFor(*other) for other in others] == [None] * 3


def test_anotherRunCountsHalf(speed):
    speed.remember("a", "cuda:0", 100, 10)
    speed.remember("a", "cuda:0", 200, 60)
    assert speed.secondsFor("a", "cuda:0", 100) == pytest.approx(20)


def test_survivesARestart(speed):
    import qt

    speed.remember("a", "cuda:1", 3, 1)
    qt.QSettings().sync()
    with open(qt.QSettings().fileName(), encoding="utf-8") as file:
        assert "SecondsPerWork" in file.read()
    assert speed.secondsFor("a", "cuda:1", 6) == pytest.approx(2)


@pytest.mark.parametrize(("work", "seconds"), [(0, 1), (1, 0), (-1, 1)])
def test_nonsenseIsNotRemembered(speed, work, seconds):
    speed.remember("a", "cpu", work, seconds)
    assert speed.secondsFor("a", "cpu", 1) is None


@pytest.mark.parametrize("value", ["quick", "nan", "inf", "-1", ""])
def test_damagedSettingsAreAsGoodAsNone(speed, value):
    import qt

    qt.QSettings().setValue(f"{speed.GROUP}/a/cpu/auto", value)
    assert speed.secondsFor("a", "cpu", 1) is None
    speed.remember("a", "cpu", 1, 3)
    assert speed.secondsFor("a", "cpu", 1) == 3
