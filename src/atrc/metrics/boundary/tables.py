"""Tables of boundary scores: one row an image as CSV, and the text files of the BSDS benchmark."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from atrc.files import write_atomic
from atrc.metrics.boundary.folders import FolderScores
from atrc.metrics.boundary.scores import best_point, image_scale_rates, rates


def write_image_scores(result: FolderScores, path: Path | str) -> None:
    """Write F, precision and recall of each image as CSV: at the best threshold of the set, and at its own."""
    scores = result.scores
    at = int(np.abs(np.array(scores.thresholds) - scores.ods_threshold).argmin())
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["image", "f", "precision", "recall", "best_threshold", "best_f", "best_precision", "best_recall"])
    for pair, counts in zip(result.pairs, result.counts, strict=True):
        precision, recall, f_measure = (float(rate[at]) for rate in rates(counts, scores.protocol))
        best = best_point(counts, scores.protocol)
        values = f_measure, precision, recall, best.threshold, best.f_measure, best.precision, best.recall
        rows.writerow([pair.name, *(f"{value:.6g}" for value in values)])
    write_atomic(path, text.getvalue())


def write_bsds(result: FolderScores, folder: Path | str) -> None:
    """Write the text files of the BSDS benchmark, which scripts of others read and plot.

    ``NAME_ev1.txt`` has a row per threshold: threshold, found, true, correct, predicted pixels. ``eval_bdry_thr.txt``
    has threshold, recall, precision and F of the set. ``eval_bdry_img.txt`` has a row per image: its number, and
    threshold, recall, precision and F at its best. ``eval_bdry.txt`` has one row: threshold, recall, precision and F
    of ODS; recall, precision and F of OIS; AP.
    """
    scores, protocol, folder = result.scores, result.scores.protocol, Path(folder)
    images = []
    for number, (pair, counts) in enumerate(zip(result.pairs, result.counts, strict=True), 1):
        correct, predicted, found, true = counts.T
        columns = [scores.thresholds, found, true, correct, predicted]
        write_atomic(folder / f"{pair.name}_ev1.txt", _rows(np.column_stack(columns)))
        best = best_point(counts, protocol)
        images.append([number, best.threshold, best.recall, best.precision, best.f_measure])
    precision, recall, f_measure = rates(result.counts.sum(axis=0), protocol)
    ois_precision, ois_recall, ois_f = image_scale_rates(result.counts, protocol)
    ods = [scores.ods_threshold, scores.ods_recall, scores.ods_precision, scores.ods_f]
    write_atomic(folder / "eval_bdry_img.txt", _rows(images))
    write_atomic(
        folder / "eval_bdry_thr.txt", _rows(np.column_stack([scores.thresholds, recall, precision, f_measure]))
    )
    write_atomic(folder / "eval_bdry.txt", _rows([[*ods, ois_recall, ois_precision, ois_f, scores.ap]]))


def _rows(values: Any) -> str:
    return "".join(" ".join(f"{value:10g}" for value in row) + "\n" for row in values)
