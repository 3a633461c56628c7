"""The precision-recall plot of boundary scores."""

from pathlib import Path

import numpy as np

from atrc.metrics.boundary.scores import BoundaryScores


def plot_precision_recall(scores: BoundaryScores, path: Path | str) -> None:
    """Draw precision over recall, on lines of equal F-measure; the suffix of the path sets the format."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="Recall", ylabel="Precision")
    for f_measure in np.arange(1, 10) / 10:
        least = f_measure / (2 - f_measure)  # the recall at which precision would be 1
        recall = np.linspace(least, 1, 500)
        axes.plot(recall, f_measure * recall / (2 * recall - f_measure), color="0.85", linewidth=0.8)
        axes.text(1.01, least, f"F = {f_measure:.1f}", color="0.5", size=8, va="center")
    axes.plot(scores.recall, scores.precision, label=f"AP = {scores.ap:.3f}")
    best = f"odsF = {scores.ods_f:.3f} at threshold {scores.ods_threshold:g}"
    axes.plot(scores.ods_recall, scores.ods_precision, "o", color="C0", label=best, clip_on=False)
    axes.legend(loc="lower left")
    figure.savefig(path, dpi=150)
