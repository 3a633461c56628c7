"""`atrc data show`: a contact sheet of images with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw

from atrc.app.legends import FAINT, GAP, INK, LINE, PAPER, draw_legend, font
from atrc.data.dataset import MultiTaskDataset
from atrc.data.sample import Sample
from atrc.data.sampling import Augmented
from atrc.errors import UserError
from atrc.files import replacing
from atrc.tasks import PROBABILITY, Bar, Task

# h w image

CELL = 240  # width of a cell [px]
CLASSES = 60  # a legend of more classes would be taller than the images


def write_sheet(
    dataset: MultiTaskDataset, path: Path, count: int, *, augmented: bool = False, crop: tuple[int, int] | None = None
) -> None:
    """Write a contact sheet of images spread evenly over a split. The arguments are options of `atrc data show`."""
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
    """Draw a row for every sample: its image, then every label. Pixels that are not valid are hatched."""
    width = (CELL + GAP) * (1 + len(tasks)) + GAP
    header = Image.new("RGB", (width, LINE), PAPER)
    for column, title in enumerate(["image", *map(_title, tasks)]):
        ImageDraw.Draw(header).text((column * (CELL + GAP), 0), title, INK, font(title))
    parts = [header, *(_row(tasks, sample, width) for sample in samples)]
    for task in tasks:
        if task.legend == "classes" and task.region_count <= CLASSES:
            parts.append(draw_legend(task, np.arange(task.region_count)[None], width - 2 * GAP, lines=None))
    sheet = Image.new("RGB", (width, GAP + sum(part.height + GAP for part in parts)), PAPER)
    y = GAP
    for part in parts:
        sheet.paste(part, (GAP, y))
        y += part.height + GAP
    return sheet


def _row(tasks: Sequence[Task], sample: Sample, width: int) -> Image.Image:
    cells = [sample["image"].permute(1, 2, 0).numpy(), *(paint(task, sample) for task in tasks)]
    h, w = cells[0].shape[:2]
    size = (CELL, max(1, min(round(CELL * h / w), 2 * CELL)))
    row = Image.new("RGB", (width, size[1] + LINE), PAPER)
    for column, cell in enumerate(map(np.ascontiguousarray, cells)):
        smooth = Image.Resampling.BOX if w > CELL else Image.Resampling.NEAREST
        row.paste(Image.fromarray(cell).resize(size, smooth), (column * (CELL + GAP), 0))
    draw = ImageDraw.Draw(row)
    for column, task in enumerate(tasks, 1):
        if not sample["valid"][task.name].any():
            draw.text((column * (CELL + GAP) + CELL / 2, size[1] / 2), "no label", INK, font(), "mm")
    caption = f"{sample['id']}  {h}x{w}"
    draw.text((0, size[1] + 2), caption, FAINT, font(caption))
    return row


def paint(task: Task, sample: Sample) -> UInt8[np.ndarray, "h w 3"]:
    """Colour a label; pixels that are not valid are hatched."""
    valid = sample["valid"][task.name].numpy()
    return np.where(valid[..., None], task.colour(sample["truth"][task.name].numpy()), hatching(valid))


def hatching(valid: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Return grey stripes that stay visible in a cell, however large the image is."""
    h, w = valid.shape
    step = max(4, round(w / 30))
    stripes = (np.arange(h)[:, None] + np.arange(w)) % (2 * step) < step
    return np.repeat(np.where(stripes, 225, 200).astype(np.uint8)[..., None], 3, -1)


def _title(task: Task) -> str:
    if not isinstance(task.legend, Bar) or task.legend == PROBABILITY:
        return task.name
    return f"{task.name}  {task.legend.low:g} to {task.legend.high:g} {task.legend.unit}"
