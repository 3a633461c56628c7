"""Local attention as matrix products over tiles, in plain PyTorch.

The map is cut into tiles of queries. A tile attends to itself and a halo around it in one dense product,
and a constant mask keeps the window of every query. A neighbour outside the image is marked by one more
channel: 1 in the queries, 0 or a very negative number in the keys, so no mask depends on the position.

`attend` does all tiles at once and traces with dynamic sizes. `forward` and `backward` go strip by strip, so
that the scores of only one column of tiles exist at a time. In a strip, a tile and its halo are whole rows one
after the other: halos are overlapping views of it, and only what is added up is copied.
"""

import math
from collections.abc import Iterator
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
    tile, radius = max(8, window - 1), window // 2  # no pixel is in more than two halos of a row of tiles
    rows, columns = _count(height, tile), _count(width, tile)
    right, bottom = columns * tile - width, rows * tile - height
    around = (radius, right + tile - radius, radius, bottom + tile - radius)
    exists = F.pad(torch.zeros_like(key[:, :1]), around, value=torch.finfo(key.dtype).min / 2)
    query = F.pad(_channels_last(query) / math.sqrt(channels), (0, 1, 0, right, 0, bottom), value=1.0)
    key, value = (_channels_last(x) for x in (torch.cat([F.pad(key, around), exists], 1), F.pad(value, around)))
    query = _squares(query.reshape(batch, rows, tile, columns, tile, channels + 1))
    key, value = (_squares(_halos(x, (rows, columns), tile, window)) for x in (key, value))
    out = (query @ key.mT + _window_mask(query, window, tile, tile)).softmax(2) @ value
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
    """Local attention, one column of tiles after the other."""
    out = torch.empty_like(value)
    if not value.numel():
        return out
    strips = _Strips(query, value, window)
    for image, left in strips:
        strips.read(query[image], key[image], value[image], left)
        weighted = strips.halos(strips.value) @ strips.weights().mT
        strips.put(out[image], weighted, left)
    return out


def backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, window: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `forward` for query, key and value; the weights are computed again."""
    channels = query.shape[1]
    grad_query, grad_key, grad_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
    if not value.numel():
        return grad_query, grad_key, grad_value
    strips = _Strips(query, value, window)
    grad_out = strips.empty(value.shape[1])
    for image, left in strips:
        strips.read(query[image], key[image], value[image], left)
        strips.load(grad_out, grad[image], left)
        g, weights = strips.tiles(grad_out), strips.weights()
        strips.add(grad_value[image], g @ weights, left)
        grad_weights = g.mT @ strips.halos(strips.value)
        grad_scores = torch._softmax_backward_data(grad_weights, weights, 2, weights.dtype)
        strips.add(grad_key[image], strips.tiles(strips.query)[:, :channels] @ grad_scores, left)
        strips.put(grad_query[image], strips.halos(strips.key)[:, :channels] @ grad_scores.mT, left)
    return grad_query.mul_(strips.scale), grad_key.mul_(strips.scale), grad_value


# c channels, h w image, rows cols strip, n tiles, p pixels


class _Strips:
    """Columns of tiles, one after the other, in buffers that are filled anew for each.

    Attributes:
        query: Of the strip's pixels, and a channel of ones.
        key: The same with half a window around it, and a channel that is very negative outside the image.
        value: With half a window around it, 0 outside the image.
        scale: Of scores.
    """

    def __init__(self, query: Tensor, value: Tensor, window: int) -> None:
        self.images, channels, self.height, self.width = query.shape
        self.radius = window // 2
        self.tile = max(4, self.radius), max(8, window - 1)  # measured: as fast as any, and small
        self.count = math.ceil(self.height / self.tile[0])
        self.scale = 1 / math.sqrt(channels)
        self.mask = _window_mask(query, window, *self.tile)
        self.exists = query.new_zeros(1, self.height, self.width)
        self.like = query
        self.query = self.empty(channels + 1)
        self.query[channels:] = 1
        self.key = self.empty(channels + 1, self.radius)
        self.value = self.empty(value.shape[1], self.radius)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the image and the first column of every strip."""
        for image in range(self.images):
            for left in range(0, self.width, self.tile[1]):
                yield image, left

    def empty(self, channels: int, radius: int = 0) -> Float[Tensor, "c rows cols"]:
        rows, columns = self.count * self.tile[0] + 2 * radius, self.tile[1] + 2 * radius
        return self.like.new_zeros(channels, rows, columns)

    def read(
        self, query: Float[Tensor, "d h w"], key: Float[Tensor, "d h w"], value: Float[Tensor, "c h w"], left: int
    ) -> None:
        """Fill the buffers with a strip of an image."""
        self.load(self.query[:-1], query, left)
        self.load(self.key[:-1], key, left)
        self.load(self.key[-1:], self.exists, left, outside=torch.finfo(key.dtype).min / 2)
        self.load(self.value, value, left)

    def load(
        self, strip: Float[Tensor, "c rows cols"], image: Float[Tensor, "c h w"], left: int, outside: float = 0.0
    ) -> None:
        inside, columns = self._inside(strip, left)
        if inside.shape[2] < strip.shape[2]:  # the first strip of an image is one; the next cover what it left
            strip.fill_(outside)
        inside.copy_(image[:, :, columns])

    def _inside(self, strip: Float[Tensor, "c rows cols"], left: int) -> tuple[Float[Tensor, "c h _"], slice]:
        """Return what of a strip is in the image, and in which columns of it."""
        radius = (strip.shape[2] - self.tile[1]) // 2
        first, last = max(left - radius, 0), min(left + self.tile[1] + radius, self.width)
        start = left - radius
        return strip[:, radius : radius + self.height, first - start : last - start], slice(first, last)

    def tiles(self, strip: Float[Tensor, "c rows cols"]) -> Float[Tensor, "n c p"]:
        return strip.view(strip.shape[0], self.count, -1).transpose(0, 1)

    def halos(self, strip: Float[Tensor, "c rows cols"]) -> Float[Tensor, "n c p"]:
        channels, rows, columns = strip.shape
        pixels = (self.tile[0] + 2 * self.radius) * columns
        return strip.as_strided((self.count, channels, pixels), (self.tile[0] * columns, rows * columns, 1))

    def weights(self) -> Float[Tensor, "n p halo"]:
        scores = torch.baddbmm(self.mask, self.tiles(self.query).mT, self.halos(self.key), alpha=self.scale)
        return scores.softmax(2)

    def put(self, image: Float[Tensor, "c h w"], tiles: Float[Tensor, "n c p"], left: int) -> None:
        """Copy a strip's tiles into an image."""
        strip = tiles.transpose(0, 1).reshape(tiles.shape[1], -1, self.tile[1])
        inside, columns = self._inside(strip, left)
        image[:, :, columns] = inside

    def add(self, image: Float[Tensor, "c h w"], halos: Float[Tensor, "n c p"], left: int) -> None:
        """Add a strip's halos to an image; where they overlap, they add up."""
        strip, height = self.empty(halos.shape[1], self.radius), self.tile[0]
        halos, places = (x.unflatten(2, (-1, strip.shape[2])) for x in (halos, self.halos(strip)))
        for top in range(0, halos.shape[2], height):  # so many rows of all halos do not overlap
            places[:, :, top : top + height] += halos[:, :, top : top + height]
        inside, columns = self._inside(strip, left)
        image[:, :, columns] += inside


def _window_mask(like: Tensor, window: int, height: int, width: int) -> Tensor:
    """0 where a key of the halo lies in the window of a query of the tile, else -inf."""
    down, across = (_near(size, window, like.device) for size in (height, width))
    near = (down[:, None, :, None] & across[None, :, None, :]).reshape(height * width, -1)
    return like.new_zeros(near.shape).masked_fill(~near, -math.inf)


def _near(size: int, window: int, device: torch.device) -> Tensor:
    """Along one axis."""
    queries, keys = torch.arange(size, device=device)[:, None], torch.arange(size + window - 1, device=device)
    return (keys >= queries) & (keys < queries + window)
