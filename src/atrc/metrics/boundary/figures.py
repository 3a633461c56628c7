"""Figures of boundary scores: precision-recall curves, and the images with the lowest scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from atrc.errors import UserError
from atrc.files import replacing
from atrc.metrics.boundary.counting import boundary_lines, boundary_strength, match_boundaries
from atrc.metrics.boundary.folders import FolderScores, Pair
from atrc.metrics.boundary.protocol import BoundaryProtocol
from atrc.metrics.boundary.scores import BoundaryScores, rates

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Recall and precision of people on the test images of BSDS500, one against the others. Source: Dollár's edges toolbox.
HUMAN = 0.7235, 0.9014

# Green, red and blue that colour-blind readers can distinguish.
COLOURS = {"missed": "#0072b2", "false": "#d55e00", "correct": "#009e73"}
FORMATS = (".png", ".svg", ".pdf")


def require_format(path: Path | str) -> None:
    """Refuse a file name of a figure that says no format, before there is work to lose."""
    if Path(path).suffix.lower() not in FORMATS:
        raise UserError(f"{path}: a figure is {', '.join(FORMATS[:-1])} or {FORMATS[-1]}; choose such a suffix")


def plot_precision_recall(systems: Mapping[str, BoundaryScores], path: Path | str, human: bool = False) -> None:
    """Draw precision over recall of several systems, on lines of equal F-measure.

    Args:
        systems: Scores by the names for the legend.
        path: The file; its suffix sets the format: PNG, SVG or PDF.
        human: Whether to mark how well people agree on the test images of BSDS500 (F 0.80).
    """
    from matplotlib.figure import Figure

    require_format(path)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="Recall", ylabel="Precision")
    for f_measure in np.arange(1, 10) / 10:
        least = f_measure / (2 - f_measure)  # the recall at which precision would be 1
        recall = np.linspace(least, 1, 500)
        axes.plot(recall, f_measure * recall / (2 * recall - f_measure), color="0.85", linewidth=0.8)
        axes.text(1.01, least, f"F = {f_measure:.1f}", color="0.5", size=8, va="center")
    for place, name in enumerate(sorted(systems, key=lambda name: -systems[name].ods_f)):
        scores, colour = systems[name], f"C{place % 10}"
        drawn = np.array([(r, p) for r, p in zip(scores.recall, scores.precision, strict=True) if r > 0])
        label = f"{name}: ODS {scores.ods_f:.3f}, OIS {scores.ois_f or np.nan:.3f}, AP {scores.ap:.3f}"
        axes.plot(*drawn.reshape(-1, 2).T, color=colour, linestyle=("-", "--", "-.", ":")[place % 4], label=label)
        axes.plot(scores.ods_recall, scores.ods_precision, "o", color=colour, clip_on=False)
    if human:
        axes.plot(*HUMAN, "D", color="black", label="people (BSDS500): F 0.803")
    axes.legend(loc="lower left", fontsize=8)
    _save(figure, path)


def draw_worst(result: FolderScores, path: Path | str, number: int = 12) -> None:
    """Draw the images with the lowest F at the threshold of the set, lowest first.

    On the left the prediction, on the right its lines: correct ones green, false ones red, and what they missed of any
    annotation blue.

    Args:
        result: Of ``evaluate_folders``.
        path: The file; its suffix sets the format: PNG, SVG or PDF.
        number: How many images.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    require_format(path)
    scores = result.scores
    at = int(np.abs(np.array(scores.thresholds) - scores.ods_threshold).argmin())
    precision, recall, f_measure = rates(result.counts[:, at], scores.protocol)
    worst = np.argsort(f_measure, kind="stable")[:number]
    columns = min(2, len(worst))
    sheets = [_compare(result.pairs[i], scores.thresholds[at], scores.protocol) for i in worst]
    width = max(sheet.shape[1] for sheet in sheets)
    rows = [max(sheet.shape[0] for sheet in sheets[i : i + columns]) + 40 for i in range(0, len(sheets), columns)]
    figure = Figure(figsize=(columns * (width + 20) / 100, sum(rows) / 100 + 0.6), layout="constrained")
    grid = figure.add_gridspec(len(rows), columns, height_ratios=rows)
    for place, (i, sheet) in enumerate(zip(worst, sheets, strict=True)):
        axes = figure.add_subplot(grid[divmod(place, columns)])
        axes.set_axis_off()
        axes.imshow(sheet)
        title = f"{result.pairs[i].name}: F {f_measure[i]:.3f}, precision {precision[i]:.3f}, recall {recall[i]:.3f}"
        axes.set_title(title, size=12)
    handles = [Patch(color=c, label=f"{n} at {scores.thresholds[at]:.2f}") for n, c in reversed(COLOURS.items())]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=14, frameon=False)
    _save(figure, path)


def _compare(pair: Pair, threshold: float, protocol: BoundaryProtocol) -> Float[ndarray, "h two_w 3"]:
    """Return the prediction, dark on white, next to the lines that are correct, false and missed."""
    from matplotlib.colors import to_rgb
    from scipy.ndimage import binary_dilation

    probability, truths = pair.read()
    truths = truths if protocol.annotators == "all" else truths[:1]
    lines = boundary_lines(boundary_strength(probability, protocol), threshold, protocol)
    radius = protocol.max_dist * np.hypot(*lines.shape)
    matches = [match_boundaries(lines, truth, radius) for truth in truths]
    correct = np.any([predicted for predicted, _ in matches], axis=0)
    missed = np.any([truth & ~found for truth, (_, found) in zip(truths, matches, strict=True)], axis=0)
    canvas = np.ones((*lines.shape, 3))
    for mask, colour in zip((missed, lines & ~correct, correct), COLOURS.values(), strict=True):
        canvas[binary_dilation(mask, np.ones((2, 2)))] = to_rgb(colour)
    return np.concatenate([np.repeat(1 - probability[..., None], 3, axis=2), canvas], axis=1)


def _save(figure: "Figure", path: Path | str) -> None:
    file_format, dpi = Path(path).suffix[1:].lower(), 100 if figure.get_figwidth() > 6 else 150
    with replacing(path) as partial:
        figure.savefig(partial, dpi=dpi, format=file_format, bbox_inches="tight", pad_inches=0.1)
