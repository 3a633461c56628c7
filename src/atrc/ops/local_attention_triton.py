# mypy: allow-untyped-defs
# ruff: noqa: N803 (constants of a kernel are capitals)
"""Local attention for CUDA devices, in Triton.

One program works on BLOCK neighbouring pixels of a row and walks over the window with an online softmax; sums are
in single precision. So far it has run in Triton's interpreter on a CPU only, and been compiled, not run, for
compute capability 8.0 and 9.0; it has not been timed.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 16


def forward(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    """Local attention of contiguous tensors, all of one type."""
    out = torch.empty_like(value)
    with torch.cuda.device_of(query):
        _forward[_grid(query)](query, key, value, out, **_constants(query, value, window))
    return out


def backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, window: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `forward` for query, key and value; the weights are computed again."""
    grads = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
    normalizer = torch.empty_like(query[:, 0], dtype=torch.float32, memory_format=torch.contiguous_format)
    mean = torch.empty_like(normalizer)
    constants = _constants(query, value, window)
    with torch.cuda.device_of(query):
        _backward_query[_grid(query)](grad, query, key, value, grads[0], normalizer, mean, **constants)
        _backward_key_value[_grid(query)](grad, query, key, value, normalizer, mean, *grads[1:], **constants)
    return grads


def _grid(query: Tensor) -> tuple[int, int, int]:
    batch, _, height, width = query.shape
    return triton.cdiv(width, BLOCK), height, batch


def _constants(query: Tensor, value: Tensor, window: int) -> dict[str, int | float]:
    d, c = query.shape[1], value.shape[1]
    return {
        "height": query.shape[2],
        "width": query.shape[3],
        "scale": 1 / math.sqrt(d),
        "D": d,
        "C": c,
        "D_BLOCK": triton.next_power_of_2(d),
        "C_BLOCK": triton.next_power_of_2(c),
        "RADIUS": window // 2,
        "BLOCK": BLOCK,
    }


@triton.jit
def _load(maps, b, y, x, height, width, CHANNELS: tl.constexpr, CHANNEL_BLOCK: tl.constexpr):
    """(channels, pixels x of row y) of image b; 0 left and right of it."""
    c = tl.arange(0, CHANNEL_BLOCK)[:, None]
    inside = (x >= 0) & (x < width)
    at = ((b * CHANNELS + c) * height + y) * width + x[None, :]
    return tl.load(maps + at, mask=(c < CHANNELS) & inside[None, :], other=0.0).to(tl.float32)


@triton.jit
def _store(maps, values, b, y, x, height, width, CHANNELS: tl.constexpr, CHANNEL_BLOCK: tl.constexpr):
    c = tl.arange(0, CHANNEL_BLOCK)[:, None]
    at = ((b * CHANNELS + c) * height + y) * width + x[None, :]
    tl.store(maps + at, values, mask=(c < CHANNELS) & (x < width)[None, :])


@triton.jit
def _forward(
    query, key, value, out, height, width, scale,
    D: tl.constexpr, C: tl.constexpr, D_BLOCK: tl.constexpr, C_BLOCK: tl.constexpr,
    RADIUS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    x, y, b = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1), tl.program_id(2)
    q = _load(query, b, y, x, height, width, D, D_BLOCK) * scale
    most = tl.full((BLOCK,), -1e30, tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    sums = tl.zeros((C_BLOCK, BLOCK), tl.float32)
    for dy in range(max(-RADIUS, -y), min(RADIUS + 1, height - y)):
        for dx in range(-RADIUS, RADIUS + 1):
            k = _load(key, b, y + dy, x + dx, height, width, D, D_BLOCK)
            v = _load(value, b, y + dy, x + dx, height, width, C, C_BLOCK)
            score = tl.where((x + dx >= 0) & (x + dx < width), tl.sum(q * k, 0), float("-inf"))
            higher = tl.maximum(most, score)
            decay, weight = tl.exp(most - higher), tl.exp(score - higher)
            total = total * decay + weight
            sums = sums * decay[None, :] + weight[None, :] * v
            most = higher
    _store(out, sums / total[None, :], b, y, x, height, width, C, C_BLOCK)


@triton.jit
def _backward_query(
    grad, query, key, value, grad_query, normalizer, mean, height, width, scale,
    D: tl.constexpr, C: tl.constexpr, D_BLOCK: tl.constexpr, C_BLOCK: tl.constexpr,
    RADIUS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """First the log-sum-exp of the scores and the mean gradient of the weights, then the gradient of the query."""
    x, y, b = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1), tl.program_id(2)
    q = _load(query, b, y, x, height, width, D, D_BLOCK) * scale
    g = _load(grad, b, y, x, height, width, C, C_BLOCK)
    most = tl.full((BLOCK,), -1e30, tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    average = tl.zeros((BLOCK,), tl.float32)
    for dy in range(max(-RADIUS, -y), min(RADIUS + 1, height - y)):
        for dx in range(-RADIUS, RADIUS + 1):
            k = _load(key, b, y + dy, x + dx, height, width, D, D_BLOCK)
            v = _load(value, b, y + dy, x + dx, height, width, C, C_BLOCK)
            score = tl.where((x + dx >= 0) & (x + dx < width), tl.sum(q * k, 0), float("-inf"))
            higher = tl.maximum(most, score)
            decay, weight = tl.exp(most - higher), tl.exp(score - higher)
            total = total * decay + weight
            average = average * decay + weight * tl.sum(g * v, 0)
            most = higher
    log_sum = most + tl.log(total)
    average = average / total
    tl.store(normalizer + (b * height + y) * width + x, log_sum, mask=x < width)
    tl.store(mean + (b * height + y) * width + x, average, mask=x < width)

    sums = tl.zeros((D_BLOCK, BLOCK), tl.float32)
    for dy in range(max(-RADIUS, -y), min(RADIUS + 1, height - y)):
        for dx in range(-RADIUS, RADIUS + 1):
            k = _load(key, b, y + dy, x + dx, height, width, D, D_BLOCK)
            v = _load(value, b, y + dy, x + dx, height, width, C, C_BLOCK)
            weight = tl.exp(tl.sum(q * k, 0) - log_sum)
            # Where no neighbour is, k is 0 and adds nothing.
            sums += (weight * (tl.sum(g * v, 0) - average))[None, :] * k
    _store(grad_query, sums * scale, b, y, x, height, width, D, D_BLOCK)


@triton.jit
def _backward_key_value(
    grad, query, key, value, normalizer, mean, grad_key, grad_value, height, width, scale,
    D: tl.constexpr, C: tl.constexpr, D_BLOCK: tl.constexpr, C_BLOCK: tl.constexpr,
    RADIUS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The window is symmetric: the queries that see a key are the neighbours of the key."""
    x, y, b = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1), tl.program_id(2)
    k = _load(key, b, y, x, height, width, D, D_BLOCK)
    v = _load(value, b, y, x, height, width, C, C_BLOCK)
    key_sums = tl.zeros((D_BLOCK, BLOCK), tl.float32)
    value_sums = tl.zeros((C_BLOCK, BLOCK), tl.float32)
    for dy in range(max(-RADIUS, -y), min(RADIUS + 1, height - y)):
        for dx in range(-RADIUS, RADIUS + 1):
            inside = (x + dx >= 0) & (x + dx < width)
            q = _load(query, b, y + dy, x + dx, height, width, D, D_BLOCK) * scale
            g = _load(grad, b, y + dy, x + dx, height, width, C, C_BLOCK)
            at = (b * height + y + dy) * width + x + dx
            weight = tl.exp(tl.sum(q * k, 0) - tl.load(normalizer + at, mask=inside, other=0.0))
            average = tl.load(mean + at, mask=inside, other=0.0)
            # Where no query is, q and g are 0 and add nothing.
            value_sums += weight[None, :] * g
            key_sums += (weight * (tl.sum(g * v, 0) - average))[None, :] * q
    _store(grad_key, key_sums, b, y, x, height, width, D, D_BLOCK)
    _store(grad_value, value_sums, b, y, x, height, width, C, C_BLOCK)
