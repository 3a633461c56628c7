"""Readable pictures of predictions: painted maps with their keys, one by one and side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageDraw

from atrc.app.legends import FAINT, GAP, INK, LINE, LINES, PAPER, draw_key, font
from atrc.tasks import Task

# h w picture

CELL = 400  # longest side of a picture in a sheet [px]
SMALLEST = 480  # a picture of its own is not narrower [px], so that its key can be read


def draw_picture(task: Task, decoded: Shaped[np.ndarray, "*_ h w"]) -> Image.Image:
    """Paint one prediction, its key below."""
    decoded = np.nan_to_num(decoded)
    painted = Image.fromarray(task.colour(decoded))
    scale = max(1, SMALLEST / painted.width)
    if scale > 1:
        height = min(round(painted.height * scale), 4 * SMALLEST)
        painted = painted.resize((SMALLEST, max(1, height)), Image.Resampling.NEAREST)
    key = draw_key(task, decoded, painted.width - 2 * GAP, lines=None)
    picture = Image.new("RGB", (painted.width, painted.height + key.height + 2 * GAP), PAPER)
    picture.paste(painted, (0, 0))
    picture.paste(key, (GAP, painted.height + GAP))
    return picture


def draw_sheet(
    photo: UInt8[np.ndarray, "h w 3"],
    tasks: Sequence[Task],
    decoded: Mapping[str, Shaped[np.ndarray, "*_ h w"]],
    title: str = "",
) -> Image.Image:
    """Draw the photograph and every prediction side by side, each with its key.

    Photographs of one size have sheets of one size.

    Args:
        photo: What the network saw.
        tasks: Its tasks.
        decoded: Their decoded predictions.
        title: A line above.
    """
    h, w = photo.shape[:2]
    scale = CELL / max(h, w)
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    width = max(size[0], CELL // 2)  # room for a key below a narrow picture
    cells = [_cell("photograph", photo, size, width, None)]
    for task in tasks:
        values = np.nan_to_num(decoded[task.name])
        key = draw_key(task, values, width)
        cells.append(_cell(task.name, task.colour(values), size, width, key))
    return _grid(cells, title)


def _cell(
    title: str, pixels: UInt8[np.ndarray, "h w 3"], size: tuple[int, int], width: int, key: Image.Image | None
) -> Image.Image:
    picture = Image.fromarray(pixels)
    enlarged = Image.Resampling.NEAREST if key else Image.Resampling.BICUBIC
    picture = picture.resize(size, Image.Resampling.BOX if size[0] < picture.width else enlarged)
    cell = Image.new("RGB", (width, LINE + size[1] + GAP + LINES * LINE), PAPER)
    draw = ImageDraw.Draw(cell)
    draw.text((0, 0), title, INK, font(title))
    cell.paste(picture, (0, LINE))
    if min(size) > 2 * GAP:
        draw.rectangle((0, LINE, size[0] - 1, LINE + size[1] - 1), None, FAINT)
    if key:
        cell.paste(key, (0, LINE + size[1] + GAP))
    return cell


def _grid(cells: Sequence[Image.Image], title: str) -> Image.Image:
    w, h = cells[0].size
    columns = min(len(cells), max(3 if w >= h * 0.8 else 5, math.ceil(math.sqrt(len(cells)))))
    rows = math.ceil(len(cells) / columns)
    top = GAP + (LINE if title else 0)
    sheet = Image.new("RGB", (2 * GAP + columns * (w + 2 * GAP) - 2 * GAP, top + rows * (h + GAP)), PAPER)
    ImageDraw.Draw(sheet).text((GAP, GAP), title, FAINT, font(title))
    for i, cell in enumerate(cells):
        sheet.paste(cell, (GAP + i % columns * (w + 2 * GAP), top + i // columns * (h + GAP)))
    return sheet
