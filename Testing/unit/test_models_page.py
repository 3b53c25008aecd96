"""docs/MODELS.md says what the cards of the bundled models say, and shows pictures that are there."""

import re
from pathlib import Path

import pytest

from SuperResolutionLib.catalog import BUNDLED, ModelCatalog
from Testing.models_page import differences, sections
from training.zoo.domains import DOMAINS
from training.zoo.page import with_list

ROOT = Path(__file__).resolve().parents[2]
CARDS = ModelCatalog([BUNDLED]).cards


@pytest.fixture(scope="module")
def page():
    path = ROOT / "docs" / "MODELS.md"
    assert path.is_file(), "docs/MODELS.md is missing: run make zoo-report"
    return path.read_text(encoding="utf-8")


def test_the_numbers_of_the_page_are_those_of_the_cards(page):
    assert all(card.measured for card in CARDS) and sections(page)
    assert differences(page, CARDS) == []


def test_the_readme_lists_the_bundled_models():
    readme = ROOT / "README.md"
    assert with_list(readme, CARDS) == readme.read_text(encoding="utf-8"), "run make zoo-report"


def test_pictures_are_there_and_take_little_room(page):
    linked = re.findall(r"!\[[^]]*\]\(([^)]+)\)", page)
    assert linked and len(linked) == len(set(linked))
    assert sum((ROOT / "docs" / name).stat().st_size for name in linked) <= 3_000_000
    hidden = {one.name.replace("@", "-") for domain in DOMAINS for one in domain.sets if not one.parts}
    assert not [name for name in linked if any(name.endswith(f"-{one}.jpg") for one in hidden)]
