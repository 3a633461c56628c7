"""Boundary detection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from atrc import metrics
from atrc.tasks.base import Across, alone, masked_mean
from atrc.tasks.binary import Binary

# b batch, h w image


@dataclass(frozen=True)
class Boundaries(Binary):
    """Boundary or not. Truth: 0 or 1; binary cross entropy with a fixed weight of positives; odsF.

    Weight of positives: 0.8 for NYUD, 0.95 for PASCAL; negatives take the rest. odsF counts a predicted pixel within
    `max_dist` of the image diagonal.
    """

    name: str = "edge"
    positive_weight: float = 0.8
    max_dist: float = 0.011
    weight: float = field(default=50.0, kw_only=True)

    metric_name: ClassVar[str] = "odsF"
    unit: ClassVar[str] = "%"
    decoded: ClassVar[str] = "probability of a boundary"
    kind_title: ClassVar[str] = "Boundaries"
    hub_tag: ClassVar[str] = "edge-detection"
    colour_map: ClassVar[str] = "gray_r"

    @property
    def channels(self) -> int:
        return 1

    @property
    def region_names(self) -> tuple[str, ...]:
        return "no boundary", "boundary"

    def loss(
        self,
        logits: Float[Tensor, "b 1 h w"],
        truth: Integer[Tensor, "b h w"],
        valid: Bool[Tensor, "b h w"],
        across: Across = alone,
    ) -> Float[Tensor, ""]:
        positive = (truth > 0).to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits[:, 0], positive, reduction="none")
        weights = positive * self.positive_weight + (1 - positive) * (1 - self.positive_weight)
        return masked_mean(weights * losses, valid, across)

    def positive_weight_of(
        self, labels: Integer[Tensor, "b h w"], valid: Bool[Tensor, "b h w"], across: Across
    ) -> Float[Tensor, ""]:
        return torch.tensor(self.positive_weight, device=labels.device)

    def decode(self, logits: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b h w"]:
        return logits[:, 0].float().sigmoid()

    def metric(self, *, fast: bool = False) -> metrics.BoundaryFMeasure:
        return metrics.BoundaryFMeasure(self.max_dist, "nested" if fast else "exact", eight_bits=True)
