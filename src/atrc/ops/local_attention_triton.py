# mypy: allow-untyped-defs
# ruff: noqa: N803 (constants of a kernel are capitals)
"""Local attention for CUDA devices, in Triton.

One program works on a tile of pixels and walks over the tile and half a window around it, some rows at a time: dense
products on tensor cores, of which masks keep the windows, and an online softmax. So a map is read a few times, not once
for every offset in the window. Nothing is added atomically: results do not differ from run to run.

Factors of half precision are exact in TF32, and each product of single precision is made of three of TF32; sums are in
single precision. So far this has run in Triton's interpreter on a CPU only, and been compiled, not run, for real
devices (`tests/ops/test_local_attention_triton.py`); it has not been timed.
"""

import functools
import logging
import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

log = logging.getLogger(__name__)

COLUMNS = 8  # of a tile
BLOCK = 4096  # channels times keys that are looked at together: what fits in registers and shared memory
LAUNCH = {"num_warps": 4, "num_stages": 1}


@functools.cache
def available(device: torch.device) -> bool:
    """Whether Triton works: it needs a C compiler and Python's headers. Tries it the first time."""
    try:
        pixels = torch.zeros(1, 1, 2, 2, device=device)
        forward(pixels, pixels, pixels, 1)
    except Exception as error:  # of the compiler, the driver, the linker ..
        log.warning("local attention runs without its Triton kernels, several times slower: %s", error)
        return False
    return True


def fits(query: Tensor, value: Tensor, window: int) -> bool:
    """Whether a row of keys fits in a multiprocessor: 256 channels with a window of 9."""
    constants = constants_of(query, value, window)
    return constants["KEY_COLUMNS"] * max(constants["D_BLOCK"], constants["C_BLOCK"]) <= BLOCK


def forward(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    """Local attention of contiguous tensors, all of one type."""
    out = torch.empty_like(value)
    grid, sizes, constants = _grid(query, value), _sizes(query), constants_of(query, value, window)
    with torch.cuda.device_of(query):
        _forward[grid](query, key, value, out, *sizes, **constants, **LAUNCH)
    return out


def backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, window: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `forward` for query, key and value; the weights are computed again."""
    grads = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
    batch, _, height, width = query.shape
    normalizer, mean = query.new_empty(2, batch, height, width, dtype=torch.float32)
    inputs, rest = (grad, query, key, value), (normalizer, mean)
    grid, sizes, constants = _grid(query, value), _sizes(query), constants_of(query, value, window)
    with torch.cuda.device_of(query):
        _backward_query[grid](*inputs, *rest, grads[0], *sizes, **constants, **LAUNCH)
        _backward_key_value[grid](*inputs, *rest, *grads[1:], *sizes, **constants, **LAUNCH)
    return grads


def _grid(query: Tensor, value: Tensor) -> tuple[int]:
    """Number of tiles: all along one axis, as the others end at 65535."""
    batch, _, height, width = query.shape
    return (batch * triton.cdiv(height, _rows(query, value)) * triton.cdiv(width, COLUMNS),)


def _sizes(query: Tensor) -> tuple[int, int, float]:
    return query.shape[2], query.shape[3], 1 / math.sqrt(query.shape[1])


def _rows(query: Tensor, value: Tensor) -> int:
    """Rows of a tile."""
    return 4 if max(query.shape[1], value.shape[1]) <= 64 else 2


def constants_of(query: Tensor, value: Tensor, window: int) -> dict[str, Any]:
    """What the kernels are compiled for; products need 16 rows and columns at least."""
    d, c = query.shape[1], value.shape[1]
    d_block, c_block = (max(16, triton.next_power_of_2(channels)) for channels in (d, c))
    key_columns = max(16, triton.next_power_of_2(COLUMNS + window - 1))
    return {
        "D": d,
        "C": c,
        "D_BLOCK": d_block,
        "C_BLOCK": c_block,
        "RADIUS": window // 2,
        "ROWS": _rows(query, value),
        "COLUMNS": COLUMNS,
        "KEY_ROWS": max(1, min(32, BLOCK // max(d_block, c_block)) // key_columns),
        "KEY_COLUMNS": key_columns,
        "PRECISION": "tf32x3" if query.dtype == torch.float32 else "tf32",
    }


@triton.jit
def _place(height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Image, first row and first column of this program's tile."""
    across, down = tl.cdiv(width, COLUMNS), tl.cdiv(height, ROWS)
    tile = tl.program_id(0)
    return tile // (across * down), tile // across % down * ROWS, tile % across * COLUMNS


@triton.jit
def _block(top, left, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Row and column of every pixel of a block."""
    index = tl.arange(0, ROWS * COLUMNS)
    return top + index // COLUMNS, left + index % COLUMNS


@triton.jit
def _inside(y, x, height, width):
    return (y >= 0) & (y < height) & (x >= 0) & (x < width)


@triton.jit
def _image(maps, b, height, width, CHANNELS: tl.constexpr):
    """Where image b begins: in 64 bits, as all images together may have more than 2^31 numbers."""
    return maps + b.to(tl.int64) * CHANNELS * height * width


@triton.jit
def _at(y, x, height, width, CHANNEL_BLOCK: tl.constexpr):
    return tl.arange(0, CHANNEL_BLOCK)[None, :] * (height * width) + (y * width + x)[:, None]


@triton.jit
def _exists(y, x, height, width, CHANNELS: tl.constexpr, CHANNEL_BLOCK: tl.constexpr):
    return (tl.arange(0, CHANNEL_BLOCK) < CHANNELS)[None, :] & _inside(y, x, height, width)[:, None]


@triton.jit
def _load(image, y, x, height, width, CHANNELS: tl.constexpr, CHANNEL_BLOCK: tl.constexpr):
    """(pixels, channels) of an image, in single precision; 0 outside it."""
    exists = _exists(y, x, height, width, CHANNELS, CHANNEL_BLOCK)
    return tl.load(image + _at(y, x, height, width, CHANNEL_BLOCK), mask=exists, other=0.0).to(tl.float32)


@triton.jit
def _store(image, values, y, x, height, width, CHANNELS: tl.constexpr, CHANNEL_BLOCK: tl.constexpr):
    exists = _exists(y, x, height, width, CHANNELS, CHANNEL_BLOCK)
    tl.store(image + _at(y, x, height, width, CHANNEL_BLOCK), values, mask=exists)


@triton.jit
def _near(y, x, other_y, other_x, height, width, RADIUS: tl.constexpr):
    """(pixels, others): whether the other pixel exists and is in the window of the pixel."""
    down, across = tl.abs(y[:, None] - other_y[None, :]), tl.abs(x[:, None] - other_x[None, :])
    return (down <= RADIUS) & (across <= RADIUS) & _inside(other_y, other_x, height, width)[None, :]


@triton.jit
def _scores(a, b, PRECISION: tl.constexpr):
    """Products of rows of channels: (pixels, others)."""
    return tl.dot(a, tl.trans(b), input_precision=PRECISION)


@triton.jit
def _forward(
    query, key, value, out, height, width, scale,
    D: tl.constexpr, C: tl.constexpr, D_BLOCK: tl.constexpr, C_BLOCK: tl.constexpr, RADIUS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, KEY_ROWS: tl.constexpr, KEY_COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    b, top, left = _place(height, width, ROWS, COLUMNS)
    key, value = _image(key, b, height, width, D), _image(value, b, height, width, C)
    y, x = _block(top, left, ROWS, COLUMNS)
    q = _load(_image(query, b, height, width, D), y, x, height, width, D, D_BLOCK)
    most = tl.full((ROWS * COLUMNS,), -1e30, tl.float32)
    total = tl.zeros((ROWS * COLUMNS,), tl.float32)
    sums = tl.zeros((ROWS * COLUMNS, C_BLOCK), tl.float32)
    for row in range(max(top - RADIUS, 0), min(top + ROWS + RADIUS, height), KEY_ROWS):
        ky, kx = _block(row, left - RADIUS, KEY_ROWS, KEY_COLUMNS)
        k = _load(key, ky, kx, height, width, D, D_BLOCK)
        v = _load(value, ky, kx, height, width, C, C_BLOCK)
        near = _near(y, x, ky, kx, height, width, RADIUS)
        score = tl.where(near, _scores(q, k, PRECISION) * scale, float("-inf"))
        higher = tl.maximum(most, tl.max(score, 1))
        decay, weight = tl.exp(most - higher), tl.exp(score - higher[:, None])
        total = total * decay + tl.sum(weight, 1)
        sums = tl.dot(weight, v, sums * decay[:, None], input_precision=PRECISION)
        most = higher
    _store(_image(out, b, height, width, C), sums / total[:, None], y, x, height, width, C, C_BLOCK)


@triton.jit
def _backward_query(
    grad, query, key, value, normalizer, mean, grad_query, height, width, scale,
    D: tl.constexpr, C: tl.constexpr, D_BLOCK: tl.constexpr, C_BLOCK: tl.constexpr, RADIUS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, KEY_ROWS: tl.constexpr, KEY_COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """First the log-sum-exp of the scores and the mean gradient of the weights, then the gradient of the query."""
    b, top, left = _place(height, width, ROWS, COLUMNS)
    key, value = _image(key, b, height, width, D), _image(value, b, height, width, C)
    y, x = _block(top, left, ROWS, COLUMNS)
    q = _load(_image(query, b, height, width, D), y, x, height, width, D, D_BLOCK)
    g = _load(_image(grad, b, height, width, C), y, x, height, width, C, C_BLOCK)
    most = tl.full((ROWS * COLUMNS,), -1e30, tl.float32)
    total = tl.zeros((ROWS * COLUMNS,), tl.float32)
    average = tl.zeros((ROWS * COLUMNS,), tl.float32)
    for row in range(max(top - RADIUS, 0), min(top + ROWS + RADIUS, height), KEY_ROWS):
        ky, kx = _block(row, left - RADIUS, KEY_ROWS, KEY_COLUMNS)
        k = _load(key, ky, kx, height, width, D, D_BLOCK)
        v = _load(value, ky, kx, height, width, C, C_BLOCK)
        near = _near(y, x, ky, kx, height, width, RADIUS)
        score = tl.where(near, _scores(q, k, PRECISION) * scale, float("-inf"))
        higher = tl.maximum(most, tl.max(score, 1))
        decay, weight = tl.exp(most - higher), tl.exp(score - higher[:, None])
        total = total * decay + tl.sum(weight, 1)
        average = average * decay + tl.sum(weight * _scores(g, v, PRECISION), 1)
        most = higher
    log_sum, average = most + tl.log(total), average / total
    at = b.to(tl.int64) * height * width + y * width + x
    tl.store(normalizer + at, log_sum, mask=_inside(y, x, height, width))
    tl.store(mean + at, average, mask=_inside(y, x, height, width))

    sums = tl.zeros((ROWS * COLUMNS, D_BLOCK), tl.float32)
    for row in range(max(top - RADIUS, 0), min(top + ROWS + RADIUS, height), KEY_ROWS):
        ky, kx = _block(row, left - RADIUS, KEY_ROWS, KEY_COLUMNS)
        k = _load(key, ky, kx, height, width, D, D_BLOCK)
        v = _load(value, ky, kx, height, width, C, C_BLOCK)
        near = _near(y, x, ky, kx, height, width, RADIUS)
        weight = tl.where(near, tl.exp(_scores(q, k, PRECISION) * scale - log_sum[:, None]), 0.0)
        slope = weight * (_scores(g, v, PRECISION) - average[:, None])
        sums = tl.dot(slope, k, sums, input_precision=PRECISION)
    _store(_image(grad_query, b, height, width, D), sums * scale, y, x, height, width, D, D_BLOCK)


@triton.jit
def _backward_key_value(
    grad, query, key, value, normalizer, mean, grad_key, grad_value, height, width, scale,
    D: tl.constexpr, C: tl.constexpr, D_BLOCK: tl.constexpr, C_BLOCK: tl.constexpr, RADIUS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, KEY_ROWS: tl.constexpr, KEY_COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """The window is symmetric: the queries that see a key are the neighbours of the key."""
    b, top, left = _place(height, width, ROWS, COLUMNS)
    query, grad = _image(query, b, height, width, D), _image(grad, b, height, width, C)
    normalizer, mean = _image(normalizer, b, height, width, 1), _image(mean, b, height, width, 1)
    y, x = _block(top, left, ROWS, COLUMNS)
    k = _load(_image(key, b, height, width, D), y, x, height, width, D, D_BLOCK)
    v = _load(_image(value, b, height, width, C), y, x, height, width, C, C_BLOCK)
    key_sums = tl.zeros((ROWS * COLUMNS, D_BLOCK), tl.float32)
    value_sums = tl.zeros((ROWS * COLUMNS, C_BLOCK), tl.float32)
    for row in range(max(top - RADIUS, 0), min(top + ROWS + RADIUS, height), KEY_ROWS):
        qy, qx = _block(row, left - RADIUS, KEY_ROWS, KEY_COLUMNS)
        inside = _inside(qy, qx, height, width)
        q = _load(query, qy, qx, height, width, D, D_BLOCK)
        g = _load(grad, qy, qx, height, width, C, C_BLOCK)
        log_sum = tl.load(normalizer + qy * width + qx, mask=inside, other=0.0)
        average = tl.load(mean + qy * width + qx, mask=inside, other=0.0)
        near = _near(y, x, qy, qx, height, width, RADIUS)
        weight = tl.where(near, tl.exp(_scores(k, q, PRECISION) * scale - log_sum[None, :]), 0.0)
        value_sums = tl.dot(weight, g, value_sums, input_precision=PRECISION)
        slope = weight * (_scores(v, g, PRECISION) - average[None, :])
        key_sums = tl.dot(slope, q, key_sums, input_precision=PRECISION)
    _store(_image(grad_key, b, height, width, D), key_sums * scale, y, x, height, width, D, D_BLOCK)
    _store(_image(grad_value, b, height, width, C), value_sums, y, x, height, width, C, C_BLOCK)
