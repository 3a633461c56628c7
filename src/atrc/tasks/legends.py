"""The legends of coloured predictions, as images and as plain values for a page; and images as bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont

from atrc.tasks import PROBABILITY, Bar, Task

# h w image, n colours

LINE, FONT, GAP, BAR = 18, 12, 6, 10  # line height, font size, gaps, thickness of colour bars [px]
INK, PAPER, FAINT = (32, 32, 36), (255, 255, 255), (120, 120, 128)
LINES = 3  # of a legend of fixed height
STOPS = 48  # colours of a bar on a page
Entry = tuple[int, str, tuple[int, int, int] | None]  # left edge [px], text, colour


def draw_legend(
    task: Task, decoded: Shaped[np.ndarray, "*_ h w"], width: int, lines: int | None = LINES
) -> Image.Image:
    """Draw the legend of a coloured prediction: the names of its classes, or a bar with the unit.

    Args:
        task: The task.
        decoded: The prediction; only the classes in it are named.
        width: Width of the legend [px].
        lines: Height in lines of text. Classes that do not fit are left out; None makes room for all.
    """
    if task.legend == "classes":
        return _draw_classes(task, [k for k, _ in present(task, decoded)], width, lines)
    image = Image.new("RGB", (width, LINE * (lines or LINES)), PAPER)
    if isinstance(task.legend, Bar):
        _draw_bar(image, task, task.legend)
    elif task.legend == "directions":
        _draw_ball(image, task)
    return image


def describe_legend(task: Task) -> dict[str, Any]:
    """Describe the legend of a task's predictions: classes, a bar with ticks, or a ball of directions."""
    if task.legend == "classes":
        return {"kind": "classes", "names": list(task.region_names), "colours": to_css(task.region_colours)}
    if not isinstance(task.legend, Bar):
        return {"kind": "ball" if task.legend == "directions" else "none"}
    bar, percent = task.legend, task.legend == PROBABILITY
    ticks = [(bar.place(n), f"{100 * n if percent else n:g}") for n in _ticks(bar, (1, 2, 3, 5))]
    colours = to_css(task.colour(bar.ramp(STOPS)[None])[0])
    return {"kind": "bar", "colours": colours, "ticks": ticks, "unit": "%" if percent else bar.unit}


def describe_value(task: Task, value: Shaped[np.ndarray, "*_"]) -> str:
    """Describe a prediction at one pixel.

    >>> from atrc.tasks import Depth, SurfaceNormals
    >>> describe_value(Depth(), np.array(2.345)), describe_value(SurfaceNormals(), np.array([0.0, 1.0, -0.04]))
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


def present(task: Task, decoded: Shaped[np.ndarray, "*_ h w"]) -> list[tuple[int, float]]:
    """Return the classes in a prediction and their shares of the image, the largest first; none for other tasks."""
    if task.legend != "classes":
        return []
    shares = np.bincount(decoded.ravel(), minlength=task.region_count) / decoded.size
    return [(int(k), round(float(shares[k]), 4)) for k in np.argsort(-shares, kind="stable") if shares[k]]


def ball(task: Task, side: int) -> UInt8[np.ndarray, "h w 4"]:
    """Colour a ball as the camera sees it: every direction that faces the camera, in its colour."""
    across = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    x, y = np.meshgrid(across, -across)  # x right, y up, z towards the viewer
    radius = np.hypot(x, y)
    colours = task.colour(np.stack([x, y, np.sqrt(np.maximum(0, 1 - radius**2))]))
    opacity = np.clip((1 - radius) * side / 2 + 0.5, 0, 1)  # smooth at the edge
    return np.dstack([colours, (255 * opacity).astype(np.uint8)])


def to_css(colours: UInt8[np.ndarray, "n 3"]) -> list[str]:
    """Write colours for a page.

    >>> to_css(np.array([[255, 0, 16]], np.uint8))
    ['#ff0010']
    """
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in colours.tolist()]


def to_bytes(pixels: UInt8[np.ndarray, "h w *_"], format: str = "PNG", **options: Any) -> bytes:
    """Encode an image."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def font(text: str = "", size: int = FONT) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return a font for this text: Pillow's own has ASCII only, Matplotlib's many scripts."""
    return ImageFont.load_default(size) if text.replace("…", "").isascii() else _many_scripts(size)


@cache
def _many_scripts(size: int) -> ImageFont.FreeTypeFont:
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size - 1)  # it is wider


def _draw_classes(task: Task, classes: list[int], width: int, lines: int | None) -> Image.Image:
    """Draw the names of classes, given by frequency: the rarest are left out if there is no room."""
    rows = _flow(task, sorted(classes), width)
    kept = len(classes)
    while lines and len(rows) > lines:
        kept -= 1
        rows = _flow(task, sorted(classes[:kept]), width, f"+ {len(classes) - kept} more")
    image = Image.new("RGB", (width, LINE * (lines or len(rows))), PAPER)
    draw = ImageDraw.Draw(image)
    for i, row in enumerate(rows):
        for x, text, colour in row:
            if colour:
                draw.rectangle((x, LINE * i + 3, x + 11, LINE * i + 14), colour, FAINT)
            left, ink = (x + 16, INK) if colour else (x, FAINT)
            draw.text((left, LINE * i + LINE / 2), text, ink, font(text), "lm")
    return image


def _flow(task: Task, classes: list[int], width: int, last: str = "") -> list[list[Entry]]:
    """Break the entries of a legend into lines."""
    entries = [(task.region_names[k], tuple(task.region_colours[k].tolist())) for k in classes]
    rows: list[list[Entry]] = [[]]
    x = 0
    for text, colour in [*entries, *([(last, None)] if last else [])]:
        text = _cut(text, width - 16)
        needed = math.ceil(font(text).getlength(text)) + (16 if colour else 0)
        if rows[-1] and x + needed > width:
            rows.append([])
            x = 0
        rows[-1].append((x, text, colour))
        x += needed + 2 * GAP
    return rows


def _cut(text: str, width: int) -> str:
    while len(text) > 1 and font(text).getlength(text) > width:
        text = text[:-2] + "…"
    return text


def _draw_bar(image: Image.Image, task: Task, bar: Bar) -> None:
    """Draw a colour bar with ticks; ticks that would touch are left out."""
    length = max(2, image.width - 2 * GAP)
    ramp = Image.fromarray(task.colour(bar.ramp(length)[None]))
    image.paste(ramp.resize((length, BAR), Image.Resampling.NEAREST), (GAP, 2))
    draw = ImageDraw.Draw(image)
    draw.rectangle((GAP - 1, 1, GAP + length, BAR + 2), None, FAINT)
    edge = -1.0
    for value in _ticks(bar, (1, 1.5, 2, 3, 5, 7)):
        text = f"{value:g}"
        x, half = GAP + bar.place(value) * (length - 1), font().getlength(text) / 2
        left = min(max(0.0, x - half), image.width - 2 * half)
        if left > edge:
            draw.line((x, BAR + 2, x, BAR + 5), FAINT)
            draw.text((left, BAR + 6), text, INK, font())
            edge = left + 2 * half + 4
    draw.text((image.width / 2, BAR + 6 + LINE), bar.unit, FAINT, font(), "ma")


def _ticks(bar: Bar, nice: Sequence[int | float]) -> list[float]:
    """Return the ends and the middle of a linear bar; the nice numbers, times powers of ten, of a logarithmic one."""
    if not bar.logarithmic:
        return bar.ramp(3).tolist()
    powers = range(math.floor(math.log10(bar.low)), math.ceil(math.log10(bar.high)) + 1)
    values = [number * 10.0**power for power in powers for number in nice]
    return [value for value in values if bar.low <= value * (1 + 1e-9) and value <= bar.high * (1 + 1e-9)]


def _draw_ball(image: Image.Image, task: Task) -> None:
    painted = Image.fromarray(ball(task, image.height - 2))
    left = max(0, image.width // 2 - painted.width)
    image.paste(painted, (left, 1), painted)
    draw = ImageDraw.Draw(image)
    text = "a ball\nin the same\ncolours"
    draw.text((left + painted.width + GAP, image.height / 2), text, FAINT, font(), "lm", spacing=2)
