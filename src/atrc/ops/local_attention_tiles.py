"""Local attention as matrix products over square tiles, in plain PyTorch.

The map is cut into tiles of queries. A tile attends to itself and a halo around it in one dense product,
and a constant mask keeps the window of every query. A neighbour outside the image is marked by one more
channel: 1 in the queries, 0 or a very negative number in the keys, so no mask depends on the position.

`attend` does all tiles at once and traces with dynamic sizes. `forward` and `backward` go stripe by stripe,
so that the scores of only one row of tiles exist at a time.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


# b batch, d query/key channels, c value channels, h w grid
def attend(
    query: Float[Tensor, "b d h w"], key: Float[Tensor, "b d h w"], value: Float[Tensor, "b c h w"], window: int
) -> Float[Tensor, "b c h w"]:
    """Local attention by `scaled_dot_product_attention`, for exporting."""
    height, width = query.shape[2:]
    tile = _tile_size(window)
    query, key, value = _padded(query, key, value, window)
    halo = tile + window - 1
    out = F.scaled_dot_product_attention(
        _cut(query, tile, tile),
        _cut(key, halo, tile),
        _cut(value, halo, tile),
        attn_mask=_window_mask(query, window),
        scale=1.0,
    )
    out = _joined(out, tile, query.shape)
    # A negative pad rather than a slice: it asks nothing about the sizes, so any dynamic size exports.
    return F.pad(out, (0, width - out.shape[3], 0, height - out.shape[2]))


def forward(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    """Local attention, one row of tiles after the other."""
    out = torch.empty_like(value, memory_format=torch.contiguous_format)
    tile, width = _tile_size(window), query.shape[3]
    query, key, value = _padded(query, key, value, window)
    mask = _window_mask(query, window)
    for top in range(0, out.shape[2], tile):
        stripes = _stripes(query, key, value, top, window)
        weights = _weights(*stripes[:2], mask)
        rows = out[:, :, top : top + tile]
        shape = (*query.shape[:2], tile, query.shape[3])
        rows.copy_(_joined(weights @ stripes[2], tile, shape)[:, :, : rows.shape[2], :width])
    return out


def backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, window: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `forward` for query, key and value; the weights are computed again."""
    channels, height, width = query.shape[1:]
    tile, radius = _tile_size(window), window // 2
    query, key, value = _padded(query, key, value, window)
    grad = F.pad(grad, (0, query.shape[3] - width, 0, query.shape[2] - height))
    mask = _window_mask(query, window)
    grad_query, grad_key, grad_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
    for top in range(0, height, tile):
        rows, halo_rows = slice(top, top + tile), slice(top, top + tile + window - 1)
        q, k, v = _stripes(query, key, value, top, window)
        g = _cut(grad[:, :, rows], tile, tile)
        weights = _weights(q, k, mask)
        _add_halos(grad_value[:, :, halo_rows], weights.mT @ g, tile)
        grad_scores = torch._softmax_backward_data(g @ v.mT, weights, 2, weights.dtype)
        grad_query[:, :, rows] = _joined(grad_scores @ k, tile, query[:, :, rows].shape)
        _add_halos(grad_key[:, :, halo_rows], grad_scores.mT @ q, tile)
    inner = (..., slice(radius, radius + height), slice(radius, radius + width))
    return (
        (grad_query[:, :channels, :height, :width] / math.sqrt(channels)).contiguous(),
        grad_key[:, :channels][inner].contiguous(),
        grad_value[inner].contiguous(),
    )


def _tile_size(window: int) -> int:
    return max(8, window - 1)


def _padded(query: Tensor, key: Tensor, value: Tensor, window: int) -> tuple[Tensor, Tensor, Tensor]:
    """Whole tiles of scaled queries; keys and values with a halo; the channel that marks what exists."""
    height, width = query.shape[2:]
    tile, radius = _tile_size(window), window // 2
    # Symbolic sizes get a spare tile, lest `torch.export` ask whether there is more than one.
    spare = 0 if isinstance(height, int) and isinstance(width, int) else tile
    right = (width + tile - 1) // tile * tile - width + spare
    bottom = (height + tile - 1) // tile * tile - height + spare
    halo = (radius, radius + right, radius, radius + bottom)
    outside = torch.finfo(query.dtype).min / 2
    exists = F.pad(torch.zeros_like(key[:, :1]), halo, value=outside)
    query = F.pad(query / math.sqrt(query.shape[1]), (0, right, 0, bottom))
    return (
        torch.cat([query, torch.ones_like(query[:, :1])], 1),
        torch.cat([F.pad(key, halo), exists], 1),
        F.pad(value, halo),
    )


def _window_mask(like: Tensor, window: int) -> Tensor:
    """0 where a key of the halo lies in the window of a query of the tile, else -inf."""
    tile = _tile_size(window)
    queries = torch.arange(tile, device=like.device)[:, None]
    keys = torch.arange(tile + window - 1, device=like.device)
    near = (keys >= queries) & (keys < queries + window)
    near = (near[:, None, :, None] & near[None, :, None, :]).reshape(tile**2, -1)
    return like.new_zeros(near.shape).masked_fill(~near, -math.inf)


def _stripes(query: Tensor, key: Tensor, value: Tensor, top: int, window: int) -> tuple[Tensor, Tensor, Tensor]:
    tile, halo = _tile_size(window), _tile_size(window) + window - 1
    return (
        _cut(query[:, :, top : top + tile], tile, tile),
        _cut(key[:, :, top : top + halo], halo, tile),
        _cut(value[:, :, top : top + halo], halo, tile),
    )


def _weights(query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
    return torch.baddbmm(mask, query, key.mT).softmax(2)


def _cut(x: Tensor, size: int, step: int) -> Tensor:
    """Squares of `size`, every `step` pixels: (b c h w) to (squares, pixels, channels)."""
    x = x.unfold(2, size, step).unfold(3, size, step)
    return x.permute(0, 2, 3, 4, 5, 1).reshape(-1, size**2, x.shape[1])


def _joined(tiles: Tensor, tile: int, shape: Sequence[int | torch.SymInt]) -> Tensor:
    """The inverse of `_cut` for tiles side by side."""
    batch, _, height, width = shape
    x = tiles.reshape(batch, height // tile, width // tile, tile, tile, tiles.shape[2])
    return x.permute(0, 5, 1, 3, 2, 4).reshape(batch, tiles.shape[2], height, width)


def _add_halos(total: Tensor, halos: Tensor, tile: int) -> None:
    """The adjoint of `_cut` for one row of halos: what overlaps adds up in `total`."""
    batch, channels, size, _ = total.shape
    places = total.unfold(3, size, tile)
    halos = halos.reshape(batch, -1, size, size, channels).permute(0, 4, 2, 1, 3)
    places[..., :tile].add_(halos[..., :tile])
    places[..., tile:].add_(halos[..., tile:])
