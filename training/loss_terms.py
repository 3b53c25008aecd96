"""Which losses there are, and how a specification of them is read.

A specification maps names to weights, or to mappings with a ``weight`` and the loss's own options, e.g. ``{"l1": 1,
"perceptual": {"weight": 1, "layer": "conv3_4"}, "adversarial": {"weight": 0.005, "kind": "relativistic"}}``.
"""

from __future__ import annotations

from dataclasses import dataclass

from SuperResolutionLib.errors import UsageError

from .adversarial import KINDS
from .feature_networks import depth_of
from .names import check_known

_FEATURES = {"backbone": "vgg19", "layer": None, "weights": None, "preprocessing": None}

#: Every loss with its options and their defaults.
#: l1, mse: of the pixels. consistency: L1 between the shrunk output and the input (for inputs made by bicubic alone).
#: pattern: mean square of what the errors of a patch have in common at each place within an input pixel: a pattern that
#: repeats with the input's pixels, of which a discriminator and a perceptual loss may be fond.
#: tv: mean absolute (power 1) or squared (power 2) difference of neighbours, rows plus columns.
#: perceptual: L1 or MSE of feature maps, or "unit", the squared distance of their channel vectors brought to length 1
#: (Zhang et al., CVPR 2018, without the learned weights), to which every layer and every contrast count alike;
#: ``layer`` is a name or a mapping of names to weights; ``weights`` a file, the first known one if left out.
#: adversarial: see ``adversarial``. feature_matching: L1 of the discriminator's own maps.
#: triplet: P-GAN's, each stage has to come nearer to the truth than the one before, by a margin; distances are root
#: mean squares of the pixels, or of feature maps if a backbone is given.
OPTIONS = {
    "l1": {},
    "mse": {},
    "pattern": {},
    "tv": {"power": 2},
    "perceptual": {**_FEATURES, "criterion": "l1"},
    "adversarial": {"kind": "standard"},
    "feature_matching": {},
    "triplet": {**_FEATURES, "backbone": None, "margin": 0.1},
    "consistency": {},
}

#: What a weight stays below: float32 holds no more.
LARGEST = 1e38

#: The layer where none is named: the last one of each network.
LAST_LAYERS = {"vgg19": "conv5_4", "mobilenet_v2": "features.18", "squeezenet1_1": "features.12"}

ALLOWED = {
    "power": (1, 2),
    "criterion": ("l1", "mse", "unit"),
    "kind": KINDS,
    "backbone": (None, *LAST_LAYERS),
    "preprocessing": (None, "torchvision", "caffe"),
}


@dataclass(frozen=True)
class Term:
    """One loss of the sum: its name, weight and options, complete with defaults."""

    name: str
    weight: float
    options: dict

    def layers(self) -> dict[str, float]:
        """The layers of its feature network and their weights."""
        layer = self.options["layer"]
        return layer if isinstance(layer, dict) else {layer: 1.0}


def read_losses(spec: dict) -> list[Term]:
    """Check a specification and fill in what it leaves out; no weight file is looked for yet.

    Raises:
        UsageError: for an unknown loss, option or value, naming it and the nearest known.
    """
    if not isinstance(spec, dict) or not spec:
        raise UsageError("The losses are a mapping of names to weights, with one entry or more.")
    terms = [_read_term(name, value) for name, value in spec.items()]
    if not any(term.weight for term in terms):
        raise UsageError("The losses all have the weight 0, so that nothing would be learned; give one a weight.")
    return terms


def _read_term(name: str, value) -> Term:
    check_known(name, OPTIONS, "loss")
    options = OPTIONS[name] | (dict(value) if isinstance(value, dict) else {"weight": value})
    weight = _number(name, "weight", options.pop("weight", 1.0))
    for option, chosen in options.items():
        check_known(option, OPTIONS[name], f"option of the loss {name}")
        if option in ALLOWED and chosen not in ALLOWED[option]:
            raise UsageError(f"{option} of the loss {name} is one of {ALLOWED[option]}, not {chosen!r}.")
    if "margin" in options:
        _number(name, "margin", options["margin"])
    if name == "perceptual" and options["backbone"] is None:
        raise UsageError(f"The loss {name} needs a backbone: {', '.join(LAST_LAYERS)}.")
    if options.get("backbone"):
        options["layer"] = options["layer"] or LAST_LAYERS[options["backbone"]]
        if not isinstance(options["layer"], str | dict):
            raise UsageError(f"The layer of the loss {name} is a name or a mapping of names to weights.")
        if not isinstance(options["weights"], str | None):
            raise UsageError(f"'weights' of the loss {name} is the name of a file, not {options['weights']!r}.")
        for layer, share in Term(name, weight, options).layers().items():
            depth_of(options["backbone"], layer)
            _number(name, f"weight for {layer}", share)
    return Term(name, weight, options)


def _number(name: str, option: str, value) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LARGEST:
        raise UsageError(f"The {option} of the loss {name} is a number of 0 or more, not {value!r}.")
    return float(value)
