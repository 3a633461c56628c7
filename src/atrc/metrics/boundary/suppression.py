"""Dollár's non-maximum suppression of boundary maps. Importing this module imports numba."""

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from atrc.jit import jit

_RADIUS = 4  # [px] of the triangle filter before directions are taken
_MARGIN = 1.01  # a neighbour suppresses only if it is stronger by more than 1 %
_BORDER = 5  # [px] strengths fade to 0 over this distance to the image border


# h w image
def suppress(probability: Float32[ndarray, "h w"]) -> Float32[ndarray, "h w"]:
    """Suppress as ``atrc.metrics.boundary.suppress``."""
    across_x, across_y = _normals(probability)
    strength = np.empty_like(probability)
    _suppress(np.ascontiguousarray(probability), across_x, across_y, strength)
    return strength * _fade(strength.shape[0])[:, None] * _fade(strength.shape[1])


def triangle_filter(values: Float32[ndarray, "h w"], radius: int) -> Float32[ndarray, "h w"]:
    """Smooth by a separable triangle; at the borders the image goes on as its mirror image.

    Equal to the bit to ``scipy.ndimage.correlate1d`` along columns, then rows; SciPy takes long to import.
    """
    smooth = np.empty_like(values)
    _filter(values, np.arange(radius + 1, 0, -1) / (radius + 1) ** 2, smooth)
    return smooth


@jit(nogil=True)
@no_type_check
def _filter(values, half, smooth):
    """Correlate with the weights in ``half``: of the centre, then of the distances 1, 2, .."""
    height, width = values.shape
    reach = half.size - 1
    total = np.empty(width)
    line = np.empty(width + 2 * reach)
    for y in range(height):
        for x in range(width):
            total[x] = values[y, x] * half[0]
        for step in range(reach, 0, -1):
            above, below = values[_mirror(y - step, height)], values[_mirror(y + step, height)]
            for x in range(width):
                total[x] += (np.float64(above[x]) + np.float64(below[x])) * half[step]
        for x in range(width):
            line[reach + x] = np.float32(total[x])
        for x in range(reach):
            line[x] = line[reach + _mirror(x - reach, width)]
            line[reach + width + x] = line[reach + _mirror(width + x, width)]
        for x in range(width):
            total[x] = line[reach + x] * half[0]
        for step in range(reach, 0, -1):
            for x in range(width):
                total[x] += (line[reach + x - step] + line[reach + x + step]) * half[step]
        for x in range(width):
            smooth[y, x] = total[x]


@jit(nogil=True)
@no_type_check
def _mirror(index, length):
    index %= 2 * length
    return min(index, 2 * length - 1 - index)


def _normals(probability: Float32[ndarray, "h w"]) -> tuple[Float32[ndarray, "h w"], Float32[ndarray, "h w"]]:
    """Directions across the boundaries, not normalised, from the second derivatives of the smoothed map."""
    d_y, d_x = np.gradient(triangle_filter(probability, _RADIUS))
    d_xy, d_xx = np.gradient(d_x)
    d_yy = np.gradient(d_y, axis=0)
    return d_xx + np.float32(1e-5), d_yy * np.sign(-d_xy)


def _fade(length: int) -> Float32[ndarray, " length"]:
    width = min(_BORDER, length // 2)
    ramp = np.arange(width, dtype=np.float32) / np.float32(max(width, 1))
    return np.concatenate([ramp, np.ones(length - 2 * width, np.float32), ramp[::-1]])


@jit(nogil=True)
@no_type_check
def _suppress(probability, across_x, across_y, strength):
    height, width = probability.shape
    for y in range(height):
        for x in range(width):
            value = probability[y, x]
            strength[y, x] = value
            if value == 0:
                continue
            norm = math.hypot(across_x[y, x], across_y[y, x])
            step_x = across_x[y, x] / norm if norm > 0 else 1.0
            step_y = across_y[y, x] / norm if norm > 0 else 0.0
            stronger = max(
                _interpolate(probability, y - step_y, x - step_x),
                _interpolate(probability, y + step_y, x + step_x),
            )
            if value * np.float32(_MARGIN) < stronger:
                strength[y, x] = 0


@jit(nogil=True)
@no_type_check
def _interpolate(values, y, x):
    # The original stops 1.001 px short of the far sides, so that the cell's far corner exists.
    height, width = values.shape
    y = min(max(y, 0.0), height - 1.001)
    x = min(max(x, 0.0), width - 1.001)
    top, left = int(y), int(x)
    down, right = np.float32(y - top), np.float32(x - left)
    up, back = np.float32(1) - down, np.float32(1) - right
    upper = values[top, left] * back + values[top, left + 1] * right
    lower = values[top + 1, left] * back + values[top + 1, left + 1] * right
    return upper * up + lower * down
