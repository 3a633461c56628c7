"""`network.predict`: an image in any form in, arrays in the units of the tasks out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped, UInt8
from PIL import Image
from torch import Tensor

from atrc.errors import UserError
from atrc.images import read_image
from atrc.network.inference import Inference
from atrc.tasks import Task
from atrc.tasks.legends import to_bytes
from atrc.tasks.sheet import draw_colour, draw_sheet

# c channels of a prediction, h w what the network sees, r rows of the image, x its columns

SIDE = 640  # longest side that a network of unknown training size sees [px]
STRIP = 1 << 20  # numbers in memory at a time
Size = tuple[int, int]  # height and width [px]
Logits = Mapping[str, Float[Tensor, "c h w"]]  # of one image, unnormalised, by task


class Predictions(Mapping[str, np.ndarray]):
    """Predictions of one image: arrays by task, as large as the image, in the units of the tasks.

    Classes are integers (h w), depth is in metres (h w), normals are unit vectors (3 h w), boundaries and saliency are
    probabilities (h w).

    Attributes:
        image: What the network saw: RGB, shrunk where the image was larger than `max_side`.
        tasks: The tasks, with the names and colours of classes.
    """

    def __init__(
        self, image: UInt8[np.ndarray, "h w 3"], tasks: Sequence[Task], arrays: Mapping[str, np.ndarray]
    ) -> None:
        self.image, self.tasks, self._arrays = image, tuple(tasks), dict(arrays)

    def __getitem__(self, task: str) -> Shaped[np.ndarray, "*_ r x"]:
        return self._arrays[task]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        shapes = (f"{task.name} {self[task.name].shape} {task.decoded}" for task in self.tasks)
        return f"Predictions({', '.join(shapes)})"

    def draw(self, task: str | None = None) -> Image.Image:
        """Draw the image and all predictions side by side, or one prediction, with legends."""
        if task is None:
            return draw_sheet(self.image, self.tasks, self)
        return draw_colour(next(t for t in self.tasks if t.name == task), self[task])

    def _repr_png_(self) -> bytes:
        """Draw all, for notebooks."""
        return to_bytes(np.asarray(self.draw()))


def predict(
    network: Any,
    image: str | Path | Image.Image | np.ndarray | Tensor,
    max_side: int | None,
    inference: Inference,
) -> Predictions:
    """Predict one image on the network's device.

    Args:
        network: A `MultiTaskNetwork`.
        image: A file, a PIL image, or pixels as in `to_image`.
        max_side: As in `side_for`.
        inference: How the image is predicted.

    Raises:
        UserError: Not an image.
    """
    source = image if isinstance(image, str | Path) else to_image(image)
    seen = read_image(source, max_side=side_for(network.size, max_side, inference))
    training = network.training
    try:
        [logits] = run(network.eval(), [seen.pixels], inference)
    finally:
        network.train(training)
    arrays = {task.name: decode(task, logits[task.name], seen.size) for task in network.tasks}
    return Predictions(seen.pixels, network.tasks, arrays)


def side_for(size: Size | None, max_side: int | None, inference: Inference) -> int | None:
    """Return the side that larger images are shrunk to [px]; None to keep them as they are.

    Args:
        size: Height and width that the network was trained at [px], if known: larger images are shrunk to it, unless
            they are predicted in windows.
        max_side: Used instead, if given.
        inference: How images are predicted.
    """
    if max_side is not None or inference.window is not None:
        return max_side
    return max(size or (SIDE,))


def to_image(pixels: Image.Image | np.ndarray | Tensor) -> Image.Image:
    """Turn RGB pixels into a PIL image: an array (h w 3) or a tensor (3 h w), of bytes or of floats in [0, 1].

    Raises:
        UserError: Other shapes or values.
    """
    if isinstance(pixels, Image.Image):
        return pixels
    array = pixels.detach().cpu().movedim(0, -1).numpy() if isinstance(pixels, Tensor) else pixels
    if array.ndim != 3 or array.shape[2] != 3 or not array.size:
        expected = "(3, h, w)" if isinstance(pixels, Tensor) else "(h, w, 3)"
        raise UserError(f"image of shape {tuple(pixels.shape)}: expected {expected}")
    if array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1:
        array = (array * 255).round().astype(np.uint8)
    if array.dtype != np.uint8:
        raise UserError(f"image of {array.dtype}: expected bytes, or floats from 0 to 1")
    return Image.fromarray(array)


@torch.inference_mode()
def run(
    network: Any,
    images: Sequence[UInt8[np.ndarray, "h w 3"]],
    inference: Inference,
    dtype: torch.dtype | None = None,
) -> list[Logits]:
    """Predict RGB images of one size on the network's device; the results are on the CPU.

    Args:
        network: A `MultiTaskNetwork`, in evaluation mode.
        images: The images.
        inference: How they are predicted.
        dtype: For mixed precision: torch.bfloat16 or torch.float16.
    """
    device = network.mean.device
    batch: Float[Tensor, "b 3 h w"] = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2).float() / 255
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        found = inference(network, batch)
    outputs = {name: prediction.float().cpu() for name, prediction in found.items()}
    return [{name: output[i] for name, output in outputs.items()} for i in range(len(images))]


def decode(task: Task, logits: Float[Tensor, "c h w"], size: Size) -> Shaped[np.ndarray, "*_ r x"]:
    """Resize an output to the size of its image, then turn it into the units of the task."""
    return np.concatenate([task.decode(strip)[0].numpy() for strip in strips(logits, size)], axis=-2)


def strips(logits: Float[Tensor, "c h w"], size: Size) -> Iterator[Float[Tensor, "1 c r x"]]:
    """Resize an output to the size of its image as the network does, bilinearly, a few rows at a time."""
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
