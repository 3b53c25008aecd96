"""P-GAN: progressive enlargement, one SRResNet a factor of 2, each fed with the image that the one before made.

Mahapatra and Bozorgtabar, arXiv 1902.02144 and Computerized Medical Imaging and Graphics 2019. Stages share no weights.
"""

from __future__ import annotations

from .blocks import Generator, factors
from .srgan import srresnet_stage


def pgan(
    scale: int = 4,
    channels: int = 3,
    features: int = 64,
    blocks: int = 16,
    bicubic_skip: bool = False,
    fused: bool = False,
) -> Generator:
    """Build P-GAN for a scale of 2, 4, 8 or 16; a bicubic skip spans each stage; ``fused`` has no norms."""
    stages = [srresnet_stage(step, channels, features, blocks, bicubic_skip, fused=fused) for step in factors(scale)]
    return Generator(stages, channels)
