"""SRResNet, the generator of SRGAN.

Ledig et al., CVPR 2017. PReLU with one slope a layer; no squashing at the end.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from .blocks import Generator, Residual, Shuffle, Stage, batch_norm, conv, factors


def srgan(
    scale: int = 4,
    channels: int = 3,
    features: int = 64,
    blocks: int = 16,
    bicubic_skip: bool = False,
    fused: bool = False,
) -> Generator:
    """Build SRResNet for a scale of 2, 3, 4, 8 or 16; ``fused`` is for inference, without batch normalisation."""
    return Generator([srresnet_stage(scale, channels, features, blocks, bicubic_skip, fused=fused)], channels)


def srresnet_stage(
    scale: int,
    channels: int,
    features: int,
    blocks: int,
    bicubic_skip: bool,
    gate: Callable[[int], nn.Module] | None = None,
    fused: bool = False,
) -> Stage:
    """One SRResNet as a stage; ``gate(features)`` adds an attention module at the end of every residual branch."""

    def block() -> Residual:
        layers = [conv(features, features), batch_norm(features, fused), nn.PReLU()]
        layers += [conv(features, features), batch_norm(features, fused)]
        return Residual(*layers, *([gate(features)] if gate else []))

    closing = [conv(features, features), batch_norm(features, fused)]
    body = Residual(*[block() for _ in range(blocks)], *closing)
    trunk = nn.Sequential(conv(channels, features, 9), nn.PReLU(), body)
    steps = [Shuffle(conv(features, features * step**2), step, nn.PReLU()) for step in factors(scale)]
    tail = nn.Sequential(*steps, conv(features, channels, 9))
    return Stage(trunk, tail, scale, bicubic_skip)
