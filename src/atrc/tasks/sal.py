"""Saliency estimation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Bool, Float, Integer
from torch import Tensor

from atrc import metrics
from atrc.tasks.base import Across, alone, masked_cross_entropy
from atrc.tasks.binary import Binary

# b batch, h w image


@dataclass(frozen=True)
class Saliency(Binary):
    """Salient or not. Truth: 0 or 1; two-class cross entropy balanced over the batch; maxF."""

    name: str = "sal"
    weight: float = field(default=5.0, kw_only=True)

    metric_name: ClassVar[str] = "maxF"
    unit: ClassVar[str] = "%"
    decoded: ClassVar[str] = "probability that a pixel is salient"
    kind_title: ClassVar[str] = "Saliency"
    hub_tag: ClassVar[str] = "saliency"
    colour_map: ClassVar[str] = "inferno"

    @property
    def channels(self) -> int:
        return 2

    @property
    def region_names(self) -> tuple[str, ...]:
        return "not salient", "salient"

    def loss(
        self,
        logits: Float[Tensor, "b 2 h w"],
        truth: Integer[Tensor, "b h w"],
        valid: Bool[Tensor, "b h w"],
        across: Across = alone,
    ) -> Float[Tensor, ""]:
        weights = self.region_weights(truth, valid, across).to(logits.dtype)
        return masked_cross_entropy(logits, truth, valid, across, weights)

    def positive_weight_of(
        self, labels: Integer[Tensor, "b h w"], valid: Bool[Tensor, "b h w"], across: Across
    ) -> Float[Tensor, ""]:
        """Return the share of negatives in the batch."""
        positives = across((valid & (labels > 0)).sum().float())
        return 1 - positives / across(valid.sum().float()).clamp(min=1)

    def decode(self, logits: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b h w"]:
        return logits.float().softmax(1)[:, 1]

    def metric(self, *, fast: bool = False) -> metrics.MaxFMeasure:
        return metrics.MaxFMeasure()
