"""Draws the pictures of the web page and of the page of a comparison for the README: ``make screenshots``.

The page is the real one, ``superres view``, in Chromium, with the example that it brings.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

from PIL import Image

from Testing.install_system_libraries import browser_program
from Testing.run_cli import run_here
from Testing.viewer import driver
from Testing.viewer.conftest import PATIENCE, Viewer

FOLDER = Path(__file__).resolve().parents[1] / "Resources" / "Screenshots"
SIZE = {"width": 1280, "height": 720}
MOST_BYTES, QUALITY = 400_000, 85


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the pictures are written")
    folder = parser.parse_args().folder
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as temporary:
        arguments = ["--disable-gpu", "--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=browser_program(), args=arguments)
        viewer = Viewer(Path(temporary))
        try:
            draw_page(browser, viewer, folder)
        finally:
            viewer.end()
        draw_report(browser, Path(temporary), folder)
        browser.close()


def draw_page(browser, viewer: Viewer, folder: Path) -> None:
    """Write ``page.webp`` and ``page-swipe.webp``."""
    page = browser.new_context(viewport=SIZE).new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(viewer.address)
    page.click(".example-button")
    driver.wait_for(page, "() => window.trame.state.get('image_text')")
    driver.upscale_to_the_end(page, driver.SLOW)
    driver.wait_for(page, "() => window.trame.state.get('scores').length === 2")
    page.click(".difference-box input")
    page.wait_for_selector(driver.pane("difference") + "[data-stamp]")
    x, y = driver.middle(page, "sr")
    page.mouse.move(x - 96, y + 32)
    driver.settle(page)
    save(page, folder / "page.webp")
    page.click(".difference-box input")
    page.click(".magnifier-box input")
    page.click(".swipe-button")
    driver.wait_for(page, "() => document.querySelector('.pane[data-view=sr] canvas').width > 900")
    box = page.locator("#views").bounding_box()
    page.mouse.move(box["x"] + 0.32 * box["width"], box["y"] + 0.72 * box["height"])
    driver.settle(page)
    save(page, folder / "page-swipe.webp")


def draw_report(browser, temporary: Path, folder: Path) -> None:
    """Write ``report.webp``."""
    from SuperResolutionLib.cli_demo import example_file
    from SuperResolutionLib.files import read_volume, write_volume
    from SuperResolutionViewer.control import EXAMPLE

    image, path = temporary / "MR abdomen.nrrd", temporary / "report.html"
    write_volume(read_volume(example_file(EXAMPLE)), image)
    ended = run_here("compare", image, "--model", "edsr-ise-general-x4-psnr", "--html", path)
    if ended.status != 0:
        raise RuntimeError(ended.err)
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(path.as_uri())
    driver.wait_for(page, "() => document.body.dataset.drawn")
    page.locator("#views canvas").nth(3).hover()
    for zoom in range(1, 5):
        page.mouse.wheel(0, -120)
        driver.wait_for(
            page, "zoom => Math.abs(JSON.parse(document.body.dataset.drawn)[0].zoom - zoom) < 1e-6", 1.2**zoom
        )
    save(page, folder / "report.webp")


def save(page, path: Path) -> None:
    """Write what the page shows, as WebP.

    Raises:
        OSError: if the picture is too large.
    """
    with Image.open(io.BytesIO(page.screenshot())) as shown:
        shown.convert("RGB").save(path, quality=QUALITY, method=6)
    if path.stat().st_size > MOST_BYTES:
        raise OSError(f"{path} takes {path.stat().st_size} bytes, more than the {MOST_BYTES} that a picture may.")
    print(path)


if __name__ == "__main__":
    main()
