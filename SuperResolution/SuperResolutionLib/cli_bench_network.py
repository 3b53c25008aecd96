"""Which network ``superres bench`` measures: a model, or a model's network at a scale for which none was trained."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .catalog import CARD, WEIGHTS, ModelCard, ModelCatalog, file_sha256, load_card
from .cli_models import find_model
from .errors import ModelError
from .networks import create

#: The largest enlargement at which a network is built that was not trained for it.
LARGEST_SCALE = 16


@contextmanager
def network_to_measure(model: str, scale: int | None) -> Iterator[tuple[ModelCard, str | None]]:
    """The model of an id or a family; at a scale that its family lacks the same network with random weights.

    Speed does not depend on the weights. Those that are not trained lie in a folder that is deleted in the end.

    Yields:
        The model's card, and what its weights are where they are not trained.

    Raises:
        ModelError: if there is no such model, or its architecture has no such scale.
    """
    try:
        found = find_model(model, scale)
    except ModelError:
        nearest = _nearest(model, scale)
        if nearest is None:
            raise
    else:
        yield found, None
        return
    with tempfile.TemporaryDirectory(prefix="superresolution-bench-") as folder:
        card = _write_untrained(nearest, scale, Path(folder))
        yield card, f"random, because there is no trained x{scale}; only the speed means something"


def _nearest(model: str, scale: int | None) -> ModelCard | None:
    """The model of a family whose scale is nearest to one that the family lacks; None where that is not the case."""
    families = ModelCatalog.default().families().values()
    family = next((cards for cards in families if any(model in (card.id, card.family) for card in cards)), [])
    lacking = scale not in {card.scale for card in family}
    if not family or not lacking or scale not in range(2, LARGEST_SCALE + 1):
        return None
    return min(family, key=lambda card: abs(card.scale - scale))


def _write_untrained(nearest: ModelCard, scale: int, folder: Path) -> ModelCard:
    """Write a model's network at another scale, with random weights, as a model folder."""
    import torch
    from safetensors.torch import save_file

    config = {**nearest.config, "scale": scale}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same each time: converted networks are kept by their weights
        weights = create(nearest.architecture, **config).state_dict()
    save_file(weights, folder / WEIGHTS)
    stem, _, kind = nearest.family.rpartition("-")
    changed = {"id": f"{stem}-x{scale}-{kind}", "config": config, "sha256": file_sha256(folder / WEIGHTS)}
    (folder / CARD).write_text(json.dumps(nearest.card | changed), encoding="utf-8")
    return load_card(folder)
