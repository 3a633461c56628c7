"""Local attention as matrix products over square tiles, in plain PyTorch.

The map is cut into tiles of queries. A tile attends to itself and a halo around it in one dense product,
and a constant mask keeps the window of every query. A neighbour outside the image is marked by one more
channel: 1 in the queries, 0 or a very negative number in the keys, so no mask depends on the position.

`attend` does all tiles at once and traces with dynamic sizes. `forward` and `backward` go stripe by stripe,
so that the scores of only one row of tiles exist at a time.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


# b batch, d query/key channels, c value channels, h w grid
def attend(
    query: Float[Tensor, "b d h w"], key: Float[Tensor, "b d h w"], value: Float[Tensor, "b c h w"], window: int
) -> Float[Tensor, "b c h w"]:
    """Local attention in few operators, for exporting. Channels are last: other runtimes move rows of them fast."""
    batch, channels, height, width = query.shape
    tile, radius = _sizes(window)[0], window // 2
    rows, columns = _count(height, tile), _count(width, tile)
    right, bottom = columns * tile - width, rows * tile - height
    around = (radius, right + tile - radius, radius, bottom + tile - radius)
    exists = F.pad(torch.zeros_like(key[:, :1]), around, value=torch.finfo(key.dtype).min / 2)
    query = F.pad(_channels_last(query) / math.sqrt(channels), (0, 1, 0, right, 0, bottom), value=1.0)
    key, value = (_channels_last(x) for x in (torch.cat([F.pad(key, around), exists], 1), F.pad(value, around)))
    query = _squares(query.reshape(batch, rows, tile, columns, tile, channels + 1))
    key, value = (_squares(_halos(x, (rows, columns), tile, window)) for x in (key, value))
    out = (query @ key.mT + _window_mask(query, window)).softmax(2) @ value
    out = out.reshape(batch, rows, columns, tile**2, value.shape[2]).permute(0, 4, 3, 1, 2)
    out = F.pixel_shuffle(out.reshape(batch, value.shape[2] * tile**2, rows, columns), tile)
    # A negative pad rather than a slice: it asks nothing about the sizes, so any dynamic size exports.
    return F.pad(out, (0, -right, 0, -bottom))


def _count(size: Any, tile: int) -> Any:
    """Tiles that cover a size; a symbolic size gets a spare one, lest `torch.export` ask whether there is but one."""
    return (size + (tile if isinstance(size, int) else 2 * tile) - 1) // tile


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _halos(x: Tensor, counts: tuple[Any, Any], tile: int, window: int) -> Tensor:
    """Every tile with what is around it: (b rows y columns x c)."""
    for axis, count in zip((1, 3), counts, strict=True):
        first, second = (x.narrow(axis, i, count * tile).unflatten(axis, (count, tile)) for i in (0, tile))
        x = torch.cat([first, second.narrow(axis + 1, 0, window - 1)], axis + 1)
    return x


def _squares(x: Tensor) -> Tensor:
    """(b rows y columns x c) to (squares, pixels, channels)."""
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, x.shape[2] * x.shape[4], x.shape[5])


def forward(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    """Local attention, one row of tiles after the other."""
    out = torch.empty_like(value)
    tile, halo = _sizes(window)
    mask = _window_mask(query, window)
    key, value = _with_halo(key, value, window)
    for top in range(0, query.shape[2], tile):
        rows, seen = slice(top, top + tile), slice(top, top + halo)
        q = _marked_queries(query[:, :, rows], tile)
        weights = _weights(_cut(q, tile, tile), _cut(key[:, :, seen], halo, tile), mask)
        _put(out[:, :, rows], _joined(weights @ _cut(value[:, :, seen], halo, tile), tile, q.shape))
    return out


def backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, window: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `forward` for query, key and value; the weights are computed again."""
    channels, height, width = query.shape[1:]
    tile, halo = _sizes(window)
    mask = _window_mask(query, window)
    key, value = _with_halo(key, value, window)
    grad_query, grad_key, grad_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
    for top in range(0, height, tile):
        rows, seen = slice(top, top + tile), slice(top, top + halo)
        padded = _marked_queries(query[:, :, rows], tile)
        q, k, v = _cut(padded, tile, tile), _cut(key[:, :, seen], halo, tile), _cut(value[:, :, seen], halo, tile)
        g = _cut(_whole_tiles(grad[:, :, rows], tile), tile, tile)
        weights = _weights(q, k, mask)
        _add_halos(grad_value[:, :, seen], weights.mT @ g, tile)
        grad_scores = torch._softmax_backward_data(g @ v.mT, weights, 2, weights.dtype)
        _add_halos(grad_key[:, :, seen], grad_scores.mT @ q, tile)
        _put(grad_query[:, :, rows], _joined(grad_scores @ k, tile, padded.shape))
    inner = (..., slice(window // 2, window // 2 + height), slice(window // 2, window // 2 + width))
    grad_key, grad_value = grad_key[:, :channels][inner].contiguous(), grad_value[inner].contiguous()
    return grad_query.div_(math.sqrt(channels)), grad_key, grad_value


def _sizes(window: int) -> tuple[int, int]:
    """Width of a tile and of its halo [px]; no pixel is in more than two halos of a row of tiles."""
    tile = max(8, window - 1)
    return tile, tile + window - 1


def _missing(size: int, tile: int) -> int:
    """Pixels up to whole tiles."""
    return -size % tile


def _whole_tiles(x: Tensor, tile: int) -> Tensor:
    return F.pad(x, (0, _missing(x.shape[3], tile), 0, _missing(x.shape[2], tile)))


def _marked_queries(query: Tensor, tile: int) -> Tensor:
    """Scaled, with the channel of ones, in whole tiles."""
    query = _whole_tiles(query / math.sqrt(query.shape[1]), tile)
    return torch.cat([query, torch.ones_like(query[:, :1])], 1)


def _with_halo(key: Tensor, value: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Keys with the channel that tells what exists, and values, both with half a window around whole tiles."""
    tile, radius = _sizes(window)[0], window // 2
    right, bottom = _missing(key.shape[3], tile), _missing(key.shape[2], tile)
    around = (radius, radius + right, radius, radius + bottom)
    exists = F.pad(torch.zeros_like(key[:, :1]), around, value=torch.finfo(key.dtype).min / 2)
    return torch.cat([F.pad(key, around), exists], 1), F.pad(value, around)


def _window_mask(like: Tensor, window: int) -> Tensor:
    """0 where a key of the halo lies in the window of a query of the tile, else -inf."""
    tile, halo = _sizes(window)
    queries = torch.arange(tile, device=like.device)[:, None]
    keys = torch.arange(halo, device=like.device)
    near = (keys >= queries) & (keys < queries + window)
    near = (near[:, None, :, None] & near[None, :, None, :]).reshape(tile**2, halo**2)
    return like.new_zeros(near.shape).masked_fill(~near, -math.inf)


def _weights(query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
    return torch.baddbmm(mask, query, key.mT).softmax(2)


def _cut(x: Tensor, size: int, step: int) -> Tensor:
    """Squares of `size`, every `step` pixels: (b c h w) to (squares, pixels, channels)."""
    x = x.unfold(2, size, step).unfold(3, size, step)
    return x.permute(0, 2, 3, 4, 5, 1).reshape(-1, size**2, x.shape[1])


def _joined(tiles: Tensor, tile: int, shape: Sequence[int]) -> Tensor:
    """The inverse of `_cut` for tiles side by side."""
    batch, _, height, width = shape
    x = tiles.reshape(batch, height // tile, width // tile, tile, tile, tiles.shape[2])
    return x.permute(0, 5, 1, 3, 2, 4).reshape(batch, tiles.shape[2], height, width)


def _put(rows: Tensor, whole: Tensor) -> None:
    """Copy what `rows` has room for."""
    channels, height, width = rows.shape[1:]
    rows.copy_(whole[:, :channels, :height, :width])


def _add_halos(total: Tensor, halos: Tensor, tile: int) -> None:
    """The adjoint of `_cut` for one row of halos: what overlaps adds up in `total`."""
    batch, channels, size, _ = total.shape
    places = total.unfold(3, size, tile)
    halos = halos.reshape(batch, -1, size, size, channels).permute(0, 4, 2, 1, 3)
    places[..., :tile].add_(halos[..., :tile])
    places[..., tile:].add_(halos[..., tile:])
