"""What defines a task: everything about one kind of dense prediction is in one frozen object."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer, Shaped, UInt8
from torch import Tensor
from torchvision import tv_tensors

from atrc import metrics
from atrc.ops import resized_cross_entropy
from atrc.tasks.colours import Legend, palette
from atrc.tasks.maps import LabelMap

# b batch, c channels of the prediction, r label regions, h w image, y x grid of the regions' logits

Across = Callable[[Tensor], Tensor]
Labelled = tuple[Tensor, Tensor]  # truth (b .. h w) and valid (b h w) of images of one size


def alone(count: Tensor) -> Tensor:
    """Leave a count as it is: the mean over processes when there is one."""
    return count


@dataclass(frozen=True)
class Task(abc.ABC):
    """One kind of dense prediction: its outputs, label regions, losses, metric and colours.

    Validity is a boolean mask next to the truth; no value of the truth is a sentinel.
    `across` averages a count over the processes of a distributed run, so that a loss is the mean over the
    valid pixels of the global batch.
    """

    name: str
    weight: float = field(kw_only=True)

    metric_name: ClassVar[str]
    unit: ClassVar[str]
    decoded: ClassVar[str] = ""  # what `decode` returns, in words
    kind_title: ClassVar[str] = ""  # name of this kind of task, for people
    hub_tag: ClassVar[str] = ""  # name of the task on the Hugging Face Hub
    truth_type: ClassVar[type[tv_tensors.TVTensor]] = LabelMap
    limits_crop: ClassVar[bool] = False  # whether one of its labels may fill only part of a crop
    labelled_by_parts: ClassVar[bool] = False  # whether the released code ignores crops of nothing but background

    @property
    @abc.abstractmethod
    def channels(self) -> int:
        """Channels c of the prediction P_n."""

    @property
    @abc.abstractmethod
    def region_count(self) -> int:
        """Label regions r, the channels of the auxiliary prediction A_n. Source: Sec. 3.2.3."""

    @abc.abstractmethod
    def loss(
        self,
        logits: Float[Tensor, "b c h w"],
        truth: Shaped[Tensor, "b *_ h w"],
        valid: Bool[Tensor, "b h w"],
        across: Across = alone,
    ) -> Float[Tensor, ""]:
        """Return the mean loss over valid pixels; 0 where there are none."""

    @abc.abstractmethod
    def region_labels(self, truth: Shaped[Tensor, "b *_ h w"]) -> Integer[Tensor, "b h w"]:
        """Return the label region of every pixel of the truth."""

    @abc.abstractmethod
    def decode(self, logits: Float[Tensor, "b c h w"]) -> Shaped[Tensor, "b *_ h w"]:
        """Turn logits into what people and metrics read: labels, [m], unit vectors .."""

    def unscaled(self, logits: Float[Tensor, "b c h w"], scale: float) -> Float[Tensor, "b c h w"]:
        """Return the output for an image from its output for the same image enlarged by a factor."""
        return logits

    @abc.abstractmethod
    def metric(self, *, fast: bool = False) -> metrics.Metric:
        """Return a fresh metric over a data set; it takes `(decoded, truth, valid)`.

        `fast` asks for the approximation that validation while training may use, where there is one.
        """

    @abc.abstractmethod
    def constant(self, images: Sequence[Labelled]) -> Shaped[Tensor, "1 *_ 1 1"]:
        """Return the best constant decoded prediction for these (truth, valid): the score to beat."""

    @abc.abstractmethod
    def colour(self, decoded: Shaped[np.ndarray, "*_ h w"]) -> UInt8[np.ndarray, "h w 3"]:
        """Paint one decoded prediction or truth for people to read."""

    def region_weights(
        self, labels: Integer[Tensor, "b h w"], valid: Bool[Tensor, "b h w"], across: Across
    ) -> Float[Tensor, " r"] | None:
        """Weights of the label regions in the auxiliary loss; None for equal weights."""
        return None

    def auxiliary_loss(
        self,
        logits: Float[Tensor, "b r y x"],
        truth: Shaped[Tensor, "b *_ h w"],
        valid: Bool[Tensor, "b h w"],
        across: Across = alone,
    ) -> Float[Tensor, ""]:
        """Cross entropy over label regions, resized to the image: the mean over valid pixels. Source: Sec. 3.2.3."""
        labels = self.region_labels(truth)
        weights = self.region_weights(labels, valid, across)
        return masked_cross_entropy(logits, labels, valid, across, weights)

    @property
    def title(self) -> str:
        """The name for people: that of its kind, unless the task is renamed."""
        default = next(field.default for field in fields(self) if field.name == "name")
        return self.kind_title if self.kind_title and self.name == default else self.name

    @property
    def legend(self) -> Legend:
        """What the colours of `colour` mean: label regions ("classes"), "directions", a bar of numbers, or None."""
        return None

    @property
    def region_names(self) -> tuple[str, ...]:
        """Names of the label regions, for people; numbers by default."""
        return tuple(map(str, range(self.region_count)))

    @property
    def region_colours(self) -> UInt8[np.ndarray, "r 3"]:
        """The colours of the label regions, those of `colour` where it has them."""
        return palette(self.region_count)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON and YAML."""
        return asdict(self)


def masked_mean(
    values: Float[Tensor, "b h w"], valid: Bool[Tensor, "b h w"], across: Across = alone
) -> Float[Tensor, ""]:
    """Average over valid pixels; invalid ones do not count and get no gradient, even if not finite."""
    total = torch.where(valid, values, 0.0).sum()
    return total / across(valid.sum().to(values.dtype)).clamp(min=1)


def masked_cross_entropy(
    logits: Float[Tensor, "b k y x"],
    labels: Integer[Tensor, "b h w"],
    valid: Bool[Tensor, "b h w"],
    across: Across = alone,
    weights: Float[Tensor, " k"] | None = None,
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Average the (class-weighted) cross entropy over valid pixels, not over the weights.

    Logits of another size are resized to that of the labels; those whose labels are smoothed have their size.
    """
    labels = torch.where(valid, labels, -1)
    if smoothing:
        weights = None if weights is None else weights.to(logits)
        options: dict[str, Any] = {"ignore_index": -1, "reduction": "sum", "label_smoothing": smoothing}
        total = F.cross_entropy(logits, labels.long(), weights, **options)
    else:
        total = resized_cross_entropy(logits, labels, weights)
    return total / across(valid.sum().to(logits.dtype)).clamp(min=1)
