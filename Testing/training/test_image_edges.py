"""Patches laid at an image's edge: what covers the outermost lines, and that a patch's low resolution ends there."""

import numpy as np
import pytest
import torch

from SuperResolutionLib.errors import UsageError
from SuperResolutionLib.resampling import bicubic_downsample
from Testing.training.test_dataset import sampler
from Testing.training.tiny import CPU, fields
from training.config import make_config
from training.dataset import describe_augmentations
from training.image_edges import blend_edges, choose_edges
from training.packed import pack
from training.train import make_sampler

GREY = np.full((300, 320, 1), 0.5, np.float32)
EDGES = [(axis, last) for axis in (0, 1) for last in (0, 1)]


@pytest.mark.parametrize("edge", EDGES)
def test_only_lines_at_that_edge_change(edge):
    axis, last = edge
    firsts = []
    for seed in range(60):
        image = blend_edges(GREY, [edge], np.random.default_rng(seed))
        assert image.shape == GREY.shape and image.dtype == np.float32 and 0 <= image.min() and image.max() <= 1
        lines = np.flip(image, axis) if last else image
        lines = np.moveaxis(lines, axis, 0)
        assert (lines == lines[:, :1]).all() and np.allclose(lines[-20:], 0.5, atol=2e-3)
        firsts.append(lines[0, 0, 0])
    assert (GREY == np.float32(0.5)).all()
    assert np.mean(np.array(firsts) < 0.48) > 0.6 and np.mean([0.02 < first < 0.48 for first in firsts]) > 0.4


def test_the_line_inside_overshoots():
    images = [blend_edges(GREY, [(0, 0)], np.random.default_rng(seed)) for seed in range(40)]
    assert any(0.5 < image.max() < 0.6 for image in images if image[0].max() < 0.4)


def test_one_edge_or_two_that_meet():
    chosen = [choose_edges(np.random.default_rng(seed)) for seed in range(300)]
    assert {edges[0] for edges in chosen} == set(EDGES)
    corners = [edges for edges in chosen if len(edges) == 2]
    assert 60 < len(corners) < 120 and all(first[0] != second[0] for first, second in corners)


@pytest.fixture
def folder(tmp_path):
    pack(tmp_path, "radiographs", [np.random.default_rng(0).integers(90, 110, (96, 96), dtype=np.uint8)])
    return tmp_path


def test_a_patch_ends_where_the_image_does(folder):
    """The low resolution is that of the patch alone there, without what the image holds beyond."""
    low, high = sampler(folder, "radiographs", augment=(), drawings={"edges": {"radiographs": 1.0}}, patch=16).batch(60)
    alone = bicubic_downsample(high, 2).clamp(0, 1)  # as 8 bits end
    at = [np.s_[0, 3:-3], np.s_[-1, 3:-3], np.s_[3:-3, 0], np.s_[3:-3, -1]]
    equal = torch.tensor(
        [[bool((a[0][line] - b[0][line]).abs().max() < 1e-5) for line in at] for a, b in zip(low, alone)]
    )
    count = equal.sum(1)
    assert set(count.tolist()) <= {1, 2, 3, 4} and (count < 3).float().mean() > 0.5
    first, fifth = _lines(high[:, 0], 0), _lines(high[:, 0], 4)
    dark = (first < 0.33) & (fifth > 0.35)
    assert dark.any(0).all()
    assert bool(equal[dark].all()), "a darkened edge is an image's edge"


def _lines(patches, at):
    """(n, 4): medians of the lines so far from the first row, the last, the first column and the last."""
    lines = patches[:, at], patches[:, -1 - at], patches[..., at], patches[..., -1 - at]
    return torch.stack([line.median(1).values for line in lines], 1)


def test_without_them_the_stream_stays_as_it_was(folder):
    pairs = [
        sampler(folder, "radiographs", drawings={"edges": edges}).batch(8)[1] for edges in ({}, {"radiographs": 0.0})
    ]
    assert torch.equal(*pairs)


def test_a_configuration_names_its_sets(folder):
    settings = fields(data={"sets": {"radiographs": 1.0}, "patch": 12, "edges": {"radiograph": 0.5}})
    with pytest.raises(UsageError, match="edges names radiograph, and the sets are radiographs"):
        make_sampler(make_config(settings), folder, CPU)


def test_a_card_says_so():
    assert describe_augmentations((), {"edges": {"cxr_nih": 0.35}}) == [
        "an image's edge drawn on 35 % of the patches of cxr_nih"
    ]
