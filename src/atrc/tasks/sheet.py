"""Images of predictions with legends, one by one and side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageDraw

from atrc.tasks import Task
from atrc.tasks.legends import FAINT, GAP, INK, LINE, LINES, PAPER, draw_legend, font

# h w image, y x its predictions

CELL = 400  # longest side of an image in a sheet [px]
SMALLEST = 480  # least width of a single image [px], so that its legend is readable


def draw_colour(task: Task, decoded: Shaped[np.ndarray, "*_ h w"]) -> Image.Image:
    """Colour one prediction and draw its legend below."""
    decoded = np.nan_to_num(decoded)
    coloured = Image.fromarray(task.colour(decoded))
    if coloured.width < SMALLEST:
        height = min(round(coloured.height * SMALLEST / coloured.width), 4 * SMALLEST)
        coloured = coloured.resize((SMALLEST, max(1, height)), Image.Resampling.NEAREST)
    legend = draw_legend(task, decoded, coloured.width - 2 * GAP, lines=None)
    image = Image.new("RGB", (coloured.width, coloured.height + legend.height + 2 * GAP), PAPER)
    image.paste(coloured, (0, 0))
    image.paste(legend, (GAP, coloured.height + GAP))
    return image


def draw_sheet(
    image: UInt8[np.ndarray, "h w 3"],
    tasks: Sequence[Task],
    decoded: Mapping[str, Shaped[np.ndarray, "*_ y x"]],
    title: str = "",
) -> Image.Image:
    """Draw the image and every prediction side by side, each with its legend.

    Images of one size have sheets of one size.

    Args:
        image: The network's input.
        tasks: The network's tasks.
        decoded: Their decoded predictions, as large as the image or larger.
        title: A line at the top.
    """
    h, w = image.shape[:2]
    size, width = cell_size(h, w)
    cells = [draw_cell("image", image, size, width, None)]
    for task in tasks:
        values = np.nan_to_num(decoded[task.name])
        cells.append(draw_cell(task.name, task.colour(values), size, width, draw_legend(task, values, width)))
    return draw_grid(cells, title)


def cell_size(h: int, w: int) -> tuple[tuple[int, int], int]:
    """Return width and height of an image in a cell, and the width of the cell [px]."""
    scale = CELL / max(h, w)
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    return size, max(size[0], CELL // 2)  # room for a legend below a narrow image


def draw_cell(
    title: str, pixels: UInt8[np.ndarray, "h w 3"], size: tuple[int, int], width: int, legend: Image.Image | None
) -> Image.Image:
    """Draw an image of this size below its title, in a cell of this width, and its legend below."""
    image = Image.fromarray(pixels)
    enlarge = Image.Resampling.NEAREST if legend else Image.Resampling.BICUBIC
    cell = Image.new("RGB", (width, LINE + size[1] + GAP + LINES * LINE), PAPER)
    cell.paste(image.resize(size, Image.Resampling.BOX if size[0] < image.width else enlarge), (0, LINE))
    draw = ImageDraw.Draw(cell)
    draw.text((0, 0), title, INK, font(title))
    if min(size) > 2 * GAP:
        draw.rectangle((0, LINE, size[0] - 1, LINE + size[1] - 1), None, FAINT)
    if legend:
        cell.paste(legend, (0, LINE + size[1] + GAP))
    return cell


def draw_grid(cells: Sequence[Image.Image], title: str, columns: int | None = None) -> Image.Image:
    """Draw cells of one size side by side; their number and shape choose the columns by default."""
    w, h = cells[0].size
    columns = columns or min(len(cells), max(3 if w >= h * 0.8 else 5, math.ceil(math.sqrt(len(cells)))))
    rows = math.ceil(len(cells) / columns)
    top = GAP + (LINE if title else 0)
    sheet = Image.new("RGB", (columns * (w + 2 * GAP), top + rows * (h + GAP)), PAPER)
    ImageDraw.Draw(sheet).text((GAP, GAP), title, FAINT, font(title))
    for i, cell in enumerate(cells):
        sheet.paste(cell, (GAP + i % columns * (w + 2 * GAP), top + i // columns * (h + GAP)))
    return sheet
