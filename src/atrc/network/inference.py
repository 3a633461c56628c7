"""More than one forward pass: sliding windows over a large image, and test-time augmentation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as TF

from atrc.errors import UserError
from atrc.necks import resize

# b batch, c channels of a prediction, h w image, y x view of it

Logits = Mapping[str, Float[Tensor, "b c h w"]]  # unnormalised, by task


@dataclass(frozen=True)
class Inference:
    """How a network predicts an image. What is averaged are its unnormalised predictions.

    Attributes:
        window: Height and width of a sliding window [px]. Larger images are predicted window by window; windows overlap
            by half and are blended. By default the whole image is predicted at once.
        flip: Also predict the mirror image, and average.
        scales: Also predict the image resized by these factors, and average.
    """

    window: tuple[int, int] | None = None
    flip: bool = False
    scales: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.window is not None and (len(self.window) != 2 or min(self.window) < 1):
            raise UserError(f"window {self.window}: give height and width, each 1 or more [px]")
        for scale in self.scales:
            if not 0.1 <= scale <= 10:
                raise UserError(f"tta: {scale:g} is not a scale from 0.1 to 10")

    @classmethod
    def parse(cls, window: tuple[int, int] | None, tta: str | None) -> Inference:
        """Read the options --window and --tta.

        >>> Inference.parse(None, "flip,0.75,1.25")
        Inference(window=None, flip=True, scales=(0.75, 1.25))

        Args:
            window: Height and width [px].
            tta: "flip", scales, or both, separated by commas.

        Raises:
            UserError: An invalid value.
        """
        words = [word.strip() for word in (tta or "").split(",") if word.strip()]
        try:
            scales = tuple(float(word) for word in words if word != "flip")
        except ValueError:
            raise UserError(f"tta {tta}: give flip, scales, or both, such as flip,0.75,1.25") from None
        return cls(window, "flip" in words, scales)

    def to_dict(self) -> dict[str, Any]:
        """Return `window` and `tta` as plain values, for a protocol."""
        words = [*(["flip"] if self.flip else []), *(f"{scale:g}" for scale in self.scales)]
        return {"window": list(self.window) if self.window else None, "tta": ",".join(words) or None}

    def __call__(self, network: Any, image: Float[Tensor, "b 3 h w"]) -> Logits:
        """Predict every task.

        Args:
            network: A `MultiTaskNetwork`, in evaluation mode.
            image: RGB in [0, 1], of any size.

        Returns:
            Unnormalised predictions at the size of the image.
        """
        flips = (False, True) if self.flip else (False,)
        views = [(scale, flip) for scale in (1.0, *self.scales) for flip in flips]
        total = dict(self._view(network, image, *views[0]))
        for view in views[1:]:
            for name, prediction in self._view(network, image, *view).items():
                total[name] = total[name] + prediction
        return {name: summed / len(views) for name, summed in total.items()} if views[1:] else total

    def _view(self, network: Any, image: Float[Tensor, "b 3 h w"], scale: float, flip: bool) -> Logits:
        """Predict the image resized and mirrored, and undo both in the predictions."""
        if scale == 1 and not flip:
            return self._windows(network, image)
        h, w = image.shape[-2:]
        y, x = max(1, round(h * scale)), max(1, round(w * scale))
        view = F.interpolate(image, (y, x), mode="bilinear", antialias=scale < 1)
        predictions = self._windows(network, view.flip(-1) if flip else view)
        undone = {}
        for task in network.tasks:
            prediction = predictions[task.name]
            if flip:  # by the rule of the task's truth: the x of normals changes its sign
                prediction = TF.horizontal_flip(task.truth_type(prediction)).as_subclass(Tensor)
            undone[task.name] = task.unscaled(resize(prediction, image), math.sqrt(y * x / (h * w)))
        return undone

    def _windows(self, network: Any, image: Float[Tensor, "b 3 y x"]) -> Logits:
        """Predict overlapping windows, and blend them with weights that fall towards their borders."""
        y, x = image.shape[-2:]
        tall, wide = min(self.window[0], y) if self.window else y, min(self.window[1], x) if self.window else x
        if (tall, wide) == (y, x):
            return network(image).predictions
        weight = _slope(tall, image)[:, None] * _slope(wide, image)
        total = image.new_zeros(y, x)
        sums: dict[str, Tensor] = {}
        for top in starts(y, tall):
            for left in starts(x, wide):
                place = (..., slice(top, top + tall), slice(left, left + wide))
                total[place] += weight
                for name, prediction in network(image[place]).predictions.items():
                    if name not in sums:
                        sums[name] = image.new_zeros(*prediction.shape[:2], y, x)
                    sums[name][place] += weight * prediction
        return {name: summed.div_(total) for name, summed in sums.items()}


WHOLE = Inference()  # the whole image in one forward pass


def starts(length: int, window: int) -> list[int]:
    """Return the starts of windows that cover a side, each overlapping the next by about half or more.

    >>> starts(10, 4), starts(9, 4), starts(4, 4)
    ([0, 2, 4, 6], [0, 2, 3, 5], [0])
    """
    steps = math.ceil(2 * (length - window) / window)
    return [round(i * (length - window) / steps) for i in range(steps + 1)] if steps else [0]


def _slope(length: int, like: Tensor) -> Float[Tensor, " n"]:
    """Return weights that rise from 1 at the ends to the middle of a side."""
    rising = torch.arange(1, length + 1, dtype=like.dtype, device=like.device)
    return torch.minimum(rising, rising.flip(0))
