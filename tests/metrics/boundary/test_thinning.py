"""Thinning and suppression against scikit-image and a direct form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import correlate1d, gaussian_filter
from scipy.signal import convolve2d
from skimage.morphology import thin as reference_thin

from atrc.errors import UserError
from atrc.metrics.boundary import suppress, thin
from atrc.metrics.boundary.suppression import triangle_filter
from atrc.metrics.boundary.thinning import Skeleton


def blobs(seed: int, shape: tuple[int, int] = (40, 53), sigma: float = 2) -> np.ndarray:
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return ((field - field.min()) / np.ptp(field)).astype(np.float32)


@settings(max_examples=200, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_thinning_equals_scikit_image(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(thin(mask), reference_thin(mask))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sigma", [0.7, 2, 6])
def test_thinning_thick_masks_equals_scikit_image(seed: int, sigma: float) -> None:
    mask = blobs(seed, sigma=sigma) > 0.45
    np.testing.assert_array_equal(thin(mask), reference_thin(mask))


def test_a_full_mask_thins_as_scikit_image_does() -> None:
    mask = np.ones((31, 20), bool)
    np.testing.assert_array_equal(thin(mask), reference_thin(mask))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sigma", [0.0, 0.7, 2, 6])
def test_a_growing_mask_is_thinned_as_if_from_scratch(seed: int, sigma: float) -> None:
    strength = np.pad(blobs(seed, sigma=sigma), 1)
    skeleton, lines = Skeleton(strength.size, strength.shape[1]), np.zeros(strength.shape, bool)
    thresholds = np.linspace(1, 0, 41)
    for above, threshold in zip([2, *thresholds], thresholds, strict=False):
        new = np.flatnonzero((strength > threshold) & (strength <= above)).astype(np.int32)
        added, removed = skeleton.switch_on(new)
        assert not lines.flat[added].any()
        assert lines.flat[removed].all()
        lines.flat[added], lines.flat[removed] = True, False
        np.testing.assert_array_equal(lines, reference_thin(strength > threshold))


def slow_suppress(probability: np.ndarray) -> np.ndarray:
    """Return Dollár's suppression, written down pixel by pixel in double precision."""
    triangle = np.convolve(np.ones(5), np.ones(5)) / 25
    padded = np.pad(probability.astype(float), 4, mode="symmetric")
    smooth = convolve2d(padded, np.outer(triangle, triangle), mode="valid")
    gy, gx = np.gradient(smooth)
    gxx, gxy, gyy = np.gradient(gx, axis=1), np.gradient(gx, axis=0), np.gradient(gy, axis=0)
    angle = np.mod(np.arctan(gyy * np.sign(-gxy) / (gxx + 1e-5)), np.pi)
    height, width = probability.shape

    def sample(y: float, x: float) -> float:
        y, x = min(max(y, 0), height - 1.001), min(max(x, 0), width - 1.001)
        y0, x0 = math.floor(y), math.floor(x)
        corners = probability[y0 : y0 + 2, x0 : x0 + 2].astype(float)
        return float(np.array([1 - y + y0, y - y0]) @ corners @ np.array([1 - x + x0, x - x0]))

    result = probability.astype(float)
    for y in range(height):
        for x in range(width):
            for d in (-1, 1):
                other = sample(y + d * math.sin(angle[y, x]), x + d * math.cos(angle[y, x]))
                if 1.01 * probability[y, x] < other:
                    result[y, x] = 0
    for axis, length in enumerate(probability.shape):
        distance = np.minimum(np.arange(length), np.arange(length)[::-1])
        fade = np.minimum(distance / min(5, length // 2), 1)
        result *= fade[:, None] if axis == 0 else fade
    return result


@pytest.mark.parametrize("shape", [(40, 53), (9, 30), (10, 7), (3, 3), (2, 5)])
def test_suppression_equals_the_direct_form(shape: tuple[int, int]) -> None:
    for seed in range(5):
        probability = blobs(seed, shape, 1)
        ours, slow = suppress(probability), slow_suppress(probability)
        # Single precision decides the odd tie the other way.
        assert ((ours > 0) != (slow > 0)).mean() <= 0.001
        both = (ours > 0) & (slow > 0)
        np.testing.assert_allclose(ours[both], slow[both], rtol=1e-6)


def test_suppression_leaves_the_crest_of_a_ridge() -> None:
    y, x = np.mgrid[:40, :40]
    distance = (x - y) / math.sqrt(2)
    kept = suppress(np.exp(-(distance**2) / 8).astype(np.float32)) > 0
    assert kept[np.arange(5, 35), np.arange(5, 35)].all()
    assert not kept[5:35, 5:35][abs(distance[5:35, 5:35]) > 1].any()


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
def test_a_constant_map_only_fades_towards_the_border(value: float) -> None:
    strength = suppress(np.full((20, 30), value, np.float32))
    assert (strength[5:-5, 5:-5] == np.float32(value)).all()
    np.testing.assert_allclose(strength[10, :5], value * np.arange(5) / 5, rtol=1e-6)
    assert (strength == strength[::-1, ::-1]).all()


@pytest.mark.parametrize("shape", [(40, 53), (7, 10), (2, 3)])
@pytest.mark.parametrize("radius", [1, 4])
def test_the_triangle_filter_equals_scipy_to_the_bit(shape: tuple[int, int], radius: int) -> None:
    values, weights = blobs(0, shape, 1), np.convolve(np.ones(radius + 1), np.ones(radius + 1)) / (radius + 1) ** 2
    expected = correlate1d(correlate1d(values, weights, 0), weights, 1)
    np.testing.assert_array_equal(triangle_filter(values, radius), expected)
    np.testing.assert_array_equal(suppress(values, radius), suppress(expected))


def test_maps_without_a_second_derivative_are_refused() -> None:
    with pytest.raises(UserError, match="at least 2x2 pixels; got 1x9"):
        suppress(np.zeros((1, 9), np.float32))
