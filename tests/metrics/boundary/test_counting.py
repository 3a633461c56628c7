"""Counts and scores of the protocols: by hand, against each step on its own, and as they were."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import numpy as np
import pytest

from atrc.errors import UserError
from atrc.metrics.boundary import (
    PROTOCOLS,
    BoundaryProtocol,
    boundary_counts,
    boundary_scores,
    match_boundaries,
    suppress,
    thin,
)
from atrc.metrics.boundary.protocol import Mode

named = BoundaryProtocol.named
scene = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "boundaries.py"))["scene"]
THRESHOLDS = named("seism", max_dist=0.1).thresholds
BSDS = named("bsds")


def seism(max_dist: float, mode: Mode = "exact") -> BoundaryProtocol:
    return named("seism", max_dist=max_dist, mode=mode)


def vertical_line() -> tuple[np.ndarray, np.ndarray]:
    """Return a line over 21 rows. Suppression leaves it at 0, .2, .4, .6, .8, 1, ..., 1, .8, .6, .4, .2, 0."""
    truth = np.zeros((21, 21), bool)
    truth[:, 10] = True
    return truth.astype(np.float32), truth


def counts_of(matched: list[int], predicted: list[int], true: int) -> np.ndarray:
    """Return counts of one image: those given at the first thresholds of SEISM, nothing predicted above."""
    counts = np.zeros((len(THRESHOLDS), 4), np.int64)
    counts[: len(matched), 0], counts[: len(predicted), 1], counts[: len(matched), 2] = matched, predicted, matched
    counts[:, 3] = true
    return counts


def test_the_protocols_are_those_of_the_field():
    assert len(THRESHOLDS) == 101
    np.testing.assert_allclose([THRESHOLDS[i] for i in (0, 1, 2, 50, 99, 100)], [0.001, 0.01, 0.02, 0.5, 0.99, 0.999])
    assert BSDS.thresholds == tuple(k / 100 for k in range(1, 100))
    assert (BSDS.max_dist, named("nyud").max_dist, named("nyud").filter_radius) == (0.0075, 0.011, 1)
    assert str(named("nyud", thresholds=9, inclusive=False)) == "nyud, max_dist 0.011, thresholds 9, inclusive False"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("bsd", {}, "protocol 'bsd' does not exist; choose from: seism, bsds, nyud"),
        ("seism", {}, "protocol 'seism' has no tolerance of its own: give max_dist, 0.011 for NYUD-v2"),
        *(("bsds", {"max_dist": value}, "fraction of the image diagonal") for value in (0.0, 1.0, -0.1, math.nan)),
        ("bsds", {"mode": "thick"}, "mode 'thick' does not exist; choose from: exact, nested, unthinned"),
        ("bsds", {"filter_radius": -1}, "filter_radius is 0 to 50"),
        ("bsds", {"thresholds": 0}, "thresholds lie between 0 and 1"),
        ("bsds", {"thresholds": (0.5, 0.5)}, "in ascending order"),
        ("bsds", {"thresholds": (0.5, 1.5)}, "in ascending order"),
    ],
)
def test_rules_that_do_not_exist_are_refused(name, changes, message):
    with pytest.raises(UserError, match=message):
        named(name, **changes)


@pytest.mark.parametrize("mode", ["exact", "nested"])
@pytest.mark.parametrize(("threshold", "pixels"), [(0.001, 19), (0.19, 19), (0.2, 17), (0.5, 15), (0.999, 11)])
def test_a_line_is_counted_as_by_hand(mode: Mode, threshold: float, pixels: int):
    counts = boundary_counts(*vertical_line(), seism(0.04, mode))
    assert counts[THRESHOLDS.index(threshold)].tolist() == [pixels, pixels, pixels, 21]


def test_a_strength_equal_to_the_threshold_counts_where_the_protocol_says_so():
    probability, truth = vertical_line()
    at = BSDS.thresholds.index(0.2)
    for inclusive, pixels in ((True, 19), (False, 17)):
        rules = named("bsds", max_dist=0.04, suppression=True, inclusive=inclusive)
        assert boundary_counts(probability, truth, rules)[at, 1] == pixels


@pytest.mark.parametrize(("shift", "matched"), [(2, 15), (3, 0)])
def test_the_tolerance_is_a_fraction_of_the_diagonal(shift: int, matched: int):
    probability, truth = vertical_line()
    counts = boundary_counts(probability, np.roll(truth, shift, 1), seism(2.5 / math.hypot(21, 21)))
    assert counts[THRESHOLDS.index(0.5)].tolist() == [matched, 15, matched, 21]


@pytest.mark.parametrize(
    "rules",
    [
        seism(0.03),
        seism(0.03, "nested"),
        named("nyud", max_dist=0.03, thresholds=20),
        named("bsds", max_dist=0.03, mode="unthinned", thresholds=20),
    ],
    ids=str,
)
def test_all_thresholds_at_once_count_as_each_on_its_own(rules: BoundaryProtocol):
    probability, truth = scene(3, 60, 80, objects=10)
    truths = np.stack([truth, np.roll(truth, 2, 1), np.roll(truth, 1, 0)][: 3 if rules.annotators == "all" else 1])
    counts = boundary_counts(probability, truths, rules)
    strength = suppress(probability, rules.filter_radius) if rules.suppression else probability
    for step, threshold in enumerate(rules.thresholds):
        mask, lowest = (
            strength >= np.float32(t) if rules.inclusive else strength > np.float32(t)
            for t in (threshold, rules.thresholds[0])
        )
        lines = {"exact": thin(mask), "nested": thin(lowest) & mask, "unthinned": mask}[rules.mode]
        matches = [match_boundaries(lines, one, 0.03 * 100) for one in truths]
        assert counts[step, 1:].tolist() == [lines.sum(), sum(found.sum() for _, found in matches), truths.sum()]
        # Which pixels are matched is not unique with several annotators, but no more than all that are near are.
        near = sum(match_boundaries(lines, one, 0.03 * 100)[0].sum() for one in truths)
        assert max(found.sum() for _, found in matches) <= counts[step, 0] <= min(near, lines.sum())
        assert len(truths) > 1 or counts[step, 0] == counts[step, 2]


def test_a_prediction_is_correct_if_any_annotator_matches_it_and_recall_sums_over_them():
    probability, line = vertical_line()
    probability[:, 3] = 1
    truths = np.stack([line, np.roll(line, 8, 1), np.roll(line, -7, 1)])
    rules = named("bsds", max_dist=0.04, thresholds=1)
    assert boundary_counts(probability, truths, rules).tolist() == [[42, 42, 42, 63]]
    first = named("bsds", max_dist=0.04, thresholds=1, annotators="first")
    assert boundary_counts(probability, truths, first).tolist() == [[21, 42, 21, 21]]
    with pytest.raises(UserError, match="3 annotations, protocol 'seism' takes one"):
        boundary_counts(probability, truths, seism(0.04))
    with pytest.raises(UserError, match="no annotation of this image"):
        boundary_counts(probability, truths[:0], rules)


def test_near_pairs_are_preferred_so_that_annotators_agree_on_what_is_correct():
    # Two lines next to each other, and four annotators who each drew one line at the first: the second is false.
    probability, truth = np.zeros((9, 9), np.float32), np.zeros((9, 9), bool)
    probability[4, 1:8], probability[6, 1:8] = 0.5, 0.9
    truth[4, 1:8] = True
    counts = boundary_counts(probability, np.stack([truth] * 4), named("bsds", max_dist=0.2, thresholds=(0.4, 0.7)))
    assert counts.tolist() == [[7, 14, 28, 28], [7, 7, 28, 28]]
    # At the low threshold the far line, which was matched first, has given its true pixels up.
    truths = np.stack([truth, np.roll(truth, 2, 0)])
    assert boundary_counts(probability, truths, named("bsds", max_dist=0.2, thresholds=(0.4,)))[0, 0] == 14


def test_invalid_pixels_do_not_matter():
    probability, truth = scene(0, 60, 80, objects=10)
    valid = np.ones((60, 80), bool)
    valid[20:40, 30:] = False
    other, other_truth = np.where(valid, probability, np.float32(np.nan)), np.where(valid, truth, ~truth)
    counts = boundary_counts(probability, truth, seism(0.0075), valid)
    np.testing.assert_array_equal(boundary_counts(other, other_truth, seism(0.0075), valid), counts)
    assert counts[0, 3] == truth[valid].sum()


@pytest.mark.parametrize("rules", [seism(0.04), seism(0.04, "nested"), BSDS], ids=str)
def test_images_without_boundaries_or_valid_pixels_have_finite_scores(rules: BoundaryProtocol):
    line, truth = vertical_line()
    nothing = np.zeros_like(truth)
    for probability, target, valid in [
        (line, nothing, None),
        (line * 0, truth, None),
        (line * 0, nothing, None),
        (line, truth, nothing),
        (line * 0 + 1, nothing, None),
    ]:
        scores = boundary_scores(boundary_counts(probability, target, rules, valid)[None], rules)
        assert (scores.ods_f, scores.ois_f, scores.ap) == (0, 0, 0)
        assert np.isfinite([*scores.precision, *scores.recall]).all()
    none = boundary_scores(np.zeros((0, len(rules.thresholds), 4), np.int64), rules)
    assert (none.ods_f, none.ois_f) == (0, 0)


def test_scores_are_those_counted_by_hand():
    # P 6/12, 4/5 and R 6/10, 4/10 of the first image; P 1/2, 1/1 and R 1/5, 1/5 of the second
    counts = np.stack([counts_of([6, 4], [12, 5], 10), counts_of([1, 1], [2, 1], 5)])
    scores = boundary_scores(counts, seism(0.01))
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
    assert boundary_scores(counts, seism(0.01), per_image=False).ois_f is None


def test_bsds_scores_are_those_counted_by_hand():
    rules = named("bsds", thresholds=(0.2, 0.4, 0.6))
    counts = np.array([[[8, 16, 20, 40], [6, 8, 12, 40], [0, 0, 0, 40]]])
    scores = boundary_scores(counts, rules)
    assert (scores.precision, scores.recall) == ((0.5, 0.75, 0), (0.5, 0.3, 0))  # nothing predicted: precision 0
    # F is 0.5 and 0.4286 at the thresholds; between them P = 0.5 + 0.25 x and R = 0.5 - 0.2 x, best of x = k / 99.
    between = [(2 * (0.5 + 0.25 * x) * (0.5 - 0.2 * x) / (1 + 0.05 * x), x) for x in np.arange(100) / 99]
    best, x = max(between)
    assert scores.ods_f == pytest.approx(best)
    assert scores.ods_threshold == pytest.approx(0.2 + 0.2 * x)
    assert best > 0.5
    assert scores.ois_f == pytest.approx(0.5)  # at a threshold
    # Precision over recall: from 0 at 0 up to 0.75 at 0.3, down to 0.5 at 0.5.
    assert scores.ap == pytest.approx(
        (sum(0.75 * r / 30 for r in range(31)) + sum(0.75 - r / 80 for r in range(1, 21))) / 100
    )


def test_a_scene_has_the_scores_it_had():
    scenes = [scene(seed, 60, 80, objects=10) for seed in range(3)]
    exact, nested = (
        boundary_scores(np.stack([boundary_counts(p, t, seism(0.02, mode)) for p, t in scenes]), seism(0.02, mode))
        for mode in ("exact", "nested")
    )
    assert exact.ods_threshold == 0.05
    assert (exact.ods_f, exact.ois_f, exact.ap) == pytest.approx((0.6720, 0.6771, 0.4747), abs=1e-4)
    assert (nested.ods_f, nested.ois_f, nested.ap) == pytest.approx((0.6708, 0.6776, 0.4637), abs=1e-4)
    assert exact.protocol == seism(0.02)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((20, 30), r"the prediction is 30x20, its truth 20x30 \(height x width\): transpose the prediction"),
        ((31, 20), "30x20, its truth 31x20 .*: crop or pad the prediction by the one pixel"),
        ((60, 41), "30x20, its truth 60x41 .*: resize the prediction; it has another scale"),
        ((40, 90), "30x20, its truth 40x90 .*: check that both belong to the same image"),
    ],
)
def test_sizes_that_differ_are_named_with_a_cure(size: tuple[int, int], message: str):
    with pytest.raises(UserError, match=message):
        boundary_counts(np.zeros((30, 20), np.float32), np.zeros(size, bool), BSDS)


def test_masks_of_another_size_are_refused():
    probability, truth = vertical_line()
    with pytest.raises(UserError, match="prediction is 21x21, its valid mask 21x20"):
        boundary_counts(probability, truth, BSDS, valid=truth[:, 1:])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-0.1, r"lie in \[0, 1\], these in \[-0.1, 0.5\]: apply a sigmoid to logits"),
        (255.0, r"lie in \[0, 1\], these in \[0.5, 255\]: divide 8-bit values by 255"),
        (math.nan, r"lie in \[0, 1\], 1 of these are NaN or infinite: look"),
        (math.inf, r"lie in \[0, 1\], 1 of these are NaN or infinite: look"),
    ],
)
def test_values_that_are_no_probabilities_are_refused(value: float, message: str):
    probability = np.full((5, 5), 0.5, np.float32)
    probability[2, 2] = value
    for rules in (BSDS, named("nyud")):
        with pytest.raises(UserError, match=message):
            boundary_counts(probability, np.zeros((5, 5), bool), rules)


def test_every_protocol_has_every_rule_but_the_tolerance_of_seism():
    assert {frozenset(rules) | {"max_dist"} for rules in PROTOCOLS.values()} == {frozenset(PROTOCOLS["bsds"])}
