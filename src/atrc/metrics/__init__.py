"""Metrics: a functional core under thin torchmetrics classes."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchmetrics import Metric

    from atrc.metrics.boundary import (
        BoundaryProtocol,
        BoundaryScores,
        boundary_counts,
        boundary_scores,
        evaluate_folders,
        plot_precision_recall,
    )
    from atrc.metrics.boundary_measure import BoundaryFMeasure
    from atrc.metrics.dense import MaxFMeasure, MeanAngularError, MeanIoU, RootMeanSquareError

__all__ = [
    "BoundaryFMeasure",
    "BoundaryProtocol",
    "BoundaryScores",
    "MaxFMeasure",
    "MeanAngularError",
    "MeanIoU",
    "Metric",
    "RootMeanSquareError",
    "boundary_counts",
    "boundary_scores",
    "evaluate_folders",
    "plot_precision_recall",
]

# Imported when first used: importing torchmetrics takes longer than importing torch. A network needs no metric, and
# boundary scores need no torch.
_MODULES = {
    "BoundaryFMeasure": "atrc.metrics.boundary_measure",
    "MaxFMeasure": "atrc.metrics.dense",
    "MeanAngularError": "atrc.metrics.dense",
    "MeanIoU": "atrc.metrics.dense",
    "Metric": "torchmetrics",
    "RootMeanSquareError": "atrc.metrics.dense",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'atrc.metrics' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULES.get(name, "atrc.metrics.boundary")), name)
