"""What saliency and boundaries share: each pixel is positive or not."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor

from atrc.tasks.base import Across, Labelled, Task
from atrc.tasks.colours import PROBABILITY, Bar, paint_scalar

# b batch, h w image


class Binary(Task):
    """A probability per pixel. Truth: 0 or 1; the label regions are negatives and positives."""

    colour_map: ClassVar[str]

    @property
    def region_count(self) -> int:
        return 2

    @property
    def legend(self) -> Bar:
        return PROBABILITY

    @property
    def region_colours(self) -> UInt8[np.ndarray, "2 3"]:
        return self.colour(np.arange(2)[None])[0]

    def region_labels(self, truth: Integer[Tensor, "b h w"]) -> Integer[Tensor, "b h w"]:
        return (truth > 0).long()

    def region_weights(
        self, labels: Integer[Tensor, "b h w"], valid: Bool[Tensor, "b h w"], across: Across
    ) -> Float[Tensor, " 2"]:
        positive = self.positive_weight_of(labels, valid, across)
        return torch.stack([1 - positive, positive])

    @abc.abstractmethod
    def positive_weight_of(
        self, labels: Integer[Tensor, "b h w"], valid: Bool[Tensor, "b h w"], across: Across
    ) -> Float[Tensor, ""]:
        """Return the weight of positives in the losses, in [0, 1]; negatives have the rest."""

    def constant(self, images: Sequence[Labelled]) -> Float[Tensor, "1 1 1"]:
        return torch.ones(1, 1, 1)

    def colour(self, decoded: Float[np.ndarray, "h w"] | Integer[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
        return paint_scalar(decoded.astype(np.float32), 0.0, 1.0, self.colour_map)
