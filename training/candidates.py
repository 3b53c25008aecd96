"""What can be evaluated: models of the catalog, model folders, and other projects' checkpoints through spandrel.

All of them run through the engine's ``upscale``, exactly as a user's image would; only the network inside it differs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from SuperResolutionLib.backends.torch_backend import TorchModel, load, resolve_device
from SuperResolutionLib.catalog import CARD, ModelCard, ModelCatalog, file_sha256, load_card
from SuperResolutionLib.errors import ModelError
from SuperResolutionLib.upscaler import Options, upscale
from SuperResolutionLib.volume import Volume

#: Names of other projects' checkpoints end so.
CHECKPOINTS = (".pth", ".pt", ".ckpt", ".safetensors")

MODEL, UNCONSTRAINED, ENSEMBLE = "model", "model unconstrained", "model self-ensemble"


class Remembering:
    """A model that enlarges a plane once, however often the same plane is given to it; the rest is the model's own."""

    def __init__(self, model):
        self._model, self._known = model, {}

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def enlarge(self, plane: np.ndarray, rows: int, poll) -> np.ndarray:
        key = plane.tobytes()
        if key not in self._known:
            self._known[key] = self._model.enlarge(plane, rows, poll)
        return self._known[key]


class SelfEnsemble(Remembering):
    """The mean of a model's eight results for a plane's flips and quarter turns, each turned back."""

    def enlarge(self, plane: np.ndarray, rows: int, poll) -> np.ndarray:
        total = 0.0
        for turns in range(4):
            for flip in (False, True):
                view = np.rot90(plane, turns, (1, 2))
                view = self._model.enlarge(np.ascontiguousarray(view[..., ::-1] if flip else view), rows, poll)
                total = total + np.rot90(view[..., ::-1] if flip else view, -turns, (1, 2)).astype(np.float64)
        return (total / 8).astype(np.float32)


class Community(TorchModel):
    """Another project's network behind the engine's interface; a color one takes grey as three equal channels."""

    def __init__(self, descriptor, device: str):
        self.device, self.scale, self.precision = device, descriptor.scale, "float32"
        self.reach, self.global_gates, self.notices = 0, False, []
        self.net, self.channels = descriptor.eval(), descriptor.input_channels

    def strip_rows(self, width: int, wanted: int) -> int:
        return 0

    def polls(self, height: int, rows: int) -> int:
        return 1

    def working_bytes(self, channels: int, height: int, width: int, rows: int) -> int:
        return 4 * 64 * height * width * self.scale**2

    @torch.inference_mode()
    def enlarge(self, plane: np.ndarray, rows: int, poll) -> np.ndarray:
        poll()
        image = self._upload(plane)[None].expand(-1, self.channels, -1, -1)
        enlarged = self.net(image)[0].float().cpu().numpy()
        return enlarged if len(enlarged) == len(plane) else enlarged.mean(axis=0, keepdims=True)


@dataclass(frozen=True)
class Candidate:
    """A model to be judged: its card, for another project's checkpoint made up from the file, and the loaded model."""

    card: ModelCard
    model: TorchModel

    @property
    def name(self) -> str:
        """Its id, or the stem of its file."""
        return self.card.id

    def card_for(self, channels: int) -> ModelCard:
        """The card for images of that many channels: another project's color network takes grey as well."""
        fits = isinstance(self.model, Community) and self.card.channels == 3
        return replace(self.card, channels=channels) if fits else self.card

    def run(
        self, low: Volume, axis: str, ensemble: bool = False, consistent: bool = True, intensity: dict | None = None
    ) -> dict[str, np.ndarray]:
        """Enlarge a volume along ``axis`` ("i", "j" or "k"): method -> array (k, j, i) or (k, j, i, c).

        ``intensity`` takes the place of the card's.
        """
        card, model = self.card_for(low.channels), Remembering(self.model)
        card = replace(card, intensity=intensity) if intensity else card
        wanted = {UNCONSTRAINED: (model, False)}
        if consistent:
            wanted[MODEL] = (model, True)
        if ensemble:
            wanted[ENSEMBLE] = (SelfEnsemble(self.model), True)
        return {
            name: upscale(
                low, card, Options(constrained, bicubic=False, axis=axis), load=lambda *_, chosen=chosen: chosen
            ).sr.array
            for name, (chosen, constrained) in wanted.items()
        }


def find_candidate(name: str, device: str = "auto") -> Candidate:
    """A model by its id or family, its folder, or another project's checkpoint file.

    Raises:
        ModelError: if it is not there, is damaged, or spandrel is needed and missing.
        DeviceError: if the device is not there.
    """
    path = Path(name)
    if path.is_file() and path.suffix in CHECKPOINTS:
        return _community(path, resolve_device(device))
    card = find_card(name)
    return Candidate(card, load(card, device))


def find_card(name: str) -> ModelCard:
    """The card of an id, a family or a model folder. Raises ModelError if there is none."""
    return load_card(Path(name)) if (Path(name) / CARD).is_file() else ModelCatalog.default().find(name)


def _community(path: Path, device: str) -> Candidate:
    try:
        import spandrel
    except ImportError as error:
        raise ModelError(
            f"{path} is another project's checkpoint; to judge it, install spandrel and torchvision."
        ) from error
    try:
        descriptor = spandrel.ModelLoader(device=device).load_from_file(path)
    except (spandrel.UnsupportedModelError, RuntimeError, OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path} is no network that spandrel knows; name a super-resolution checkpoint.") from error
    if not isinstance(descriptor, spandrel.ImageModelDescriptor) or descriptor.scale < 2:
        raise ModelError(f"{path} does not enlarge images; name a super-resolution checkpoint.")
    architecture = str(descriptor.architecture.id).lower()
    card = ModelCard(
        id=path.stem,
        family=path.stem,
        title=path.name,
        description=f"{architecture}, another project's checkpoint",
        architecture=architecture,
        config={},
        scale=descriptor.scale,
        channels=descriptor.input_channels,
        domain="",
        intensity={"mapping": "auto"},
        spacing_range=None,
        license="",
        measured=[],
        baseline=False,
        weights=path,
        sha256=file_sha256(path),
        card={},
    )
    return Candidate(card, Community(descriptor, device))
