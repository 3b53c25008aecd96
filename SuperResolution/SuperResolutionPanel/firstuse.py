"""First use: what the engine needs beyond Slicer itself is installed when it is needed, and only with consent.

torch always comes through Slicer's PyTorch extension, which picks the build that fits the graphics card.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from SuperResolutionLib.errors import SuperResolutionError

TORCH_EXTENSION, TORCH_REQUIREMENT = "PyTorch", ">=2.4"


class SetupError(SuperResolutionError):
    """Something that the engine needs is missing, and was not installed."""

    code = "setup"


class FirstUse:
    """Makes sure that torch and the packages of requirements.txt can be imported.

    Args:
        requirementsPath: the requirements.txt of the module.
        confirm: asks the user a question, returns True for yes.

    Attributes:
        tell: function that is called with a sentence before something that takes long.
    """

    def __init__(self, requirementsPath, confirm=None):
        self.tell = lambda text: None
        self._requirementsPath = Path(requirementsPath)
        self._confirm = confirm or slicer.util.confirmOkCancelDisplay

    def isComplete(self) -> bool:
        """Whether nothing is missing; asks nobody and imports nothing."""
        return isInstalled("torch") and not self._missingPackages()

    def ensure(self) -> bool:
        """Install what is missing, asking first; returns whether anything was installed.

        Raises:
            SetupError: with a sentence for the user, if it was declined or did not succeed.
        """
        if self.isComplete():
            return False
        if not isInstalled("torch"):
            self._installTorch()
        if self._missingPackages():
            self._installPackages()
        return True

    def _installTorch(self) -> None:
        logic = self._torchLogic()
        self.tell(_("Installing PyTorch; this takes some minutes..."))
        try:
            torch = logic.installTorch(askConfirmation=True, torchVersionRequirement=TORCH_REQUIREMENT)
        except Exception as error:
            raise SetupError(_("PyTorch could not be installed: {error}").format(error=error)) from error
        importlib.invalidate_caches()
        if torch is None:
            raise SetupError(
                _("PyTorch was not installed, and super-resolution needs it. Click Upscale to be asked again.")
            )

    def _torchLogic(self):
        try:
            import PyTorchUtils
        except ModuleNotFoundError:
            self._offerTorchExtension()
            raise SetupError(
                _("The PyTorch extension is installed now. Restart Slicer, then click Upscale again.")
            ) from None
        return PyTorchUtils.PyTorchUtilsLogic()

    def _offerTorchExtension(self) -> None:
        missing = _(
            "Super-resolution needs Slicer's PyTorch extension. Install it in the Extensions Manager, restart Slicer, "
            "and click Upscale again."
        )
        findManager = getattr(slicer.app, "extensionsManagerModel", None)  # absent in builds without the manager
        manager = findManager() if findManager is not None else None
        if manager is None:
            raise SetupError(missing)
        if not manager.isExtensionInstalled(TORCH_EXTENSION):
            question = _("Super-resolution needs Slicer's PyTorch extension. Download and install it now?")
            if not self._confirm(question):
                raise SetupError(missing)
            self._installTorchExtension(manager)
        if not manager.isExtensionEnabled(TORCH_EXTENSION):
            raise SetupError(
                _(
                    "Slicer's PyTorch extension is installed but disabled. Enable it in the Extensions Manager, "
                    "restart Slicer, and click Upscale again."
                )
            )

    def _installTorchExtension(self, manager) -> None:
        self.tell(_("Downloading the PyTorch extension..."))
        restart = False  # the scene may hold unsaved work
        wasInteractive, manager.interactive = manager.interactive, False  # the question has been asked
        try:
            installed = manager.installExtensionFromServer(TORCH_EXTENSION, restart)
        finally:
            manager.interactive = wasInteractive
        # Slicer says yes as soon as the download has ended, also without success.
        if not installed or not manager.isExtensionInstalled(TORCH_EXTENSION):
            raise SetupError(
                _(
                    "The PyTorch extension could not be downloaded and installed. Check the internet connection and "
                    "click Upscale again, or install it in the Extensions Manager and restart Slicer."
                )
            )

    def _missingPackages(self) -> list[str]:
        return [line for line in self._requirements() if not isInstalled(_packageName(line))]

    def _installPackages(self) -> None:
        missing = self._missingPackages()
        names = ", ".join(missing)
        self.tell(_("Installing Python packages: {names}...").format(names=names))
        try:
            self._install(missing)
        except SetupError:
            raise
        except Exception as error:
            sentence = _("Python packages that super-resolution needs ({names}) were not installed: {error}")
            raise SetupError(sentence.format(names=names, error=error)) from error
        importlib.invalidate_caches()

    def _install(self, missing: list[str]) -> None:
        try:
            import slicer.packaging as packaging
        except ImportError:  # Slicer 5.10 and older
            question = _("Super-resolution needs Python packages: {names}. Download and install them now?")
            if not self._confirm(question.format(names=", ".join(missing))):
                sentence = _("Python packages that super-resolution needs ({names}) were not installed.")
                raise SetupError(sentence.format(names=", ".join(missing))) from None
            slicer.util.pip_install(missing)
        else:
            requirements = packaging.load_requirements(str(self._requirementsPath))
            packaging.pip_ensure(requirements, requester=_("Super-Resolution"))

    def _requirements(self) -> list[str]:
        lines = [line.split("#")[0].strip() for line in self._requirementsPath.read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if line]


def isInstalled(moduleName: str) -> bool:
    """Whether a module can be found, without importing it."""
    try:
        return importlib.util.find_spec(moduleName) is not None
    except ValueError:  # in sys.modules without a specification, for example blocked
        return False


def _packageName(requirement: str) -> str:
    name = requirement
    for separator in "<>=!~[; ":
        name = name.split(separator)[0]
    return name
