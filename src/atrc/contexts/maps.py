"""Attention maps: what one target pixel attends to, in every context, at the cost of reading the source once.

`ContextPooling.forward` never forms these maps but for the label regions; the tests hold both equal.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from atrc.contexts.attention import prototypes
from atrc.contexts.pooling import ContextPooling
from atrc.errors import UserError

# c feature channels, d attention channels, h w feature grid, r label regions, t / s target / source label regions


class ContextMap(NamedTuple):
    """How much of its attention one target pixel pays to what: a row of the map A of Eq. 2.

    Attributes:
        context: The context type.
        pixels: To every source pixel; sums to 1.
        regions: To every label region, sums to 1; None for contexts without regions.
    """

    context: str
    pixels: Float[Tensor, "h w"]
    regions: Float[Tensor, " r"] | None = None


def global_map(query: Float[Tensor, " d"], key: Float[Tensor, "d h w"]) -> Float[Tensor, "h w"]:
    """Share a pixel's attention over all source pixels in proportion to q . k, both positive.

    >>> global_map(torch.tensor([2.0]), torch.tensor([[[1.0, 3.0]]]))
    tensor([[0.2500, 0.7500]])

    Source: Eq. 3.
    """
    similarity = torch.einsum("d,dhw->hw", query, key)
    return similarity / similarity.sum().clamp(min=1e-12)


def local_map(
    query: Float[Tensor, " d"], key: Float[Tensor, "d h w"], row: int, column: int, window: int = 9
) -> Float[Tensor, "h w"]:
    """Share a pixel's attention over those pixels of the window around it that exist; 0 elsewhere.

    >>> local_map(torch.zeros(1), torch.zeros(1, 1, 4), 0, 0, window=3)
    tensor([[0.5000, 0.5000, 0.0000, 0.0000]])

    Source: Eq. 4.

    Args:
        query: What the pixel asks for.
        key: What every source pixel offers.
        row: The pixel's row.
        column: The pixel's column.
        window: Width and height of the window [px], odd.
    """
    around = _around(row, window), _around(column, window)
    scores = torch.einsum("d,dhw->hw", query, key[:, *around]) / len(query) ** 0.5
    pixels = key.new_zeros(key.shape[1:])
    pixels[around] = scores.flatten().softmax(0).view_as(scores)
    return pixels


def label_map(query: Float[Tensor, " d"], key: Float[Tensor, "d r"]) -> Float[Tensor, " r"]:
    """Share a pixel's attention over the prototypes of label regions. Source: Sec. 3.2.3, Eq. 2.

    >>> label_map(torch.tensor([1.0]), torch.tensor([[0.0, 0.0]]))
    tensor([0.5000, 0.5000])
    """
    return (torch.einsum("d,dr->r", query, key) / len(query) ** 0.5).softmax(0)


@torch.no_grad()
def context_map(
    block: ContextPooling,
    target: Float[Tensor, "c h w"],
    source: Float[Tensor, "c h w"],
    row: int,
    column: int,
    *,
    target_regions: Float[Tensor, "t h w"] | None = None,
    source_regions: Float[Tensor, "s h w"] | None = None,
) -> ContextMap:
    """Return what one target pixel attends to in a block, which is in evaluation mode.

    The map of a label context is that of its regions: each spreads the attention that it gets over its density.

    Args:
        block: The block.
        target: Features F_T of one image.
        source: Features F_S of the same image.
        row: The target pixel's row on the feature grid.
        column: The target pixel's column on the feature grid.
        target_regions: Densities of the target's label regions (`spatial_softmax`), for T-label.
        source_regions: Densities of the source's label regions, for S-label.

    Raises:
        UserError: The pixel is not on the grid, or a label context has no regions.
    """
    if not (0 <= row < target.shape[1] and 0 <= column < target.shape[2]):
        raise UserError(f"pixel [{row},{column}] is not on the feature grid of {target.shape[1]}x{target.shape[2]}")
    query = block.query(target[None, :, row : row + 1, column : column + 1]).flatten()
    if block.context == "global":
        return ContextMap("global", global_map(query, block.key(source[None])[0]))
    if block.context == "local":
        return ContextMap("local", local_map(query, block.key(source[None])[0], row, column))
    regions = block.choose_regions(target_regions, source_regions)
    key = block.key(prototypes(regions[None], source[None])[..., None])[0, ..., 0]
    weights = label_map(query, key)
    return ContextMap(block.context, torch.einsum("r,rhw->hw", weights, regions), weights)


def _around(place: int, window: int) -> slice:
    return slice(max(0, place - window // 2), place + window // 2 + 1)
