"""Photometric distortion with the arithmetic of OpenCV's 8-bit images, as mmsegmentation does it. Imports numba."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from atrc.jit import jit

# h w image

CIRCLE = 180  # hues of an 8-bit image, of 2 degrees each


def distort(
    image: UInt8[Tensor, "3 h w"],
    *,
    brightness: float = 0.0,
    contrast: float = 1.0,
    saturation: float = 1.0,
    hue: int = 0,
    contrast_last: bool = False,
) -> UInt8[Tensor, "3 h w"]:
    """Change brightness, contrast, saturation and hue of an RGB image, one after another, each rounded to 8 bits.

    Args:
        image: The image.
        brightness: Added to all values, which are 0 to 255.
        contrast: Factor of all values.
        saturation: Factor of the saturation in HSV.
        hue: Turn on the colour circle [2 degrees].
        contrast_last: Change the contrast after the hue, not before the saturation.
    """
    planes = _scaled(image.contiguous().numpy().reshape(3, -1), 1.0, brightness)
    if not contrast_last:
        planes = _scaled(planes, contrast, 0.0)
    planes = _recoloured(planes, saturation, 0)
    planes = _recoloured(planes, 1.0, hue)
    if contrast_last:
        planes = _scaled(planes, contrast, 0.0)
    return torch.from_numpy(planes).view(image.shape)


def _scaled(planes: UInt8[np.ndarray, "3 n"], factor: float, offset: float) -> UInt8[np.ndarray, "3 n"]:
    if factor == 1 and offset == 0:
        return planes
    values = np.arange(256, dtype=np.float32) * np.float32(factor) + np.float32(offset)
    return values.clip(0, 255).astype(np.uint8)[planes]


def _recoloured(planes: UInt8[np.ndarray, "3 n"], saturation: float, hue: int) -> UInt8[np.ndarray, "3 n"]:
    if saturation == 1 and hue % CIRCLE == 0:
        return planes
    result = np.empty_like(planes)
    _recolour(planes, result, np.float32(saturation), np.float32(hue))
    return result


@jit(nogil=True)
@no_type_check
def _recolour(planes, result, saturation, turn):
    """Go to HSV of 8 bits and back; hues are 0 (red) to 179, saturations 0 to 255."""
    half, full, thirty = np.float32(0.5), np.float32(255), np.float32(30)
    for i in range(planes.shape[1]):
        red, green, blue = np.float32(planes[0, i]), np.float32(planes[1, i]), np.float32(planes[2, i])
        high, low = max(max(red, green), blue), min(min(red, green), blue)
        chroma = high - low
        inverse = thirty / max(chroma, np.float32(1))
        hue = np.float32(120) + (red - green) * inverse
        hue = np.float32(60) + (blue - red) * inverse if high == green else hue
        hue = (green - blue) * inverse if high == red else hue
        hue = np.floor(hue + half) + turn
        share = np.floor(full * chroma / max(high, np.float32(1)) + half)
        share = np.floor(min(share * saturation, full)) / full
        for channel in range(3):
            # How far the channel is from being the brightest: 0 for a third of the circle, then one sextant each way.
            place = hue / thirty + np.float32(5 - 2 * channel)
            place -= np.float32(6) * np.floor(place / np.float32(6))
            away = min(max(min(place, np.float32(4) - place), np.float32(0)), np.float32(1))
            result[channel, i] = np.uint8(np.int32(high - high * share * away + half))
