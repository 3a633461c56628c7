"""From counts to ODS-F, OIS-F and AP."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int
from numpy import ndarray

from atrc.metrics.boundary.protocol import BoundaryProtocol


class Point(NamedTuple):
    """A point on a precision-recall curve."""

    threshold: float
    precision: float
    recall: float
    f_measure: float


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
        protocol: How it was measured.
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
    protocol: BoundaryProtocol


# i images, t thresholds
def boundary_scores(
    counts: Int[ndarray, "i t 4"], protocol: BoundaryProtocol, per_image: bool = True
) -> BoundaryScores:
    """Score what ``boundary_counts`` counted in each image of a data set.

    Always finite, by the conventions of ``protocol.scoring``. Of equally good thresholds the lowest is taken.

    Source: SEISM, the BSDS benchmark and Dollár's edges toolbox. AP interpolates precision linearly at 101 recalls,
    sums and divides by 100, and is 0 if recall never changes, as all three do.

    Args:
        counts: Correct, predicted, found and true pixels of each image and threshold.
        protocol: How they were counted.
        per_image: Whether the first axis really holds single images, so that OIS-F means something.
    """
    totals = counts.sum(axis=0)
    precision, recall, _ = rates(totals, protocol)
    best = best_point(totals, protocol)
    return BoundaryScores(
        ods_f=best.f_measure,
        ods_threshold=best.threshold,
        ods_precision=best.precision,
        ods_recall=best.recall,
        ois_f=image_scale_rates(counts, protocol)[2] if per_image else None,
        ap=_average_precision(precision, recall),
        precision=tuple(precision.tolist()),
        recall=tuple(recall.tolist()),
        thresholds=protocol.thresholds,
        protocol=protocol,
    )


def rates(
    counts: Int[ndarray, "*any 4"], protocol: BoundaryProtocol
) -> tuple[Float64[ndarray, "*any"], Float64[ndarray, "*any"], Float64[ndarray, "*any"]]:
    """Return precision, recall and F of counts."""
    correct, predicted, found, true = np.moveaxis(counts, -1, 0)
    of_nothing = float(protocol.scoring == "seism")
    recall = np.where(true > 0, found / np.maximum(true, 1), of_nothing)
    precision = np.where(predicted > 0, correct / np.maximum(predicted, 1), of_nothing) * (true > 0)
    # 2 P R / (P + R), rounded once where one annotator makes `correct` and `found` equal.
    f_measure = 2 * correct / np.maximum(predicted + true * (correct / np.maximum(found, 1)), 1)
    return precision, recall, f_measure


def best_point(counts: Int[ndarray, "t 4"], protocol: BoundaryProtocol) -> Point:
    """Return the point of the best F, between thresholds if the protocol scores so."""
    points = np.array([protocol.thresholds, *rates(counts, protocol)])
    if protocol.scoring == "bsds" and points.shape[1] > 1:
        share = np.linspace(0, 1, 100)
        points = (points[:, 1:, None] * share + points[:, :-1, None] * (1 - share)).reshape(4, -1)
        points[3] = 2 * points[1] * points[2] / np.maximum(points[1] + points[2], np.finfo(float).eps)
    return Point(*points[:, points[3].argmax()].tolist())


def image_scale_rates(counts: Int[ndarray, "i t 4"], protocol: BoundaryProtocol) -> tuple[float, float, float]:
    """Return precision, recall and F over all images, each at its own best threshold (OIS)."""
    best = rates(counts, protocol)[2].argmax(axis=1)
    summed = np.take_along_axis(counts, best[:, None, None], axis=1).sum(axis=0)
    precision, recall, f_measure = rates(summed, protocol)
    return float(precision[0]), float(recall[0]), float(f_measure[0])


def _average_precision(precision: Float64[ndarray, " t"], recall: Float64[ndarray, " t"]) -> float:
    recalls, first = np.unique(recall, return_index=True)
    if recalls.size < 2:
        return 0.0
    grid = np.arange(101) / 100
    grid = grid[(grid >= recalls[0]) & (grid <= recalls[-1])]
    return float(np.interp(grid, recalls, precision[first]).sum() / 100)
