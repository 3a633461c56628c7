"""`atrc data show`: a contact sheet of images with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from atrc.data.dataset import MultiTaskDataset
from atrc.data.sample import Sample
from atrc.data.sampling import Augmented
from atrc.errors import UserError
from atrc.files import replacing
from atrc.tasks import Task
from atrc.tasks.legends import GAP, PAPER, draw_legend
from atrc.tasks.sheet import cell_size, draw_cell, draw_grid

# h w image

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
    rows = [_row(tasks, sample) for sample in samples]
    width = max(row.width for row in rows)
    for task in tasks:
        if task.legend == "classes" and task.region_count <= CLASSES:
            rows.append(draw_legend(task, np.arange(task.region_count)[None], width - 2 * GAP, lines=None))
    sheet = Image.new("RGB", (width, sum(row.height + GAP for row in rows)), PAPER)
    y = 0
    for row in rows:
        sheet.paste(row, ((width - row.width) // 2, y))
        y += row.height + GAP
    return sheet


def _row(tasks: Sequence[Task], sample: Sample) -> Image.Image:
    image = np.ascontiguousarray(sample["image"].permute(1, 2, 0).numpy())
    size, width = cell_size(*image.shape[:2])
    cells = [draw_cell("image", image, size, width, None)]
    for task in tasks:
        truth, valid = sample["truth"][task.name].numpy(), sample["valid"][task.name].numpy()
        legend = draw_legend(task, truth[..., valid][..., None, :], width) if valid.any() else None
        title = task.name if legend else f"{task.name}: no label"
        cells.append(draw_cell(title, paint(task, sample), size, width, legend))
    return draw_grid(cells, f"{sample['id']}  {image.shape[0]}x{image.shape[1]}", columns=len(cells))


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
