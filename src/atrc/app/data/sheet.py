"""`atrc data show`: a contact sheet of images with their labels, for a person to look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw

from atrc.app.legends import font
from atrc.data.dataset import MultiTaskDataset
from atrc.data.sample import Sample
from atrc.data.sampling import Augmented
from atrc.errors import UserError
from atrc.files import replacing
from atrc.tasks import PROBABILITY, Bar, SemanticSegmentation, Task

# h w cell, H W sheet

CELL, GAP, LINE, FONT = 240, 6, 20, 13  # width of a cell, gaps, lines of text, size of the font [px]
INK, PAPER, FAINT = (32, 32, 36), (255, 255, 255), (120, 120, 128)
CLASSES = 60  # a legend of more would be taller than the pictures
Picture = UInt8[np.ndarray, "h w 3"]


def write_sheet(
    dataset: MultiTaskDataset, path: Path, count: int, *, augmented: bool = False, crop: tuple[int, int] | None = None
) -> None:
    """Write a contact sheet of images spread evenly over a split.

    Args:
        dataset: The split.
        path: The picture to write.
        count: How many images.
        augmented: Show what a training makes of them.
        crop: Height and width of the crops [px]; that of the first image by default.
    """
    if count < 1:
        raise UserError(f"count is {count}; a sheet shows at least one image")
    if crop and min(crop) < 1:
        raise UserError(f"crop is {list(crop)}; give a height and a width of at least 1 pixel")
    chosen = np.unique(np.linspace(0, len(dataset) - 1, count).round().astype(int)).tolist()
    samples = [dataset[index] for index in chosen]
    if augmented:
        *_, height, width = samples[0]["window"]
        crops = Augmented(dataset, crop or (height, width))
        samples = [crops[index, index] for index in chosen]
    sheet = draw_sheet(dataset.tasks, samples)
    try:
        with replacing(path) as partial:
            sheet.save(partial, "PNG")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); choose another --out") from None


def draw_sheet(tasks: Sequence[Task], samples: Sequence[Sample]) -> Image.Image:
    """Draw a row for every sample: its image, then every label. Hatching is where a label is not valid."""
    rows = [_row(tasks, sample) for sample in samples]
    legends = [legend for task in tasks if (legend := _legend(task, (CELL + GAP) * (1 + len(tasks)) - GAP))]
    width = (CELL + GAP) * (1 + len(tasks)) + GAP
    height = GAP + LINE + sum(row.height + LINE + GAP for row in rows) + sum(legend.height + GAP for legend in legends)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(["image", *map(_title, tasks)]):
        draw.text((GAP + column * (CELL + GAP), GAP), title, INK, font(title, FONT))
    y = GAP + LINE
    for row, sample in zip(rows, samples, strict=True):
        sheet.paste(row, (GAP, y))
        h, w = sample["image"].shape[-2:]
        caption = f"{sample['id']}  {h}x{w}"
        draw.text((GAP, y + row.height + 2), caption, FAINT, font(caption, FONT))
        y += row.height + LINE + GAP
    for legend in legends:
        sheet.paste(legend, (GAP, y))
        y += legend.height + GAP
    return sheet


def _row(tasks: Sequence[Task], sample: Sample) -> Image.Image:
    pictures = [sample["image"].permute(1, 2, 0).numpy(), *(paint(task, sample) for task in tasks)]
    h, w = pictures[0].shape[:2]
    size = (CELL, max(1, min(round(CELL * h / w), 2 * CELL)))
    row = Image.new("RGB", ((CELL + GAP) * len(pictures) - GAP, size[1]), PAPER)
    for column, picture in enumerate(pictures):
        cell = Image.fromarray(np.ascontiguousarray(picture))
        smooth = Image.Resampling.BOX if w > CELL else Image.Resampling.NEAREST
        row.paste(cell.resize(size, smooth), (column * (CELL + GAP), 0))
    draw = ImageDraw.Draw(row)
    for column, task in enumerate(tasks, 1):
        if not sample["valid"][task.name].any():
            draw.text((column * (CELL + GAP) + CELL / 2, size[1] / 2), "no label", INK, font(size=FONT), "mm")
    return row


def paint(task: Task, sample: Sample) -> Picture:
    """Paint a label; what is not valid is hatched."""
    valid = sample["valid"][task.name].numpy()
    painted = task.colour(sample["truth"][task.name].numpy())
    return np.where(valid[..., None], painted, hatching(valid))


def hatching(valid: Bool[np.ndarray, "h w"]) -> Picture:
    """Return grey stripes that stay visible in a cell however large the image is."""
    h, w = valid.shape
    step = max(4, round(w / 30))
    stripes = (np.arange(h)[:, None] + np.arange(w)) % (2 * step) < step
    return np.repeat(np.where(stripes, 225, 200).astype(np.uint8)[..., None], 3, -1)


def _title(task: Task) -> str:
    if not isinstance(task.legend, Bar) or task.legend == PROBABILITY:
        return task.name
    return f"{task.name}  {task.legend.low:g} to {task.legend.high:g} {task.legend.unit}"


def _legend(task: Task, width: int) -> Image.Image | None:
    if not isinstance(task, SemanticSegmentation) or not task.class_names or task.num_classes > CLASSES:
        return None
    entry = max(int(font(name, FONT).getlength(name)) for name in task.class_names) + 2 * LINE
    columns = max(1, width // entry)
    lines = math.ceil(task.num_classes / columns)
    legend = Image.new("RGB", (width, LINE * (lines + 1)), PAPER)
    draw = ImageDraw.Draw(legend)
    draw.text((0, 2), task.name, INK, font(task.name, FONT))
    for index, (name, colour) in enumerate(zip(task.class_names, task.colours.tolist(), strict=True)):
        x, y = index % columns * entry, LINE * (1 + index // columns)
        draw.rectangle((x, y + 3, x + LINE - 8, y + LINE - 5), tuple(colour), FAINT)
        draw.text((x + LINE - 2, y + 2), name, INK, font(name, FONT))
    return legend
