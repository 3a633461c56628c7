"""Keys to painted predictions: what a colour means, in names and units."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from PIL import Image, ImageDraw, ImageFont

from atrc.tasks import Bar, Task

# h w picture

LINE, FONT, GAP, BAR = 18, 12, 6, 10  # lines of text, size of the font, gaps, thickness of colour bars [px]
INK, PAPER, FAINT = (32, 32, 36), (255, 255, 255), (120, 120, 128)
LINES = 3  # of a key of fixed height
_NICE = (1, 1.5, 2, 3, 5, 7)


def draw_key(task: Task, decoded: Shaped[np.ndarray, "*_ h w"], width: int, lines: int | None = LINES) -> Image.Image:
    """Draw the key to a painted prediction: names of its classes, or a bar with the unit.

    Args:
        task: The task.
        decoded: What was painted: of classes, those that occur are named.
        width: Width of the key [px].
        lines: Height in lines of text, which cuts the list of classes; by default it is as high as it needs to be.
    """
    if task.legend == "classes":
        return _class_key(task, decoded, width, lines)
    key = Image.new("RGB", (width, LINE * (lines or LINES)), PAPER)
    if isinstance(task.legend, Bar):
        _draw_bar(key, task, task.legend)
    elif task.legend == "directions":
        _draw_ball(key, task)
    return key


def font(text: str = "", size: int = FONT) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font of a key or a title: Pillow's own knows ASCII alone, Matplotlib's many scripts."""
    return ImageFont.load_default(size) if text.replace("…", "").isascii() else _many_scripts(size)


@cache
def _many_scripts(size: int) -> ImageFont.FreeTypeFont:
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size - 1)  # which is wider


def _class_key(task: Task, decoded: np.ndarray, width: int, lines: int | None) -> Image.Image:
    counts = np.bincount(decoded.ravel(), minlength=task.region_count)
    present = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].tolist()
    rows = _flow(task, sorted(present), width)
    kept = len(present)
    while lines and len(rows) > lines:  # leave the smallest out, and say how many
        kept -= 1
        rows = _flow(task, sorted(present[:kept]), width, f"+ {len(present) - kept} more")
    key = Image.new("RGB", (width, LINE * (lines or len(rows))), PAPER)
    draw = ImageDraw.Draw(key)
    for i, row in enumerate(rows):
        for x, text, colour in row:
            if colour:
                draw.rectangle((x, LINE * i + 3, x + 11, LINE * i + 14), colour, FAINT)
            draw.text(
                (x + (16 if colour else 0), LINE * i + LINE / 2), text, INK if colour else FAINT, font(text), "lm"
            )
    return key


Entry = tuple[int, str, tuple[int, int, int] | None]  # where it begins [px], its text, its colour


def _flow(task: Task, classes: list[int], width: int, last: str = "") -> list[list[Entry]]:
    """Break the entries of a key into lines."""
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


def _draw_bar(key: Image.Image, task: Task, bar: Bar) -> None:
    """Draw a colour bar with ticks, and leave out ticks that would touch."""
    length = max(2, key.width - 2 * GAP)
    painted = Image.fromarray(task.colour(bar.ramp(length)[None]))
    key.paste(painted.resize((length, BAR), Image.Resampling.NEAREST), (GAP, 2))
    draw = ImageDraw.Draw(key)
    draw.rectangle((GAP - 1, 1, GAP + length, BAR + 2), None, FAINT)
    edge = -1.0
    for value in _ticks(bar):
        text = f"{value:g}"
        x, half = GAP + bar.place(value) * (length - 1), font().getlength(text) / 2
        left = min(max(0.0, x - half), key.width - 2 * half)
        if left > edge:
            draw.line((x, BAR + 2, x, BAR + 5), FAINT)
            draw.text((left, BAR + 6), text, INK, font())
            edge = left + 2 * half + 4
    draw.text((key.width / 2, BAR + 6 + LINE), bar.unit, FAINT, font(), "ma")


def _ticks(bar: Bar) -> Iterator[float]:
    low, high = bar.low, bar.high
    if not bar.logarithmic:
        yield from (low, (low + high) / 2, high)
        return
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        yield from (nice * 10.0**power for nice in _NICE if low <= nice * 10.0**power * (1 + 1e-9) <= high * (1 + 2e-9))


def _draw_ball(key: Image.Image, task: Task) -> None:
    """Draw a ball as the camera sees it: every direction that faces it, in its colour."""
    side = key.height - 2
    across = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = np.meshgrid(across, -across)  # x right, y up, z towards the viewer
    inside = x**2 + y**2 <= 1
    vectors = np.stack([x, y, np.sqrt(np.maximum(0, 1 - x**2 - y**2))]).astype(np.float32)
    ball = np.where(inside[..., None], task.colour(vectors), np.uint8(255))
    left = max(0, key.width // 2 - side)
    key.paste(Image.fromarray(ball), (left, 1))
    draw = ImageDraw.Draw(key)
    draw.text((left + side + GAP, key.height / 2), "a ball,\nas it would\nbe painted", FAINT, font(), "lm", spacing=2)
