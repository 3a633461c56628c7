"""Attention maps, held to the blocks themselves."""

import pytest
import torch
from torch import nn

from atrc.contexts import ContextPooling, prototypes, spatial_softmax
from atrc.contexts.maps import context_map, global_map, label_map, local_map
from atrc.contexts.pooling import CONTEXTS
from atrc.errors import UserError

C, D, T, S, H, W = 6, 4, 5, 3, 11, 13


def made(context):
    """Return a block whose BNs do something, features of target and source, and their densities; one image."""
    block = ContextPooling(context, C, D).double().eval()
    for norm in block.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)
            nn.init.uniform_(norm.running_var, 0.5, 1)
            nn.init.uniform_(norm.weight, 0.5, 1)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    features = torch.randn(2, C, H, W, dtype=torch.float64)
    densities = [spatial_softmax(3 * torch.randn(1, r, H, W, dtype=torch.float64))[0] for r in (T, S)]
    return block, *features, *densities


@pytest.mark.parametrize("pixel", [(0, 0), (0, 6), (5, 6), (10, 12), (3, 12), (10, 0)])
@pytest.mark.parametrize("context", CONTEXTS)
@torch.no_grad()
def test_the_values_weighed_by_the_map_are_the_output_of_the_block(context, pixel):
    block, target, source, target_regions, source_regions = made(context)
    output = block(target[None], source[None], target_regions[None], source_regions[None])[0, :, *pixel]
    found = context_map(block, target, source, *pixel, target_regions=target_regions, source_regions=source_regions)
    assert found.context == context
    torch.testing.assert_close(found.pixels.sum(), torch.ones((), dtype=torch.float64), rtol=0, atol=1e-12)
    if found.regions is None:
        weighed = torch.einsum("hw,chw->c", found.pixels, block.value(source[None])[0])
    else:
        regions = target_regions if context == "t_label" else source_regions
        values = block.value(prototypes(regions[None], source[None])[..., None])[0, ..., 0]
        weighed = torch.einsum("r,cr->c", found.regions, values)
        # The map over pixels is the same attention: of the source's features, before the value's ReLU.
        pooled = torch.einsum("r,cr->c", found.regions, prototypes(regions[None], source[None])[0])
        torch.testing.assert_close(torch.einsum("hw,chw->c", found.pixels, source), pooled, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(weighed, output, rtol=1e-9, atol=1e-9)
    assert weighed.abs().max() > 0.01  # not zeros on both sides


def test_pixels_differ_in_what_they_attend_to():
    for context in CONTEXTS:
        block, *features = made(context)
        regions = dict(zip(("target_regions", "source_regions"), features[2:], strict=True))
        one, other = (context_map(block, *features[:2], *pixel, **regions).pixels for pixel in ((2, 3), (7, 8)))
        assert (one - other).abs().max() > 1e-6, context


def test_a_global_map_is_in_proportion_to_the_similarity():
    key = torch.tensor([[[1.0, 2.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 1.0]]])
    # q . k = 2 5 1 3, of 11
    assert global_map(torch.tensor([2.0, 1.0]), key).flatten().tolist() == pytest.approx(
        [2 / 11, 5 / 11, 1 / 11, 3 / 11]
    )


@pytest.mark.parametrize(("row", "column", "neighbours"), [(5, 6, 81), (0, 0, 25), (0, 6, 45), (10, 10, 35)])
def test_a_local_map_covers_the_neighbours_that_exist(row, column, neighbours):
    found = local_map(torch.randn(D), torch.randn(D, H, W), row, column)
    assert (found > 0).sum() == neighbours
    rows, columns = found.nonzero().unbind(1)
    assert (rows - row).abs().max() <= 4
    assert (columns - column).abs().max() <= 4


def test_a_label_map_is_a_softmax_of_scaled_products():
    weights = label_map(torch.ones(4), torch.tensor([[0.0, 1.0]]).expand(4, 2))  # 4 / sqrt(4) = 2
    assert float(weights[1] / weights[0]) == pytest.approx(7.389056)


def test_mistakes_are_named():
    block, target, source, *_ = made("t_label")
    with pytest.raises(UserError, match=r"pixel \[11,0\] is not on the feature grid of 11x13"):
        context_map(block, target, source, 11, 0)
    with pytest.raises(UserError, match="t_label block needs the label regions"):
        context_map(block, target, source, 0, 0)
