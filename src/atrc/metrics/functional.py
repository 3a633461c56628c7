"""The arithmetic of the metrics: pure functions of counts and sums."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from atrc.errors import UserError

# n pixels (any shape, flattened by the mask), k classes, t thresholds


def confusion_matrix(
    preds: Integer[Tensor, "*n"], target: Integer[Tensor, "*n"], valid: Bool[Tensor, "*n"], num_classes: int
) -> Integer[Tensor, "k k"]:
    """Count pixels by (true class, predicted class).

    >>> p, t = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1])
    >>> confusion_matrix(p, t, torch.ones(3, dtype=torch.bool), 2).tolist()
    [[1, 1], [0, 1]]
    """
    index = target[valid].long() * num_classes + preds[valid].long()
    return torch.bincount(index, minlength=num_classes**2).view(num_classes, num_classes)


def intersection_over_union(confusion: Integer[Tensor, "k k"]) -> Float[Tensor, " k"]:
    """Return the IoU of every class in [0, 1]; NaN for a class in neither truth nor predictions."""
    confusion = confusion.double()
    hit = confusion.diagonal()
    return hit / (confusion.sum(0) + confusion.sum(1) - hit)


def mean_iou(confusion: Integer[Tensor, "k k"]) -> Float[Tensor, ""]:
    """Average the IoU over the classes that occur, from one matrix for the whole data set.

    >>> float(mean_iou(torch.tensor([[1, 1], [0, 1]])))
    0.5
    """
    return intersection_over_union(confusion).nanmean()


def angular_error(preds: Float[Tensor, "b 3 h w"], target: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b h w"]:
    """Return the angle between two fields of directions [deg], of any lengths.

    By atan2 of the cross and dot products, exact also where the angle is tiny and acos is not. A vector of no length
    has no direction: it is 90 deg from all, as the acos of a product of 0 is, where atan2 would call it perfect.
    """
    cross, dot = torch.linalg.cross(preds, target, dim=1).norm(dim=1), (preds * target).sum(1)
    return torch.where((cross == 0) & (dot == 0), 90.0, torch.rad2deg(torch.atan2(cross, dot)))


def f_measure(true_positives: Tensor, predicted: Tensor, actual: Tensor, beta_squared: float) -> Float[Tensor, " t"]:
    """Return F = (1 + b2) P R / (b2 P + R); 0 where nothing is predicted or nothing is there.

    >>> f_measure(torch.tensor([3]), torch.tensor([4]), torch.tensor([8]), 1.0).tolist()
    [0.5]
    """
    weighted = beta_squared * actual + predicted  # the common form after cancelling the true positives
    return ((1 + beta_squared) * true_positives / weighted.clamp(min=1)).double()


def delta_m(results: Mapping[str, float], baseline: Mapping[str, float], higher_is_better: Mapping[str, bool]) -> float:
    """Return the average gain per task over single-task baselines [%]; negative is a drop.

    >>> better = {"semseg": True, "depth": False}
    >>> delta_m({"semseg": 0.44, "depth": 0.9}, {"semseg": 0.4, "depth": 1.0}, better)
    10.0

    Source: Sec. 4.1. The sign comes from the metric, never from a list of names.

    Raises:
        UserError: A task is missing in the baseline, its value there is 0, or a value is not a finite number.
    """
    missing = [task for task in results if task not in baseline]
    if missing:
        raise UserError(f"no baseline result for task '{missing[0]}'; the baseline has {', '.join(baseline)}")
    gains = [_gain(task, value, baseline[task], higher_is_better[task]) for task, value in results.items()]
    return round(100 * sum(gains) / len(gains), 12)


def _gain(task: str, value: float, base: float, higher_is_better: bool) -> float:
    for name, number in (("", value), ("the baseline's ", base)):
        if not math.isfinite(number):
            raise UserError(
                f"{name}{task} is {number}: there is no gain without a number; score it where it has labels"
            )
    if base == 0:
        raise UserError(f"the baseline's {task} is 0: no gain is relative to that; compare with a baseline that works")
    return (value - base if higher_is_better else base - value) / base
