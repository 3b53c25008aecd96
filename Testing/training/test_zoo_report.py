"""The report on every model: measured once, written whole, and its numbers those of the cards."""

import json
import re

import numpy as np
import pytest
import SimpleITK as sitk

from SuperResolutionLib.catalog import load_card
from SuperResolutionLib.errors import DataError
from SuperResolutionLib.files import read_volume
from SuperResolutionLib.upscaler import Options, upscale
from Testing.models_page import differences
from Testing.tiny_model import write_model
from training.__main__ import main
from training.candidates import ENSEMBLE, MODEL, Candidate, find_candidate
from training.evaluate import evaluate
from training.protocols import our_case
from training.zoo import command, measure
from training.zoo.facts import Facts, facts_lines, slice_seconds, weights_facts
from training.zoo.kept import keep
from training.zoo.page import BEGIN, END, model_list, with_list
from training.zoo.store import Store

from .test_zoo_curves import write_steps

RANDOM = np.random.default_rng(0)
SETS = {"cxr_nih": 2, "fundus_hrf": 2, "fundus_chase": 1, "fundus_stare": 1}
GAN, PHASE, COLOR = "swift-srgan-cxr-x4-gan", "swift-srgan-cxr-x4-psnr", "edsr-ise-fundus-x4-gan"


def picture(number: int, color: bool) -> np.ndarray:
    """A textured disc in a black frame."""
    y, x = np.mgrid[:128, :160]
    inside = (y - 64) ** 2 + (x - 80) ** 2 < 60**2
    texture = 120 + 50 * np.sin(x / 3 + number) * np.cos(y / 4) + RANDOM.normal(0, 6, (128, 160))
    grey = np.where(inside, np.clip(texture, 30, 240), 0).astype(np.uint8)
    return np.stack([grey, grey // 2, grey // 3], axis=-1) if color else grey


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    lists = {}
    for name, count in SETS.items():
        color = name.startswith("fundus")
        (folder / name).mkdir()
        lists[name] = {"test": [f"{number}.png" for number in range(count)], "val": ["0.png"]}
        for number, file in enumerate(lists[name]["test"]):
            image = sitk.GetImageFromArray(picture(number, color), isVector=color)
            sitk.WriteImage(image, str(folder / name / file))
    (folder / "splits.json").write_text(json.dumps(lists))
    return folder


@pytest.fixture(scope="module")
def zoo(tmp_path_factory, data):
    """Folders of bundled and other models, a run and a README with a place for the list, after a report."""
    folder = tmp_path_factory.mktemp("zoo")
    for name, place, channels in ((GAN, "bundled", 1), (COLOR, "bundled", 3), (PHASE, "others", 1)):
        write_model(folder / place, name, channels)
    write_model(folder / "others", "span-textures-x2-psnr")
    write_steps(folder / "runs" / GAN / "steps.csv")
    (folder / "README.md").write_text(f"# A project\n\n{BEGIN}\n{END}\n\nMore.\n")
    (folder / "docs" / "models").mkdir(parents=True)
    (folder / "docs" / "models" / "of-an-earlier-report.jpg").write_bytes(b"")
    with pytest.MonkeyPatch.context() as patch:
        for module in (measure, command):
            patch.setattr(module, "BUNDLED", folder / "bundled")
        patch.chdir(folder)
        assert report(data, "--runs", "runs", "--ensemble", "--write") == 0
        yield folder


def report(data, *more, models="others") -> int:
    return main(["zoo-report", str(data), "--models", models, "--no-distance", "--device", "cpu", *more])


def page_of(zoo) -> str:
    return (zoo / "docs" / "MODELS.md").read_text()


def section(page: str, heading: str) -> str:
    return re.split(r"\n##+ ", page.partition(heading)[2])[0]


def test_tables_and_cards_tell_what_was_measured(zoo):
    page = page_of(zoo)
    table = section(page, "### NIH ChestX-ray14, x4: 2 images")
    assert f"| `{GAN}` |" in table and f"| `{PHASE}` (not bundled) |" in table and "self-ensemble" in table
    assert "(one image)" in section(page, "### CHASE_DB1, x4: 1 image (n = 1)")
    cards = [load_card(zoo / place) for place in (f"bundled/{GAN}", f"bundled/{COLOR}", f"others/{PHASE}")]
    assert differences(page, cards) == []
    psnr = f"{cards[0].measured[0]['methods'][MODEL]['psnr']:.2f}"
    assert table.count(psnr) and any("PSNR" in line for line in differences(page.replace(psnr, "12.34"), cards))
    assert len(differences("", cards)) > 20, "an empty page lacks every number"
    sets = {one["set"] for one in load_card(zoo / "bundled" / COLOR).measured}
    assert sets == {f"{name} test" for name in SETS if name.startswith("fundus")}


def test_targets_claims_and_phases_have_their_lines(zoo):
    page = page_of(zoo)
    assert f"| chest X-ray x4: above 40.32 dB | `{GAN}` | `cxr_nih` |" in page
    assert f"| `{GAN}` | `cxr_nih` |" in section(page, "## GAN models beside their own PSNR phases")
    claims = section(page, "### By the protocol of older tables")
    assert "claim, on images not identified" in claims and "`fundus_stare`, 1" in claims
    assert PHASE not in claims and "No pictures of `fundus_stare`: STARE" in page


def test_pictures_are_those_of_the_page(zoo):
    linked = set(re.findall(r"!\[[^]]*\]\(models/([^)]+)\)", page_of(zoo)))
    drawn = {path.name for path in (zoo / "docs" / "models").iterdir() if path.is_file()}
    assert linked == drawn and {"cxr-detail-cxr_nih.webp", f"curve-{GAN}.png"} <= drawn
    assert not [name for name in drawn if "stare" in name]


def test_a_second_report_measures_nothing_and_draws_what_is_kept(zoo, data, capsys):
    first = page_of(zoo)
    (zoo / "docs" / "models" / f"curve-{GAN}.png").unlink()
    assert report(data, "--ensemble") == 0
    said = capsys.readouterr().out
    assert "(ours)" not in said and "span-textures-x2-psnr is left out" in said
    assert page_of(zoo) == first and (zoo / "docs" / "models" / f"curve-{GAN}.png").is_file()


def test_what_does_not_ship_stays_on_the_page_without_its_weights(zoo, data, capsys):
    first = page_of(zoo)
    assert report(data, "--ensemble", models="no such folder") == 0
    assert page_of(zoo) == first and first.count(f"`{PHASE}` (not bundled)") > 3
    (scores,) = (zoo / "docs" / "models" / "others").glob("*/scores.json")
    assert scores.parent.name == PHASE
    whole = scores.read_text()
    content = json.loads(whole)
    content["facts"]["on"] = "another processor"
    scores.write_text(json.dumps(content))
    assert report(data, "--ensemble", models="no such folder") == 0
    rows = [line for line in page_of(zoo).splitlines() if line.startswith(f"| `{PHASE}` |") and "MiB" in line]
    assert len(rows) == 1 and rows[0].endswith("|  |"), "another processor's seconds do not stand beside this one's"
    assert "Those of another machine are left out." in page_of(zoo)
    content["basis"] = {label: "other images" for label in content["basis"]}
    scores.write_text(json.dumps(content))
    assert report(data, "--ensemble", models="no such folder") == 0
    tables = section(page_of(zoo), "### NIH ChestX-ray14, x4: 2 images")
    assert GAN in tables and PHASE not in tables, "measured on other images"
    scores.write_text(whole[:40])
    capsys.readouterr()
    assert report(data, models="no such folder") == 1 and "remove the folder" in capsys.readouterr().err
    assert report(data, "--ensemble") == 0
    assert page_of(zoo) == first and scores.read_text() == whole


def test_a_model_that_ships_by_now_is_not_kept_apart(zoo, tmp_path):
    card = load_card(zoo / "bundled" / GAN)
    (tmp_path / GAN).mkdir()
    shipped = measure.Zoo([card], {GAN}, {GAN: None}, None, [], {})
    keep(shipped, {}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_readme_lists_what_ships(zoo):
    readme = (zoo / "README.md").read_text()
    assert readme.startswith("# A project\n") and readme.endswith("More.\n")
    assert "| `swift-srgan-cxr-gan` | x4 |" in readme and "psnr" not in readme
    cards = [load_card(path) for path in (zoo / "bundled").iterdir()]
    assert with_list(zoo / "README.md", cards) == readme
    (zoo / "empty.md").write_text("# Nothing\n")
    for name, words in (("empty.md", "has no lines"), ("none.md", "cannot be read")):
        with pytest.raises(DataError, match=words):
            with_list(zoo / name, cards)


def test_a_family_has_one_line(zoo):
    folders = [write_model(zoo / "more", f"edsr-ise-fundus-x{scale}-gan", 3) for scale in (16, 8)]
    cards = [load_card(folder) for folder in (*folders, zoo / "bundled" / COLOR)]
    assert [line for line in model_list(cards) if "x4, x8, x16" in line] == model_list(cards)[2:]


@pytest.mark.parametrize("words", [["nowhere"], []])
def test_images_have_to_be_named(words, monkeypatch, capsys):
    monkeypatch.delenv("SUPERRESOLUTION_DATA", raising=False)
    assert main(["zoo-report", *words]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_is_kept_counts_while_nothing_has_changed(zoo, data, monkeypatch):
    candidate = find_candidate(str(zoo / "bundled" / GAN), "cpu")
    runs = []
    run = Candidate.run
    monkeypatch.setattr(Candidate, "run", lambda self, *rest, **more: runs.append(1) or run(self, *rest, **more))

    def scores(store, ensemble=()):
        runs.clear()
        options = {"known": store, "ensemble": ensemble, "log": lambda text: None}
        rows = evaluate([candidate], data, ["cxr_nih/0.png"], **options)
        return len(runs), rows

    store = Store(zoo / "cache", data)
    first, again = scores(store), scores(store)
    assert (first[0], again[0]) == (1, 0) and first[1] == again[1]
    assert scores(store, [GAN])[0] == 1 and scores(store)[0] == scores(store, [GAN])[0] == 0
    assert any(row["method"] == ENSEMBLE for row in scores(store)[1])
    assert scores(Store(zoo / "cache", data, shown=["cxr_nih/0.png test"]))[0] == 1
    (kept,) = (zoo / "cache").rglob("*.npz")
    kept.write_bytes(b"damaged")
    assert scores(store)[0] == 1
    object.__setattr__(candidate.card, "intensity", {"mapping": "fixed", "low": 0, "high": 200})
    assert scores(store)[0] == 1
    about = {"set": "cxr_nih/0.png test", "image": "0.png", "model": GAN, "scale": 4, "protocol": "ours"}
    assert store.patch(about, candidate, "no such") is None
    case = our_case(read_volume(data / "cxr_nih" / "0.png"), candidate.card)
    users = upscale(case.low, candidate.card, Options(bicubic=False, device="cpu")).report["consistency"]
    assert store.record(about, candidate)["residual"]["max"] == pytest.approx(users["max"], abs=1e-4)


def test_facts_are_read_off_the_file(zoo):
    card = load_card(zoo / "bundled" / GAN)
    count, precision, size = weights_facts(card)
    net = find_candidate(str(zoo / "bundled" / GAN), "cpu").model.net
    assert count == sum(parameter.numel() for parameter in net.parameters()) and precision == "float32"
    assert size == card.weights.stat().st_size
    facts = {GAN: Facts(count, precision, size, 0.123, "a processor, 2 threads")}
    text = "\n".join(facts_lines([card], facts, "a processor, 2 threads"))
    assert f"{count:,}" in text and "0.12" in text and "not recorded" in text and "a processor" in text


def test_a_slice_is_timed(zoo):
    assert 0 < slice_seconds(find_candidate(str(zoo / "bundled" / COLOR), "cpu")) < 30
