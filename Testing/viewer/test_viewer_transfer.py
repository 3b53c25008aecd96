"""Runs that are cancelled or outlive a reload, and uploads that are refused."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from SuperResolutionLib.errors import SuperResolutionError
from SuperResolutionLib.files import read_volume, write_volume
from SuperResolutionLib.geometry import refine
from SuperResolutionLib.volume import Volume
from SuperResolutionViewer.transfer import _read
from Testing.viewer import driver
from Testing.viewer.conftest import MOST_MEGABYTES, PATIENCE, phantom


@pytest.fixture(scope="module")
def viewer(start_viewer):
    return start_viewer()


@pytest.fixture(scope="module")
def page(viewer, chromium):
    context = chromium.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(viewer.address)
    page.wait_for_selector(".example-button")
    yield page
    context.close()


def files_of(viewer) -> list[str]:
    """What lies in the folder of transfers; the child process has its own beside it."""
    transfers = [folder for folder in viewer.temporary.iterdir() if folder.name.startswith("superresolution-view-")]
    assert len(transfers) == 1
    return os.listdir(transfers[0])


def start_long_run(page, large_file) -> None:
    driver.open_volume(page, large_file)
    driver.choose(page, "model-select", driver.SLOW)
    driver.upscale(page)
    driver.wait_for(page, "() => /^slice \\d+ of 48/.test(window.trame.state.get('status'))")


def cancel(page) -> float:
    """Press Cancel; seconds until the page says that the run is over."""
    return page.evaluate(
        """() => new Promise(done => {
            const began = performance.now();
            document.querySelector('.upscale-button').click();
            const look = () => window.trame.state.get('running')
                ? setTimeout(look, 10) : done((performance.now() - began) / 1000);
            look();
        })"""
    )


def test_a_run_is_cancelled(page, large_file, volume_file, capsys):
    start_long_run(page, large_file)
    assert page.inner_text(".upscale-button").upper() == "CANCEL"
    seconds = cancel(page)
    with capsys.disabled():
        print(f"\ncancelled on the page after {seconds:.2f} s")
    assert seconds < 10
    assert driver.state(page, "status") == "Cancelled; nothing was changed."
    assert driver.state(page, "shown") == ["input"]
    driver.open_volume(page, volume_file)  # and the next run works
    driver.upscale_to_the_end(page)


def test_a_run_outlives_a_reload(page, large_file):
    start_long_run(page, large_file)
    percent = driver.state(page, "percent")
    page.reload()
    driver.wait_for(page, "() => window.trame?.state?.get('running')")
    page.wait_for_selector(driver.pane("input") + "[data-stamp]")
    driver.wait_for(page, "percent => window.trame.state.get('percent') > percent", percent)
    driver.wait_for(page, "() => document.querySelector('.upscale-button').innerText.toUpperCase() === 'CANCEL'")
    assert driver.state(page, "image_text").startswith("large: 256 x 256 x 48 voxels")
    cancel(page)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rubbish.nrrd", b"no image at all" * 100, "rubbish.nrrd is not a NRRD image"),
        ("empty.nii.gz", b"", "empty.nii.gz is empty (0 bytes)"),
        ("page.html", b"<script>alert(1)</script>", "page.html is not an image that can be read"),
        ("cut.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "cut.png"),
    ],
    ids=["no image", "empty", "a page", "truncated"],
)
def test_rubbish_is_refused_in_one_sentence(page, viewer, volume_file, tmp_path, name, content, said):
    driver.open_volume(page, volume_file)
    (tmp_path / name).write_bytes(content)
    driver.open_file(page, tmp_path / name)
    driver.wait_for(page, "() => window.trame.state.get('error')")
    assert said in driver.state(page, "error")
    assert str(viewer.temporary) not in driver.state(page, "error")
    assert driver.state(page, "image_text").startswith("phantom:")
    assert files_of(viewer) == []
    page.click(".error-text button")
    driver.wait_for(page, "() => !window.trame.state.get('error')")


@pytest.mark.parametrize("name", ["scan.nii", r"scan\d.nii", r"a\1.nii", r"\g<0>.nii"])
def test_a_name_is_said_as_it_is(tmp_path, name):
    (tmp_path / "000001.nii").write_bytes(b"no image at all" * 100)
    with pytest.raises(SuperResolutionError) as caught:
        _read(tmp_path, name, 1)
    assert name in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_a_name_with_a_path_in_it_is_only_a_name(page, viewer, volume_file):
    files = {"file": {"name": "../../../etc/evil.nrrd", "mimeType": "image/x", "buffer": volume_file.read_bytes()}}
    answer = page.request.post(f"{viewer.base}upload/image", multipart=files)
    assert answer.json() == {}
    driver.wait_for(page, "() => window.trame.state.get('image_text').startsWith('evil: 96 x 80 x 6')")
    assert files_of(viewer) == []


def test_too_large_an_upload_is_refused(page, viewer, tmp_path):
    size = MOST_MEGABYTES * 1_000_000 + 1
    (tmp_path / "big.nrrd").write_bytes(os.urandom(size))
    driver.open_file(page, tmp_path / "big.nrrd")
    driver.wait_for(page, "() => window.trame.state.get('error')")
    assert driver.state(page, "error").startswith(f"The upload is larger than {MOST_MEGABYTES} MB")
    # The page refused it already; so does the server, for whatever else asks.
    files = {"file": {"name": "big.nrrd", "mimeType": "image/x", "buffer": b"\0" * size}}
    answer = page.request.post(f"{viewer.base}upload/image", multipart=files)
    assert answer.status == 413
    assert "larger than" in answer.json()["error"]
    assert files_of(viewer) == []


def test_uploads_that_are_none_or_name_other_files_are_refused(page, viewer):
    header = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 30 30 1\nencoding: raw\ndata file: /etc/passwd\n\n"
    files = {"file": {"name": "x.nrrd", "mimeType": "image/x", "buffer": header}}
    answer = page.request.post(f"{viewer.base}upload/image", multipart=files)
    assert answer.status == 400 and answer.json()["error"].startswith("x.nrrd is a header alone")
    kind = {"Content-Type": "multipart/form-data"}
    answer = page.request.post(f"{viewer.base}upload/image", data=b"nonsense", headers=kind)
    assert answer.status == 400 and "damaged" in answer.json()["error"]
    assert files_of(viewer) == []


def test_a_reference_of_another_grid_is_refused(page, volume_file, large_file):
    driver.show_result(page, volume_file)
    driver.open_file(page, large_file, purpose="reference")
    driver.wait_for(page, "() => window.trame.state.get('error')")
    assert "does not lie on the grid of the result" in driver.state(page, "error")
    assert driver.state(page, "reference_text") == ""


def test_a_reference_is_scored_against(page, volume_file, tmp_path):
    driver.show_result(page, volume_file)
    low = read_volume(volume_file)
    truth = Volume(low.array.repeat(4, axis=1).repeat(4, axis=2), refine(low.ijk_to_ras, (4, 4, 1)))
    driver.open_file(page, write_volume(truth, tmp_path / "truth.nrrd"), purpose="reference")
    driver.wait_for(page, "() => window.trame.state.get('scores').length === 2")
    assert all(10 < float(row["psnr"]) < 60 for row in driver.state(page, "scores"))


def test_a_dicom_series_is_one_upload(page, tmp_path):
    from SuperResolutionLib.cli_demo import example_file

    shutil.copy(example_file("CT_small.dcm"), tmp_path / "a slice")
    driver.open_file(page, tmp_path / "a slice")
    driver.wait_for(page, "() => window.trame.state.get('image_text').startsWith('a slice: 128 x 128 x 1 voxels')")


def test_an_image_with_missing_and_color_voxels(page, tmp_path):
    array = np.stack([phantom(1, 40, 50)] * 3, axis=-1).clip(0, 255).astype(np.uint8)
    array[..., 0] //= 2
    path = write_volume(Volume(array, np.eye(4)), tmp_path / "color.nrrd")
    driver.open_volume(page, path)
    image = driver.image(page, "input")
    assert (image[..., 0] < image[..., 1]).any()
    values = phantom(2, 40, 50).astype(np.float32)
    values[0, 3, 4] = np.nan
    driver.open_volume(page, write_volume(Volume(values, np.eye(4)), tmp_path / "holes.nrrd"))
    driver.upscale_to_the_end(page)
    assert "bridged" in driver.state(page, "status")


def test_the_example_comes_with_its_truth(page):
    page.click(".example-button")
    driver.wait_for(page, "() => window.trame.state.get('image_text').startsWith('MR abdomen reduced x4')")
    driver.settle(page)
    driver.upscale_to_the_end(page)
    driver.wait_for(page, "() => window.trame.state.get('scores').length === 2")
    bicubic, sr = (float(row["psnr"]) for row in driver.state(page, "scores"))
    assert sr > bicubic > 20


def test_the_end_leaves_nothing_behind(viewer, page):
    assert viewer.end() == 0
    assert os.listdir(viewer.temporary) == []
    assert "Traceback" not in viewer.printed, viewer.printed
