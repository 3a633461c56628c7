"""Local attention by the C++ kernel `local_attention.cpp`."""

import torch
from torch import Tensor

from atrc.ops import native


def available(dtype: torch.dtype, window: int) -> bool:
    """Whether the kernel is there for this type and window; builds it the first time."""
    return native.available("local_attention", dtype, window=window)


def forward(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    """Local attention of contiguous tensors, all of one type."""
    out = torch.empty_like(value)
    _call("local_attention", (query, key, value, out), query, value, window)
    return out


def backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, window: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `forward` for query, key and value; the weights are computed again."""
    grads = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
    _call("local_attention_backward", (grad, query, key, value, *grads), query, value, window)
    return grads


def _call(function: str, tensors: tuple[Tensor, ...], query: Tensor, value: Tensor, window: int) -> None:
    batch, d, height, width = query.shape
    library = native.library("local_attention", query.dtype, window=window)
    native.call(library, function, tensors, batch, d, value.shape[1], height, width)
