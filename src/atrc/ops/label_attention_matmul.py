"""Attention to label regions as matrix products, in plain PyTorch.

`attend` does all pixels at once and traces with dynamic sizes. `forward` and `backward` go over chunks of pixels, so
that the scores of one chunk exist at a time. `attend_fused` is for GPUs, whose own kernels keep no scores.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# b batch, d query/key channels, c value channels, r label regions, h w grid, n pixels

CHUNK = 1 << 18  # scores that exist at a time


def attend(
    query: Float[Tensor, "b d h w"], key: Float[Tensor, "b d r"], value: Float[Tensor, "b c r"]
) -> Float[Tensor, "b c h w"]:
    """Label attention with every score at once, for export."""
    weights = _weights(query.flatten(2), key / math.sqrt(key.shape[1]))
    return (value @ weights).unflatten(2, query.shape[2:])


def attend_fused(
    query: Float[Tensor, "b d h w"], key: Float[Tensor, "b d r"], value: Float[Tensor, "b c r"]
) -> Float[Tensor, "b c h w"]:
    """Label attention by `scaled_dot_product_attention`.

    Its kernels that keep no scores need channels in multiples of eight; others fall back to one that keeps them.
    """
    scale, channels = 1 / math.sqrt(query.shape[1]), value.shape[1]
    q, k, v = (_in_eights(x).mT[:, None].contiguous() for x in (query.flatten(2), key, value))
    out = F.scaled_dot_product_attention(q, k, v, scale=scale)[:, 0]
    return out.mT[:, :channels].unflatten(2, query.shape[2:]).contiguous()


def forward(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Label attention, one chunk of pixels after the other."""
    batch, d, height, width = query.shape
    query, key = query.flatten(2), key / math.sqrt(d)
    out = value.new_empty(batch, value.shape[1], height * width)
    for pixels in _chunks(query, key):
        out[..., pixels] = value @ _weights(query[..., pixels], key)
    return out.unflatten(2, (height, width))


def backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `forward` for query, key and value; the weights are computed again."""
    scale, grid = 1 / math.sqrt(query.shape[1]), query.shape[2:]
    query, grad, key = query.flatten(2), grad.flatten(2), key * scale
    grad_query, grad_key, grad_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
    for pixels in _chunks(query, key):
        q, g = query[..., pixels], grad[..., pixels]
        weights = _weights(q, key)
        grad_value += g @ weights.mT
        grad_scores = torch._softmax_backward_data(value.mT @ g, weights, 1, weights.dtype)
        grad_query[..., pixels] = key @ grad_scores
        grad_key += q @ grad_scores.mT
    return grad_query.unflatten(2, grid), grad_key.mul_(scale), grad_value


def _weights(query: Float[Tensor, "b d n"], key: Float[Tensor, "b d r"]) -> Float[Tensor, "b r n"]:
    return (key.mT @ query).softmax(1)


def _chunks(query: Tensor, key: Tensor) -> Iterator[slice]:
    size = max(CHUNK // (key.shape[0] * key.shape[2]), 16)
    return (slice(start, start + size) for start in range(0, query.shape[2], size))


def _in_eights(x: Float[Tensor, "b d _"]) -> Float[Tensor, "b d8 _"]:
    return F.pad(x, (0, 0, 0, -x.shape[1] % 8))
