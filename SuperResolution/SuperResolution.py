"""Super-Resolution for 3D Slicer: the module, its parameter node, its panel, its logic and its self-test."""

# No postponed annotations here: parameterNodeWrapper reads those of the parameter node class.
import importlib
import sys
from typing import Union

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from SuperResolutionLib import mrml
from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.errors import Cancelled
from SuperResolutionLib.upscaler import Options, upscale
from SuperResolutionPanel.firstuse import FirstUse
from SuperResolutionPanel.form import Form
from SuperResolutionPanel.runcontrol import RunControl


class SuperResolution(ScriptedLoadableModule):
    """What Slicer's module list says about the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Super-Resolution")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        self.parent.dependencies = []
        self.parent.contributors = ["SlicerSuperResolution contributors"]
        self.parent.helpText = _(
            "Enlarges medical images slice by slice with trained neural networks, beside bicubic "
            "interpolation of the same image. Choose a volume and a model, then click Upscale."
        )
        self.parent.acknowledgementText = _(
            "Computes with PyTorch, installed by the PyTorch extension of Slicer. The publications behind each model "
            "are named in the documentation of this extension."
        )


# The node selectors offer exactly these classes. Written as Union because Slicer's GUI connector knows no other form.
ImageVolume = Union[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLVectorVolumeNode, None]  # noqa: UP007


@parameterNodeWrapper
class SuperResolutionParameterNode:
    """What the user chose; saved with the scene.

    inputVolume - image to upscale.
    srVolume, bicubicVolume - volumes that take the results; created when empty.
    modelFamily, scale - which model of the catalog.
    makeBicubic - also enlarge by bicubic interpolation.
    keepConsistent - correct the result so that it gives the input again when reduced.
    device - "auto", "cpu", "cuda" or "cuda:N".
    """

    inputVolume: ImageVolume
    srVolume: ImageVolume
    bicubicVolume: ImageVolume
    modelFamily: str
    scale: int = 4
    makeBicubic: bool = True
    keepConsistent: bool = True
    device: str = "auto"


class SuperResolutionWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. It names the parts; what they do is in SuperResolutionPanel.

    Args:
        parent: the module's widget in Slicer.
        logic: SuperResolutionLogic to use instead of a new one.
        prepare: called before a run instead of the first-use set-up.
    """

    def __init__(self, parent=None, logic=None, prepare=None):
        self.logic = logic
        self._prepare = prepare
        self._form = None
        self._run = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        VTKObservationMixin.__init__(self)
        # Last, because it calls setup() when there is no parent.
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        """Called when the user opens the module the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SuperResolution.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)

        self.logic = self.logic or SuperResolutionLogic()
        prepare = self._prepare or FirstUse(self.resourcePath("requirements.txt")).ensure
        self._form = Form(self.ui, lambda: self.logic.catalog.families())
        self._run = RunControl(self._form, self.logic.upscale, prepare)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.applyButton.clicked.connect(self.onApplyButton)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when the application closes and before the module is reloaded."""
        self._run.cancel()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.initializeParameterNode()

    def exit(self) -> None:
        """Called each time the user opens a different module; a run goes on."""
        self.setParameterNode(None)

    def onReload(self) -> None:
        """Reload the module with the packages beside it."""
        # Forgetting them all is the one order that is always right: each is read again when it is imported next.
        packages = ("SuperResolutionLib", "SuperResolutionPanel")
        for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
            del sys.modules[name]
        importlib.invalidate_caches()
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event) -> None:
        """The nodes are about to go: a run has nothing left to write to."""
        self._run.cancel()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event) -> None:
        """What the last run said is about nodes that are gone."""
        if not self._run.running:
            self._form.showStatus("")
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Show the scene's parameter node, with the first volume chosen if none is."""
        parameterNode = self.logic.getParameterNode()
        if parameterNode.inputVolume is None:
            parameterNode.inputVolume = mrml.firstImageVolume()
        self.setParameterNode(parameterNode)

    def setParameterNode(self, parameterNode: SuperResolutionParameterNode | None) -> None:
        """Connect the form to a parameter node, or to none."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.updateForm)
            self._form.forget()
        self._parameterNode = parameterNode
        if self._parameterNode is not None:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.updateForm)
        self.updateForm()

    def updateForm(self, caller=None, event=None) -> None:
        """Bring the lists and the button up to date with the parameter node."""
        inputVolume = self._parameterNode.inputVolume if self._parameterNode is not None else None
        channels = mrml.channelsOf(inputVolume)
        if self._parameterNode is not None:
            self._form.update(self._parameterNode, channels)
        if not self._run.running:
            self._form.showReady(self._form.obstacle(channels))

    def onApplyButton(self) -> None:
        """Start a run, or cancel the one that is running."""
        if self._run.running:
            self._run.cancel()
            return
        chosen = self._parameterNode
        nodes = self._run.start(
            {
                "inputVolume": chosen.inputVolume,
                "model": chosen.modelFamily,
                "scale": chosen.scale,
                "srVolume": chosen.srVolume,
                "bicubicVolume": chosen.bicubicVolume,
                "makeBicubic": chosen.makeBicubic,
                "keepConsistent": chosen.keepConsistent,
                "device": chosen.device,
            }
        )
        if nodes is not None:
            # The user may have left the panel meanwhile: write to the scene's node, not to the one that is shown.
            chosen = self.logic.getParameterNode()
            chosen.srVolume = nodes[0]
            chosen.bicubicVolume = nodes[1] or chosen.bicubicVolume
        self.updateForm()


class SuperResolutionLogic(ScriptedLoadableModuleLogic):
    """Upscales volume nodes; needs no widgets.

    Args:
        catalog: ModelCatalog to use instead of the default one (bundled models and the user's).
        engine: function to use instead of ``SuperResolutionLib.upscaler.upscale``.
    """

    def __init__(self, catalog=None, engine=upscale):
        ScriptedLoadableModuleLogic.__init__(self)
        self._catalog = catalog
        self._engine = engine

    @property
    def catalog(self):
        """The models that exist, read when first asked for."""
        if self._catalog is None:
            self._catalog = ModelCatalog.default()
        return self._catalog

    def getParameterNode(self):
        return SuperResolutionParameterNode(super().getParameterNode())

    def upscale(
        self,
        inputVolume,
        model: str,
        scale: int | None = None,
        srVolume=None,
        bicubicVolume=None,
        makeBicubic: bool = True,
        keepConsistent: bool = True,
        device: str = "auto",
        progress=None,
        cancelled=None,
    ):
        """Upscale a volume node and put the result into the scene, beside it.

        Args:
            inputVolume: scalar or vector volume node.
            model: id or family of a model in the catalog.
            scale: one of the family's scales; may be left out with an id.
            srVolume, bicubicVolume: volume nodes to fill; created when None.
            makeBicubic: also enlarge by bicubic interpolation, for comparison.
            keepConsistent: correct the result so that it gives the input again when reduced.
            device: "auto", "cpu", "cuda" or "cuda:N".
            progress: called with (fraction 0..1, stage, seconds left or None).
            cancelled: called often; a true answer stops the run.

        Returns:
            (SR node, bicubic node or None).

        Raises:
            SuperResolutionError: with one sentence for the user; the scene is then as it was.
        """
        mrml.checkInputNode(inputVolume)
        mrml.checkOutputNodes(inputVolume, srVolume, bicubicVolume)
        card = self.catalog.find(model, scale)
        options = Options(consistent=keepConsistent, bicubic=makeBicubic, device=device)
        volume = mrml.volumeFromNode(inputVolume)
        result = self._engine(volume, card, options, progress=progress, cancelled=cancelled)
        if cancelled is not None and cancelled():
            raise Cancelled("The run was cancelled.")
        return mrml.addResult(inputVolume, result, srVolume, bicubicVolume)


class SuperResolutionTest(ScriptedLoadableModuleTest):
    """Runs from Reload and Test in Slicer, with a bundled model."""

    def runTest(self):
        slicer.mrmlScene.Clear()
        self.test_upscale()

    def test_upscale(self):
        self.delayDisplay("A small oblique volume is upscaled with the first bundled model")
        rotated = np.array([[0.8, 0, 0.6, 10], [0, 0.7, 0, -20], [-0.6, 0, 2.4, 30], [0, 0, 0, 1.0]])
        voxels = np.random.default_rng(0).integers(-1000, 1000, (2, 12, 16)).astype(np.int16)
        inputVolume = slicer.util.addVolumeFromArray(voxels, ijkToRAS=rotated, name="Phantom")
        logic = SuperResolutionLogic()
        card = next(card for card in logic.catalog.cards if card.channels == 1 and card.weights_available)
        srVolume, bicubicVolume = logic.upscale(inputVolume, card.id, card.scale)
        bounds = np.zeros(6)
        inputVolume.GetRASBounds(bounds)
        for node in (srVolume, bicubicVolume):
            self.assertEqual(slicer.util.arrayFromVolume(node).shape, (2, 12 * card.scale, 16 * card.scale))
            resultBounds = np.zeros(6)
            node.GetRASBounds(resultBounds)
            np.testing.assert_allclose(resultBounds, bounds, atol=1e-6)
        self.delayDisplay("Test passed")
