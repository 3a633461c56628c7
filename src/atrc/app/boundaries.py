"""Scoring folders of boundary maps; loads no torch."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from atrc.metrics.boundary.figures import plot_precision_recall
from atrc.metrics.boundary.folders import evaluate_folders


def score_boundaries(
    predictions: str,
    truths: str,
    max_dist: float,
    mode: Literal["exact", "nested"],
    workers: int | None,
    plot: str | None,
) -> dict[str, Any]:
    """Score folders of boundary maps and print odsF, OIS-F and AP."""
    scores = evaluate_folders(
        Path(predictions), Path(truths), max_dist, mode=mode, workers=workers, progress=sys.stderr.isatty()
    )
    print(
        f"odsF {scores.ods_f:.4f} at {scores.ods_threshold:.3f}, OIS-F {scores.ois_f:.4f}, AP {scores.ap:.4f}",
        file=sys.stderr,
    )
    if plot:
        plot_precision_recall(scores, Path(plot))
    return {key: value.tolist() if hasattr(value, "tolist") else value for key, value in asdict(scores).items()}
