"""Draws the pictures of the panel for the README: ``make screenshots``.

The host shows the panel beside its linked comparison, with a bundled model and an MR image that comes with pydicom,
reduced to pixels as large as those that the models were trained on. Qt, MRML and the images of the slice views are
real, the frame around them is not a Slicer window.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "Resources" / "Screenshots"
EXAMPLE = "examples_overlay.dcm"  # a slice through the abdomen, 484 x 300 pixels
MODEL = "span-general-psnr"
SPACING = 2.61  # mm after the reduction, from 0.72
PLACE = (0.5, 0.52)  # where the comparison looks, as shares of the image's width and height
ZOOM = 1.9
PANEL_WIDTH = 430
MARGIN = 22
MOST_BYTES = 400_000
LONGEST_RUN_SECONDS = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where panel.png and comparison.webp are written")
    folder = parser.parse_args().folder
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    sys.path[:0] = [str(ROOT / "SuperResolution")]
    folder.mkdir(parents=True, exist_ok=True)
    draw(folder)


def draw(folder: Path) -> None:
    """Write ``panel.png`` and ``comparison.webp``.

    Raises:
        RuntimeError: if the panel gave no result.
        OSError: if a picture cannot be written or is too large.
    """
    from Testing.panel_host.layout import LayoutManager
    from Testing.panel_host.scripted_module import install, loadModule, openModule
    from Testing.panel_host.strict import failOnHiddenErrors

    install()
    import qt
    import slicer

    with failOnHiddenErrors():
        look(qt)
        layoutManager = LayoutManager(880, 640)
        slicer.app.useLayoutManager(layoutManager)
        widget = openModule(loadModule(ROOT / "SuperResolution" / "SuperResolution.py"))
        try:
            show(widget, volume())
            panel = panel_picture(widget)
            save(panel, folder / "panel.png")
            layoutManager.widget.resize(layoutManager.widget.width, panel.height())
            settle(0.2)
            zoom(layoutManager)
            save(beside(panel_picture(widget), layoutManager.widget.grab()), folder / "comparison.webp")
        finally:
            widget.cleanup()
            close_worker()


def look(qt) -> None:
    """Slicer's light style, as far as Qt itself has it."""
    qt.application.setStyle("Fusion")
    qt.application.setFont(qt.QFont("DejaVu Sans", 9))


def volume():
    """The example as a volume node of the scene, reduced by antialiased bicubic interpolation."""
    import numpy as np
    import slicer
    from PIL import Image

    from SuperResolutionLib.cli_demo import example_file
    from SuperResolutionLib.files import read_volume

    read = read_volume(example_file(EXAMPLE))
    rows, columns = read.array.shape[1:]
    share = read.spacing[0] / SPACING
    size = round(columns * share), round(rows * share)
    reduced = Image.fromarray(read.array[0].astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    toRAS = read.ijk_to_ras @ np.diag((columns / size[0], rows / size[1], 1, 1))
    voxels = np.rint(reduced).clip(0).astype(np.int16)[np.newaxis]
    node = slicer.util.addVolumeFromArray(voxels, ijkToRAS=toRAS, name="MR abdomen")
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevel(700, 350)
    return node


def show(widget, node) -> None:
    """Upscale the volume in the panel and open the comparison, as a user does by clicking."""
    ui = widget.ui
    ui.inputVolumeSelector.setCurrentNode(node)
    ui.modelFamilyComboBox.setCurrentIndex(ui.modelFamilyComboBox.findData(MODEL))
    settle(1.0)
    label = ui.applyButton.text
    for _run in range(2):  # the second time the panel knows how long it takes
        ui.applyButton.click()
        end = time.monotonic() + LONGEST_RUN_SECONDS
        while ui.applyButton.text != label and time.monotonic() < end:
            settle(0.05)
        if widget.logic.getParameterNode().srVolume is None:
            raise RuntimeError(f"The panel gave no result: {ui.statusLabel.text}")
    ui.compareButton.click()
    ui.originalCheckBox.click()
    ui.differenceCheckBox.click()
    settle(0.5)


def zoom(layoutManager) -> None:
    """Look closer in one view; the others follow."""
    import slicer

    from SuperResolutionLib.mrml_layout import SR_VIEW

    logic = layoutManager.sliceWidget(SR_VIEW).sliceLogic()
    node = logic.GetSliceNode()
    width, height, depth = node.GetFieldOfView()
    x, y, _z = node.GetXYZOrigin()
    node_class = slicer.vtkMRMLSliceNode
    logic.StartSliceNodeInteraction(node_class.FieldOfViewFlag | node_class.XYZOriginFlag)
    node.SetFieldOfView(width / ZOOM, height / ZOOM, depth)
    node.SetXYZOrigin(x + width * (PLACE[0] - 0.5), y + height * (0.5 - PLACE[1]), 0)
    logic.EndSliceNodeInteraction()
    settle(0.3)


def panel_picture(widget):
    """The panel as narrow as Slicer shows it, down to its last line."""
    import qt

    panel, last = widget.parent, widget.ui.researchUseLabel
    panel.show()
    panel.resize(PANEL_WIDTH, panel.layout().totalHeightForWidth(PANEL_WIDTH))
    settle(0.2)
    height = last.mapTo(panel, qt.QPoint(0, last.height)).y() + MARGIN
    return panel.grab(qt.QRect(0, 0, PANEL_WIDTH, height))


def beside(left, right):
    """One picture of two, on a window's background."""
    import qt

    height = max(left.height(), right.height())
    picture = qt.QPixmap(left.width() + right.width() + 6, height)
    picture.fill(qt.application.palette().window().color())
    painter = qt.QPainter(picture)
    painter.drawPixmap(0, 0, left)
    painter.drawPixmap(left.width() + 6, 0, right)
    painter.end()
    return picture


def save(picture, path: Path) -> None:
    from PIL import Image

    if not picture.save(str(path), "PNG"):
        raise OSError(f"Cannot write {path}.")
    with Image.open(path) as drawn:
        opaque = drawn.convert("RGB")
    opaque.save(path, optimize=True, quality=85, method=6)
    if path.stat().st_size > MOST_BYTES:
        raise OSError(f"{path} takes {path.stat().st_size} bytes, more than the {MOST_BYTES} that a picture may.")
    print(path)


def settle(seconds: float) -> None:
    import slicer

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.01)


def close_worker() -> None:
    from SuperResolutionPanel.childprocess import closeSharedWorker

    closeSharedWorker()


if __name__ == "__main__":
    main()
