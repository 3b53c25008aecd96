"""``superres compare --html``: one file that shows linked slices in any browser and loads nothing."""

from __future__ import annotations

import base64
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

MODEL = "span-general-x4-psnr"
TITLES = ["Low resolution", "Bicubic", "Bicubic, consistent", "Super-resolved", "Reference"]


@pytest.fixture(scope="module")
def report(tmp_path_factory, volume_file):
    """(path of the page, scores that were printed as JSON); the image's name is made to break out of markup."""
    folder = tmp_path_factory.mktemp("report")
    source = folder / "<img src=x onerror=alert(1)>.nrrd"
    source.write_bytes(volume_file.read_bytes())
    path = folder / "report.html"
    ended = run_here("compare", source, "--model", MODEL, "--device", "cpu", "--html", path, "--json")
    assert ended.status == 0, ended.err
    return path, json.loads(ended.out)


def content(path) -> dict:
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script id="page" type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def test_it_holds_all_that_it_shows(report, volume_file):
    path, scores = report
    page = content(path)
    assert [image["title"] for image in page["images"]] == TITLES
    assert page["slices"] == list(range(6))
    volume = read_volume(volume_file)
    with Image.open(io.BytesIO(base64.b64decode(page["images"][-1]["slices"][2]))) as picture:
        shown = np.array(picture)
    low, high = (float(number) for number in dict(page["about"])["Shown values"].split(" to "))
    wanted = np.rint(((volume.array[2] - low) * 255 / (high - low)).clip(0, 255))
    assert np.abs(shown - wanted).max() <= 1
    for row, score in zip(page["scores"], scores["methods"].values()):
        assert row["psnr"] == f"{score['psnr']:.2f}" and row["ssim"] == f"{score['ssim']:.4f}"
    about = dict(page["about"])
    assert about["Model"] == MODEL and len(about["WeightsSHA256"]) == 64
    assert "Research use only" in page["notice"]


def test_a_browser_shows_linked_views_and_loads_nothing(report, chromium):
    path, _scores = report
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    try:
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        errors, asked, dialogs = [], [], []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: dialogs.append(dialog.dismiss()))
        page.goto(path.as_uri())
        drawn(page, slice=3, zoom=1)
        assert page.inner_text("h1") == "<img src=x onerror=alert(1)>: super-resolution compared"
        assert page.locator("figcaption").all_inner_texts() == TITLES
        assert page.locator("#scores tbody tr").count() == 4
        first = images(page)
        assert all(len(np.unique(image)) > 10 for image in first)

        page.focus("#views")
        page.keyboard.press("ArrowUp")
        drawn(page, slice=4)
        assert page.inner_text("#number") == "5 of 6"
        second = images(page)
        assert not any(np.array_equal(*pair) for pair in zip(first, second))

        page.locator("#views canvas").nth(3).hover()
        page.mouse.wheel(0, -120)
        drawn(page, slice=4, zoom=1.2)
        assert not any(np.array_equal(*pair) for pair in zip(second, images(page)))
        page.check("#difference")
        driver.wait_for(page, "() => JSON.parse(document.body.dataset.drawn)[1] === true")
        grey = [abs(image.astype(int) - 128).mean() for image in images(page)]
        assert grey[3] < grey[1] and grey[3] < grey[0]  # the model is nearer to the reference than bicubic
        page.click("#fit")
        drawn(page, zoom=1)
        assert errors == [] and dialogs == []
        assert [url for url in asked if not url.startswith((path.as_uri(), "data:"))] == []
    finally:
        context.close()


def drawn(page, **look) -> None:
    """Wait until all views show this."""
    driver.wait_for(
        page,
        """look => document.body.dataset.drawn && Object.entries(look).every(
            ([name, value]) => Math.abs(JSON.parse(document.body.dataset.drawn)[0][name] - value) < 1e-9)""",
        look,
    )


def images(page) -> list[np.ndarray]:
    return [driver.pixels(page, f"figure:nth-of-type({n}) canvas") for n in range(1, 6)]


def test_it_is_not_replaced_unasked(report, volume_file):
    path, _scores = report
    before = path.read_bytes()
    ended = run_here("compare", volume_file, "--model", MODEL, "--html", path)
    assert ended.status == 3
    assert "exists already" in ended.sentence()
    assert path.read_bytes() == before
