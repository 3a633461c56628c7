"""From counts to ODS-F, OIS-F and AP."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int
from numpy import ndarray

from atrc.metrics.boundary.counting import THRESHOLDS


@dataclass(frozen=True)
class BoundaryScores:
    """Boundary quality of a data set.

    Attributes:
        ods_f: F-measure at the best threshold common to all images; the published odsF.
        ods_threshold: That threshold.
        ods_precision: Precision there.
        ods_recall: Recall there.
        ois_f: F-measure with the best threshold of each image; None if the counts per image are not known.
        ap: Average precision over recalls of 0, 0.01, ..., 1.
        precision: Precision at each threshold.
        recall: Recall at each threshold.
        thresholds: The thresholds.
    """

    ods_f: float
    ods_threshold: float
    ods_precision: float
    ods_recall: float
    ois_f: float | None
    ap: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    thresholds: tuple[float, ...]


# i images, t thresholds
def boundary_scores(counts: Int[ndarray, "i t 3"], per_image: bool = True) -> BoundaryScores:
    """Score what ``boundary_counts`` counted in each image of a data set.

    Always finite, by SEISM's conventions: without predicted pixels precision is 1, recall 0 and F 0; without
    true pixels precision is 0, recall 1 and F 0. Of equally good thresholds the lowest is taken.

    Source: SEISM and Dollár's edges toolbox. F is not interpolated between thresholds (SEISM; Dollár's
    toolbox does). AP sums 101 values and divides by 100, and is 0 if recall never changes (both do).

    Args:
        counts: Matched, predicted and true pixels of each image and threshold.
        per_image: Whether the first axis really holds single images, so that OIS-F means something.
    """
    totals = counts.sum(axis=0)
    precision, recall, f_measure = _rates(totals)
    best = int(f_measure.argmax())
    return BoundaryScores(
        ods_f=float(f_measure[best]),
        ods_threshold=_round(THRESHOLDS)[best],
        ods_precision=float(precision[best]),
        ods_recall=float(recall[best]),
        ois_f=_ois_f(counts) if per_image else None,
        ap=_average_precision(precision, recall),
        precision=tuple(precision.tolist()),
        recall=tuple(recall.tolist()),
        thresholds=_round(THRESHOLDS),
    )


def _rates(
    counts: Int[ndarray, "*any 3"],
) -> tuple[Float64[ndarray, "*any"], Float64[ndarray, "*any"], Float64[ndarray, "*any"]]:
    matched, predicted, true = np.moveaxis(counts, -1, 0)
    recall = np.where(true > 0, matched / np.maximum(true, 1), 1.0)
    precision = np.where(predicted > 0, matched / np.maximum(predicted, 1), 1.0) * (true > 0)
    f_measure = 2 * matched / np.maximum(predicted + true, 1)  # = 2 P R / (P + R), matching being one to one
    return precision, recall, f_measure


def _ois_f(counts: Int[ndarray, "i t 3"]) -> float:
    _, _, f_measures = _rates(counts)
    chosen = np.take_along_axis(counts, f_measures.argmax(axis=1)[:, None, None], axis=1)
    return float(_rates(chosen.sum(axis=0))[2][0])


def _average_precision(precision: Float64[ndarray, " t"], recall: Float64[ndarray, " t"]) -> float:
    recalls, first = np.unique(recall, return_index=True)
    if recalls.size < 2:
        return 0.0
    grid = np.arange(101) / 100
    grid = grid[(grid >= recalls[0]) & (grid <= recalls[-1])]
    return float(np.interp(grid, recalls, precision[first]).sum() / 100)


def _round(thresholds: ndarray) -> tuple[float, ...]:
    """As double-precision numbers that print as 0.01 instead of 0.009999999776482582."""
    return tuple(round(threshold, 3) for threshold in thresholds.tolist())
