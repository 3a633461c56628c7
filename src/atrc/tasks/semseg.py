"""Semantic segmentation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor

from atrc import metrics
from atrc.errors import UserError
from atrc.tasks.base import Across, Labelled, Task, alone, masked_cross_entropy
from atrc.tasks.colours import Legend, palette

# b batch, k classes, h w image


@dataclass(frozen=True)
class SemanticSegmentation(Task):
    """One class per pixel. Truth: class indices 0 .. k-1; cross entropy; mIoU; regions are the classes.

    `class_colours` are RGB [0..255], one for every class; the palette by default. `class_weights` multiply the cross
    entropy of the pixels of each class; training replaces "median_frequency" by numbers. `label_smoothing` is the
    share of the loss that goes to all classes alike. The paper has neither.
    """

    name: str = "semseg"
    num_classes: int = 40
    class_names: tuple[str, ...] = ()
    class_colours: tuple[tuple[int, int, int], ...] = ()
    class_weights: tuple[float, ...] | Literal["median_frequency"] = ()
    label_smoothing: float = 0.0
    weight: float = field(default=1.0, kw_only=True)

    metric_name: ClassVar[str] = "mIoU"
    unit: ClassVar[str] = "%"
    decoded: ClassVar[str] = "class of every pixel"
    kind_title: ClassVar[str] = "Semantic classes"
    hub_tag: ClassVar[str] = "semantic-segmentation"
    limits_crop: ClassVar[bool] = True

    def __post_init__(self) -> None:
        weights = self.class_weights
        if isinstance(weights, tuple) and len(weights) not in (0, self.num_classes):
            raise UserError(
                f"{self.name}: class_weights has {len(weights)} numbers for {self.num_classes} classes; give one for "
                "each, or median_frequency"
            )
        if isinstance(weights, tuple) and not all(0 <= weight < math.inf for weight in weights):
            raise UserError(f"{self.name}: class_weights holds {min(weights)}; give numbers of 0 or more")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"{self.name}: label_smoothing is {self.label_smoothing}; give 0 or more, but less than 1")

    @property
    def channels(self) -> int:
        return self.num_classes

    @property
    def region_count(self) -> int:
        return self.num_classes

    @property
    def colours(self) -> UInt8[np.ndarray, "k 3"]:
        """The colour of every class."""
        return np.array(self.class_colours, np.uint8) if self.class_colours else palette(self.num_classes)

    @property
    def legend(self) -> Legend:
        return "classes"

    @property
    def region_names(self) -> tuple[str, ...]:
        return self.class_names or super().region_names

    @property
    def region_colours(self) -> UInt8[np.ndarray, "k 3"]:
        return self.colours

    def loss(
        self,
        logits: Float[Tensor, "b k h w"],
        truth: Integer[Tensor, "b h w"],
        valid: Bool[Tensor, "b h w"],
        across: Across = alone,
    ) -> Float[Tensor, ""]:
        weights = self.region_weights(truth, valid, across)
        return masked_cross_entropy(logits, truth, valid, across, weights, self.label_smoothing)

    def region_weights(
        self, labels: Integer[Tensor, "b h w"], valid: Bool[Tensor, "b h w"], across: Across
    ) -> Float[Tensor, " k"] | None:
        return torch.tensor(self.class_weights, device=labels.device) if self.class_weights else None

    def region_labels(self, truth: Integer[Tensor, "b h w"]) -> Integer[Tensor, "b h w"]:
        return truth

    def decode(self, logits: Float[Tensor, "b k h w"]) -> Integer[Tensor, "b h w"]:
        return logits.argmax(1)

    def metric(self, *, fast: bool = False) -> metrics.MeanIoU:
        return metrics.MeanIoU(self.num_classes)

    def constant(self, images: Sequence[Labelled]) -> Integer[Tensor, "1 1 1"]:
        # Predicting one class everywhere scores its share / (classes that occur): the most frequent is best.
        labels = torch.cat([truth[valid] for truth, valid in images])
        return torch.bincount(labels, minlength=1).argmax().view(1, 1, 1)

    def colour(self, decoded: Integer[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
        return self.colours[decoded]
