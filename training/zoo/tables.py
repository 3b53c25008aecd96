"""The report's tables, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from SuperResolutionLib.catalog import ModelCard

from ..candidates import ENSEMBLE, MODEL, UNCONSTRAINED
from ..protocols import BASELINES
from ..report import interval, signed
from .domains import DOMAINS, Domain, TestSet, domain_of
from .measure import Zoo
from .targets import CONSISTENT, NEARER, PRICE, PhaseVerdict, Verdict, main_scores

#: Regions besides the whole image, in the order of the columns.
REGIONS = ("full", "mask", "anatomy", "fine")

NAMES = {"bicubic consistent": "bicubic made consistent", "mask": "body", "fine": "fine structure"}

#: What an older table claims over bicubic at a scale, on images that it does not identify: dB, and the model's SSIM.
CLAIMS = {4: (2.6, 0.9567), 8: (4.5, 0.9330), 16: (5.0, 0.9181)}


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """A Markdown table and an empty line; all but the first ``left`` columns are aligned to the right."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * left + "---:|" * (len(heads) - left)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def model_name(card: ModelCard, bundled: set[str]) -> str:
    """How a table names a model."""
    name = f"`{card.id}`" + (" (baseline)" if card.baseline else "")
    return name if card.id in bundled else f"{name} (not bundled)"


def set_lines(zoo: Zoo, domain: Domain, test_set: TestSet, scale: int) -> list[str]:
    """The tables of a set at one scale; nothing if no model was measured there."""
    pairs = [(card, zoo.entry(card, test_set)) for card in zoo.judged(domain, test_set, scale)]
    pairs = [(card, entry) for card, entry in pairs if entry]
    if not pairs:
        return []
    count = pairs[0][1]["images"]
    images = f"{count} images" if count > 1 else "1 image (n = 1)"
    lines = [f"### {test_set.title}, x{scale}: {images}", "", f"Set `{test_set.name}`. {test_set.credit}.", ""]
    lines += _main_table(zoo, pairs)
    lines += ["<details><summary>Regions</summary>", ""]
    names = NAMES | ({"mask": "field of view"} if domain.color else {})
    lines += _region_table(zoo, pairs, [(name, names.get(name, name)) for name in REGIONS])
    return [*lines, "</details>", ""]


def _main_table(zoo: Zoo, pairs: list[tuple[ModelCard, dict]]) -> list[str]:
    first = pairs[0][1]["regions"]
    turned = any(ENSEMBLE in entry["regions"]["whole"] for _, entry in pairs)
    distances = "distance" in first["full"]["bicubic"]
    heads = ["whole image", "PSNR (dB)", "SSIM", "gain over bicubic made consistent (dB)", "the same in the anatomy"]
    heads += ["feature distance"] if distances else []
    heads += ["not made consistent (dB)", *(["self-ensemble (dB)"] if turned else [])]

    def cells(entry: dict, method: str) -> list[str]:
        score = entry["regions"]["whole"][method]
        ours = method == MODEL
        gains = [_gain(entry, region) if ours else "" for region in ("whole", "anatomy")]
        found = [f"{score['psnr']['mean']:.2f}", f"{score['ssim']['mean']:.4f}", *gains]
        found += [_distance(entry, method, "full")] if distances else []
        found.append(_psnr(entry, UNCONSTRAINED) if ours else "")
        return found + ([_psnr(entry, ENSEMBLE) if ours else ""] if turned else [])

    rows = [[NAMES.get(name, name), *cells(pairs[0][1], name)] for name in BASELINES]
    return table(heads, rows + [[model_name(card, zoo.bundled), *cells(entry, MODEL)] for card, entry in pairs])


def _gain(entry: dict, region: str) -> str:
    gains = entry["gains"].get(region, {}).get(CONSISTENT)
    return interval(gains["psnr"]) if gains else ""


def _psnr(entry: dict, method: str, region: str = "whole") -> str:
    score = entry["regions"].get(region, {}).get(method)
    return f"{score['psnr']['mean']:.2f}" if score else ""


def _distance(entry: dict, method: str, region: str) -> str:
    score = entry["regions"].get(region, {}).get(method, {})
    return f"{score['distance']['mean']:.4f}" if "distance" in score else ""


def _region_table(zoo: Zoo, pairs: list[tuple[ModelCard, dict]], regions: list[tuple[str, str]]) -> list[str]:
    """Scores of every method, gains of the models and distances, region by region."""
    methods = [(NAMES.get(name, name), pairs[0][1], name) for name in BASELINES]
    for card, entry in pairs:
        name = model_name(card, zoo.bundled)
        methods += [(name, entry, MODEL), (f"{name}, not made consistent", entry, UNCONSTRAINED)]
        methods += [(f"{name}, self-ensemble", entry, ENSEMBLE)] if ENSEMBLE in entry["regions"]["whole"] else []
    rows = [[name, *(_both(entry, method, region) for region, _ in regions)] for name, entry, method in methods]
    lines = table(["PSNR (dB) / SSIM", *(words for _, words in regions)], rows)
    rows = [[model_name(card, zoo.bundled), *(_gain(entry, region) for region, _ in regions)] for card, entry in pairs]
    lines += table(["gain over bicubic made consistent (dB)", *(words for _, words in regions)], rows)
    measured = [(region, words) for region, words in regions if _distance(pairs[0][1], "bicubic", region)]
    rows = [
        [name, *(_distance(entry, method, region) for region, _ in measured)]
        for name, entry, method in methods
        if method in (*BASELINES, MODEL)
    ]
    return lines + (table(["feature distance", *(words for _, words in measured)], rows) if measured else [])


def _both(entry: dict, method: str, region: str) -> str:
    score = entry["regions"].get(region, {}).get(method)
    return f"{score['psnr']['mean']:.2f} / {score['ssim']['mean']:.4f}" if score else ""


def verdict_lines(zoo: Zoo, verdicts: Sequence[Verdict]) -> list[str]:
    """Every target and whether it was reached."""
    names = {card.id: model_name(card, zoo.bundled) for card in zoo.cards}
    answers = {True: "reached", False: "**not reached**", None: "not judged"}
    rows = [
        [one.words, names.get(one.model, ""), f"`{one.where}`" if one.where else "", one.measured, answers[one.reached]]
        for one in verdicts
    ]
    return table(["target", "model", "test set", "measured", ""], rows, left=5)


def phase_lines(zoo: Zoo, found: Sequence[PhaseVerdict]) -> list[str]:
    """GAN models beside their own PSNR phases."""
    if not found:
        return ["No GAN model was measured beside its own PSNR phase.", ""]
    sets = {test_set.name: test_set for domain in DOMAINS for test_set in domain.sets}
    cards = {card.id: card for card in zoo.cards}
    rows = []
    for one in found:
        residuals = [record["residual"] for record in zoo.records(cards[one.model], sets[one.where])]
        off = " / ".join(f"{max(each[key] for each in residuals):.2f}" for key in ("p99_9", "max") if residuals)
        cells = [f"`{one.model}`", f"`{one.where}`", f"{one.psnr[0]:.2f}", f"{one.psnr[1]:.2f}", signed(-one.price)]
        if one.distance:
            cells += [f"{one.distance[0]:.4f}", f"{one.distance[1]:.4f}", f"{one.cubic:.4f}"]
            cells += [f"{100 * one.nearer:+.0f} %"]
        else:
            cells += [""] * 4
        good = one.nearer is not None and one.nearer >= NEARER and one.price <= PRICE
        rows.append([*cells, off, "reached" if good else "**not reached**"])
    heads = ["model", "test set", "PSNR (dB)", "of its PSNR phase", "difference", "feature distance"]
    heads += ["of its PSNR phase", "of bicubic made consistent", "nearer by", "shrunk, off by", ""]
    return table(heads, rows, left=2)


def claim_lines(zoo: Zoo, domain: Domain) -> list[str]:
    """A domain's models by the older tables' protocol, beside what one of those tables claims."""
    rows, sets = [], [one for one in domain.sets if one.uint8]
    for scale in sorted({card.scale for one in sets for card in zoo.judged(domain, one)}):
        if scale in CLAIMS:
            gain, ssim = CLAIMS[scale]
            words = "claim, on images not identified"
            rows.append([f"x{scale}", words, "", "", "", f"+{gain:.1f}", "", f"{ssim:.4f}", ""])
        for test_set in sets:
            pairs = [(card, zoo.entry(card, test_set, "uint8")) for card in zoo.judged(domain, test_set, scale)]
            rows += [[f"x{scale}", *_claim_cells(zoo, card, test_set, entry)] for card, entry in pairs if entry]
    heads = ["", "images", "model", "bicubic (dB)", "model (dB)", "gain (dB)", "SSIM of bicubic", "SSIM of the model"]
    return table([*heads, "gain in the field of view (dB)"], rows, left=3) if rows else []


def _claim_cells(zoo: Zoo, card: ModelCard, test_set: TestSet, entry: dict) -> list[str]:
    cubic, own = entry["regions"]["whole"]["bicubic"], main_scores(entry, "whole")
    gains = [entry["gains"].get(region, {}).get("bicubic", {}).get("psnr") for region in ("whole", "mask")]
    count = f"`{test_set.name}`, {entry['images']}"
    cells = [count, model_name(card, zoo.bundled), f"{cubic['psnr']['mean']:.2f}", f"{own['psnr']['mean']:.2f}"]
    cells += [interval(gains[0]), f"{cubic['ssim']['mean']:.4f}", f"{own['ssim']['mean']:.4f}", interval(gains[1])]
    return cells


def overview_lines(zoo: Zoo) -> list[str]:
    """General models on every grey set, a line a set and scale."""
    cards = [card for card in zoo.cards if domain_of(card) == "general"]
    rows = []
    for test_set in (one for domain in DOMAINS if not domain.color for one in domain.sets):
        pairs = [(card, zoo.entry(card, test_set)) for card in cards]
        for card, entry in ((card, entry) for card, entry in pairs if entry):
            seen = "yes" if test_set.general else "no"
            about = [f"`{test_set.name}`, {entry['images']}", model_name(card, zoo.bundled), f"x{card.scale}", seen]
            scores = [_both(entry, name, "whole") for name in (CONSISTENT, MODEL)]
            rows.append([*about, *scores, _gain(entry, "whole"), _gain(entry, "anatomy")])
    heads = ["test set, images", "model", "scale", "trained on such", "bicubic made consistent, dB / SSIM"]
    return table([*heads, "model, dB / SSIM", "gain (dB)", "gain in the anatomy (dB)"], rows, left=4)
