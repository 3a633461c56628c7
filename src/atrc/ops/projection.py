"""1x1 convolution, batch norm in training and ReLU or softplus, once or twice, of many projections at once, on a CPU.

One custom operator, `atrc::projection`, by a C++ kernel that is built on first use. Of two layers only the inputs of
both batch norms' statistics are kept, which is what the first layer's convolution gives: the rest is made again, tile
by tile, in the backward pass. There is no other implementation: ask `projection_available` first.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from atrc.errors import UserError
from atrc.ops import native

# b batch, p projections, c input channels, d output channels, n pixels, l layers

ACTIVATIONS = ("none", "relu", "softplus")  # by their numbers in C++

Statistics = Float[Tensor, "l 2 pd"]  # mean and biased variance of what the convolutions give


def projection_available(x: Tensor) -> bool:
    """Whether the operator is to be had for this input: in single or double precision, run as it is written."""
    return not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu") and _has_kernel(x)


def _has_kernel(x: Tensor) -> bool:
    return x.is_cpu and x.dtype in (torch.float32, torch.float64) and native.available("projection", x.dtype)


def projection(
    x: list[Float[Tensor, "b _ n"]],
    first: Float[Tensor, "p d c"],
    second: Float[Tensor, "p d d"] | None,
    scales: Float[Tensor, "l pd"],
    shifts: Float[Tensor, "l pd"],
    eps: list[float],
    activation: str = "relu",
) -> tuple[Float[Tensor, "b p d n"], Statistics]:
    """Multiply by `first`, normalise over batch and pixels, scale, shift and activate; then likewise by `second`.

    The gradient reaches all but the statistics, and cannot be differentiated again.

    Args:
        x: Maps that all projections read, side by side: c channels in all.
        first: Weights of the first convolution.
        second: Weights of the second convolution, if there is one.
        scales: Of the batch norms of every layer.
        shifts: Likewise.
        eps: Likewise, added to the variances.
        activation: Of the last layer: "none", "relu" or "softplus"; between two layers it is "relu".

    >>> ones = torch.ones(1, 1)
    >>> projection([torch.tensor([[[1.0, 3.0]]])], ones[None], None, ones, 0 * ones, [0.0])  # doctest: +SKIP
    (tensor([[[[0., 1.]]]]), tensor([[[2.], [1.]]]))
    """
    _check(x, first, second, scales, shifts, eps, activation)
    z, _, statistics = _projection(x, first, second, scales, shifts, eps, activation)
    return z, statistics


def _check(
    x: list[Tensor],
    first: Tensor,
    second: Tensor | None,
    scales: Tensor,
    shifts: Tensor,
    eps: list[float],
    activation: str,
) -> None:
    if activation not in ACTIVATIONS:
        raise UserError(f"activation is '{activation}'; a projection has one of {', '.join(ACTIVATIONS)}")
    if not _has_kernel(x[0]):
        raise UserError(f"projection has no kernel for {x[0].dtype} on '{x[0].device}', or there is no C++ compiler")
    layers, (p, d, c) = 1 if second is None else 2, first.shape
    if any(each.dtype != x[0].dtype for each in (*x, first, scales, shifts) + (() if second is None else (second,))):
        raise UserError("maps, weights, scales and shifts of a projection are not of one type")
    if sum(each.shape[1] for each in x) != c or any(each.shape[::2] != x[0].shape[::2] for each in x):
        raise UserError(f"maps have shapes {[tuple(each.shape) for each in x]}; the weights read {c} channels")
    affine = [tuple(each.shape) for each in (scales, shifts)]
    if affine != [(layers, p * d)] * 2 or len(eps) != layers or (second is not None and second.shape != (p, d, d)):
        raise UserError(f"scales and shifts have shapes {affine}; {layers} layers of {p} x {d} channels need others")


@torch.library.custom_op("atrc::projection", mutates_args=())
def _projection(
    x: list[Tensor],
    first: Tensor,
    second: Tensor | None,
    scales: Tensor,
    shifts: Tensor,
    eps: list[float],
    activation: str,
) -> tuple[Tensor, Tensor, Tensor]:
    p, d, c = first.shape
    y, statistics = _multiply([each.contiguous() for each in x], None, first.reshape(1, p * d, c))
    norm = _norm(statistics, scales[0], shifts[0], eps[0])
    if second is None:
        return _activate(y, norm, torch.empty_like(y), activation).unflatten(1, (p, d)), y, statistics[None]
    z, last = _multiply([y], norm, second)
    z = _activate(z, _norm(last, scales[1], shifts[1], eps[1]), z, activation)
    return z.unflatten(1, (p, d)), y, torch.stack([statistics, last])


@torch.library.custom_op("atrc::projection_backward", mutates_args=())
def _projection_backward(
    grad: Tensor,
    x: list[Tensor],
    y: Tensor,
    first: Tensor,
    second: Tensor | None,
    scales: Tensor,
    shifts: Tensor,
    statistics: Tensor,
    eps: list[float],
    activation: str,
) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    p, d, c = first.shape
    grad, x = grad.flatten(1, 2).contiguous(), [each.contiguous() for each in x]
    norms = [_norm(*layer) for layer in zip(statistics, scales, shifts, eps, strict=True)]
    affine = []
    grad_second = first.new_empty(0)
    if second is not None:
        (grad,), grad_second, sums = _differentiate_layer(grad, [y], None, norms[0], second, norms[1], activation)
        affine, activation = [sums], "relu"
    flat = first.reshape(1, p * d, c)
    grads, grad_first, sums = _differentiate_layer(grad, x, y, None, flat, norms[0], activation)
    return grads, grad_first.view_as(first), grad_second, torch.stack([sums, *affine])


def _norm(statistics: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Return what to multiply by and add, the mean, and what to divide deviations from it by, inverted."""
    mean, variance = statistics
    inverse = (variance + eps).rsqrt()
    return torch.stack([scale * inverse, shift - mean * scale * inverse, mean, inverse])


def _multiply(x: list[Tensor], before: Tensor | None, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply by the weights (groups outputs inputs) what is given, or that normalised; mean and variance."""
    y = weight.new_empty(x[0].shape[0], weight.shape[0] * weight.shape[1], x[0].shape[2])
    statistics = y.new_empty(2, y.shape[1])
    tensors = (_table(x), _or_any(before, y), weight.contiguous(), y, statistics)
    _call("projection", tensors, y, weight, before is not None, 0, len(x))
    return y, statistics


def _activate(y: Tensor, norm: Tensor, out: Tensor, activation: str) -> Tensor:
    library = native.library("projection", y.dtype)
    native.call(library, "projection_activate", (y, norm, out), *y.shape, ACTIVATIONS.index(activation))
    return out


def _differentiate_layer(
    grad: Tensor,
    x: list[Tensor],
    y: Tensor | None,
    before: Tensor | None,
    weight: Tensor,
    norm: Tensor,
    activation: str,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return the gradients of inputs, weights, and of shift and scale; `y` is None where the inputs are hidden."""
    weight, start, read = weight.contiguous(), _or_any(before, grad), x[0] if y is None else y
    rest = (grad, weight, before is not None, ACTIVATIONS.index(activation), len(x))
    scale, inverse = norm[0], norm[3]
    sums = grad.new_empty(2, grad.shape[1])
    _call("projection_sums", (grad, read, start, weight, norm, sums), *rest)
    sums[1] *= inverse
    offset, slope = -scale * torch.stack([sums[0], sums[1] * inverse]) / (grad.shape[0] * grad.shape[2])
    table = torch.stack([*norm[:3], slope, offset])
    grads, grad_weight = [torch.empty_like(each) for each in x], torch.empty_like(weight)
    tensors = (_table(x), read, start, weight, weight.mT.contiguous(), table, _table(grads), grad_weight)
    _call("projection_backward", (grad, *tensors), *rest)
    return grads, grad_weight, sums


def _table(maps: list[Tensor]) -> Tensor:
    """Return of every map its address and its channels."""
    return torch.tensor([(each.data_ptr(), each.shape[1]) for each in maps])


def _or_any(norm: Tensor | None, x: Tensor) -> Tensor:
    return x if norm is None else norm  # of no norm, nothing is read


def _call(function: str, tensors: tuple[Tensor, ...], y: Tensor, weight: Tensor, *rest: int) -> None:
    groups, outputs, inputs = weight.shape
    library = native.library("projection", y.dtype)
    native.call(library, function, tensors, y.shape[0], groups, inputs, outputs, y.shape[2], *rest)


@_projection.register_fake
def _(
    x: list[Tensor],
    first: Tensor,
    second: Tensor | None,
    scales: Tensor,
    shifts: Tensor,
    eps: list[float],
    activation: str,
) -> tuple[Tensor, Tensor, Tensor]:
    (p, d, _), (b, _, n) = first.shape, x[0].shape
    return first.new_empty(b, p, d, n), first.new_empty(b, p * d, n), first.new_empty(len(scales), 2, p * d)


@_projection_backward.register_fake
def _(
    grad: Tensor,
    x: list[Tensor],
    y: Tensor,
    first: Tensor,
    second: Tensor | None,
    scales: Tensor,
    shifts: Tensor,
    statistics: Tensor,
    eps: list[float],
    activation: str,
) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    grad_second = first.new_empty(0 if second is None else second.shape)
    grads = [each.new_empty(each.shape) for each in x]
    return grads, first.new_empty(first.shape), grad_second, statistics.new_empty(statistics.shape)


def _remember(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, first, second, scales, shifts, ctx.eps, ctx.activation = inputs
    _, y, statistics = output
    ctx.mark_non_differentiable(y, statistics)
    ctx.set_materialize_grads(False)  # no zeros for these two
    ctx.save_for_backward(y, first, second, scales, shifts, statistics, *x)


def _differentiate(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Any, ...]:
    y, first, second, scales, shifts, statistics, *x = ctx.saved_tensors
    if grad is None:  # nobody asked
        return [None] * len(x), None, None, None, None, None, None
    grads = _projection_backward(grad, x, y, first, second, scales, shifts, statistics, ctx.eps, ctx.activation)
    grad_x, grad_first, grad_second, affine = grads
    return grad_x, grad_first, None if second is None else grad_second, affine[:, 1], affine[:, 0], None, None


_projection.register_autograd(_differentiate, setup_context=_remember)


# The formulas see shapes. Products that are made again do not count: they are what it saves to keep.
@register_flop_formula(torch.ops.atrc.projection)
def _forward_flops(
    x: list[tuple[int, ...]], first: tuple[int, ...], second: tuple[int, ...] | None, *_: Any, **__: Any
) -> int:
    p, d, c = first
    return 2 * x[0][0] * x[0][2] * p * d * (c + (d if second else 0))


@register_flop_formula(torch.ops.atrc.projection_backward)
def _backward_flops(
    grad: tuple[int, ...],
    x: list[tuple[int, ...]],
    y: tuple[int, ...],
    first: tuple[int, ...],
    second: tuple[int, ...] | None,
    *_: Any,
    **__: Any,
) -> int:
    return 2 * _forward_flops(x, first, second)
