"""Predictions as files: DIR/TASK, DIR/colour/TASK and DIR/sheets; of frames of videos DIR/frames/TASK."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from atrc.app.predict.predictor import decode
from atrc.app.predict.settings import Keep
from atrc.errors import UserError
from atrc.files import replacing
from atrc.network.predict import Logits, Size, strips
from atrc.tasks import PROBABILITY, Task
from atrc.tasks.sheet import draw_colour, draw_sheet

# c channels of the prediction, h w the network's image

RESERVED = ("frames", "colour", "sheets", "videos")  # folders that no task can have


class Writer:
    """Writes the predictions of images into a folder."""

    def __init__(self, folder: Path, tasks: Sequence[Task], keep: Keep) -> None:
        """Make the folder.

        Raises:
            UserError: It cannot be made, or the name of a task is not valid for a folder.
        """
        self.folder, self.tasks, self.keep = folder, tasks, keep
        for task in tasks:
            if not task.name.isidentifier() or task.name.casefold() in RESERVED:
                raise UserError(f"the task name {task.name!r} cannot be a folder of predictions; rename the task")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {folder}: {error.strerror}; choose another folder") from None

    def __call__(self, name: str, pixels: UInt8[np.ndarray, "h w 3"], size: Size, outputs: Logits) -> None:
        """Write the files of one image.

        Args:
            name: Name of its predictions.
            pixels: The network's input.
            size: Height and width of the image file [px].
            outputs: The network's outputs.
        """
        if self.keep in ("all", "raw"):
            self.write_raw(name, size, outputs)
        if self.keep == "raw":
            return
        decoded = decode(self.tasks, outputs)
        if self.keep in ("all", "colour"):
            for task in self.tasks:
                _save(draw_colour(task, decoded[task.name]), self.folder / f"colour/{task.name}/{name}.png")
        if self.keep in ("all", "sheets"):
            _save(draw_sheet(pixels, self.tasks, decoded, name), self.folder / f"sheets/{name}.png")

    def write_raw(self, name: str, size: Size, outputs: Logits, folder: str = "") -> None:
        """Write the predictions of an image in the units of their tasks."""
        for task in self.tasks:
            write_raw(task, outputs[task.name], size, self.folder / folder / task.name / name)


def write_raw(task: Task, logits: Float[Tensor, "c h w"], size: Size, stem: Path) -> Path:
    """Write one prediction: classes and probabilities as PNG, the rest as NPY of 32-bit floats.

    Classes are the values of a palette PNG in the task's colours (16-bit grey beyond 256 classes). Probabilities of
    boundaries and saliency are 8-bit grey, 255 for 1. NPY arrays are (h w) or (h w c): depth in [m], normals as unit
    vectors.

    Args:
        task: The task.
        logits: Its output.
        size: Height and width of the image file [px].
        stem: Path of the file to write, without its suffix.

    Returns:
        The file.
    """
    if task.legend == "classes":
        return _write_classes(task, logits, size, Path(f"{stem}.png"))
    if task.legend == PROBABILITY:
        grey = _fill(task, logits, size, np.uint8, lambda decoded: (decoded.nan_to_num(0) * 255).round())
        return _save(Image.fromarray(grey), Path(f"{stem}.png"))
    return _write_numbers(task, logits, size, Path(f"{stem}.npy"))


def _write_classes(task: Task, logits: Tensor, size: Size, path: Path) -> Path:
    small = task.region_count <= 256
    image = Image.fromarray(_fill(task, logits, size, np.uint8 if small else np.uint16, lambda decoded: decoded))
    if small:
        image.putpalette(task.region_colours.tobytes())
    return _save(image, path)


def _write_numbers(task: Task, logits: Tensor, size: Size, path: Path) -> Path:
    """Write an array in strips: it need not fit in memory."""
    channels = logits.shape[:1] if task.decode(logits[None, :, :1, :1]).dim() == 4 else ()
    header = {"descr": "<f4", "fortran_order": False, "shape": (*size, *channels)}
    with replacing(path) as partial, partial.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for strip in strips(logits, size):
            decoded = task.decode(strip)[0]
            values = decoded.movedim(0, -1) if channels else decoded
            file.write(np.ascontiguousarray(values.numpy(), "<f4").data)
    return path


def _fill(task: Task, logits: Tensor, size: Size, dtype: type, convert: Callable[[Tensor], Tensor]) -> np.ndarray:
    values: np.ndarray = np.empty(size, dtype)
    top = 0
    for strip in strips(logits, size):
        values[top : top + strip.shape[2]] = convert(task.decode(strip)[0]).numpy()
        top += strip.shape[2]
    return values


def _save(image: Image.Image, path: Path) -> Path:
    with replacing(path) as partial:
        image.save(partial, "PNG")
    return path
