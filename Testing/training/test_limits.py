"""The page on limits: what it measures is right on images of known content, and the command fills it completely."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image as Picture

from SuperResolutionLib.errors import DataError, UsageError
from SuperResolutionLib.resampling import bicubic_downsample
from SuperResolutionLib.volume import Volume
from Testing.tiny_model import write_model
from training.__main__ import main
from training.candidates import find_candidate
from training.limits import BLOCKS, measures, objects, squares
from training.limits.cases import BICUBIC, GAN, PSNR, SLICES, few_slices, make_image, read_images
from training.limits.page import fill, read_page, table, write_all

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "LIMITS.md"
SCALE, SIDE = 4, 192


def body(seed: int = 0) -> np.ndarray:
    """A bright disc with texture in a black frame, 8 bits."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    texture = 110 + 40 * np.sin(x / 3 + seed) * np.cos(y / 4) + np.random.default_rng(seed).normal(0, 5, (SIDE, SIDE))
    return np.where(np.hypot(y, x) < 0.46 * SIDE, np.clip(texture, 40, 240), 0).astype(np.uint8)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of tiny models: psnr and gan, and two that do not fit them."""
    folder = tmp_path_factory.mktemp("models")
    made = {
        "psnr": write_model(folder, "edsr-ise-own-x4-psnr"),
        "gan": write_model(folder, "edsr-ise-own-x4-gan", features=6, bicubic_skip=True),
        "x2": write_model(folder, "edsr-ise-own-x2-psnr"),
        "color": write_model(folder, "edsr-ise-color-x4-psnr", channels=3),
    }
    return {name: str(path) for name, path in made.items()}


@pytest.fixture(scope="module")
def two(models):
    return {role: find_candidate(models[role], "cpu") for role in (PSNR, GAN)}


@pytest.fixture
def image(two):
    """One picture with everything that is known of it; tests put results of their own into its planes."""
    return make_image("0.png", Volume(body()[None], np.eye(4), "p", {"Spacing": "unknown"}), two)


@pytest.fixture
def data(tmp_path):
    """Two pictures, a volume of 20 slices and a color picture, each a set of its own."""
    for name in ("own", "mri", "eyes"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for number in range(2):
        sitk.WriteImage(sitk.GetImageFromArray(body(number)), str(tmp_path / "data" / "own" / f"{number}.png"))
    brain = np.stack([body(number).astype(np.int16) * 4 for number in range(20)])[:, :96, :96]
    sitk.WriteImage(sitk.GetImageFromArray(brain), str(tmp_path / "data" / "mri" / "head.nii.gz"))
    Picture.fromarray(np.stack([body()] * 3, axis=-1)).save(tmp_path / "data" / "eyes" / "eye.png")
    lists = {"own": ["0.png", "1.png"], "mri": ["head.nii.gz"], "eyes": ["eye.png"]}
    text = json.dumps({name: {"train": [], "val": [], "test": files} for name, files in lists.items()})
    (tmp_path / "data" / "splits.json").write_text(text)
    return tmp_path / "data"


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "docs" / "LIMITS.md"
    path.parent.mkdir()
    path.write_bytes(PAGE.read_bytes())
    return path


def run(data, page, models, *more: str, psnr: str = "psnr") -> int:
    named = ["--psnr", models[psnr], "--gan", models["gan"]]
    return main(["limits", str(data), *named, "--set", "own", "--others", "mri", "--page", str(page), *more])


def prose(text: str) -> str:
    return re.sub(r"(<!-- measured: [a-z-]+ -->).*?(<!-- end -->)", r"\1\2", text, flags=re.DOTALL)


def test_the_command_fills_every_place_and_leaves_the_prose(data, page, models, capsys):
    assert run(data, page, models) == 0
    text = page.read_text()
    assert prose(text) == prose(PAGE.read_text())
    blocks = re.findall(r"<!-- measured: ([a-z-]+) -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert [name for name, _ in blocks] == list(BLOCKS)
    assert all(len(block) > 200 for _, block in blocks)
    begins = find_candidate(models["gan"], "cpu").card.sha256[:12]
    for word in (f"edsr-ise-own-x4-gan {begins}", "| own test | 2 |", "| mri test | 1 |", "quality 50"):
        assert word in text
    assert "nan" not in text.lower() and str(data) not in text and str(page.parent) not in text
    pictures = re.findall(r"\]\((limits/[a-z-]+\.webp)\)", text)
    assert len(pictures) == 4
    for name in pictures:
        with Picture.open(page.parent / name) as picture:
            assert picture.format == "WEBP" and min(picture.size) > 150
    assert str(page) in capsys.readouterr().out
    before = {path: path.read_bytes() for path in page.parent.rglob("*") if path.is_file()}
    assert run(data, page, models) == 0
    assert {path: path.read_bytes() for path in page.parent.rglob("*") if path.is_file()} == before, "the same again"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--psnr", "x2"], ["one scale", "edsr-ise-own-x2-psnr (x2)"]),
        (["--psnr", "color"], ["color model"]),
        (["--set", "eyes"], ["eye.png of eyes has color"]),
        (["--set", "none"], ["no set 'none'"]),
        (["--split", "val"], ["val split of own is empty"]),
        (["--images", "0"], ["1 or more"]),
        (["--page", "README.md"], ["README.md", "missing: anatomy"]),
        (["--page", "nothing.md"], ["nothing.md cannot be read"]),
    ],
    ids=str,
)
def test_refusals_write_nothing(data, page, models, capsys, monkeypatch, more, words):
    monkeypatch.chdir(ROOT)
    before = page.read_bytes()
    option, value = more
    assert run(data, page, models, option, models.get(value, value)) == 1
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert page.read_bytes() == before and [path.name for path in page.parent.iterdir()] == [page.name]


def test_the_page_of_the_project():
    """Every place that the command fills is there; pictures that it shows are there, and small."""
    text = read_page(PAGE, BLOCKS)
    shown = set(re.findall(r"\]\((limits/[a-z-]+\.webp)\)", text))
    there = {path.relative_to(PAGE.parent).as_posix() for path in PAGE.parent.glob("limits/*")}
    assert shown == there
    assert sum((PAGE.parent / name).stat().st_size for name in shown) < 1_000_000


def test_pages():
    text = "a\n<!-- measured: one -->\nold\n<!-- end -->\nb\n"
    assert fill(text, {"one": "new\n"}) == "a\n<!-- measured: one -->\n\nnew\n\n<!-- end -->\nb\n"
    assert fill(fill(text, {"one": "x"}), {"one": "new"}) == fill(text, {"one": "new"})
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_a_page_is_replaced_only_as_a_whole(tmp_path):
    page, taken = tmp_path / "page.md", tmp_path / "limits"
    page.write_text("old")
    taken.write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cannot be written"):
        write_all({taken / "a.png": b"new", page: b"new"})
    assert page.read_text() == "old" and sorted(path.name for path in tmp_path.iterdir()) == ["limits", "page.md"]


def test_reversed_detail_has_the_same_input():
    import torch

    plane = body().astype(np.float64)
    turned = measures.reversed_detail(plane, SCALE)

    def small(array):
        return bicubic_downsample(torch.from_numpy(array)[None, None], SCALE).numpy()

    assert np.abs(small(turned) - small(plane)).max() < 1e-9 and np.abs(turned - plane).max() > 20
    np.testing.assert_allclose(plane - turned, 2 * measures.detail(plane, SCALE), atol=1e-9)
    np.testing.assert_allclose(measures.reversed_detail(turned, SCALE), plane, atol=1e-9)


def test_consistency_tells_nothing_of_errors(image):
    found = measures.consistency([image], (BICUBIC, PSNR, GAN), SCALE)
    assert all(entry["residual"] < 1 for entry in found.values())
    assert found["reversed"]["psnr"] < found[BICUBIC]["psnr"] - 3
    broken = replace(image, planes={PSNR: image.planes[PSNR] + np.uint8(5)})
    assert measures.consistency([broken], (PSNR,), SCALE)[PSNR]["residual"] == pytest.approx(5, abs=1)


def spoil(image):
    """The image with a perfect result of the PSNR model, and a GAN's with a false pattern in one square."""
    wrong = image.reference.astype(np.float64)
    wrong[:, 80:112, 72:104] += np.where((np.indices((32, 32)).sum(axis=0) // 2) % 2, 25.0, -25.0)
    planes = {PSNR: image.reference, GAN: np.clip(wrong, 0, 255).astype(np.uint8), BICUBIC: image.planes[BICUBIC]}
    return replace(image, planes=planes)


def test_a_regular_pattern_is_found(image):
    """What repeats with every pixel of the input, and grain that does not; both are detail of the same strength."""
    tile = np.random.default_rng(1).normal(size=(SCALE, SCALE))
    regular = np.tile(10 * (tile - tile.mean()), np.array(image.reference.shape[1:]) // SCALE)
    grain = np.random.default_rng(2).normal(0, regular.std(), regular.shape)
    planes = {PSNR: 100 + grain[None], GAN: 100 + grain[None] / 10 + regular}
    shares = measures.pattern([replace(image, planes=planes)], (PSNR, GAN), SCALE)
    assert shares[PSNR] < 0.1 and shares[GAN] > 0.9 and shares["truth"] < 0.5
    assert measures.regular_share(np.full((4 * SCALE, 5 * SCALE), 7), SCALE) < 1e-9


def test_a_wrong_place_is_found(image):
    spoiled = spoil(image)
    faultless = replace(image, planes=dict.fromkeys((PSNR, GAN), image.reference))
    square, other = squares.worst_squares([faultless, spoiled], SCALE)
    assert other.image is faultless
    assert square.image is spoiled and square.side == squares.SIDE * SCALE
    assert square.top <= 80 and square.top + square.side >= 112 and square.left <= 72
    numbers = squares.numbers_of(square, SCALE)
    assert numbers[PSNR] == 0 and numbers[GAN] == numbers["difference"] > 5 and 0.1 < numbers["share"] < 0.3
    assert square.input(SCALE).shape == (squares.SIDE, squares.SIDE)
    np.testing.assert_array_equal(square.reference, square.of(PSNR))


def test_squares_lie_in_the_anatomy(image, monkeypatch):
    """The loudest error is at the edge of the body; a square inside it is shown as long as there is one."""
    inside = image.areas[0]["anatomy"]
    loud = image.reference.astype(np.int16) + np.where(np.arange(SIDE) < 60, 60, 5)
    wrong = replace(image, planes={PSNR: image.reference, GAN: loud})
    (square,) = squares.worst_squares([wrong], SCALE)
    assert square.cut(inside).mean() >= squares.INSIDE
    monkeypatch.setattr(squares, "INSIDE", 1.01)
    (square,) = squares.worst_squares([wrong], SCALE)
    assert square.cut(inside).mean() < 0.97, "without such a square it is the loudest one"


def test_disagreement_that_is_the_error_points_at_it(image):
    spoiled = spoil(image)
    found = measures.pointers([spoiled], SCALE)
    assert found["disagreement"] == pytest.approx({"correlation": 1.0, "found": 1.0})
    assert abs(found["psnr"]["correlation"]) < 0.5
    where = measures.where_contested([spoiled], SCALE)
    assert where["contested"]["nearer"] == 1.0 and where["contested"][GAN] > 10 > where["elsewhere"][GAN]
    assert where["contested"][PSNR] == where["elsewhere"][PSNR] == 0
    assert where["contested"]["share"] + where["elsewhere"]["share"] == pytest.approx(1)
    assert measures.contested_share([spoiled], SCALE) == measures.disagree(spoiled, SCALE).summary["share_contested"]


def test_equal_values_share_their_rank(image):
    """A map without structure on most of the anatomy: the order of the pixels says nothing about them."""
    from scipy.stats import spearmanr

    planes = {name: image.reference.copy() for name in (BICUBIC, PSNR, GAN)}
    planes[GAN][0, 60:64, 60:64] ^= 16
    planes[PSNR][0, 62:66, 62:66] ^= 16
    shown = replace(image, planes=planes)
    found = measures.pointers([shown], SCALE)["psnr"]["correlation"]
    grid = np.zeros_like(shown.areas[0]["anatomy"])
    grid[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE] = True
    chosen = shown.areas[0]["anatomy"] & grid
    pairs = ((shown.reference[0], planes[GAN][0]), (planes[BICUBIC][0], planes[PSNR][0]))
    error, values = (measures._difference(*pair, SCALE)[chosen] for pair in pairs)
    assert len(np.unique(error)) < 0.5 * len(error)
    assert found == pytest.approx(spearmanr(error, values)[0], abs=1e-9)


def test_error_share(image):
    point = image.reference.copy()
    point[0, 100, 100] ^= 64
    assert measures.error_share([replace(image, planes={BICUBIC: point})]) == (1.0, 1.0, 1.0)
    even = image.reference ^ 1
    assert measures.error_share([replace(image, planes={BICUBIC: even})])[0] == pytest.approx(0.01, rel=0.05)


def test_spoiled_inputs(image, two):
    found = measures.spoiled([image], two)
    names = ["as it is", *(f"noise of {share} % of the range" for share in (1, 3))]
    names += [f"JPEG, quality {quality}" for quality in (90, 50)]
    assert list(found) == names
    assert found[names[0]][PSNR] == image.score(PSNR, "anatomy")
    for method in (BICUBIC, PSNR, GAN):
        assert found[names[0]][method] > found[names[1]][method] > found[names[2]][method]
        assert found[names[3]][method] > found[names[4]][method]
    deep = Volume(body()[None].astype(np.int16) * 9, np.eye(4), "p", {"Spacing": "unknown"})
    assert list(measures.spoiled([make_image("16 bits", deep, two)], two)) == names[:3]


@pytest.mark.parametrize("size", [0.5, 1.0, 4.0])
def test_things_have_their_size(size):
    disc = objects.coverage(objects.Kind("disc", size), 80, SCALE, (0.4, -0.3), 0.0)
    assert disc.sum() == pytest.approx(np.pi * (size * SCALE / 2) ** 2, rel=0.15) and disc.max() == 1
    for turn in (0.0, 0.6):
        line = objects.coverage(objects.Kind("line", size), 80, SCALE, (0.0, 0.2), turn)
        assert line.sum() == pytest.approx(objects.LENGTH * size * SCALE**2, rel=0.1)


def test_recovered_contrast(image, two, monkeypatch):
    """1 for a method that shows everything, 0 for one that sees nothing, half for one that halves it."""

    def perfect(name, volume, models, axis):
        seen = volume.array.astype(np.float64)
        before = image.reference.astype(np.float64)
        return replace(image, planes={"all": seen, "nothing": before, "half": (seen + before) / 2})

    before = replace(image, planes=dict.fromkeys(("all", "nothing", "half"), image.reference))
    monkeypatch.setattr(objects, "make_image", perfect)
    found, counts = objects.recovered([before], two, SCALE)
    placed = [kind for kind, count in counts.items() if count]
    assert len(placed) >= 4
    for kind in placed:
        assert found[kind] == pytest.approx({"all": 1.0, "nothing": 0.0, "half": 0.5}, abs=0.02)


def test_line_pairs_and_the_limit_of_sampling(two):
    def enlarge(picture):
        volume = Volume(picture[None], np.eye(4), "p", {"Spacing": "unknown"})
        return {"perfect": picture, "blank": 0 * picture, BICUBIC: make_image("p", volume, two).planes[BICUBIC][0]}

    found = objects.bars_recovered(enlarge, SCALE)
    assert list(found) == list(objects.PERIODS)
    for shares in found.values():
        assert shares["perfect"] == pytest.approx((1, 0), abs=0.01)
        assert shares["blank"] == (0, 0)
    assert found[1.0][BICUBIC][0] < 0.05 < 0.95 < found[6.0][BICUBIC][0]
    assert found[1.5][BICUBIC][1] > found[6.0][BICUBIC][1], "beyond the limit comes a false pattern"


def test_few_slices():
    array = np.arange(40)[:, None, None] + np.zeros((40, 8, 8))
    chosen = few_slices(Volume(array, np.eye(4)), 2).array[:, 0, 0]
    assert len(chosen) == SLICES and chosen[0] == 1 and np.diff(chosen).min() >= 2
    np.testing.assert_array_equal(few_slices(Volume(array[:5], np.eye(4)), 2).array, array[:5])
    assert few_slices(Volume(array.transpose(1, 2, 0), np.eye(4)), 0).size == (SLICES, 8, 8)


def test_sets_whose_slices_are_resized(data, two):
    images = list(read_images(data, "mri@96", "test", data / "splits.json", two, None, log=lambda line: None))
    assert [image.reference.shape for image in images] == [(SLICES, 96, 96)]
    with pytest.raises(UsageError, match="x4 cannot use"):
        list(read_images(data, "mri@98", "test", data / "splits.json", two, None))


def test_places_of_a_page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("<!-- measured: other -->\n<!-- end -->\n")
    with pytest.raises(UsageError, match="missing: one, unknown: other"):
        read_page(path, ("one",))
