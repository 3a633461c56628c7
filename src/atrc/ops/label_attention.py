"""Every pixel attends to the label regions of its source-target pair, all pairs of one target at once.

One custom operator, `atrc::label_attention`, with one implementation per situation:

- while exporting: matrix products and a softmax, which other runtimes know too;
- on a CUDA device: PyTorch's `scaled_dot_product_attention`;
- on a CPU: a C++ kernel, built on first use;
- elsewhere, and without a compiler: matrix products over chunks of pixels, with a backward pass of their own.

Only query, key and value are kept for the backward pass; the weights are computed again. (On a CUDA device PyTorch
keeps the output as well.)
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from atrc.errors import UserError
from atrc.ops import label_attention_matmul as matmul
from atrc.ops import label_attention_native as native


# b batch, p source-target pairs, d query/key channels, c value channels, r label regions, h w grid
def label_attention(
    query: Float[Tensor, "b p d h w"],
    key: Float[Tensor, "b p d r"],
    value: Float[Tensor, "b p c r"],
    counts: Sequence[int] | None = None,
) -> Float[Tensor, "b p c h w"]:
    """Softmax over the regions of q.k / sqrt(d), times v.

    Half precision is computed in single precision.

    Source: Sec. 3.2.3; Eq. 2 with the prototypes of Eq. 5 in the place of pixels.

    Args:
        query: What every pixel asks for, for every pair.
        key: What every region offers, compared with the query.
        value: What every region gives.
        counts: How many regions every pair has; what comes after them may be anything. All of them if not given.

    >>> query = torch.zeros(1, 2, 1, 1, 1)
    >>> regions = torch.tensor([[[[3.0, 6.0, 9.0]], [[1.0, 5.0, torch.nan]]]])
    >>> label_attention(query, regions, regions, counts=(3, 2)).flatten()
    tensor([6., 3.])
    """
    _check(query, key, value, counts)
    dtype = torch.promote_types(torch.promote_types(query.dtype, key.dtype), value.dtype)
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    if torch.compiler.is_exporting():
        return matmul.attend(query, key, value, counts)
    if query.is_cuda:
        return matmul.attend_fused(query, key, value, counts)
    counts = [key.shape[3]] * key.shape[1] if counts is None else list(counts)
    return _label_attention(query, key, value, counts)


def _check(query: Tensor, key: Tensor, value: Tensor, counts: Sequence[int] | None) -> None:
    shapes = [tuple(x.shape) for x in (query, key, value)]
    if [len(shape) for shape in shapes] != [5, 4, 4]:
        raise UserError(
            f"query, key and value have shapes {shapes}; they need (batch, pairs, channels, height, width) "
            "and twice (batch, pairs, channels, regions)"
        )
    if shapes[0][:3] != shapes[1][:3]:
        raise UserError(f"query has shape {shapes[0]} and key {shapes[1]}; batch, pairs and channels have to be equal")
    if (*shapes[2][:2], shapes[2][3]) != (*shapes[1][:2], shapes[1][3]):
        raise UserError(f"key has shape {shapes[1]} and value {shapes[2]}; batch, pairs and regions have to be equal")
    _, pairs, _, regions = shapes[1]
    if counts is not None and (len(counts) != pairs or not all(1 <= count <= regions for count in counts)):
        raise UserError(f"counts is {list(counts)}; it needs {pairs} numbers from 1 to {regions}, one for every pair")


@torch.library.custom_op("atrc::label_attention", mutates_args=())
def _label_attention(query: Tensor, key: Tensor, value: Tensor, counts: Sequence[int]) -> Tensor:
    q, k, v = (_computable(x) for x in (query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        return _kernels(q).forward(q, k, v, counts).to(value.dtype)


@torch.library.custom_op("atrc::label_attention_backward", mutates_args=())
def _label_attention_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, counts: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    g, q, k, v = (_computable(x) for x in (grad, query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        grad_query, grad_key, grad_value = _kernels(q).backward(g, q, k, v, counts)
    return grad_query.to(query.dtype), grad_key.to(key.dtype), grad_value.to(value.dtype)


def _kernels(query: Tensor) -> ModuleType:
    """The module whose `forward` and `backward` suit these inputs best."""
    return native if query.device.type == "cpu" and native.available(query.dtype) else matmul


def _computable(x: Tensor) -> Tensor:
    """Contiguous, and in single precision where it was half."""
    return x.to(torch.promote_types(x.dtype, torch.float32)).contiguous()


@_label_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, counts: Sequence[int | torch.SymInt]) -> Tensor:
    return value.new_empty(*value.shape[:3], *query.shape[3:])


@_label_attention_backward.register_fake
def _(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, counts: Sequence[int | torch.SymInt]
) -> tuple[Tensor, Tensor, Tensor]:
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _remember(ctx: Any, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.counts = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_label_attention_backward(grad, *ctx.saved_tensors, ctx.counts), None


_label_attention.register_autograd(_differentiate, setup_context=_remember)


# The formulas see shapes. As for PyTorch's own attention, the backward pass counts the scores twice.
@register_flop_formula(torch.ops.atrc.label_attention)
def _forward_flops(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], counts: Sequence[int], **_: object
) -> int:
    b, d, h, w = query[0], *query[2:]
    return 2 * b * h * w * sum(counts) * (d + value[2])


@register_flop_formula(torch.ops.atrc.label_attention_backward)
def _backward_flops(
    grad: tuple[int, ...],
    query: tuple[int, ...],
    key: tuple[int, ...],
    value: tuple[int, ...],
    counts: Sequence[int],
    **_: object,
) -> int:
    b, d, h, w = query[0], *query[2:]
    return 2 * b * h * w * sum(counts) * (3 * d + 2 * value[2])
