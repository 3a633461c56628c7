"""Maximum matchings: counted by hand, and against SciPy on random maps and random changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial.distance import cdist

from atrc.errors import UserError
from atrc.metrics.boundary import match_boundaries
from atrc.metrics.boundary.matching import Matching

NOTHING = np.empty(0, np.int32)


def picture(text: str) -> np.ndarray:
    return np.array([[character == "#" for character in line] for line in text.split()])


def matches(prediction: np.ndarray, truth: np.ndarray, radius: float) -> int:
    matched_prediction, matched_truth = match_boundaries(prediction, truth, radius)
    assert not (matched_prediction & ~prediction).any()
    assert not (matched_truth & ~truth).any()
    assert matched_prediction.sum() == matched_truth.sum()
    return int(matched_truth.sum())


def largest(prediction: np.ndarray, truth: np.ndarray, radius: float) -> int:
    """Return the size of a maximum matching by SciPy's Hopcroft-Karp over all pairs."""
    near = cdist(np.argwhere(prediction).reshape(-1, 2), np.argwhere(truth).reshape(-1, 2)) <= radius
    return int((maximum_bipartite_matching(csr_matrix(near)) >= 0).sum()) if near.size else 0


def random_map(rng: np.random.Generator, density: float, shape: tuple[int, int] = (12, 15)) -> np.ndarray:
    return rng.random(shape) < density


def test_two_predicted_pixels_share_no_true_pixel() -> None:
    assert matches(picture("#.#"), picture(".#."), 1.0) == 1


def test_the_nearest_pair_gives_way_if_that_matches_more() -> None:
    # The first predicted pixel is nearest to the second true one, which is all that the second can reach.
    assert matches(picture("..#.#"), picture("#..#."), 2.0) == 2


def test_a_chain_of_five_shifts_as_a_whole() -> None:
    assert matches(picture(".#.#.#.#.#"), picture("#.#.#.#.#."), 1.0) == 5


@pytest.mark.parametrize(("radius", "count"), [(5.0, 1), (4.99, 0)])
def test_the_radius_itself_is_within_reach(radius: float, count: int) -> None:
    prediction, truth = np.zeros((2, 5, 4), bool)
    prediction[0, 0] = truth[4, 3] = True  # 3-4-5
    assert matches(prediction, truth, radius) == count


def test_rows_do_not_wrap_around() -> None:
    assert matches(picture("...# ...."), picture(".... #..."), 2.0) == 0


def test_below_one_pixel_only_coinciding_pixels_match() -> None:
    assert matches(picture("##."), picture(".##"), 0.5) == 1


def test_nothing_matches_nothing() -> None:
    empty = np.zeros((4, 4), bool)
    for prediction, truth in [(empty, ~empty), (~empty, empty), (empty, empty)]:
        assert matches(prediction, truth, 2.0) == 0


def test_maps_of_different_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="prediction is 2x3, its truth 3x2"):
        match_boundaries(np.zeros((2, 3), bool), np.zeros((3, 2), bool), 1.0)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.05, 0.6), st.floats(0.05, 0.6), st.floats(0.5, 4))
def test_no_matching_is_larger(seed: int, predicted: float, true: float, radius: float) -> None:
    rng = np.random.default_rng(seed)
    prediction, truth = random_map(rng, predicted), random_map(rng, true)
    assert matches(prediction, truth, radius) == largest(prediction, truth, radius)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.05, 0.6), st.floats(0.05, 0.4), st.floats(1, 4))
def test_the_matching_stays_maximum_while_pixels_come_and_go(
    seed: int, density: float, true: float, radius: float
) -> None:
    rng = np.random.default_rng(seed)
    truths, before = [random_map(rng, true) for _ in range(3)], np.zeros((12, 15), bool)
    margin = int(radius) + 1
    alone = Matching(np.pad(truths[0], margin), radius)
    votes, voted = np.zeros(np.pad(before, margin).size, np.uint8), 0
    sharing = [Matching(np.pad(truth, margin), radius, votes) for truth in truths]
    for _ in range(12):
        after = before ^ (random_map(rng, 0.2) & (before | random_map(rng, density)))
        added, removed = (
            np.flatnonzero(np.pad(m, margin)).astype(np.int32) for m in (after & ~before, before & ~after)
        )
        alone.update(added, removed)
        voted += sum(matching.update(added, removed) for matching in sharing)
        for matching, truth in zip((alone, *sharing), (truths[0], *truths), strict=True):
            assert matching.size == largest(after, truth, radius)
            pixels, found = matching.matched()
            assert np.pad(after, margin).flat[pixels].all()
            assert np.unique(pixels).size == np.unique(found).size == matching.size
        matched = [matching.matched()[0] for matching in sharing]
        np.testing.assert_array_equal(votes, np.bincount(np.concatenate(matched), minlength=votes.size))
        assert voted == np.count_nonzero(votes)
        before = after


def test_pairs_lie_within_the_radius() -> None:
    rng = np.random.default_rng(0)
    truth = np.pad(random_map(rng, 0.3, (40, 50)), 4)
    matching = Matching(truth, 3.2)
    matching.update(np.flatnonzero(np.pad(random_map(rng, 0.3, (40, 50)), 4)).astype(np.int32), NOTHING)
    pixels, truths = (np.column_stack(np.unravel_index(found, truth.shape)) for found in matching.matched())
    assert np.hypot(*(pixels - truths).T).max() <= 3.2
