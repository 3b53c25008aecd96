"""How near results come to a reference, over the part of it that was upscaled."""

from __future__ import annotations

import numpy as np

from SuperResolutionLib import mrml
from SuperResolutionLib.compare import channels_last
from SuperResolutionLib.errors import DataError
from SuperResolutionLib.metrics import range_of, volume_scores
from SuperResolutionLib.plan import slice_planes
from SuperResolutionLib.volume import Volume

#: How far a voxel of a result may lie from one of the reference, in voxels.
OFF_GRID = 0.1


def scoring(reference: Volume, nodes: dict, axis: int):
    """A function without arguments that scores volume nodes against a reference.

    It works on copies, so that a thread may call it while the scene changes.

    Args:
        reference: its voxels include those of the nodes.
        nodes: name to volume node; they share a grid.
        axis: 0, 1, 2 for i, j, k: what the slices are stacked along.

    Returns:
        Function that returns {name: {"psnr": dB, "ssim": ..., "slices": ...}}.

    Raises:
        DataError: if the nodes do not lie on the grid of the reference.
    """
    peak = range_of(reference)
    truth = part_of(reference, next(iter(nodes.values())))
    images = {name: mrml.volumeFromNode(node).array for name, node in nodes.items()}

    def score() -> dict[str, dict[str, float]]:
        wanted = channels_last(slice_planes(truth, axis))
        planes = {name: channels_last(slice_planes(array, axis)) for name, array in images.items()}
        return {name: volume_scores(wanted, each, peak) for name, each in planes.items()}

    return score


def part_of(reference: Volume, node) -> np.ndarray:
    """The voxels of a reference at those of a result; a view.

    Raises:
        DataError: if the result's voxels are not among the reference's.
    """
    size = np.array(node.GetImageData().GetDimensions())
    to_reference = np.linalg.inv(reference.ijk_to_ras) @ mrml.arrayToRAS(node)
    first, last = ((to_reference @ (*corner, 1.0))[:3] for corner in (np.zeros(3), size - 1))
    start = np.rint(first).astype(int)
    on_grid = np.allclose(first, start, atol=OFF_GRID) and np.allclose(last, start + size - 1, atol=OFF_GRID)
    inside = start.min() >= 0 and (start + size <= reference.size).all()
    if not (on_grid and inside and mrml.channelsOf(node) == reference.channels):
        sizes = [" x ".join(map(str, each)) for each in (reference.size, size)]
        raise DataError(
            f"The reference ({sizes[0]} voxels) does not lie on the grid of the result ({sizes[1]} voxels): give the "
            "high-resolution image that the opened one was reduced from."
        )
    i, j, k = start
    return reference.array[k : k + size[2], j : j + size[1], i : i + size[0]]
