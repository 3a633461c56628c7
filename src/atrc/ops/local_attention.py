"""Every pixel attends to the square window of pixels around it.

One custom operator, `atrc::local_attention`, with one implementation per situation:

- while exporting: tiles, matrix products and a softmax, which other runtimes know too;
- on a CPU: a C++ kernel, built on first use;
- on a CUDA device: Triton kernels, if Triton works and they suit the sizes;
- elsewhere, and without a compiler: tiles with a backward pass of their own.

Only query, key and value are kept for the backward pass; the weights are computed again.
"""

import importlib
import importlib.util
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from atrc.errors import UserError
from atrc.ops import local_attention_native as native
from atrc.ops import local_attention_tiles as tiles


# b batch, d query/key channels, c value channels, h w grid
def local_attention(
    query: Float[Tensor, "b d h w"],
    key: Float[Tensor, "b d h w"],
    value: Float[Tensor, "b c h w"],
    window: int = 9,
) -> Float[Tensor, "b c h w"]:
    """Softmax over the window of q.k / sqrt(d), times v.

    A pixel attends only to neighbours that exist: at the border of the image the window is cut, and the
    weights of what is left sum to 1. Half precision is computed in single precision.

    Source: Sec. 3.2.2, Eq. 4.

    Args:
        query: What every pixel asks for.
        key: What every pixel offers, compared with the query.
        value: What every pixel gives.
        window: Width and height of the window [px], odd.

    >>> x = torch.tensor([[[[0.0, 3.0, 6.0, 9.0]]]])
    >>> local_attention(torch.zeros_like(x), x, x, window=3)
    tensor([[[[1.5000, 3.0000, 6.0000, 7.5000]]]])
    """
    _check(query, key, value, window)
    dtype = torch.promote_types(torch.promote_types(query.dtype, key.dtype), value.dtype)
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    if torch.compiler.is_exporting():
        return tiles.attend(query, key, value, window)
    return _local_attention(query, key, value, window)


def _check(query: Tensor, key: Tensor, value: Tensor, window: int) -> None:
    if window < 1 or window % 2 == 0:
        raise UserError(f"window is {window}; it must be odd and positive, for example 9")
    shapes = [tuple(x.shape) for x in (query, key, value)]
    if any(len(shape) != 4 for shape in shapes):
        raise UserError(f"query, key and value have shapes {shapes}; all need (batch, channels, height, width)")
    if shapes[0] != shapes[1]:
        raise UserError(f"query has shape {shapes[0]} and key {shapes[1]}; they must be equal")
    if (shapes[2][0], *shapes[2][2:]) != (shapes[0][0], *shapes[0][2:]):
        raise UserError(f"value has shape {shapes[2]}; batch, height and width of query are {shapes[0]}")


@torch.library.custom_op("atrc::local_attention", mutates_args=())
def _local_attention(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    kernels = _kernels(query, value, window)
    q, k, v = (_computable(x, kernels) for x in (query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        return kernels.forward(q, k, v, window).to(value.dtype)


@torch.library.custom_op("atrc::local_attention_backward", mutates_args=())
def _local_attention_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, window: int
) -> tuple[Tensor, Tensor, Tensor]:
    kernels = _kernels(query, value, window)
    g, q, k, v = (_computable(x, kernels) for x in (grad, query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        grad_query, grad_key, grad_value = kernels.backward(g, q, k, v, window)
    return grad_query.to(query.dtype), grad_key.to(key.dtype), grad_value.to(value.dtype)


def _kernels(query: Tensor, value: Tensor, window: int) -> ModuleType:
    """The module whose `forward` and `backward` suit these inputs best."""
    if query.is_cuda and query.dtype != torch.float64 and importlib.util.find_spec("triton"):
        kernels = importlib.import_module("atrc.ops.local_attention_triton")
        if kernels.fits(query, value, window) and kernels.available(query.device):
            return kernels
    if query.device.type == "cpu" and native.available(_single(query.dtype), window):
        return native
    return tiles


def _computable(x: Tensor, kernels: ModuleType) -> Tensor:
    """Contiguous, and in single precision where it was half, unless the kernels do that themselves."""
    return (x.to(_single(x.dtype)) if kernels in (native, tiles) else x).contiguous()


def _single(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


@_local_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, window: int | torch.SymInt) -> Tensor:
    return value.new_empty(value.shape)


@_local_attention_backward.register_fake
def _(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, window: int | torch.SymInt
) -> tuple[Tensor, Tensor, Tensor]:
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _remember(ctx: Any, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.window = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_local_attention_backward(grad, *ctx.saved_tensors, ctx.window), None


_local_attention.register_autograd(_differentiate, setup_context=_remember)


# The formulas see shapes. As for PyTorch's own attention, the backward pass counts the scores twice.
@register_flop_formula(torch.ops.atrc.local_attention)
def _forward_flops(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], window: int, **_: object
) -> int:
    b, d, h, w = query
    return 2 * b * h * w * window**2 * (d + value[1])


@register_flop_formula(torch.ops.atrc.local_attention_backward)
def _backward_flops(
    grad: tuple[int, ...],
    query: tuple[int, ...],
    key: tuple[int, ...],
    value: tuple[int, ...],
    window: int,
    **_: object,
) -> int:
    b, d, h, w = query
    return 2 * b * h * w * window**2 * (3 * d + 2 * value[1])
