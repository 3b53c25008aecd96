"""Super-Resolution for 3D Slicer: the module, its parameter node, its panel, its logic and its self-test."""

# No postponed annotations here: parameterNodeWrapper reads those of the parameter node class.
import importlib
import sys
import unittest
from typing import Annotated, Union

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from SuperResolutionLib import mrml, mrml_region
from SuperResolutionLib.catalog import ModelCatalog
from SuperResolutionLib.errors import UsageError
from SuperResolutionLib.upscaler import Options
from SuperResolutionPanel import childprocess, faster, sampledata
from SuperResolutionPanel.choices import argumentsOf, timePointsOf
from SuperResolutionPanel.compareview import CompareView
from SuperResolutionPanel.firstuse import FirstUse, isInstalled
from SuperResolutionPanel.form import Form
from SuperResolutionPanel.modelfolder import chosenFolder
from SuperResolutionPanel.runcontrol import RunControl
from SuperResolutionPanel.target import Target, twinOf
from SuperResolutionPanel.upscaling import Upscaling
from SuperResolutionPanel.warmup import WarmUp
from SuperResolutionPanel.watch import GuiConnection


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
        sampledata.registerWhenStarted()


# The node selectors offer exactly these classes. Written as Union because Slicer's GUI connector knows no other form.
ImageVolume = Union[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLVectorVolumeNode, None]  # noqa: UP007


@parameterNodeWrapper
class SuperResolutionParameterNode:
    """What the user chose; saved with the scene.

    inputVolume - image to upscale.
    extent, roi - what of it: "volume", "roi" (the box around this region of interest), "slice" (the one that is shown).
    allTimePoints - all volumes of the sequence that the input shows, not only the present one.
    srVolume, bicubicVolume - volumes that take the results; created when empty.
    modelFamily, scale - which model of the catalog.
    automaticModelFamily - the family that the panel chose; while modelFamily is the same, it follows the volume.
    makeBicubic - also enlarge by bicubic interpolation.
    keepConsistent - correct the result so that it gives the input again when reduced.
    device - "auto", "cpu", "cuda" or "cuda:N". precision - "auto", "float32", "bfloat16" or "float16".
    showOriginal, showDifference, showVoxels, orientation - how results are compared.
    """

    inputVolume: ImageVolume
    roi: slicer.vtkMRMLMarkupsROINode
    srVolume: ImageVolume
    bicubicVolume: ImageVolume
    modelFamily: str
    automaticModelFamily: str
    scale: int = 4
    extent: Annotated[str, Choice(["volume", "roi", "slice"])] = "volume"
    allTimePoints: bool = False
    makeBicubic: bool = True
    keepConsistent: bool = True
    device: str = "auto"
    precision: Annotated[str, Choice(["auto", "float32", "bfloat16", "float16"])] = "auto"
    showOriginal: bool = False
    showDifference: bool = False
    showVoxels: bool = True
    orientation: Annotated[str, Choice(["volume", "Axial", "Sagittal", "Coronal"])] = "volume"


class SuperResolutionWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. It names the parts; what they do is in SuperResolutionPanel.

    Args:
        parent: the module's widget in Slicer.
        logic: SuperResolutionLogic to use instead of a new one.
        firstUse: FirstUse to use instead of a new one.
    """

    def __init__(self, parent=None, logic=None, firstUse=None):
        self.logic = logic
        self._firstUse = firstUse
        self._form = self._run = self._warmUp = self._compareView = None
        self._parameterNode = None
        self._guiConnection = None
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
        self._firstUse = self._firstUse or FirstUse(self.resourcePath("requirements.txt"))
        self._firstUse.tell = self.tell
        self._compareView = CompareView(self.ui)
        self._form = Form(self.ui, lambda: self.logic.catalog, self._compareView.sliceNode, self.onCatalogChanged)
        self._run = RunControl(self._form, self.logic.upscale, self.prepare, self.onRunEnded)
        self._warmUp = WarmUp(self.logic, self._firstUse.isComplete, self._form.setDevices)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        # After the selectors got the scene above: what they do at the end of an import then comes first.
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.ui.applyButton.clicked.connect(self.onApplyButton)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when the application closes and before the module is reloaded."""
        if self._warmUp is None:  # setup() failed, and a reload is to mend it
            return
        self._run.cancel()
        self._warmUp.stop()  # after the run, whose end asks for a new child process
        self.setParameterNode(None)
        self._compareView.close()
        self.removeObservers()
        self.logic.close()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.initializeParameterNode()
        self._warmUp.start()

    def exit(self) -> None:
        """Called each time the user opens a different module; a run goes on."""
        self._warmUp.stop()
        self._compareView.hide()
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
        self._compareView.hide()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event) -> None:
        """What the last run said is about nodes that are gone."""
        if not self._run.running:
            self._form.showStatus("")
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneStartImport(self, caller, event) -> None:
        """The parameter node may speak before the nodes that it refers to are there, and selectors choose anew."""
        self.setParameterNode(None)

    def onSceneEndImport(self, caller, event) -> None:
        """All nodes and references are there: show what the scene says."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onCatalogChanged(self) -> None:
        """The folder with the user's own models, or what is in it, changed."""
        self.logic.forgetCatalog()
        self.updateForm()

    def initializeParameterNode(self) -> None:
        """Show the scene's parameter node, with the first volume chosen if none is."""
        parameterNode = self.logic.getParameterNode()
        if parameterNode.inputVolume is None:
            parameterNode.inputVolume = mrml.firstImageVolume()
        self.setParameterNode(parameterNode)

    def setParameterNode(self, parameterNode: SuperResolutionParameterNode | None) -> None:
        """Connect the form to a parameter node, or to none."""
        if self._parameterNode is not None:
            self._guiConnection.end()
            self._guiConnection = None  # with the wrapper that it holds
            self.removeObserver(self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self.updateForm)
            self._form.forget()
        self._parameterNode = parameterNode
        if self._parameterNode is not None:
            self._guiConnection = GuiConnection(self._parameterNode, self.ui)
            # Of the node itself: VTKObservationMixin would keep each wrapper, and with it an observer a parameter.
            self.addObserver(self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self.updateForm)
        self.updateForm()

    def updateForm(self, caller=None, event=None) -> None:
        """Bring the lists, the comparison and the button up to date with the parameter node."""
        inputVolume = self._parameterNode.inputVolume if self._parameterNode is not None else None
        self._compareView.update(self._parameterNode)
        if self._parameterNode is not None:
            self._form.update(self._parameterNode, mrml.channelsOf(inputVolume), timePointsOf(inputVolume))
        if not self._run.running:
            self._form.showReady()

    def prepare(self) -> None:
        """Before a run: what is missing is installed, with consent."""
        isNew = self._firstUse.ensure()
        # The user may have left the panel while packages were installed.
        expected, device = self._form.outlook.seconds, self.logic.getParameterNode().device
        if isNew or faster.offer(expected, device, self.logic.worker.devices, self.tell):
            self.logic.close()  # a child process that began without it would go on without it

    def tell(self, text: str) -> None:
        """Show what is going on before something that keeps the application busy."""
        self._form.showStatus(text)
        slicer.app.processEvents()

    def onApplyButton(self) -> None:
        """Start a run, or cancel the one that is running."""
        if self._run.running:
            self._run.cancel()
        else:
            self._run.start(self.chosenArguments)

    def chosenArguments(self) -> dict:
        """What the parameter node says, as arguments of the logic."""
        self._form.refresh()
        return argumentsOf(self.logic.getParameterNode(), self._compareView.sliceNode())

    def onRunEnded(self, nodes) -> None:
        """A run ended, with (SR node, bicubic node or None), or with None."""
        if nodes is not None:
            # The user may have left the panel meanwhile: write to the scene's node, not to the one that is shown.
            chosen = self.logic.getParameterNode()
            with slicer.util.NodeModify(chosen):
                chosen.srVolume = nodes[0]
                chosen.bicubicVolume = nodes[1] or twinOf(nodes[0], chosen.bicubicVolume)
        self.updateForm()
        if self._parameterNode is not None:
            self._warmUp.start()  # cancelling ended the child process


class SuperResolutionLogic(ScriptedLoadableModuleLogic):
    """Upscales volume nodes; needs no widgets.

    Args:
        catalog: ModelCatalog to use instead of the default one (bundled models and the user's).
        worker: SuperResolutionLib.jobs.Worker to use instead of the one that all logics share.
    """

    def __init__(self, catalog=None, worker=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self._givenCatalog = self._catalog = catalog
        self._worker = worker

    @property
    def catalog(self):
        """The models that exist, read when first asked for."""
        if self._catalog is None:
            self._catalog = ModelCatalog.default(chosenFolder())
        return self._catalog

    def forgetCatalog(self) -> None:
        """Read the catalog again when it is asked for next."""
        self._catalog = self._givenCatalog

    @property
    def worker(self):
        """The child process that computes; asking for it does not start it."""
        return self._worker or childprocess.sharedWorker()

    def close(self) -> None:
        """End the child process, with the run that it works on; the next run starts another."""
        if self._worker is not None:
            self._worker.close()
        else:
            childprocess.closeSharedWorker()

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
        precision: str = "auto",
        region=None,
        roi=None,
        allTimePoints: bool = False,
        waitForCompletion: bool = True,
        progress=None,
        cancelled=None,
        completed=None,
    ):
        """Upscale a volume node in a child process and put the result into the scene, beside it.

        Args:
            inputVolume: scalar or vector volume node.
            model: id or family of a model in the catalog.
            scale: one of the family's scales; may be left out with an id.
            srVolume, bicubicVolume: volume nodes to fill; created when None.
            makeBicubic: also enlarge by bicubic interpolation, for comparison.
            keepConsistent: correct the result so that it gives the input again when reduced.
            device: "auto", "cpu", "cuda" or "cuda:N".
            precision: "auto", "float32", "bfloat16" or "float16"; "auto" is a short one only where a trial on this
                very volume shows no difference.
            region: upscale only these voxels, half-open ranges ((i0, i1), (j0, j1), (k0, k1)).
            roi: upscale only the box of voxels around this vtkMRMLMarkupsROINode.
            allTimePoints: if the volume shows a sequence, upscale each of its volumes into new sequences, whose
                proxy volumes are the result.
            waitForCompletion: return when the result is in the scene; the event loop lives on meanwhile. Otherwise
                return at once and let ``completed`` tell the end.
            progress: called with (fraction 0..1, stage, seconds left or None).
            cancelled: called often; a true answer stops the run.
            completed: called once at the end, with (nodes, None) or (None, error); what it raises is logged.

        Returns:
            (SR node, bicubic node or None); without waiting, an Upscaling with ``cancel()`` and ``running``.

        Raises:
            SuperResolutionError: with one sentence for the user; the scene is then as it was. Without waiting, only
                for what is wrong before the run begins.
        """
        if roi is not None:
            if region is not None:
                raise UsageError(_("Give either a region or a region of interest, not both."))
            region = mrml_region.regionFromROI(inputVolume, roi)
        card = self.catalog.find(model, scale)
        options = Options(keepConsistent, makeBicubic, device, region, precision=precision)
        bicubicVolume = bicubicVolume if makeBicubic else None
        target = Target(inputVolume, card, region, srVolume, bicubicVolume, allTimePoints)
        run = Upscaling(self.worker, card, options, target, progress, cancelled, completed)
        if waitForCompletion:
            return run.wait()
        run.stepByTimer()
        return run


class SuperResolutionTest(ScriptedLoadableModuleTest):
    """Runs from Reload and Test in Slicer, with a bundled model; skipped where torch is not installed yet."""

    def runTest(self):
        slicer.mrmlScene.Clear()
        try:
            self.test_upscale()
        except unittest.SkipTest as reason:  # which Reload and Test would show as a failure
            self.delayDisplay(f"Test skipped: {reason}")

    def test_upscale(self):
        if not isInstalled("torch"):
            self.skipTest("needs torch in Slicer's Python")
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
