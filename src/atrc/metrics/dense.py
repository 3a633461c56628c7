"""Metrics over a whole data set: torchmetrics classes whose states are sums, so that they merge exactly."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torchmetrics import Metric

from atrc.metrics.functional import angular_error, confusion_matrix, f_measure, mean_iou

# b batch, h w image, t thresholds


class MeanIoU(Metric):
    """mIoU in [0, 1] from one confusion matrix over the data set, averaged over the classes that occur."""

    higher_is_better = True
    full_state_update = False
    confusion: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("confusion", torch.zeros(num_classes, num_classes, dtype=torch.long), "sum")

    def update(
        self, preds: Integer[Tensor, "b h w"], target: Integer[Tensor, "b h w"], valid: Bool[Tensor, "b h w"]
    ) -> None:
        """Count predicted labels against true ones."""
        self.confusion += confusion_matrix(preds, target, valid, self.num_classes)

    def compute(self) -> Float[Tensor, ""]:
        """Return the mIoU; NaN before any valid pixel."""
        return mean_iou(self.confusion)


class _PixelMean(Metric):
    """Sum of a per-pixel error in float64, and the number of valid pixels."""

    higher_is_better = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), "sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), "sum")

    def _add(self, error: Float[Tensor, "b h w"], valid: Bool[Tensor, "b h w"]) -> None:
        self.total += error[valid].sum(dtype=torch.float64)
        self.count += valid.sum()


class RootMeanSquareError(_PixelMean):
    """RMSE [unit of the input, m for depth] over all valid pixels of the data set."""

    def update(
        self, preds: Float[Tensor, "b h w"], target: Float[Tensor, "b h w"], valid: Bool[Tensor, "b h w"]
    ) -> None:
        """Add squared errors, which float32 would let overflow from 1e19 on."""
        self._add((preds - target).double().square(), valid)

    def compute(self) -> Float[Tensor, ""]:
        """Return the RMSE; NaN before any valid pixel."""
        return (self.total / self.count).sqrt()


class MeanAngularError(_PixelMean):
    """mErr [deg]: mean angle between predicted and true normals over all valid pixels of the data set."""

    def update(
        self, preds: Float[Tensor, "b 3 h w"], target: Float[Tensor, "b 3 h w"], valid: Bool[Tensor, "b h w"]
    ) -> None:
        """Add angles; lengths do not matter."""
        self._add(angular_error(preds, target), valid)

    def compute(self) -> Float[Tensor, ""]:
        """Return the mErr; NaN before any valid pixel."""
        return self.total / self.count


class MaxFMeasure(Metric):
    """maxF in [0, 1]: the best F (beta^2 = 0.3) over one threshold common to the data set.

    Source: Sec. 4.1, after Achanta et al. (CVPR 2009); thresholds 0.05, 0.10 .. 0.95.
    """

    higher_is_better = True
    full_state_update = False
    beta_squared = 0.3
    thresholds: Tensor
    true_positives: Tensor
    predicted: Tensor
    actual: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("thresholds", torch.arange(1, 20) / 20)
        self.add_state("true_positives", torch.zeros(19, dtype=torch.long), "sum")
        self.add_state("predicted", torch.zeros(19, dtype=torch.long), "sum")
        self.add_state("actual", torch.zeros((), dtype=torch.long), "sum")

    def update(
        self, preds: Float[Tensor, "b h w"], target: Integer[Tensor, "b h w"], valid: Bool[Tensor, "b h w"]
    ) -> None:
        """Count pixels whose probability is over each threshold."""
        probability, positive = preds[valid], target[valid] > 0
        # One histogram instead of 19 comparisons: a pixel in bin i is over the first i thresholds.
        bins = torch.bucketize(probability, self.thresholds.to(probability.dtype))
        self.predicted += _over(bins)
        self.true_positives += _over(bins[positive])
        self.actual += positive.sum()

    def compute(self) -> Float[Tensor, ""]:
        """Return the maxF."""
        return f_measure(self.true_positives, self.predicted, self.actual, self.beta_squared).max()


def _over(bins: Integer[Tensor, " n"]) -> Integer[Tensor, " t"]:
    return torch.bincount(bins, minlength=20)[1:].flip(0).cumsum(0).flip(0)
