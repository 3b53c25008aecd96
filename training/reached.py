"""Which model a checkpoint is: the one that the run is to become, or that of the phase that it has reached."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from SuperResolutionLib.errors import DataError, ModelError, UsageError

from .config import Config, Phase, trained_config
from .packed import mapping_words

#: Of the checkpoint files; what is written by another version is refused.
FORMAT = 2


def phase_file(index: int, phase: Phase) -> str:
    """Name of the checkpoint that phase ``index``, from 0, ends with if another one follows."""
    return f"phase-{index + 1}-{phase.name}.pt"


def find_checkpoint(run: Path, config: Config, phase: str | None = None) -> Path:
    """The checkpoint of a run, or the one with which a phase ended.

    Args:
        run: folder of the run, or a checkpoint itself.
        phase: number from 1, or name; None for where the run is now.

    Raises:
        UsageError: for a phase that the configuration does not have. DataError: for one that is not finished.
    """
    if phase is None:
        return run if run.is_file() else run / "checkpoint.pt"
    names = [entry.name for entry in config.phases]
    index = names.index(phase) if phase in names else int(phase) - 1 if phase.isdecimal() else -1
    if not 0 <= index < len(names) or run.is_file():
        known = ", ".join(f"{number} {name}" for number, name in enumerate(names, 1))
        raise UsageError(f"--phase takes a run's folder and one of its phases, {known}; not {run} and {phase}.")
    last = index == len(names) - 1
    ended = run / phase_file(index - last, config.phases[index - last])  # before the last phase lies the one before it
    if not ended.is_file() and len(names) > 1:
        raise DataError(f"{run} has not reached the end of the phase {names[index - last]}; train on.")
    return run / "checkpoint.pt" if last else ended


def as_trained(config: Config, state: dict, trust_config: bool = False) -> Config:
    """The configuration as far as a checkpoint has come; of an earlier phase with a name of its own.

    Network, data and phases are the ones that the checkpoint was trained with, whatever the file says now; ``id`` and
    ``card`` are the file's. A checkpoint of the first version knows of none; the file is believed if ``trust_config``.

    Raises:
        ModelError: for the checkpoint of another network or intensity mapping, or one that does not say of which it is
            and is not trusted.
    """
    if state.get("format") != FORMAT:
        if trust_config:
            return config
        raise ModelError(
            "The checkpoint is of another version and does not say which network it holds: options without weights of "
            "their own, such as bicubic_skip or input_gain, cannot be checked, and a wrong one would go unnoticed. If "
            f"{config.id} is surely what it was trained with, add --trust-config."
        )
    was = trained_config(state["config"])
    if was.plain()["network"] != config.plain()["network"]:
        raise ModelError(f"The checkpoint does not hold the network that {config.id} describes; name its own run.")
    if was.intensity != config.intensity:
        raise ModelError(
            f"The checkpoint was trained under the intensity mapping {mapping_words(was.intensity)}, and the card of "
            f"{config.id} says {mapping_words(config.intensity)}; correct the card."
        )
    whole = replace(was, id=config.id, card=config.card)
    index, before = state["phase"], sum(phase.steps for phase in whole.phases[: state["phase"]])
    if index and state["step"] == before:  # the phase has not begun
        index, before = index - 1, before - whole.phases[index - 1].steps
    if state["step"] >= whole.steps:
        return whole
    last = replace(whole.phases[index], steps=state["step"] - before)
    words = f"after {state['step']} of {whole.steps} steps"
    card = dict(whole.card)
    if index < len(whole.phases) - 1:
        card["title"] = f"{card.get('title')}, phase {last.name}"
        card["description"] = f"The generator of {whole.id} {words}, at the phase {last.name}."
    else:
        card["description"] = f"{card.get('description')} Taken {words}."
    return replace(whole, id=phase_id(whole, index), phases=(*whole.phases[:index], last), card=card)


def progress(config: Config, state: dict) -> tuple[int, int]:
    """Steps that a checkpoint has done, and steps of its whole run."""
    was = state["config"]["phases"] if state.get("format") == FORMAT else config.plain()["phases"]
    return int(state["step"]), sum(phase["steps"] for phase in was)


def phase_id(config: Config, index: int) -> str:
    """The id of a phase's model: ``-psnr`` or ``-gan`` as the phase is, with its number if a later one is like it.

    Phase 0 of ``swift-srgan-cxr-x4-gan`` is ``swift-srgan-cxr-x4-psnr``.
    """
    kinds = ["gan" if phase.discriminator else "psnr" for phase in config.phases]
    stem = config.id.rpartition(f"-x{config.scale}-")[0]
    stem += f"-phase{index + 1}" if kinds[index] in kinds[index + 1 :] else ""
    return f"{stem}-x{config.scale}-{kinds[index]}"
