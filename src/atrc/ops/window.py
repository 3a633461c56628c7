"""Weights over the window around every pixel as a map of their own, one channel for every offset.

`local_attention` never forms these weights. Here they are a tensor (b, window², h, w), for modules that work on the
weights themselves. Three custom operators that are each other's gradients, as loops over the offsets: nothing of
window² times the channels exists, but while exporting (`unfold`).
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from atrc.errors import UserError

# b batch, c channels, o offsets in the window, row by row, h w grid

Place = tuple[slice, slice]


def window_softmax(
    query: Float[Tensor, "b c h w"], key: Float[Tensor, "b c h w"], window: int = 9
) -> Float[Tensor, "b o h w"]:
    """Softmax over the window of q.k / sqrt(c): the weights of `local_attention`.

    The weights of a pixel's existing neighbours sum to 1; that of a neighbour outside the image is 0.

    Args:
        query: What every pixel asks for.
        key: What every pixel offers.
        window: Width and height of the window [px], odd.

    >>> x = torch.zeros(1, 1, 1, 2)
    >>> window_softmax(x, x, window=3)[0, :, 0, 0]
    tensor([0.0000, 0.0000, 0.0000, 0.0000, 0.5000, 0.5000, 0.0000, 0.0000, 0.0000])
    """
    if window < 1 or window % 2 == 0:
        raise UserError(f"window is {window}; it must be odd and positive, for example 9")
    scores = _scores(query / query.shape[1] ** 0.5, key, window)
    exists = F.unfold(torch.ones_like(query[:1, :1]), window, padding=window // 2).view(1, -1, *query.shape[2:])
    return scores.masked_fill(exists == 0, float("-inf")).softmax(1)


def window_sum(
    weights: Float[Tensor, "b o h w"], value: Float[Tensor, "b c h w"], window: int = 9
) -> Float[Tensor, "b c h w"]:
    """Give every pixel the weighted sum of its window.

    >>> value = torch.tensor([[[[0.0, 4.0]]]])
    >>> window_sum(window_softmax(value * 0, value, window=3), value, window=3)
    tensor([[[[2., 2.]]]])
    """
    if weights.shape[1] != window**2:
        raise UserError(f"weights have {weights.shape[1]} offsets; a window of {window} has {window**2}")
    dtype = torch.promote_types(weights.dtype, value.dtype)
    weights, value = weights.to(dtype), value.to(dtype)
    if torch.compiler.is_exporting():
        return torch.einsum("bohw,bcohw->bchw", weights, _unfolded(value, window))
    return _window_sum(weights, value, window)


def _scores(query: Tensor, key: Tensor, window: int) -> Float[Tensor, "b o h w"]:
    dtype = torch.promote_types(query.dtype, key.dtype)
    query, key = query.to(dtype), key.to(dtype)
    if torch.compiler.is_exporting():
        return torch.einsum("bchw,bcohw->bohw", query, _unfolded(key, window))
    return _window_scores(query, key, window)


def _unfolded(x: Tensor, window: int) -> Float[Tensor, "b c o h w"]:
    """Every pixel's window, 0 outside the image."""
    b, c, h, w = x.shape
    return F.unfold(x, window, padding=window // 2).view(b, c, window**2, h, w)


@torch.library.custom_op("atrc::window_scores", mutates_args=())
def _window_scores(query: Tensor, key: Tensor, window: int) -> Tensor:
    """q(i) . k(i + o), 0 outside the image."""
    b, _, h, w = query.shape
    q, k = _single(query), _single(key)
    scores = q.new_zeros(b, window**2, h, w)
    for offset, (here, there) in _places(h, w, window):
        torch.sum(q[..., *here] * k[..., *there], 1, out=scores[:, offset, *here])
    return scores.to(query.dtype)


@torch.library.custom_op("atrc::window_sum", mutates_args=())
def _window_sum(weights: Tensor, value: Tensor, window: int) -> Tensor:
    """Sum over o of w(i, o) v(i + o)."""
    weight, v = _single(weights), _single(value)
    total = v.new_zeros(v.shape)
    for offset, (here, there) in _places(v.shape[2], v.shape[3], window):
        total[..., *here].addcmul_(weight[:, offset : offset + 1, *here], v[..., *there])
    return total.to(value.dtype)


@torch.library.custom_op("atrc::window_spread", mutates_args=())
def _window_spread(weights: Tensor, value: Tensor, window: int) -> Tensor:
    """The transpose of `_window_sum`: i gives w(i, o) v(i) to i + o."""
    weight, v = _single(weights), _single(value)
    total = v.new_zeros(v.shape)
    for offset, (here, there) in _places(v.shape[2], v.shape[3], window):
        total[..., *there].addcmul_(weight[:, offset : offset + 1, *here], v[..., *here])
    return total.to(value.dtype)


def _single(x: Tensor) -> Tensor:
    """Half precision is summed in single precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32)).contiguous()


def _places(h: int, w: int, window: int) -> Iterator[tuple[int, tuple[Place, Place]]]:
    """Every offset with the pixels whose neighbour there exists, and those neighbours."""
    radius = window // 2
    for dy in range(max(-radius, 1 - h), min(radius, h - 1) + 1):
        for dx in range(max(-radius, 1 - w), min(radius, w - 1) + 1):
            here = slice(max(0, -dy), h - max(0, dy)), slice(max(0, -dx), w - max(0, dx))
            there = slice(max(0, dy), h - max(0, -dy)), slice(max(0, dx), w - max(0, -dx))
            yield (dy + radius) * window + dx + radius, (here, there)


@_window_scores.register_fake
def _(query: Tensor, key: Tensor, window: int | torch.SymInt) -> Tensor:
    b, _, h, w = query.shape
    return query.new_empty(b, window * window, h, w)


@_window_sum.register_fake
@_window_spread.register_fake
def _(weights: Tensor, value: Tensor, window: int | torch.SymInt) -> Tensor:
    return value.new_empty(value.shape)


def _remember(ctx: Any, inputs: tuple, output: Tensor) -> None:
    first, second, ctx.window = inputs
    ctx.save_for_backward(first, second)


def _differentiate_scores(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    query, key = ctx.saved_tensors
    return _window_sum(grad, key, ctx.window), _window_spread(grad, query, ctx.window), None


def _differentiate_sum(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    weights, value = ctx.saved_tensors
    return _window_scores(grad, value, ctx.window), _window_spread(weights, grad, ctx.window), None


def _differentiate_spread(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    weights, value = ctx.saved_tensors
    return _window_scores(value, grad, ctx.window), _window_sum(weights, grad, ctx.window), None


_window_scores.register_autograd(_differentiate_scores, setup_context=_remember)
_window_sum.register_autograd(_differentiate_sum, setup_context=_remember)
_window_spread.register_autograd(_differentiate_spread, setup_context=_remember)


# Full windows, as for local attention: what the border cuts off is counted too. The formulas see shapes.
@register_flop_formula([torch.ops.atrc.window_scores, torch.ops.atrc.window_sum, torch.ops.atrc.window_spread])
def _flops(first: tuple[int, ...], second: tuple[int, ...], window: int, **_: object) -> int:
    b, c, h, w = second
    return 2 * b * h * w * window**2 * c
