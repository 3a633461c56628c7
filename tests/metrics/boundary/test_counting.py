"""Counts, scores and the torchmetrics class of the boundary F-measure."""

from __future__ import annotations

import math
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from atrc.errors import UserError
from atrc.metrics.boundary import (
    THRESHOLDS,
    boundary_counts,
    boundary_scores,
    match_boundaries,
    suppress,
    thin,
)
from atrc.metrics.boundary.counting import Mode
from atrc.metrics.boundary_measure import BoundaryFMeasure

ROOT = Path(__file__).parents[3]
scene = runpy.run_path(str(ROOT / "benchmarks" / "boundaries.py"))["scene"]


def at(threshold: float) -> int:
    return int(np.flatnonzero(np.float32(threshold) == THRESHOLDS)[0])


def vertical_line() -> tuple[np.ndarray, np.ndarray]:
    """Return a line over 21 rows. Suppression leaves it at 0, .2, .4, .6, .8, 1, ..., 1, .8, .6, .4, .2, 0."""
    truth = np.zeros((21, 21), bool)
    truth[:, 10] = True
    return truth.astype(np.float32), truth


def scenes(count: int) -> tuple[np.ndarray, np.ndarray]:
    probabilities, truths = zip(*(scene(seed, 60, 80, objects=10) for seed in range(count)), strict=True)
    return np.stack(probabilities), np.stack(truths)


def counts_of(matched: list[int], predicted: list[int], true: int) -> np.ndarray:
    """Return counts of one image: those given at the first thresholds, nothing predicted above."""
    counts = np.zeros((len(THRESHOLDS), 3), np.int64)
    counts[: len(matched), 0], counts[: len(predicted), 1], counts[:, 2] = matched, predicted, true
    return counts


def test_the_thresholds_are_those_of_seism() -> None:
    assert len(THRESHOLDS) == 101
    np.testing.assert_allclose(THRESHOLDS[[0, 1, 2, 50, 99, 100]], [0.001, 0.01, 0.02, 0.5, 0.99, 0.999])


@pytest.mark.parametrize("mode", ["exact", "nested"])
@pytest.mark.parametrize(("threshold", "pixels"), [(0.001, 19), (0.19, 19), (0.2, 17), (0.5, 15), (0.999, 11)])
def test_a_line_is_counted_as_by_hand(mode: Mode, threshold: float, pixels: int) -> None:
    counts = boundary_counts(*vertical_line(), 0.04, mode)
    assert counts[at(threshold)].tolist() == [pixels, pixels, 21]


@pytest.mark.parametrize(("shift", "matched"), [(2, 15), (3, 0)])
def test_the_tolerance_is_a_fraction_of_the_diagonal(shift: int, matched: int) -> None:
    probability, truth = vertical_line()
    counts = boundary_counts(probability, np.roll(truth, shift, 1), 2.5 / math.hypot(21, 21))
    assert counts[at(0.5)].tolist() == [matched, 15, 21]


def test_each_threshold_is_thinned_and_matched_afresh() -> None:
    probability, truth = scene(3, 60, 80, objects=10)
    counts = boundary_counts(probability, truth, 0.03)
    strength = suppress(probability)
    for step, threshold in enumerate(THRESHOLDS):
        lines = thin(strength > threshold)
        matched, _ = match_boundaries(lines, truth, 0.03 * 100)
        assert counts[step].tolist() == [matched.sum(), lines.sum(), truth.sum()]


def test_the_nested_mode_counts_the_nested_masks_exactly() -> None:
    probability, truth = scene(3, 60, 80, objects=10)
    counts = boundary_counts(probability, truth, 0.03, "nested")
    strength = suppress(probability)
    lines = thin(strength > THRESHOLDS[0])
    for step, threshold in enumerate(THRESHOLDS):
        mask = lines & (strength > threshold)
        matched, _ = match_boundaries(mask, truth, 0.03 * 100)
        assert counts[step].tolist() == [matched.sum(), mask.sum(), truth.sum()]


def test_invalid_pixels_do_not_matter() -> None:
    probability, truth = scene(0, 60, 80, objects=10)
    valid = np.ones((60, 80), bool)
    valid[20:40, 30:] = False
    other, other_truth = np.where(valid, probability, np.float32(np.nan)), np.where(valid, truth, ~truth)
    counts = boundary_counts(probability, truth, valid=valid)
    np.testing.assert_array_equal(boundary_counts(other, other_truth, valid=valid), counts)
    assert counts[0, 2] == truth[valid].sum()


@pytest.mark.parametrize("mode", ["exact", "nested"])
def test_images_without_boundaries_or_valid_pixels_have_finite_scores(mode: Mode) -> None:
    line, truth = vertical_line()
    nothing = np.zeros_like(truth)
    for probability, target, valid in [
        (line, nothing, None),
        (line * 0, truth, None),
        (line * 0, nothing, None),
        (line, truth, nothing),
        (line * 0 + 1, nothing, None),
    ]:
        scores = boundary_scores(boundary_counts(probability, target, 0.04, mode, valid)[None])
        assert (scores.ods_f, scores.ois_f, scores.ap) == (0, 0, 0)
        assert np.isfinite([*scores.precision, *scores.recall]).all()
    none = boundary_scores(np.zeros((0, len(THRESHOLDS), 3), np.int64))
    assert (none.ods_f, none.ois_f) == (0, 0)


def test_scores_are_those_counted_by_hand() -> None:
    # P 6/12, 4/5 and R 6/10, 4/10 of the first image; P 1/2, 1/1 and R 1/5, 1/5 of the second
    counts = np.stack([counts_of([6, 4], [12, 5], 10), counts_of([1, 1], [2, 1], 5)])
    scores = boundary_scores(counts)
    assert scores.ods_threshold == 0.001
    assert scores.ods_f == pytest.approx(2 * 7 / (14 + 15))
    assert (scores.ods_precision, scores.ods_recall) == (pytest.approx(7 / 14), pytest.approx(7 / 15))
    # Best of the first image: the first threshold (12/22 against 8/15); of the second: the second.
    assert scores.ois_f == pytest.approx(2 * 7 / (13 + 15))
    assert scores.precision[:3] == (pytest.approx(7 / 14), pytest.approx(5 / 6), 1)
    assert scores.recall[:3] == (pytest.approx(7 / 15), pytest.approx(5 / 15), 0)
    # Precision falls from 1 to 5/6 over recalls 0, .01, ..., .33 and on to 1/2 over .34, ..., .46.
    first = [1 - r / 100 / (1 / 3) / 6 for r in range(34)]
    second = [5 / 6 - (r / 100 - 1 / 3) / (2 / 15) / 3 for r in range(34, 47)]
    assert scores.ap == pytest.approx(sum(first + second) / 100)


def test_without_counts_of_each_image_there_is_no_ois() -> None:
    assert boundary_scores(counts_of([1], [1], 1)[None], per_image=False).ois_f is None


def test_a_scene_has_the_scores_it_had() -> None:
    probabilities, truths = scenes(3)
    exact, nested = (
        boundary_scores(
            np.stack([boundary_counts(p, t, 0.02, mode) for p, t in zip(probabilities, truths, strict=True)])
        )
        for mode in ("exact", "nested")
    )
    assert exact.ods_threshold == 0.05
    assert (exact.ods_f, exact.ois_f, exact.ap) == pytest.approx((0.6720, 0.6771, 0.4747), abs=1e-3)
    assert (nested.ods_f, nested.ois_f, nested.ap) == pytest.approx((0.6708, 0.6776, 0.4637), abs=1e-3)


def test_merged_metrics_equal_the_whole() -> None:
    probabilities, truths = map(torch.from_numpy, scenes(5))
    whole, first, second = (BoundaryFMeasure(0.02, per_image=True) for _ in range(3))
    whole.update(probabilities, truths)
    first.update(probabilities[:2], truths[:2])
    second.update(probabilities[2:], truths[2:])
    first.merge_state(second)
    assert first.scores() == whole.scores()
    assert float(first.compute()) == pytest.approx(whole.scores().ods_f)


def test_the_metric_agrees_with_the_functions_and_resets() -> None:
    probabilities, truths = scenes(2)
    metric = BoundaryFMeasure(0.02, mode="nested")
    assert metric.scores().ods_f == 0
    valid = torch.from_numpy(probabilities < 0.9)
    for _ in range(2):
        metric.update(torch.from_numpy(probabilities), torch.from_numpy(truths), valid)
        images = zip(probabilities, truths, valid.numpy(), strict=True)
        expected = boundary_scores(np.stack([boundary_counts(p, t, 0.02, "nested", v) for p, t, v in images]), False)
        assert metric.scores() == expected
        metric.reset()
    assert not metric.totals.any()


@pytest.mark.parametrize("max_dist", [0.0, 1.0, -0.1, math.nan])
def test_a_tolerance_beyond_the_diagonal_is_refused(max_dist: float) -> None:
    with pytest.raises(UserError, match="fraction of the image diagonal"):
        BoundaryFMeasure(max_dist)
    with pytest.raises(UserError, match="fraction of the image diagonal"):
        boundary_counts(*vertical_line(), max_dist)


def test_maps_of_different_sizes_are_refused() -> None:
    probability, truth = vertical_line()
    with pytest.raises(UserError, match="prediction is 21x21, its truth 20x21"):
        boundary_counts(probability, truth[1:])
    with pytest.raises(UserError, match="prediction is 21x21, its valid mask 21x20"):
        boundary_counts(probability, truth, valid=truth[:, 1:])


def test_importing_the_metric_does_not_import_numba() -> None:
    code = "import sys, atrc.metrics.boundary; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
