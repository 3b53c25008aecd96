"""SRResNet with a convolutional block attention module at the end of every residual branch.

Ledig et al., CVPR 2017, and Woo et al., ECCV 2018.
"""

from __future__ import annotations

from .blocks import CBAM, Generator
from .srgan import srresnet_stage


def srgan_cbam(
    scale: int = 4,
    channels: int = 3,
    features: int = 64,
    blocks: int = 16,
    bicubic_skip: bool = False,
    fused: bool = False,
) -> Generator:
    """Build SRGAN with CBAM for a scale of 2, 3, 4, 8 or 16; ``fused`` has no batch normalisation."""
    return Generator([srresnet_stage(scale, channels, features, blocks, bicubic_skip, CBAM, fused)], channels)
