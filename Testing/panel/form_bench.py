"""The form alone, on a real scene: its file, its parameter node and class Form, without module, logic and run."""

from __future__ import annotations

import contextlib
import types
from pathlib import Path
from typing import Union

import numpy as np

from SuperResolutionLib.catalog import ModelCard

FORM = Path(__file__).resolve().parents[2] / "SuperResolution" / "Resources" / "UI" / "SuperResolution.ui"


def card(family: str = "edsr-general-psnr", scale: int = 4, channels: int = 1, **details) -> ModelCard:
    """A model card whose weights need not exist."""
    values = {
        "id": family.replace("-psnr", f"-x{scale}-psnr"),
        "family": family,
        "title": f"{family}, x{scale}",
        "description": "Made for tests.",
        "architecture": "edsr",
        "config": {"scale": scale, "channels": channels},
        "scale": scale,
        "channels": channels,
        "domain": "general",
        "intensity": {"mapping": "auto"},
        "spacing_range": (0.2, 1.0),
        "license": "Apache-2.0",
        "measured": [],
        "baseline": False,
        "weights": Path("nowhere") / family / "weights.safetensors",
        "sha256": "",
        "card": {},
    }
    return ModelCard(**(values | details))


class Catalog:
    """What the form asks of a ModelCatalog."""

    def __init__(self, *cards):
        self.cards = list(cards)
        self.problems = []

    def families(self):
        names = sorted({each.family for each in self.cards})
        return {name: [each for each in self.cards if each.family == name] for name in names}


def parameterNodeClass():
    """The parameters that the form knows, as the module declares them."""
    import slicer
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    image = Union[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLVectorVolumeNode, None]  # noqa: UP007
    annotations = {
        **dict.fromkeys(("inputVolume", "srVolume", "bicubicVolume"), image),
        "roi": Union[slicer.vtkMRMLMarkupsROINode, None],  # noqa: UP007
        **dict.fromkeys(("modelFamily", "automaticModelFamily", "extent", "device"), str),
        **dict.fromkeys(("precision", "orientation"), str),
        **dict.fromkeys(("allTimePoints", "makeBicubic", "keepConsistent"), bool),
        **dict.fromkeys(("showOriginal", "showDifference", "showVoxels"), bool),
        "scale": int,
    }
    defaults = {"scale": 4, "extent": "volume", "makeBicubic": True, "keepConsistent": True, "showVoxels": True}
    defaults |= {"device": "auto", "precision": "auto", "orientation": "volume"}
    return parameterNodeWrapper(type("Parameters", (), {"__annotations__": annotations, **defaults}))


def addImage(size: tuple[int, int, int], name: str = "CT head", channels: int = 1, spacing=(0.5, 0.7, 3)):
    """Add a volume of (k, j, i) voxels, all 0, and spacing along i, j, k in millimetres."""
    import slicer

    voxels = np.zeros(size if channels == 1 else (*size, channels), np.int16 if channels == 1 else np.uint8)
    className = "vtkMRMLScalarVolumeNode" if channels == 1 else "vtkMRMLVectorVolumeNode"
    matrix = np.diag((*spacing, 1.0))
    return slicer.util.addVolumeFromArray(voxels, ijkToRAS=matrix, name=name, nodeClassName=className)


@contextlib.contextmanager
def formBenches():
    """Yield ``openForm``; every form that it opens is closed at the end."""
    opened = []

    def open(*arguments, **named):
        opened.append(openForm(*arguments, **named))
        return opened[-1]

    yield open
    for bench in opened:
        bench.close()


def openForm(*cards, sliceNode=None, catalog=None):
    """Load the form and follow a parameter node, as the module's widget does.

    Args:
        cards: ModelCards of the catalog; one grey model if there are none. catalog: instead of these.

    Returns:
        a namespace with ui, form, parameters, widget (the root), catalog, update() and close(). What is put into
        catalog or timePoints counts from the next update(); onCatalogChanged() stands for the module's.
    """
    import slicer
    import vtk

    from SuperResolutionLib import mrml
    from SuperResolutionPanel.form import Form
    from Testing.panel_host.widgets import destroy

    catalog = catalog or Catalog(*(cards or [card()]))
    widget = slicer.util.loadUI(str(FORM))
    ui = slicer.util.childWidgetVariables(widget)
    widget.setMRMLScene(slicer.mrmlScene)
    parameters = parameterNodeClass()(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    bench = types.SimpleNamespace(ui=ui, parameters=parameters, widget=widget, catalog=catalog, timePoints=1)

    def update(_caller=None, _event=None):
        bench.form.update(parameters, mrml.channelsOf(parameters.inputVolume), bench.timePoints)

    bench.form = Form(ui, lambda: bench.catalog, lambda: sliceNode, lambda: bench.onCatalogChanged())
    tag = parameters.connectGui(ui)
    observer = parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, update)
    update()

    def close():
        parameters.RemoveObserver(observer)
        parameters.disconnectGui(tag)
        bench.form.forget()
        destroy(widget)

    bench.update, bench.close, bench.onCatalogChanged = update, close, update
    return bench
