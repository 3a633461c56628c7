"""Saliency estimation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor

from atrc import metrics
from atrc.tasks.base import Across, Labelled, Task, alone, masked_cross_entropy
from atrc.tasks.colours import PROBABILITY, Bar, paint_scalar

# b batch, h w image


@dataclass(frozen=True)
class Saliency(Task):
    """Salient or not. Truth: 0 or 1; two-class cross entropy balanced over the batch; maxF."""

    name: str = "sal"
    weight: float = field(default=5.0, kw_only=True)

    metric_name: ClassVar[str] = "maxF"
    unit: ClassVar[str] = "%"
    decoded: ClassVar[str] = "probability that a pixel is salient"
    kind_title: ClassVar[str] = "Saliency"
    hub_tag: ClassVar[str] = "saliency"

    @property
    def channels(self) -> int:
        return 2

    @property
    def region_count(self) -> int:
        return 2

    @property
    def legend(self) -> Bar:
        return PROBABILITY

    @property
    def region_names(self) -> tuple[str, ...]:
        return "not salient", "salient"

    @property
    def region_colours(self) -> UInt8[np.ndarray, "2 3"]:
        return self.colour(np.arange(2)[None])[0]

    def loss(
        self,
        logits: Float[Tensor, "b 2 h w"],
        truth: Integer[Tensor, "b h w"],
        valid: Bool[Tensor, "b h w"],
        across: Across = alone,
    ) -> Float[Tensor, ""]:
        weights = self.region_weights(truth, valid, across).to(logits.dtype)
        return masked_cross_entropy(logits, truth, valid, across, weights)

    def region_weights(
        self, labels: Integer[Tensor, "b h w"], valid: Bool[Tensor, "b h w"], across: Across
    ) -> Float[Tensor, " 2"]:
        positives = across((valid & (labels > 0)).sum().float())
        share = positives / across(valid.sum().float()).clamp(min=1)
        return torch.stack([share, 1 - share])

    def region_labels(self, truth: Integer[Tensor, "b h w"]) -> Integer[Tensor, "b h w"]:
        return truth

    def decode(self, logits: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b h w"]:
        return logits.float().softmax(1)[:, 1]

    def metric(self, *, fast: bool = False) -> metrics.MaxFMeasure:
        return metrics.MaxFMeasure()

    def constant(self, images: Sequence[Labelled]) -> Float[Tensor, "1 1 1"]:
        return torch.ones(1, 1, 1)

    def colour(self, decoded: Float[np.ndarray, "h w"] | Integer[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
        return paint_scalar(decoded.astype(np.float32), 0.0, 1.0, "inferno")
