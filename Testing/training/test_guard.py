"""What is not finite is rolled back; a discriminator that wins or gives up is seen."""

from __future__ import annotations

import csv

import pytest
import torch

from Testing.training.tiny import CPU, Patches, tiny
from training.guard import ROLLBACKS, WINDOW, CollapseWatch, DivergedError, NanGuard
from training.train import train_on


def test_a_bad_patch_costs_a_rollback_and_nothing_else(tmp_path):
    lines = []
    checkpoint = train_on(Patches(spoil={15}), tiny(phase={"steps": 20}), tmp_path, CPU, lines.append)
    state = torch.load(checkpoint, weights_only=True)
    assert state["step"] == 20 and state["guard"] == {"rollbacks": 1, "rate": 0.5}
    assert all(torch.isfinite(value).all() for value in state["average"].values())
    said = [line for line in lines if "not finite" in line]
    assert len(said) == 1 and said[0] in state["notes"] and "back to step 5" in said[0]
    with (tmp_path / "steps.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 21))
    assert float(rows[5]["learning_rate"]) < 0.6 * float(rows[4]["learning_rate"])


def test_weights_that_were_spoiled_come_back_as_they_were(tmp_path):
    train_on(Patches(), tiny(phase={"steps": 5}), tmp_path / "clean", CPU, lambda text: None)
    # Pairs 10 and 11 are those of step 6; the run ends before the next look at the numbers.
    patches = Patches(spoil={10})
    config = tiny(phase={"steps": 10}, log_steps=5)
    train_on(patches, config, tmp_path / "spoiled", CPU, lambda text: None)
    with (tmp_path / "spoiled/steps.csv").open(newline="") as file:
        spoiled = [row["loss"] for row in csv.DictReader(file)]
    with (tmp_path / "clean/steps.csv").open(newline="") as file:
        clean = [row["loss"] for row in csv.DictReader(file)]
    assert len(spoiled) == 10 and all(float(loss) < 1 for loss in spoiled)
    # The cosines differ, their first step does not.
    assert spoiled[0] == clean[0]


def test_rollbacks_are_bounded_and_the_last_good_state_is_kept(tmp_path):
    config = tiny(phase={"steps": 60})
    with pytest.raises(DivergedError, match="did not stay finite.*Lower the learning rate"):
        train_on(Patches(spoil=range(13, 10000)), config, tmp_path, CPU, lambda text: None)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 5
    assert all(torch.isfinite(value).all() for value in state["net"].values())


def test_every_return_is_told_and_counted(tmp_path):
    lines = []
    checkpoint = train_on(Patches(spoil={21, 30}), tiny(phase={"steps": 20}), tmp_path, CPU, lines.append)
    state = torch.load(checkpoint, weights_only=True)
    said = [line for line in lines if "not finite" in line]
    assert len(said) == 2 and state["notes"] == said
    assert state["guard"] == {"rollbacks": 2, "rate": 0.25}


def test_returns_are_counted_on_after_giving_up_unless_the_rate_was_changed(tmp_path):
    for tries in range(2):
        lines = []
        with pytest.raises(DivergedError):
            train_on(Patches(spoil=range(13, 10000)), tiny(phase={"steps": 60}), tmp_path, CPU, lines.append)
        state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
        assert state["guard"]["rollbacks"] == len(state["notes"]) == ROLLBACKS
        assert len([line for line in lines if "not finite" in line]) == (0 if tries else ROLLBACKS)
    lines = []
    train_on(Patches(), tiny(phase={"steps": 20, "learning_rate": 1e-4}), tmp_path, CPU, lines.append)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 20 and state["guard"] == {"rollbacks": 0, "rate": 1.0}
    told = "step 5: the learning rate of the phase psnr was changed"
    assert state["notes"][-1].startswith(told) and any(line.startswith(told) for line in lines)


def test_a_checkpoint_is_never_taken_of_a_bad_state(tmp_path):
    import os
    import signal

    patches = Patches(spoil={14, 15})
    patches.after = lambda drawn: os.kill(os.getpid(), signal.SIGTERM) if drawn == 16 else None
    train_on(patches, tiny(log_steps=10), tmp_path, CPU, lambda text: None)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 0 and state["guard"]["rollbacks"] == 1
    assert all(torch.isfinite(value).all() for value in state["net"].values())


def test_a_second_return_finds_the_good_state_untouched():
    from training.state import State

    patches = Patches()
    state = State(tiny(gan=3, phase={"steps": 3}), patches, CPU, None)
    for _ in range(2):
        state.advance(lambda: patches.batch(2))
    good = state.capture()
    for _ in range(2):
        patches.spoil.update((patches.drawn, patches.drawn + 1))
        state.advance(lambda: patches.batch(2))
        state.roll_back(good, ["loss"])
    moments = state.phase.generator_optimizer.state_dict()["state"]
    assert len(moments) > 5 and all(
        torch.isfinite(value).all() for entry in moments.values() for value in entry.values()
    )
    assert {float(entry["step"]) for entry in moments.values()} == {2.0}


def test_a_gradient_that_is_not_finite_is_not_saved_although_its_loss_is(tmp_path, monkeypatch):
    import os
    import signal

    def spoil(parameters, limit):
        if patches.drawn == 16:
            os.kill(os.getpid(), signal.SIGTERM)
            parameters[0].grad.fill_(float("nan"))
        return clip(parameters, limit)

    patches, clip = Patches(), torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr("torch.nn.utils.clip_grad_norm_", spoil)
    train_on(patches, tiny(log_steps=10), tmp_path, CPU, lambda text: None)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 0 and "g_norm not finite" in state["notes"][0]
    assert all(torch.isfinite(value).all() for value in state["net"].values())


def test_a_watch_that_goes_back_forgets_what_it_has_seen_since():
    watch = CollapseWatch("standard", pause=False)
    watch.observe([1.0] * 3)
    good = watch.state()
    watch.observe([9.0] * 5)
    watch.load(good)
    assert watch.state() == good


def test_a_guard_gives_up_after_so_many():
    guard = NanGuard()
    for _ in range(ROLLBACKS):
        guard.trip(3, ["loss"])
    assert guard.rate == 0.5**ROLLBACKS
    with pytest.raises(DivergedError, match="After step 3 loss did not stay finite"):
        guard.trip(3, ["loss"])


@pytest.mark.parametrize(
    ("kind", "margin", "verdict", "paused"),
    [
        ("standard", 12.0, "won", "discriminator"),
        ("standard", 0.001, "lost", "generator"),
        ("standard", 1.0, "even", None),
        ("least_squares", 0.99, "won", "discriminator"),
        ("hinge", 2.0, "even", None),
        ("relativistic", -3.0, "lost", "generator"),
    ],
)
def test_the_watch_judges_the_mean_margin_over_a_window(kind, margin, verdict, paused):
    watch = CollapseWatch(kind, pause=True)
    assert watch.observe([margin] * (WINDOW - 1)) is None and watch.verdict == "even"
    said = watch.observe([margin])
    assert (watch.verdict, watch.paused) == (verdict, paused)
    assert (said is None) == (verdict == "even")
    assert watch.observe([margin]) is None, "it speaks when its verdict changes"
    healthy = watch.observe([watch.won / 4] * WINDOW)
    assert watch.paused is None and (healthy is None) == (verdict == "even")


def test_without_pausing_it_only_warns():
    watch = CollapseWatch("standard", pause=False)
    assert "tells all images apart" in watch.observe([50.0] * WINDOW)
    assert watch.verdict == "won" and watch.paused is None
    other = CollapseWatch("standard", pause=False)
    other.load(watch.state())
    assert other.state() == watch.state()


@pytest.mark.parametrize("paused", ["discriminator", "generator"])
def test_who_is_paused_stays_as_it_is(paused):
    from training.phases import ActivePhase
    from training.state import State

    config = tiny(gan=5)
    patches = Patches()
    state = State(config, patches, CPU, None)
    state.phase = ActivePhase(config, 1, state.net, CPU, "float32")
    state.phase.watch.paused = paused
    networks = {"generator": state.net, "discriminator": state.phase.discriminator}
    before = {name: {k: v.clone() for k, v in net.state_dict().items()} for name, net in networks.items()}
    for number in range(2):
        state.phase.step(number, lambda: patches.batch(2))
    moved = {
        name: any((value != before[name][key]).any() for key, value in net.state_dict().items())
        for name, net in networks.items()
    }
    assert moved == {"generator": paused != "generator", "discriminator": paused != "discriminator"}


def test_a_dead_discriminator_is_noticed_and_recorded_in_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr("training.guard.WINDOW", 4)
    monkeypatch.setattr("training.guard.LOST", 10.0)
    lines = []
    config = tiny(gan=12, gan_phase={"on_collapse": "pause"}, log_steps=4)
    checkpoint = train_on(Patches(), config, tmp_path, CPU, lines.append)
    said = [line for line in lines if "no longer tells images apart" in line]
    state = torch.load(checkpoint, weights_only=True)
    assert len(said) == 1 and said[0] in state["notes"]
    assert state["watch"]["verdict"] == "lost" and state["watch"]["paused"] == "generator"
