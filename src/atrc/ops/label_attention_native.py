"""Attention to label regions by the C++ kernel `label_attention.cpp`."""

from collections.abc import Sequence

import torch
from torch import Tensor

from atrc.ops import native


def available(dtype: torch.dtype) -> bool:
    """Whether the kernel is there for this type; builds it the first time."""
    return native.available("label_attention", dtype)


def forward(query: Tensor, key: Tensor, value: Tensor, counts: Sequence[int]) -> Tensor:
    """Label attention of contiguous tensors, all of one type."""
    batch, pairs, _, height, width = query.shape
    out = value.new_empty(batch, pairs, value.shape[2], height, width)
    _call("label_attention", (query, key, value, out), query, value, counts)
    return out


def backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, counts: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `forward` for query, key and value; the weights are computed again."""
    grads = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
    _call("label_attention_backward", (grad, query, key, value, *grads), query, value, counts)
    return grads


def _call(function: str, tensors: tuple[Tensor, ...], query: Tensor, value: Tensor, counts: Sequence[int]) -> None:
    batch, pairs, d, height, width = query.shape
    _, _, c, regions = value.shape
    library = native.library("label_attention", query.dtype)
    native.call(library, function, (*tensors, torch.tensor(counts)), batch, pairs, d, c, regions, height * width)
