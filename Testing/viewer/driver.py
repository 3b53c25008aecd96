"""The page in words: what a test does with it, and what it looks at."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from Testing.viewer.conftest import PATIENCE

FAST, SLOW = "SPAN, general, x4", "EDSR-ISE, general, x4"


def wait_for(page, expression: str, argument=None) -> None:
    """Wait until a JavaScript expression of one argument is true."""
    page.wait_for_function(expression, arg=argument, timeout=1000 * PATIENCE, polling=100)  # not at every frame


def settle(page) -> None:
    """Wait until the page has asked for all that it wants and has drawn it."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    wait_for(page, "() => window.superResolutionPage.idle")


def state(page, name: str):
    return page.evaluate("name => window.trame.state.get(name)", name)


def open_file(page, *paths: Path, purpose: str = "image") -> None:
    page.set_input_files(f"#{purpose}-file", [str(path) for path in paths])


def open_volume(page, path: Path) -> None:
    """Upload an image and wait until it is shown, alone."""
    page.evaluate("() => { window.trame.state.set('image_text', ''); }")
    open_file(page, path)
    wait_for(page, "stem => window.trame.state.get('image_text').startsWith(stem + ':')", path.stem)
    wait_for(page, "() => window.trame.state.get('shown').length === 1")
    wait_for(page, "() => document.querySelector('.pane[data-view=input]').dataset.stamp")
    settle(page)


def choose(page, field: str, title: str) -> None:
    """Choose an entry of a list field."""
    page.click(f".{field} .v-field")
    page.click(f".v-overlay--active .v-list-item:has-text('{title}')")


def upscale(page) -> None:
    """Start, and wait until it runs, or has run: a small image may take less than the time between two looks."""
    page.evaluate("() => { window.trame.state.set('status', ''); }")
    page.click(".upscale-button")
    wait_for(page, "() => ['running', 'status', 'error'].some(name => window.trame.state.get(name))")


def upscale_to_the_end(page, model: str = FAST) -> None:
    if state(page, "family") != ("span-general-psnr" if model == FAST else "edsr-ise-general-psnr"):
        choose(page, "model-select", model)
    upscale(page)
    wait_for(page, "() => !window.trame.state.get('running') || window.trame.state.get('error')")
    assert state(page, "error") == ""
    wait_for(page, "() => window.trame.state.get('shown').length >= 3")
    for view in ("input", "bicubic", "sr"):
        wait_for(page, "view => document.querySelector(`.pane[data-view=${view}]`).dataset.stamp", view)
    settle(page)


def show_result(page, path: Path) -> None:
    """The whole image with its result of the fast model, all of it in view: what an earlier test left, or made anew."""
    there = state(page, "has_result") and state(page, "image_text").startswith(f"{path.stem}: 96 x 80 x 6")
    if not (there and state(page, "status").startswith("384 x 320 x 6") and "span" in state(page, "family")):
        open_volume(page, path)
        upscale_to_the_end(page)
    page.click("text=Fit")
    settle(page)


def pane(view: str) -> str:
    return f".pane[data-view={view}]"


def offset(page, view: str) -> float:
    """Millimetres along the view's normal of the slice that it shows."""
    return float(page.get_attribute(pane(view), "data-offset"))


def stamp(page, view: str) -> str:
    return page.get_attribute(pane(view), "data-stamp")


def pixels(page, selector: str) -> np.ndarray:
    """(height, width, 3) uint8 of a canvas."""
    url = page.evaluate("selector => document.querySelector(selector).toDataURL('image/png')", selector)
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
        return np.array(picture.convert("RGB"))


def image(page, view: str) -> np.ndarray:
    return pixels(page, f"{pane(view)} canvas")


def middle(page, view: str) -> tuple[float, float]:
    box = page.locator(pane(view)).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def scroll(page, view: str, turns: int) -> None:
    """Turn the wheel over a view: towards the user is positive, and one slice down."""
    page.mouse.move(*middle(page, view))
    for _ in range(abs(turns)):
        page.mouse.wheel(0, 120 if turns > 0 else -120)
    settle(page)


def drag(page, view: str, right: float, down: float, button: str = "left") -> None:
    x, y = middle(page, view)
    page.mouse.move(x, y)
    page.mouse.down(button=button)
    page.mouse.move(x + right / 2, y + down / 2)
    page.mouse.move(x + right, y + down)
    page.mouse.up(button=button)
    settle(page)
