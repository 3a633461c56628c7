"""Boundary scores as functions, over folders, in figures and tables; needs no torch."""

from atrc.metrics.boundary.counting import boundary_counts, match_boundaries, suppress, thin
from atrc.metrics.boundary.figures import draw_worst, plot_precision_recall
from atrc.metrics.boundary.folders import FolderScores, evaluate_folders
from atrc.metrics.boundary.protocol import PROTOCOLS, BoundaryProtocol
from atrc.metrics.boundary.reading import label_boundaries
from atrc.metrics.boundary.scores import BoundaryScores, boundary_scores
from atrc.metrics.boundary.tables import write_bsds, write_image_scores

__all__ = [
    "PROTOCOLS",
    "BoundaryProtocol",
    "BoundaryScores",
    "FolderScores",
    "boundary_counts",
    "boundary_scores",
    "draw_worst",
    "evaluate_folders",
    "label_boundaries",
    "match_boundaries",
    "plot_precision_recall",
    "suppress",
    "thin",
    "write_bsds",
    "write_image_scores",
]
