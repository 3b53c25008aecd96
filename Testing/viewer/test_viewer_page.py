"""The page in a real browser: look, upscale, compare."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from SuperResolutionLib.files import read_volume
from Testing.run_cli import run_here
from Testing.viewer import driver
from Testing.viewer.conftest import PATIENCE


@pytest.fixture(scope="module")
def viewer(start_viewer, volume_file):
    return start_viewer(volume_file)


@pytest.fixture(scope="module")
def page(viewer, chromium):
    """The page, opened once as its user does; each test opens the image that it needs anew."""
    context = chromium.new_context(viewport={"width": 1280, "height": 720}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.errors, page.asked = [], []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(viewer.address)
    page.wait_for_selector(driver.pane("input") + "[data-stamp]")
    driver.settle(page)
    yield page
    context.close()


@pytest.fixture(autouse=True)
def no_errors(page):
    """What went wrong in the page's scripts fails the test."""
    page.errors.clear()
    yield
    assert page.errors == []


def test_the_file_of_the_command_line_is_shown(page, viewer):
    assert driver.state(page, "image_text").startswith("phantom: 96 x 80 x 6 voxels of 3 x 3 x 6 mm, int16")
    assert driver.state(page, "shown") == ["input"]
    assert len(np.unique(driver.image(page, "input"))) > 20
    assert page.title() == "SuperResolution"
    elsewhere = [url for url in page.asked if not url.startswith((viewer.base, "data:", "blob:"))]
    assert elsewhere == []


def test_upscaling_shows_its_progress_and_three_views(page, volume_file):
    driver.open_volume(page, volume_file)
    page.evaluate(
        """() => {
            window.stages = [];
            const text = document.querySelector('.status-text');
            const note = () => window.stages.push(text.textContent);
            new MutationObserver(note).observe(text, { childList: true, characterData: true, subtree: true });
        }"""
    )
    driver.upscale_to_the_end(page, driver.SLOW)
    assert driver.state(page, "shown") == ["input", "bicubic", "sr"]
    assert [page.inner_text(driver.pane(view)) for view in ("input", "bicubic", "sr")] == ["Input", "Bicubic", "SR"]
    stages = page.evaluate("() => window.stages")
    assert any(re.match(r"slice \d of 6", stage) for stage in stages), stages
    assert re.match(r"384 x 320 x 6 voxels in [\d.]+ s on cpu\.", stages[-1]), stages
    images = [driver.image(page, view) for view in ("input", "bicubic", "sr")]
    assert images[0].shape == images[1].shape == images[2].shape
    differences = [np.abs(images[0].astype(int) - other).mean() for other in images[1:]]
    assert all(0 < difference < 20 for difference in differences), differences  # the same place, other voxels
    assert not np.array_equal(images[1], images[2])


def test_views_move_together(page, volume_file, capsys):
    driver.show_result(page, volume_file)
    views = ("input", "bicubic", "sr")
    before = driver.offset(page, "sr")
    first = {view: driver.image(page, view) for view in views}
    driver.scroll(page, "bicubic", -2)
    with capsys.disabled():
        milliseconds = page.evaluate("() => window.superResolutionPage.milliseconds")
        print(f"\nlinked step of three views from the wheel to the last pixel in the browser: {milliseconds:.0f} ms")
    assert [driver.offset(page, view) for view in views] == pytest.approx([before + 12] * 3, abs=1e-3)
    for view in views:
        assert not np.array_equal(driver.image(page, view), first[view])

    for view, right, down, button in (("sr", 40, 25, "left"), ("input", 0, 60, "right")):
        stamps = {each: driver.stamp(page, each) for each in views}
        driver.drag(page, view, right, down, button)
        assert all(driver.stamp(page, each) != stamps[each] for each in views), (view, button)
    page.click("text=Fit")
    driver.settle(page)
    driver.scroll(page, "input", 2)
    assert driver.offset(page, "sr") == pytest.approx(before, abs=1e-3)


@pytest.mark.parametrize("orientation", ["Axial", "Coronal", "Sagittal", "As acquired"])
def test_the_orientation_turns_all_views(page, volume_file, orientation):
    driver.show_result(page, volume_file)
    stamps = {view: driver.stamp(page, view) for view in ("input", "bicubic", "sr")}
    driver.choose(page, "orientation-select", orientation)
    for view, stamp in stamps.items():
        driver.wait_for(
            page, "([view, stamp]) => document.querySelector(`.pane[data-view=${view}]`).dataset.stamp != stamp",
            [view, stamp],
        )  # fmt: skip
    driver.settle(page)
    assert len({driver.offset(page, view) for view in stamps}) == 1
    images = [driver.image(page, view).astype(int) for view in stamps]
    assert images[2].std() > 10
    assert np.abs(images[1] - images[2]).mean() < 20


def test_keys_scroll_zoom_and_flicker(page, volume_file):
    driver.show_result(page, volume_file)
    page.click(driver.pane("sr") + " canvas")
    before = driver.offset(page, "sr")
    page.keyboard.press("ArrowUp")
    driver.settle(page)
    assert driver.offset(page, "input") == pytest.approx(before + 6, abs=1e-3)
    page.keyboard.press("ArrowDown")
    driver.settle(page)
    assert driver.offset(page, "input") == pytest.approx(before, abs=1e-3)

    stamp = driver.stamp(page, "bicubic")
    page.keyboard.press("+")
    driver.settle(page)
    assert driver.stamp(page, "bicubic") != stamp
    page.keyboard.press(" ")
    driver.wait_for(page, "() => window.trame.state.get('labels').sr === 'Bicubic'")
    driver.settle(page)
    np.testing.assert_array_equal(driver.image(page, "sr"), driver.image(page, "bicubic"))
    page.keyboard.press(" ")
    driver.wait_for(page, "() => window.trame.state.get('labels').sr === 'SR'")
    driver.settle(page)
    assert not np.array_equal(driver.image(page, "sr"), driver.image(page, "bicubic"))


def test_swiping_uncovers_one_volume_over_the_other(page, volume_file):
    driver.show_result(page, volume_file)
    page.click(".swipe-button")
    driver.wait_for(page, "() => document.querySelector('.views').classList.contains('swipe')")
    driver.wait_for(
        page, "() => document.querySelector('.pane[data-view=sr] canvas').width > 900"
    )  # one view in the place of three
    driver.settle(page)
    box = page.locator("#views").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60)
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 60)
    page.mouse.up()
    divider = page.evaluate("() => getComputedStyle(document.getElementById('views')).getPropertyValue('--divider')")
    assert float(divider.rstrip("%")) == pytest.approx(70, abs=0.5)

    bicubic, sr = driver.image(page, "bicubic"), driver.image(page, "sr")
    assert bicubic.shape == sr.shape
    shown = np.array(Image.open(io.BytesIO(page.screenshot(clip=box))).convert("RGB"))
    at = int(0.7 * bicubic.shape[1])
    rows = slice(40, bicubic.shape[0] - 40)  # without the labels
    for place, wanted in ((slice(0, at - 20), bicubic), (slice(at + 20, None), sr)):
        np.testing.assert_array_equal(shown[rows, : wanted.shape[1]][:, place], wanted[rows, place])
    page.click("text=Side by side")
    driver.wait_for(page, "() => !document.querySelector('.views').classList.contains('swipe')")
    driver.settle(page)


def test_difference_magnifier_and_smoothing(page, volume_file):
    driver.show_result(page, volume_file)
    page.click(".difference-box input")
    page.wait_for_selector(driver.pane("difference") + "[data-stamp]")
    driver.settle(page)
    assert page.inner_text(driver.pane("difference")) == "SR - bicubic"
    assert driver.image(page, "difference").std() > 1

    page.click(".magnifier-box input")
    page.wait_for_selector(".lens canvas")
    page.mouse.move(*driver.middle(page, "sr"))
    driver.settle(page)
    lenses = [driver.pixels(page, f"canvas[data-lens={view}]") for view in ("input", "bicubic", "sr")]
    assert [lens.shape for lens in lenses] == [(150, 150, 3)] * 3
    # The lens of the input shows few, large voxels, those of the enlarged volumes more.
    assert len(np.unique(lenses[0])) < len(np.unique(lenses[2]))
    page.click(".magnifier-box input")

    stamp, sharp = driver.stamp(page, "input"), driver.image(page, "input")
    page.click(".interpolate-box input")
    driver.wait_for(page, "old => document.querySelector('.pane[data-view=input]').dataset.stamp != old", stamp)
    driver.settle(page)
    assert len(np.unique(driver.image(page, "input"))) > len(np.unique(sharp)) / 2
    assert not np.array_equal(driver.image(page, "input"), sharp)
    for name in ("interpolate", "difference"):
        page.click(f".{name}-box input")
    driver.wait_for(page, "() => window.trame.state.get('shown').length === 3")
    driver.settle(page)


def test_the_values_under_the_pointer_are_the_voxels(page, volume_file):
    driver.show_result(page, volume_file)
    x, y = driver.middle(page, "bicubic")
    page.mouse.move(x + 9, y - 14)
    driver.settle(page)
    told = page.inner_text("#readout")
    ras = [float(number) for number in re.match(r"R (\S+)\s+A (\S+)\s+S (\S+)", told).groups()]
    values = {name: int(number) for name, number in re.findall(r"(Input|Bicubic|SR): (-?\d+)", told)}
    assert set(values) == {"Input", "Bicubic", "SR"}
    volume = read_volume(volume_file)
    index = np.linalg.inv(volume.ijk_to_ras) @ (*ras, 1.0)
    i, j, k = np.floor(index[:3] + 0.5).astype(int)
    assert values["Input"] == volume.array[k, j, i]


def test_downloads_are_what_the_terminal_writes(page, volume_file, tmp_path):
    driver.show_result(page, volume_file)
    wanted = {}
    arguments = ["upscale", volume_file, tmp_path / "sr.nrrd", "--bicubic", tmp_path / "bicubic.nrrd"]
    ended = run_here(*arguments, "--model", "span-general-x4-psnr", "--device", "cpu")
    assert ended.status == 0, ended.err
    for name in ("sr", "bicubic"):
        wanted[name] = read_volume(tmp_path / f"{name}.nrrd")
    for name in ("sr.nrrd", "sr.nii.gz", "bicubic.nrrd", "bicubic.nii.gz"):
        path = download(page, name, tmp_path / f"got-{name}")
        got, kind = read_volume(path), name.partition(".")[0]
        np.testing.assert_array_equal(got.array, wanted[kind].array)
        np.testing.assert_allclose(got.ijk_to_ras, wanted[kind].ijk_to_ras, atol=1e-4)
    report = json.loads(download(page, "report.json", tmp_path / "report.json").read_text())
    assert report["model"] == "span-general-x4-psnr"
    assert "Research use only" in report["provenance"]["Notice"]
    with Image.open(download(page, "views.png", tmp_path / "views.png")) as picture:
        assert picture.format == "PNG"
        shown = np.array(picture)
    image = driver.image(page, "sr")
    found = shown[18 : 18 + image.shape[0], -image.shape[1] :]
    np.testing.assert_array_equal(found, image)


def download(page, name: str, path):
    page.click(".save-button")
    with page.expect_download() as expected:
        page.click(f".v-overlay--active a[href$='download/{name}']")
    assert re.fullmatch(r"[\w. -]+", expected.value.suggested_filename)
    expected.value.save_as(path)
    driver.wait_for(page, "() => !document.querySelector('.v-overlay--active')")
    return path


def test_scores_are_those_of_the_terminal(page, volume_file):
    driver.open_volume(page, volume_file)
    if driver.state(page, "family") != "span-general-psnr":
        driver.choose(page, "model-select", driver.FAST)
    page.click(".reduce-button")
    driver.wait_for(page, "() => window.trame.state.get('image_text').includes('24 x 20 x 6 voxels')")
    assert driver.state(page, "reference_text") == "Reference: 96 x 80 x 6 voxels"
    driver.upscale_to_the_end(page)
    driver.wait_for(page, "() => window.trame.state.get('scores').length === 2")
    ended = run_here("compare", volume_file, "--model", "span-general-x4-psnr", "--device", "cpu", "--json")
    methods = json.loads(ended.out)["methods"]
    rows = {row["method"]: (row["psnr"], row["ssim"]) for row in driver.state(page, "scores")}
    for name, method in (("Bicubic", "bicubic"), ("SR", "model")):
        assert rows[name] == (f"{methods[method]['psnr']:.2f}", f"{methods[method]['ssim']:.4f}")


@pytest.mark.parametrize(("extent", "result"), [("Current slice", "384 x 320 x 1"), ("Region", None)])
def test_a_slice_or_a_region_is_upscaled(page, volume_file, extent, result):
    driver.open_volume(page, volume_file)
    driver.choose(page, "extent-select", extent)
    if extent == "Region":
        page.click("text=What the views show")
        page.keyboard.press("Escape")
        driver.drag(page, "input", 0, 70, "right")
        page.click("text=What the views show")
        driver.wait_for(page, "() => window.trame.state.get('region_i')[0] > 0")
        region = [driver.state(page, f"region_{axis}") for axis in "ijk"]
        assert region[2] == [0, 6]
        result = " x ".join(str((stop - start) * scale) for (start, stop), scale in zip(region, (4, 4, 1)))
        assert driver.state(page, "outlook") == f"Result: {result} voxels"
    driver.upscale_to_the_end(page)
    assert driver.state(page, "status").startswith(f"{result} voxels in ")
    driver.choose(page, "extent-select", "Whole volume")


def test_a_tablet_has_room_for_it(page, volume_file):
    driver.show_result(page, volume_file)
    page.set_viewport_size({"width": 800, "height": 1100})
    driver.wait_for(page, "() => document.querySelector('.pane[data-view=sr]').offsetWidth > 150")
    driver.settle(page)
    assert page.evaluate("() => document.scrollingElement.scrollWidth") <= 800
    for view in ("input", "bicubic", "sr"):
        box = page.locator(driver.pane(view)).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 800 and box["y"] + box["height"] <= 1100
        assert min(box["width"], box["height"]) > 150
    for selector in (".save-button", ".swipe-button", ".drawer-button"):
        assert page.is_visible(selector)
    page.set_viewport_size({"width": 1280, "height": 720})
    driver.wait_for(page, "() => document.getElementById('views').offsetWidth > 800")
    driver.settle(page)
