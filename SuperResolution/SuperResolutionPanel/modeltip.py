"""What a list of models says about one of them when the mouse rests on it: description, quality, license."""

from __future__ import annotations

from html import escape

from slicer.i18n import tr as _

# The methods of a test set in a card, in the order of the columns.
METHODS = ("model", "bicubic", "bicubic consistent")


def modelTip(cards) -> str:
    """Rich text about the models of a family, one or more ModelCards, sorted by scale."""
    card = cards[0]
    parts = [f"<h4>{escape(familyTitle(cards))}</h4>"]
    if card.description:
        parts.append(f"<p>{escape(card.description)}</p>")
    parts += [_measuredTable(each, withScale=len(cards) > 1) for each in cards if each.measured]
    parts.append("<p>" + "<br>".join(escape(line) for line in _facts(card)) + "</p>")
    return "<html>" + "".join(parts) + "</html>"


def familyTitle(cards) -> str:
    """Title of a family: that of its models without the scale; the family's name where titles are made otherwise."""
    ending = f", x{cards[0].scale}"
    return cards[0].title.removesuffix(ending) if cards[0].title.endswith(ending) else cards[0].family


def _facts(card) -> list[str]:
    facts = [_("Made for: {domain}").format(domain=card.domain)] if card.domain else []
    if card.spacing_range is not None:
        low, high = card.spacing_range
        facts.append(_("Trained on pixels of {low} to {high} mm").format(low=f"{low:g}", high=f"{high:g}"))
    if card.baseline:
        facts.append(_("For comparison only, not recommended"))
    facts.append(_("License: {license}").format(license=card.license))
    facts.append(_("Name: {family}").format(family=card.family))
    return facts


def _measuredTable(card, withScale: bool) -> str:
    """The test sets of a card against its methods; a method that was not measured leaves its cells empty."""
    heading = _("Measured on test images, PSNR in dB / SSIM (higher is better)")
    if withScale:
        heading = _("x{scale}, measured on test images, PSNR in dB / SSIM (higher is better)").format(scale=card.scale)
    columns = [_("Test set (images)"), _("This model"), _("Bicubic"), _("Bicubic, made consistent")]
    rows = ["".join(f'<th align="left">{escape(column)}</th>' for column in columns)]
    for entry in card.measured:
        cells = [f"{entry['set']} ({entry['images']})"]
        cells += [_quality(entry["methods"].get(method)) for method in METHODS]
        rows.append("".join(f"<td>{escape(cell)}</td>" for cell in cells))
    table = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<p>{escape(heading)}</p><table cellspacing="0" cellpadding="3">{table}</table>'


def _quality(measured: dict | None) -> str:
    return f"{measured['psnr']:.2f} / {measured['ssim']:.3f}" if measured else ""
