"""odsF, the boundary F-measure of SEISM, as functions and over folders; needs no torch."""

from atrc.metrics.boundary.counting import THRESHOLDS, Mode, boundary_counts, match_boundaries, suppress, thin
from atrc.metrics.boundary.figures import plot_precision_recall
from atrc.metrics.boundary.folders import evaluate_folders
from atrc.metrics.boundary.scores import BoundaryScores, boundary_scores

__all__ = [
    "THRESHOLDS",
    "BoundaryScores",
    "Mode",
    "boundary_counts",
    "boundary_scores",
    "evaluate_folders",
    "match_boundaries",
    "plot_precision_recall",
    "suppress",
    "thin",
]
