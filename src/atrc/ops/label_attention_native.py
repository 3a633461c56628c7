"""Attention to label regions by the C++ kernel `label_attention.cpp`."""

import torch
from torch import Tensor

from atrc.ops import native


def available(dtype: torch.dtype) -> bool:
    """Whether the kernel exists for this type; builds it the first time."""
    return native.available("label_attention", dtype)


def forward(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Label attention of contiguous tensors, all of one type."""
    out = value.new_empty(*value.shape[:2], *query.shape[2:])
    _call("label_attention", (query, key, value, out), query, value)
    return out


def backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `forward` for query, key and value; the weights are computed again."""
    grads = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
    _call("label_attention_backward", (grad, query, key, value, *grads), query, value)
    return grads


def _call(function: str, tensors: tuple[Tensor, ...], query: Tensor, value: Tensor) -> None:
    batch, d, height, width = query.shape
    _, c, regions = value.shape
    library = native.library("label_attention", query.dtype)
    native.call(library, function, tensors, batch, d, c, regions, height * width)
