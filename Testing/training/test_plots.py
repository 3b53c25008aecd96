"""The pictures of an evaluation: where the inset lies, and that a panel shows what it says."""

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from SuperResolutionLib.catalog import load_card
from SuperResolutionLib.volume import Volume
from Testing.tiny_model import write_model
from training.candidates import MODEL, Candidate
from training.plots import Panels, busiest, draw_panel, plot_gains
from training.protocols import our_case

RANDOM = np.random.default_rng(0)


def test_the_inset_lies_where_the_structure_is():
    strength, area = np.zeros((100, 140)), np.ones((100, 140), bool)
    strength[70:80, 30:40], strength[10:20, 100:110] = 1, 2
    top, left, side = busiest(strength, area)
    assert side == 16 and top <= 10 and left <= 100 and top + side >= 20 and left + side >= 110
    area[:50] = False
    top, left, side = busiest(strength, area)
    assert top <= 70 and left <= 30 and top + side >= 80 and left + side >= 40
    assert busiest(np.ones((9, 30)), np.ones((9, 30), bool))[2] == 9


@pytest.mark.parametrize("color", [False, True])
def test_a_panel_shows_every_method_and_its_error(tmp_path, color):
    reference = RANDOM.integers(40, 200, (60, 80, 3) if color else (60, 80), dtype=np.uint8)
    pictures = {"reference": reference, "same": reference, "a-model-with-a-long-name-x4-psnr": reference // 2}
    draw_panel(tmp_path / "panel.png", "a title", pictures, (10, 20, 20), 255.0)
    panel = np.asarray(Image.open(tmp_path / "panel.png").convert("RGB")).astype(int)
    assert panel.shape[1] > panel.shape[0] * 0.8 and panel.std() > 20
    thirds = np.array_split(panel[int(0.72 * len(panel)) : int(0.94 * len(panel))], 3, axis=1)
    assert thirds[2].max(axis=2).mean() > thirds[1].max(axis=2).mean() + 10, "only the changed picture has an error"


def test_a_panel_of_a_color_image_says_its_psnr(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    said = []
    monkeypatch.setattr(Axes, "set_xlabel", lambda self, text, **options: said.append(text))
    reference = RANDOM.integers(60, 200, (64, 64, 3), dtype=np.uint8)
    noisy = np.clip(reference + RANDOM.normal(0, [2, 5, 12], reference.shape), 0, 255).astype(np.uint8)
    draw_panel(tmp_path / "panel.png", "t", {"reference": reference, "noisy": noisy}, (10, 20, 32), 255.0)
    expected = peak_signal_noise_ratio(reference[10:42, 20:52], noisy[10:42, 20:52], data_range=255)
    assert said == [f"inset {expected:.1f} dB"]


def test_panels_keep_the_first_images_of_a_set(tmp_path):
    card = load_card(write_model(tmp_path, "edsr-ise-test-x2-psnr"))
    volume = Volume(RANDOM.integers(0, 255, (3, 40, 40), dtype=np.uint8), np.eye(4))
    case = our_case(volume, card)
    panels = Panels(tmp_path / "panels", 1)
    for file in ("a.png", "b.png"):
        panels.add("set test", file, Candidate(card, None), case, case.images | {MODEL: case.reference})
    paths = panels.draw()
    assert [path.name for path in paths] == ["set-test-x2-a-png.png"]
    held = next(iter(panels.held.values()))["pictures"]
    assert list(held) == ["reference", "bicubic", "bicubic consistent", card.id]
    np.testing.assert_array_equal(held["reference"], volume.array[1])


def test_gains_have_a_picture_a_set_and_scale(tmp_path):
    rows = [
        {"set": "s test", "scale": scale, "protocol": "ours", "model": name, "image": image, "method": method}
        | {"region": region, "psnr": 30.0 + (method == MODEL) * (1 + image / 10)}
        for scale, name in ((2, "one"), (4, "two"), (4, "three"))
        for image in range(3)
        for method in ("bicubic consistent", MODEL)
        for region in ("whole", "anatomy")
    ]
    paths = plot_gains(rows, tmp_path / "out")
    assert [path.name for path in paths] == ["gains-s-test-x2.png", "gains-s-test-x4.png"]
    heights = [Image.open(path).size[1] for path in paths]
    assert heights[1] > heights[0], "a line a model"
