"""Curves of training that are kept: few rows that say what many said."""

import csv

import numpy as np
import pytest

from SuperResolutionLib.errors import DataError
from training.zoo.curves import ROWS, draw_curve, keep_curves, thin
from training.zoo.pictures import save_drawing


def write_steps(path, phases=(("psnr", 1500), ("gan", 501))):
    """A table as ``record`` writes it, with scores of the discriminator in the second phase only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["step", "epoch", "phase", "learning_rate", "loss", "l1", "d_real", "d_fake", "waiting", "seconds"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        step = 0
        for phase, count in phases:
            for _ in range(count):
                step += 1
                row = {"step": step, "epoch": 0, "phase": phase, "learning_rate": 1e-3, "loss": 1 / step, "l1": step}
                row |= {"d_real": 0.5, "d_fake": -0.5} if phase == "gan" else {}
                writer.writerow(row | {"waiting": 0.0, "seconds": 0.1})


def read(path):
    return list(csv.DictReader(path.open()))


def test_long_tables_become_means_of_one_phase_each(tmp_path):
    write_steps(tmp_path / "steps.csv")
    thin([tmp_path / "steps.csv"], tmp_path / "kept" / "a.csv")
    rows = read(tmp_path / "kept" / "a.csv")
    assert ROWS / 2 < len(rows) <= ROWS and not {"waiting", "seconds", "epoch"} & set(rows[0])
    assert [rows[0]["phase"], rows[-1]["phase"], rows[-1]["step"]] == ["psnr", "gan", "2001"]
    every = int(rows[0]["step"])
    assert float(rows[0]["l1"]) == pytest.approx((every + 1) / 2, rel=1e-4)
    last = [row for row in rows if row["phase"] == "psnr"][-1]
    assert last["step"] == "1500" and last["d_real"] == "" and float(rows[-1]["d_real"]) == 0.5


def test_a_run_that_went_on_from_another_takes_the_place_of_its_phase(tmp_path):
    write_steps(tmp_path / "first" / "m-x4-gan" / "steps.csv", (("psnr", 20), ("gan", 9)))
    write_steps(tmp_path / "second" / "m-x4-gan" / "steps.csv", (("gan", 5),))
    assert keep_curves([tmp_path / "first", tmp_path / "second"], ["m-x4-gan"], tmp_path) == ["m-x4-gan"]
    rows = read(tmp_path / "m-x4-gan.csv")
    assert [row["step"] for row in rows] == [str(step) for step in range(1, 26)]
    assert [row["phase"] for row in rows] == ["psnr"] * 20 + ["gan"] * 5
    assert [float(row["l1"]) for row in rows[-5:]] == [1, 2, 3, 4, 5], "what the second run wrote"


def test_short_tables_stay_and_junk_is_refused(tmp_path):
    write_steps(tmp_path / "steps.csv", (("psnr", 30),))
    thin([tmp_path / "steps.csv"], tmp_path / "a.csv")
    assert [float(row["l1"]) for row in read(tmp_path / "a.csv")] == list(range(1, 31))
    (tmp_path / "empty.csv").write_text("step,phase\n")
    for name in ("empty.csv", "missing.csv"):
        with pytest.raises(DataError, match="no table of a run's steps"):
            thin([tmp_path / name], tmp_path / "b.csv")
    assert not (tmp_path / "b.csv").exists()


def test_curves_are_kept_by_the_names_of_models_and_drawn_small(tmp_path):
    from PIL import Image

    write_steps(tmp_path / "runs" / "one-x4-gan" / "steps.csv")
    assert keep_curves([tmp_path / "runs"], ["one-x4-gan", "two-x4-psnr"], tmp_path / "curves") == ["one-x4-gan"]
    save_drawing(draw_curve(tmp_path / "curves" / "one-x4-gan.csv", "one-x4-gan"), tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size < 20_000
    picture = np.asarray(Image.open(tmp_path / "one.png").convert("RGB")).astype(int)
    colored = (np.ptp(picture, axis=2) > 60).any(axis=0)
    half = len(colored) // 2
    assert colored[:half].sum() > 50 and colored[half:].sum() > 50, "losses at the left, scores at the right"
