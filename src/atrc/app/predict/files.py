"""Predictions as files in the units of their tasks, as large as the photograph, written a few rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from atrc.files import replacing
from atrc.tasks import PROBABILITY, Task

# c channels of the prediction, h w the network's image, r rows of the photograph, x its columns

STRIP = 1 << 20  # numbers in memory at a time
Size = tuple[int, int]  # height and width [px]


def write_raw(task: Task, logits: Float[Tensor, "c h w"], size: Size, stem: Path) -> Path:
    """Write one prediction: classes and probabilities as PNG, all else as NPY of 32-bit floats.

    Classes are the values of a palette PNG in the task's colours (16-bit grey beyond 256 classes), probabilities of
    boundaries and saliency those of an 8-bit grey one, 255 for 1. NPY are (h w) or (h w c): depth in [m], normals as
    unit vectors.

    Args:
        task: The task.
        logits: Its output.
        size: Height and width of the photograph [px].
        stem: The file without its suffix.

    Returns:
        The file.
    """
    if task.legend == "classes":
        return _write_classes(task, logits, size, Path(f"{stem}.png"))
    if task.legend == PROBABILITY:
        return _write_probabilities(task, logits, size, Path(f"{stem}.png"))
    return _write_numbers(task, logits, size, Path(f"{stem}.npy"))


def strips(logits: Float[Tensor, "c h w"], size: Size) -> Iterator[Float[Tensor, "1 c r x"]]:
    """Resize an output to the size of its photograph as the network does, bilinearly, a few rows at a time."""
    height, width = size
    c, h, w = logits.shape
    rows = max(1, STRIP // (c * width))
    for top in range(0, height, rows):
        y = ((torch.arange(top, min(top + rows, height), dtype=torch.float64) + 0.5) * h / height - 0.5).clamp(0, h - 1)
        above = y.long()
        share = (y - above).to(logits.dtype)[:, None]
        upper, lower = logits[:, above], logits[:, (above + 1).clamp(max=h - 1)]
        strip = torch.lerp(upper, lower, share)[None]
        yield strip if w == width else F.interpolate(strip, (strip.shape[2], width), mode="bilinear")


def _write_classes(task: Task, logits: Tensor, size: Size, path: Path) -> Path:
    small = task.region_count <= 256
    classes = _filled(task, logits, size, np.dtype(np.uint8 if small else np.uint16), lambda decoded: decoded)
    picture = Image.fromarray(classes)
    if small:
        picture.putpalette(task.region_colours.tobytes())
    return _save(picture, path)


def _write_probabilities(task: Task, logits: Tensor, size: Size, path: Path) -> Path:
    def to_bytes(decoded: Tensor) -> Tensor:
        return (decoded.nan_to_num(0) * 255).round()

    return _save(Image.fromarray(_filled(task, logits, size, np.dtype(np.uint8), to_bytes)), path)


def _write_numbers(task: Task, logits: Tensor, size: Size, path: Path) -> Path:
    """Write the array as it comes: it need not fit in the memory."""
    depth = task.decode(logits[None, :, :1, :1]).dim() == 4
    channels = (logits.shape[0],) if depth else ()
    header = {"descr": "<f4", "fortran_order": False, "shape": (*size, *channels)}
    with replacing(path) as partial, partial.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for strip in strips(logits, size):
            decoded = task.decode(strip)[0]
            values = decoded.movedim(0, -1) if channels else decoded
            file.write(np.ascontiguousarray(values.numpy(), "<f4").data)
    return path


def _filled(task: Task, logits: Tensor, size: Size, dtype: np.dtype, convert: Callable[[Tensor], Tensor]) -> np.ndarray:
    values, top = np.empty(size, dtype), 0
    for strip in strips(logits, size):
        values[top : top + strip.shape[2]] = convert(task.decode(strip)[0]).numpy()
        top += strip.shape[2]
    return values


def _save(picture: Image.Image, path: Path) -> Path:
    with replacing(path) as partial:
        picture.save(partial, "PNG")
    return path
