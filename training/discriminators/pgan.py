"""P-GAN's discriminators: one for the output of every stage.

Mahapatra and Bozorgtabar, arXiv 1902.02144. They share no weights; each is SRGAN's unless told otherwise.
"""

from __future__ import annotations

from torch import Tensor, nn

from SuperResolutionLib.errors import ModelError


class StagedDiscriminator(nn.Module):
    """One discriminator a stage; every call takes and returns lists with one entry a stage.

    A shorter list is for the first stages, as while only those are trained; a longer one is a ModelError.
    """

    def __init__(self, stages: list[nn.Module]):
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def features(self, images: list[Tensor]) -> list[list[Tensor]]:
        """The maps of every stage's discriminator on that stage's image."""
        return [stage.features(image) for stage, image in self._each(images)]

    def judge(self, maps: list[list[Tensor]]) -> list[Tensor]:
        """Raw logits, one tensor a stage, from what ``features`` returned."""
        return [stage.judge(entry) for stage, entry in self._each(maps)]

    def forward(self, images: list[Tensor]) -> list[Tensor]:
        return self.judge(self.features(images))

    def _each(self, entries: list):
        if len(entries) > len(self.stages):
            raise ModelError(
                f"The generator has {len(entries)} stages and the discriminator {len(self.stages)}; give both as many."
            )
        return zip(self.stages, entries)


def pgan(channels: int, stages: int = 2, base: str = "srgan", **config) -> StagedDiscriminator:
    """Build ``stages`` discriminators of the architecture ``base``, all with the same ``config``.

    With ``pooling="flatten"`` the ``image_size`` holds for all of them; averaging, the default, suits every stage.
    """
    from . import create_discriminator

    if base == "pgan":
        raise ValueError("its stages are each of another architecture")
    return StagedDiscriminator([create_discriminator(base, channels, **config) for _ in range(stages)])
