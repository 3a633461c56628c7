"""Colours for labels and scalar maps, and what they mean."""

from __future__ import annotations

import math
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8


class Bar(NamedTuple):
    """Colours that stand for numbers.

    Attributes:
        low: The number of the first colour.
        high: That of the last one.
        unit: Of both.
        logarithmic: Whether equal steps are equal ratios.
    """

    low: float
    high: float
    unit: str
    logarithmic: bool = False

    def ramp(self, count: int) -> Float[np.ndarray, " k"]:
        """Return `count` numbers at equal steps of the bar."""
        space = np.geomspace if self.logarithmic else np.linspace
        return space(self.low, self.high, count).astype(np.float32)

    def place(self, value: float) -> float:
        """Return where on the bar a number is: 0 at `low`, 1 at `high`.

        >>> Bar(1.0, 100.0, "m", logarithmic=True).place(10.0)
        0.5
        """
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


Legend = Bar | Literal["classes", "directions"] | None
PROBABILITY = Bar(0.0, 1.0, "probability")  # people read it in percent, files keep it in 8 bits


@cache
def palette(count: int) -> UInt8[np.ndarray, "k 3"]:
    """Return `count` colours far apart from one another; the first ones never change with `count`.

    Walks the hue by the golden angle and cycles lightness and chroma in Oklch, so that neighbours differ.
    """
    index = np.arange(count)
    hue = np.deg2rad(index * 137.508 + 25)
    lightness = np.array([0.72, 0.55, 0.85, 0.42])[index % 4]
    chroma = np.array([0.13, 0.15, 0.09, 0.11])[index // 4 % 4]
    return _oklab_to_srgb(np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], -1))


def _oklab_to_srgb(lab: Float[np.ndarray, "k 3"]) -> UInt8[np.ndarray, "k 3"]:
    # The matrices of Ottosson's Oklab (2020), public domain.
    to_lms = np.array(
        [
            [1, 0.3963377774, 0.2158037573],
            [1, -0.1055613458, -0.0638541728],
            [1, -0.0894841775, -1.2914855480],
        ]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(((lab @ to_lms.T) ** 3) @ to_rgb.T, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * srgb).astype(np.uint8)


def paint_scalar(
    values: Float[np.ndarray, "h w"], low: float, high: float, colour_map: str
) -> UInt8[np.ndarray, "h w 3"]:
    """Paint numbers between `low` and `high` with a matplotlib colour map; numbers outside take its ends."""
    from matplotlib import colormaps  # slow to import, and only pictures need it

    share = np.clip((values - low) / (high - low), 0, 1)
    return (colormaps[colour_map](share)[..., :3] * 255).round().astype(np.uint8)
