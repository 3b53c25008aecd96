"""Which model the terminal door takes: the one that was named, or the one that is recommended; and the list of them."""

from __future__ import annotations

from .catalog import ModelCard, ModelCatalog
from .errors import ModelError
from .recommend import Recommendation, modality_in_name, recommend
from .volume import Volume


def find_model(model: str, scale: int | None) -> ModelCard:
    """The model of an id or a family, with its weights intact.

    Raises:
        ModelError: if there is none.
    """
    card = ModelCatalog.default().find(model, scale)
    card.verify()
    return card


def recommended(volume: Volume, scale: int | None) -> Recommendation:
    """The model that the panel would preselect for a volume, with its weights intact, and why.

    Raises:
        ModelError: if there is none.
    """
    return _recommended(ModelCatalog.default().families(), volume, scale)


def second_model(volume: Volume, first: ModelCard) -> ModelCard:
    """The model trained for fidelity whose result a volume's result by ``first`` is best compared with.

    Raises:
        ModelError: if there is none at that scale.
    """
    families = {
        name: [card for card in cards if card.id != first.id]
        for name, cards in ModelCatalog.default().families().items()
        if not name.endswith("-gan")
    }
    try:
        return _recommended({name: cards for name, cards in families.items() if cards}, volume, first.scale).card
    except ModelError as error:
        raise ModelError(
            f"No second model at x{first.scale} is installed that {first.id} could be compared with; name one with "
            "--against, or leave out --disagreement."
        ) from error


def _recommended(families: dict[str, list[ModelCard]], volume: Volume, scale: int | None) -> Recommendation:
    modality = volume.source.get("Modality") or modality_in_name(volume.name)
    chosen = recommend(families, volume.channels, modality, scale)
    chosen.card.verify()
    return chosen


def model_rows(cards: list[ModelCard]) -> list[tuple[str, ...]]:
    """The list of models as a table, its heads first."""
    rows = [
        (card.id, f"x{card.scale}", str(card.channels), card.domain, "yes" if card.weights_available else "missing")
        for card in cards
    ]
    return [("id", "scale", "channels", "domain", "weights"), *rows]


def summary(card: ModelCard) -> dict:
    """What programs get to know of a model."""
    return {
        "id": card.id,
        "family": card.family,
        "scale": card.scale,
        "channels": card.channels,
        "domain": card.domain,
        "weights_available": card.weights_available,
        "title": card.title,
        "description": card.description,
        "license": card.license,
        "baseline": card.baseline,
        "measured": card.measured,
    }
