"""The folder with the user's own models: where it is, choosing another, deleting a model from it."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from SuperResolutionLib.catalog import is_own, model_folders, remove_model, user_folder
from SuperResolutionLib.errors import SuperResolutionError
from SuperResolutionPanel.outlook import breakable, literal

SETTING = "SuperResolution/ModelFolder"


def chosenFolder() -> Path:
    """The folder with the user's own models, for ``ModelCatalog.default``; it need not exist."""
    chosen = qt.QSettings().value(SETTING)
    return Path(chosen) if isinstance(chosen, str) and chosen else user_folder()


class ModelFolder:
    """The part of the form that shows the folder, with Browse and Delete.

    Args:
        ui: the named widgets of SuperResolution.ui.
        onChanged: called after the folder or the models in it changed, to read the catalog again.
    """

    def __init__(self, ui, onChanged):
        self._ui = ui
        self._onChanged = onChanged
        self._card = None
        self._ui.modelFolderBrowseButton.clicked.connect(self._onBrowse)
        self._ui.modelDeleteButton.clicked.connect(self._onDelete)

    def update(self, card, count: int, problems: list[str]) -> None:
        """Show the folder, whether the chosen model (a ModelCard or None) can be deleted, and what the catalog found.

        Args:
            count: number of models. problems: a sentence for each that was left out.
        """
        self._card = card
        folder = str(chosenFolder())
        self._ui.modelFolderLineEdit.text = folder
        self._ui.modelFolderLineEdit.cursorPosition = 0
        self._ui.modelFolderLineEdit.toolTip = literal(_("Folder with your own models: {folder}").format(folder=folder))
        obstacle = _deleteObstacle(card)
        self._ui.modelDeleteButton.enabled = not obstacle
        offer = _("Delete {model} from the folder with your own models.").format(model=card.id if card else "")
        self._ui.modelDeleteButton.toolTip = obstacle or offer
        found = _("Models found: {count}, left out: {leftOut}").format(count=count, leftOut=len(problems))
        self._ui.modelsFoundLabel.text = breakable("\n".join([found, *problems]))

    def _onBrowse(self, _checked=False) -> None:
        title = _("Folder with your own models")
        folder = qt.QFileDialog.getExistingDirectory(self._ui.modelFolderLineEdit, title, str(chosenFolder()))
        if not folder:
            return
        try:
            model_folders(Path(folder))
        except (OSError, RuntimeError, ValueError) as error:
            sentence = _("The folder {folder} cannot be read: {error}. Choose another one.")
            slicer.util.errorDisplay(literal(sentence.format(folder=folder, error=error)))
            return
        qt.QSettings().setValue(SETTING, folder)
        self._onChanged()

    def _onDelete(self, _checked=False) -> None:
        card = self._card
        question = _("Delete the model {model} from {folder}? This cannot be undone.")
        question = question.format(model=card.id, folder=card.weights.parent)
        if not slicer.util.confirmYesNoDisplay(literal(question)):
            return
        try:
            remove_model(card, chosenFolder())
        except SuperResolutionError as error:
            slicer.util.errorDisplay(literal(str(error)))
        self._onChanged()


def _deleteObstacle(card) -> str:
    """One sentence that says why the model cannot be deleted; empty if it can."""
    if card is None:
        return _("No model is chosen.")
    if not is_own(card, chosenFolder()):
        return _("{model} is not in the folder with your own models; only those can be deleted.").format(model=card.id)
    return ""
