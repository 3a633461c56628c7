"""Attention to label regions as matrix products, in plain PyTorch.

`attend` does all pixels at once and traces with dynamic sizes. `forward` and `backward` go over chunks of pixels,
so that the scores of only one chunk exist at a time. `attend_fused` is for GPUs, whose own kernels keep no scores.
"""

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

# b batch, p source-target pairs, d query/key channels, c value channels, r label regions, h w grid

CHUNK = 1 << 18  # scores that exist at a time


def attend(
    query: Float[Tensor, "b p d h w"],
    key: Float[Tensor, "b p d r"],
    value: Float[Tensor, "b p c r"],
    counts: Sequence[int] | None,
) -> Float[Tensor, "b p c h w"]:
    """Label attention with every score at once, for exporting."""
    key, value, mask = _without_padding(key, value, counts)
    weights = _weights(query.flatten(3), key / math.sqrt(key.shape[2]), mask)
    return (value @ weights).unflatten(3, query.shape[3:])


def attend_fused(
    query: Float[Tensor, "b p d h w"],
    key: Float[Tensor, "b p d r"],
    value: Float[Tensor, "b p c r"],
    counts: Sequence[int] | None,
) -> Float[Tensor, "b p c h w"]:
    """Label attention by `scaled_dot_product_attention`, with the pairs as its heads.

    Its kernels that keep no scores want channels in eights; with other numbers some devices would fall back to
    one that does.
    """
    scale, channels = 1 / math.sqrt(query.shape[2]), value.shape[2]
    key, value, mask = _without_padding(key, value, counts)
    q, k, v = (_in_eights(x).mT.contiguous() for x in (query.flatten(3), key, value))
    out = F.scaled_dot_product_attention(q, k, v, None if mask is None else mask.mT, scale=scale)
    return out.mT[:, :, :channels].unflatten(3, query.shape[3:]).contiguous()


def forward(query: Tensor, key: Tensor, value: Tensor, counts: Sequence[int]) -> Tensor:
    """Label attention, one chunk of pixels after the other."""
    batch, pairs, d, height, width = query.shape
    key, value, mask = _without_padding(key, value, counts)
    query, key = query.flatten(3), key / math.sqrt(d)
    out = value.new_empty(batch, pairs, value.shape[2], height * width)
    for pixels in _chunks(query, key):
        out[..., pixels] = value @ _weights(query[..., pixels], key, mask)
    return out.unflatten(3, (height, width))


def backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, counts: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `forward` for query, key and value; the weights are computed again."""
    scale, grid = 1 / math.sqrt(query.shape[2]), query.shape[3:]
    key, value, mask = _without_padding(key, value, counts)
    query, grad, key = query.flatten(3), grad.flatten(3), key * scale
    grad_query, grad_key, grad_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
    for pixels in _chunks(query, key):
        q, g = query[..., pixels], grad[..., pixels]
        weights = _weights(q, key, mask)
        grad_value += g @ weights.mT
        grad_scores = torch._softmax_backward_data(value.mT @ g, weights, 2, weights.dtype)
        grad_query[..., pixels] = key @ grad_scores
        grad_key += q @ grad_scores.mT
    return grad_query.unflatten(3, grid), grad_key.mul_(scale), grad_value


def _weights(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the regions: (b p r pixels)."""
    scores = key.mT @ query
    return (scores if mask is None else scores + mask).softmax(2)


def _chunks(query: Tensor, key: Tensor) -> Iterator[slice]:
    pixels, scores_of_a_pixel = query.shape[3], key.shape[0] * key.shape[1] * key.shape[3]
    size = max(CHUNK // scores_of_a_pixel, 16)
    return (slice(start, start + size) for start in range(0, pixels, size))


def _without_padding(
    key: Float[Tensor, "b p d r"], value: Float[Tensor, "b p c r"], counts: Sequence[int] | None
) -> tuple[Float[Tensor, "b p d r"], Float[Tensor, "b p c r"], Float[Tensor, "p r 1"] | None]:
    """Keys and values with zeros in the padding, and what to add to the scores: -inf there, None for no padding."""
    if counts is None or all(count == key.shape[3] for count in counts):
        return key, value, None
    padding = _padding(key, counts)
    mask = key.new_zeros(padding.shape).masked_fill(padding, -math.inf)
    return key.masked_fill(padding[:, None], 0), value.masked_fill(padding[:, None], 0), mask[:, :, None]


def _padding(key: Float[Tensor, "b p d r"], counts: Sequence[int]) -> Bool[Tensor, "p r"]:
    region = torch.arange(key.shape[3], device=key.device)
    return torch.stack([region >= count for count in counts])  # a tensor of the counts would be copied to a GPU


def _in_eights(x: Float[Tensor, "b p d _"]) -> Float[Tensor, "b p d8 _"]:
    return F.pad(x, (0, 0, 0, -x.shape[2] % 8))
