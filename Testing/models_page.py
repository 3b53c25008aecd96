"""Compares the tables of docs/MODELS.md with models' cards."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from SuperResolutionLib.catalog import ModelCard
from training.zoo.tables import NAMES, REGIONS

#: What rounding twice may change: to the digits of a card, and to those of the page.
ROUNDING = {"psnr": 0.0056, "ssim": 0.000056, "distance": 0.000056}

Tables = dict[str, dict[str, dict[str, str]]]


def sections(page: str) -> dict[tuple[str, int], Tables]:
    """(set, scale) -> first head of a table -> first cell of a row -> head -> cell."""
    found = {}
    for part in re.split(r"\n##+ ", page):
        scale = re.match(r".*, x(\d+): \d+ images?\b", part)
        name = re.search(r"^Set `(.+?)`\.", part, re.MULTILINE)
        if scale and name:
            found[name[1], int(scale[1])] = _tables(part.splitlines())
    return found


def _tables(lines: list[str]) -> Tables:
    found: Tables = {}
    heads = None
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else None
        if cells is None:
            heads = None
        elif heads is None:
            heads = cells
        elif not cells[0].startswith("---"):
            found.setdefault(heads[0], {})[cells[0]] = dict(zip(heads, cells))
    return found


def differences(page: str, cards: Sequence[ModelCard]) -> list[str]:
    """A line for every number of a card that the page lacks or tells otherwise."""
    found = sections(page)
    result = []
    for card in cards:
        for entry in card.measured:
            tables = found.get((entry["set"].removesuffix(" test"), card.scale), {})
            for what, score, value, cell in _pairs(card, entry, tables):
                if cell is None or abs(float(cell) - value) > ROUNDING[score]:
                    result.append(f"{card.id}, {entry['set']}, {what}: {value} in the card, {cell} on the page")
    return result


def _pairs(card: ModelCard, entry: dict, tables: Tables) -> Iterator[tuple[str, str, float, str | None]]:
    """Every number of an entry: what it is, which score, the card's value, and what stands on the page."""
    names = NAMES | ({"mask": "field of view"} if card.channels == 3 else {})

    def cell(table: str, head: str) -> str | None:
        rows = tables.get(table, {})
        name = next((name for name in rows if name.startswith(f"`{card.id}`") and ", " not in name), None)
        return rows[name].get(head) or None if name else None

    whole = entry["methods"]["model"]
    yield "PSNR", "psnr", whole["psnr"], cell("whole image", "PSNR (dB)")
    yield "SSIM", "ssim", whole["ssim"], cell("whole image", "SSIM")
    gain = cell("whole image", "gain over bicubic made consistent (dB)")
    yield "gain", "psnr", entry["gain"]["whole"]["mean"], gain and gain.split(" ")[0]
    for region in (region for region in REGIONS if region in entry["regions"]):
        scores, head = entry["regions"][region]["model"], names.get(region, region)
        psnr, ssim = (cell("PSNR (dB) / SSIM", head) or " / ").split(" / ")
        yield f"PSNR, {region}", "psnr", scores["psnr"], psnr or None
        yield f"SSIM, {region}", "ssim", scores["ssim"], ssim or None
        if "distance" in scores:
            yield f"distance, {region}", "distance", scores["distance"], cell("feature distance", head)
