"""`atrc attention`: what one pixel of an image attends to, in every context."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from atrc.errors import UserError
from atrc.files import replacing, write_atomic
from atrc.images import read_image
from atrc.studies.attention.figures import draw_attention
from atrc.studies.attention.inspection import ContextMap, Inspection, region_task
from atrc.studies.figures.style import styled
from atrc.tasks import Task
from atrc.training.loading import load
from atrc.training.resources import find_device

# h w image

# By suffix: the metadata to leave out, so that the same figure gives the same file.
FORMATS = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
Maps = dict[str, dict[str, ContextMap | None]]  # by target and source


def show_attention(
    model: str,
    image: Path,
    targets: Sequence[str],
    pixel: tuple[int, int] | None,
    out: Path,
    raw: Path | None,
    longest: int,
    device: str = "auto",
) -> dict[str, Any]:
    """Draw the attention maps of one pixel; return what it attends to as plain values.

    The arguments are the options of `atrc attention`; no targets are all targets.

    Raises:
        UserError: A file cannot be read or written, or an option does not fit the network or the image.
    """
    if out.suffix not in FORMATS:
        raise UserError(f"--out {out}: the name of the figure has to end in one of {', '.join(FORMATS)}")
    photo, (row, column) = load_pixel(image, pixel, longest)
    place = find_device(device)
    tensor = torch.from_numpy(photo.transpose(2, 0, 1).copy()).to(place).float() / 255
    inspection = Inspection(load(model).to(place), tensor)
    maps = {target: inspection.maps(target, row, column) for target in targets or inspection.targets}
    found = describe(inspection, maps, (row, column))
    try:
        if raw:
            save_maps(maps, found, raw)
        with styled(), replacing(out) as partial:
            figure = draw_attention(inspection, photo, (row, column), maps)
            figure.savefig(partial, format=out.suffix[1:], metadata=FORMATS[out.suffix])
    except OSError as error:
        raise UserError(f"{error.filename or out}: cannot be written ({error.strerror or error})") from None
    return {"image": str(image), **found}


def load_pixel(
    image: Path, pixel: tuple[int, int] | None, longest: int
) -> tuple[UInt8[np.ndarray, "h w 3"], tuple[int, int]]:
    """Read an image, reduced to `longest` [px], and return the place of the pixel in it.

    Raises:
        UserError: The pixel is outside the image.
    """
    if longest < 1:
        raise UserError(f"--longest is {longest}; an image has at least 1 pixel")
    photo = read_image(image, max_side=longest)
    (h, w), (reduced_h, reduced_w, _) = photo.size, photo.pixels.shape
    row, column = pixel or (h // 2, w // 2)
    if not (0 <= row < h and 0 <= column < w):
        raise UserError(f"--pixel [{row},{column}] is not in {image}, of {h}x{w}; rows and columns count from 0")
    return photo.pixels, ((2 * row + 1) * reduced_h // (2 * h), (2 * column + 1) * reduced_w // (2 * w))


def describe(inspection: Inspection, maps: Maps, pixel: tuple[int, int]) -> dict[str, Any]:
    """Return what a pixel attends to as plain values: contexts, and the weights of label regions by name."""
    return {
        "pixel": list(pixel),
        "size": list(inspection.image_size),
        "grid": list(inspection.grid),
        "targets": {
            target: {source: _describe(found, inspection.tasks, target, source) for source, found in row.items()}
            for target, row in maps.items()
        },
    }


def _describe(found: ContextMap | None, tasks: Mapping[str, Task], target: str, source: str) -> dict[str, Any]:
    if found is None:
        return {"context": "none"}
    if found.regions is None:
        return {"context": found.context}
    task = tasks[region_task(found, target, source)]
    weights = zip(task.region_names, found.regions.tolist(), strict=True)
    return {"context": found.context, "regions_of": task.name, "regions": dict(weights)}


def save_maps(maps: Maps, described: Mapping[str, Any], folder: Path) -> None:
    """Write every map as TARGET-SOURCE.npy (feature grid), and their description as attention.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for target, row in maps.items():
        for source, found in row.items():
            if found is not None:
                np.save(folder / f"{target}-{source}.npy", found.pixels.numpy())
    write_atomic(folder / "attention.json", json.dumps(described, indent=2) + "\n")
