"""What the colours of a prediction mean, as plain values for the page, and what a prediction says at one pixel."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from atrc.tasks import PROBABILITY, Bar, Task

# h w image, n colours

STOPS = 48  # colours of a bar
BALL = 96  # width of the ball of directions [px]
_TICKS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 40.0, 80.0)


def legend(task: Task) -> dict[str, Any]:
    """Describe the colours of a task's predictions: classes, a bar with ticks, or a ball of directions."""
    if task.legend == "classes":
        return {"kind": "classes", "names": list(task.region_names), "colours": to_css(task.region_colours)}
    if isinstance(task.legend, Bar):
        return _bar(task, task.legend)
    return {"kind": "ball" if task.legend == "directions" else "none"}


def _bar(task: Task, bar: Bar) -> dict[str, Any]:
    percent = bar == PROBABILITY
    values = [n for n in _TICKS if bar.low <= n <= bar.high] if bar.logarithmic else bar.ramp(3).tolist()
    ticks = [(bar.place(n), f"{100 * n if percent else n:g}") for n in values]
    colours = to_css(task.colour(bar.ramp(STOPS)[None])[0])
    return {"kind": "bar", "colours": colours, "ticks": ticks, "unit": "%" if percent else bar.unit}


def to_css(colours: UInt8[np.ndarray, "n 3"]) -> list[str]:
    """Write colours as the page reads them.

    >>> to_css(np.array([[255, 0, 16]], np.uint8))
    ['#ff0010']
    """
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in colours.tolist()]


def present(task: Task, decoded: Shaped[np.ndarray, "*_ h w"]) -> list[tuple[int, float]]:
    """Return the classes that occur and their shares of the image, the largest first; nothing of other tasks."""
    if task.legend != "classes":
        return []
    counts = np.bincount(decoded.ravel(), minlength=task.region_count) / decoded.size
    return [(int(k), round(float(counts[k]), 4)) for k in np.argsort(-counts, kind="stable") if counts[k]]


def say(task: Task, value: Shaped[np.ndarray, "*_"]) -> str:
    """Say what a prediction is at one pixel.

    >>> from atrc.tasks import Depth, SurfaceNormals
    >>> say(Depth(), np.array(2.345)), say(SurfaceNormals(), np.array([0.0, 1.0, -0.04]))
    ('2.35 m', '(+0.0 +1.0 +0.0)')
    """
    if task.legend == "classes":
        return task.region_names[int(value)]
    if task.legend == PROBABILITY:
        return f"{100 * float(value):.0f} %"
    if task.legend == "directions":
        return f"({' '.join(f'{round(float(n), 1) + 0:+.1f}' for n in value)})"  # + 0: no -0
    numbers = " ".join(f"{float(n):.2f}" for n in np.atleast_1d(value))
    return f"{numbers} {task.legend.unit}" if isinstance(task.legend, Bar) else numbers


def ball(task: Task) -> bytes:
    """Paint a ball as the camera sees it, every direction that faces it in its colour: a PNG."""
    across = ((np.arange(BALL) + 0.5) / BALL * 2 - 1).astype(np.float32)
    x, y = np.meshgrid(across, -across)  # x right, y up, z towards the viewer
    beside = x**2 + y**2
    colours = task.colour(np.stack([x, y, np.sqrt(np.maximum(0, 1 - beside))]))
    edge = np.clip((1 - np.sqrt(beside)) * BALL / 2 + 0.5, 0, 1)  # smooth
    return to_png(np.dstack([colours, (255 * edge).astype(np.uint8)]))


def to_png(pixels: UInt8[np.ndarray, "h w *_"]) -> bytes:
    """Encode a picture without loss."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def to_jpeg(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Encode a photograph for the page."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()
