"""Attention of every pixel to label regions.

One custom operator, `atrc::label_attention`, with one implementation per situation:

- for export: matrix products and a softmax, which other runtimes have;
- on a CUDA device: PyTorch's `scaled_dot_product_attention`;
- on a CPU: a C++ kernel, built on first use;
- elsewhere, and without a compiler: matrix products over chunks of pixels, with their own backward pass.

Only query, key and value are kept for the backward pass; the weights are computed again. (On a CUDA device PyTorch
keeps the output as well.)
"""

from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from atrc.errors import UserError
from atrc.ops import label_attention_matmul as matmul
from atrc.ops import label_attention_native as native


# b batch, d query/key channels, c value channels, r label regions, h w grid
def label_attention(
    query: Float[Tensor, "b d h w"], key: Float[Tensor, "b d r *_"], value: Float[Tensor, "b c r *_"]
) -> Float[Tensor, "b c h w"]:
    """Softmax over the regions of q.k / sqrt(d), times v. Half precision is computed in single precision.

    Source: Sec. 3.2.3; Eq. 2 with the prototypes of Eq. 5 as what is attended to.

    Args:
        query: Of every pixel.
        key: Of every region; trailing dimensions count as regions too.
        value: Of every region.

    >>> regions = torch.tensor([[[3.0, 6.0, 9.0]]])
    >>> label_attention(torch.zeros(1, 1, 1, 1), regions, regions).flatten()
    tensor([6.])
    """
    _check(query, key, value)
    dtype = torch.promote_types(torch.promote_types(query.dtype, key.dtype), value.dtype)
    query, key, value = query.to(dtype), key.flatten(2).to(dtype), value.flatten(2).to(dtype)
    if torch.compiler.is_exporting():
        return matmul.attend(query, key, value)
    if query.is_cuda:
        return matmul.attend_fused(query, key, value)
    return _label_attention(query, key, value)


def _check(query: Tensor, key: Tensor, value: Tensor) -> None:
    shapes = [tuple(x.shape) for x in (query, key, value)]
    if len(shapes[0]) != 4 or min(len(shape) for shape in shapes[1:]) < 3:
        raise UserError(
            f"query, key and value have shapes {shapes}; expected (batch, channels, height, width) "
            "and twice (batch, channels, regions)"
        )
    if shapes[0][:2] != shapes[1][:2]:
        raise UserError(f"query has shape {shapes[0]} and key {shapes[1]}; batch and channels must be equal")
    if (shapes[2][0], *shapes[2][2:]) != (shapes[1][0], *shapes[1][2:]):
        raise UserError(f"key has shape {shapes[1]} and value {shapes[2]}; batch and regions must be equal")


@torch.library.custom_op("atrc::label_attention", mutates_args=())
def _label_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    q, k, v = (_computable(x) for x in (query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        return _kernels(q).forward(q, k, v).to(value.dtype)


@torch.library.custom_op("atrc::label_attention_backward", mutates_args=())
def _label_attention_backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    g, q, k, v = (_computable(x) for x in (grad, query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        grad_query, grad_key, grad_value = _kernels(q).backward(g, q, k, v)
    return grad_query.to(query.dtype), grad_key.to(key.dtype), grad_value.to(value.dtype)


def _kernels(query: Tensor) -> ModuleType:
    """The module whose `forward` and `backward` suit these inputs best."""
    return native if query.device.type == "cpu" and native.available(query.dtype) else matmul


def _computable(x: Tensor) -> Tensor:
    """Contiguous, and in single precision where it was half."""
    return x.to(torch.promote_types(x.dtype, torch.float32)).contiguous()


@_label_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return value.new_empty(*value.shape[:2], *query.shape[2:])


@_label_attention_backward.register_fake
def _(grad: Tensor, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _remember(ctx: Any, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return _label_attention_backward(grad, *ctx.saved_tensors)


_label_attention.register_autograd(_differentiate, setup_context=_remember)


# The formulas see shapes. As for PyTorch's own attention, the backward pass counts the scores twice.
@register_flop_formula(torch.ops.atrc.label_attention)
def _forward_flops(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], **_: object) -> int:
    b, d, h, w = query
    return 2 * b * h * w * key[2] * (d + value[1])


@register_flop_formula(torch.ops.atrc.label_attention_backward)
def _backward_flops(
    grad: tuple[int, ...],
    query: tuple[int, ...],
    key: tuple[int, ...],
    value: tuple[int, ...],
    **_: object,
) -> int:
    b, d, h, w = query
    return 2 * b * h * w * key[2] * (3 * d + 2 * value[1])
