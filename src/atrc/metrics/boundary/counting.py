"""From a boundary map and its truth to the counts behind precision and recall."""

import math
from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Int64
from numpy import ndarray

from atrc.errors import UserError

# numba takes half a second to import: the modules with kernels are imported where they are first used.

Mode = Literal["exact", "nested"]

THRESHOLDS: Float32[ndarray, " t"] = np.array([0.001, *np.arange(1, 100) / 100, 0.999], np.float32)
THRESHOLDS.flags.writeable = False


# h w image, _ the same, refused with a message of our own if not, t thresholds
def suppress(probability: Float[ndarray, "h w"]) -> Float32[ndarray, "h w"]:
    """Keep the strengths that are maximal across their boundary, set the others to 0.

    Source: Dollár and Zitnick, "Fast Edge Detection Using Structured Forests", 2015, with SEISM's
    settings: triangle filter of radius 4, r = 1, s = 5, m = 1.01.
    """
    from atrc.metrics.boundary.suppression import suppress as kernel

    _check_probability(probability)
    return kernel(np.ascontiguousarray(probability, np.float32))


def thin(mask: Bool[ndarray, "h w"]) -> Bool[ndarray, "h w"]:
    """Thin a mask to lines one pixel wide, as MATLAB's ``bwmorph(mask, 'thin', Inf)``.

    Source: Lam, Lee and Suen, "Thinning Methodologies", 1992.
    """
    from atrc.metrics.boundary.thinning import Skeleton

    padded = np.pad(mask, 1)
    kept, _ = Skeleton(padded.size, padded.shape[1]).switch_on(_flat_indices(padded))
    return _mask(kept, padded.shape, 1)


def match_boundaries(
    prediction: Bool[ndarray, "h w"], truth: Bool[ndarray, "_ _"], max_distance_px: float
) -> tuple[Bool[ndarray, "h w"], Bool[ndarray, "h w"]]:
    """Match predicted with true pixels one to one, as many as possible; return the matched ones of each.

    The size of the matching is unique, which pixels it holds need not be. The BSDS code also weighs distance,
    with a random sample of edges to outliers, and so now and then misses a match: 0.02 % of them in the scenes
    of ``benchmarks/boundaries.py``, where F of summed counts differs by at most 0.0006 at any threshold.

    Args:
        prediction: Predicted boundary pixels.
        truth: True boundary pixels.
        max_distance_px: Pairs at most this far apart, centre to centre, may match [px].
    """
    from atrc.metrics.boundary.matching import Matching

    _check_same_size("prediction", prediction.shape, "truth", truth.shape)
    margin = int(max_distance_px) + 1
    padded = np.pad(truth, margin)
    matching = Matching(padded, max_distance_px)
    matching.update(_flat_indices(np.pad(prediction, margin)), np.empty(0, np.int32))
    predicted, true = matching.matched()
    return _mask(predicted, padded.shape, margin), _mask(true, padded.shape, margin)


def boundary_counts(
    probability: Float[ndarray, "h w"],
    truth: Bool[ndarray, "_ _"],
    max_dist: float = 0.0075,
    mode: Mode = "exact",
    valid: Bool[ndarray, "_ _"] | None = None,
) -> Int64[ndarray, "t 3"]:
    """Count matched, predicted and true boundary pixels at each of ``THRESHOLDS``.

    The map is suppressed once, thinned at each threshold and matched one to one with the truth, which is
    taken as it is. Invalid pixels are neither predicted nor true.

    Source: SEISM (Pont-Tuset and Marques, 2016) as used for NYUD and PASCAL-Context: thresholds 0.001,
    0.01, ..., 0.99, 0.999, a pixel being predicted where its suppressed strength is greater.

    Args:
        probability: Boundary probabilities in [0, 1].
        truth: True boundary pixels.
        max_dist: Tolerance as a fraction of the image diagonal: 0.011 for NYUD, 0.0075 for PASCAL.
        mode: ``exact`` thins at every threshold. ``nested`` thins once, at the lowest, and thresholds the
            lines: some 15 % faster and within 0.001 of odsF in ``benchmarks/boundaries.py``; for validation
            during training only.
        valid: Pixels that count; by default all.

    Raises:
        UserError: Sizes differ, or a value lies outside its range.
    """
    from atrc.metrics.boundary.matching import Matching

    check_settings(max_dist, mode)
    _check_same_size("prediction", probability.shape, "truth", truth.shape)
    if valid is not None:
        _check_same_size("prediction", probability.shape, "valid mask", valid.shape)
        probability, truth = np.where(valid, probability, 0), truth & valid
    radius = max_dist * math.hypot(*truth.shape)
    margin = int(radius) + 1
    strength = np.pad(suppress(probability), margin)
    matching = Matching(np.pad(truth, margin), radius)
    counts = np.empty((len(THRESHOLDS), 3), np.int64)
    predicted = 0
    for step, (added, removed) in enumerate(_line_changes(strength, mode)):
        matching.update(added, removed)
        predicted += added.size - removed.size
        counts[-1 - step, :2] = matching.size, predicted
    counts[:, 2] = np.count_nonzero(truth)
    return counts


def _line_changes(
    strength: Float32[ndarray, "h w"], mode: Mode
) -> Iterator[tuple[Int32[ndarray, " added"], Int32[ndarray, " removed"]]]:
    """Flat indices of the pixels that join and leave the thin lines, from the highest threshold to the lowest."""
    from atrc.metrics.boundary.thinning import Skeleton

    skeleton = Skeleton(strength.size, strength.shape[1])
    pixels = _flat_indices(strength > THRESHOLDS[0])
    if mode == "nested":
        pixels, none = skeleton.switch_on(pixels)
    levels = np.searchsorted(THRESHOLDS, strength.ravel()[pixels])  # how many thresholds are smaller
    pixels = pixels[np.argsort(-levels, kind="stable")]
    ends = np.cumsum(np.bincount(levels, minlength=len(THRESHOLDS) + 1)[::-1])
    for new in np.split(pixels, ends)[: len(THRESHOLDS)]:
        yield (new, none) if mode == "nested" else skeleton.switch_on(new)


def _flat_indices(mask: Bool[ndarray, "h w"]) -> Int32[ndarray, " n"]:
    return np.flatnonzero(mask).astype(np.int32)


def _mask(pixels: ndarray, shape: tuple[int, int], margin: int) -> Bool[ndarray, "h w"]:
    mask = np.zeros(shape, bool)
    mask.flat[pixels] = True
    return mask[margin:-margin, margin:-margin]


def check_settings(max_dist: float, mode: str) -> None:
    """Refuse a tolerance or a mode that does not exist.

    Raises:
        UserError: Says which.
    """
    if not 0 < max_dist < 1:
        raise UserError(f"max_dist is a fraction of the image diagonal, between 0 and 1; got {max_dist}")
    if mode not in get_args(Mode):
        raise UserError(f"mode {mode!r} does not exist; choose from: {', '.join(get_args(Mode))}")


def _check_probability(probability: ndarray) -> None:
    if min(probability.shape) < 2:
        raise UserError(f"a boundary map needs at least 2x2 pixels; got {_size(probability.shape)}")
    low, high = probability.min(), probability.max()
    if not (low >= 0 and high <= 1):  # false for NaN, too
        raise UserError(
            f"boundary probabilities lie in [0, 1], these in [{low:.4g}, {high:.4g}]: apply a sigmoid to "
            "logits, divide 8-bit values by 255, and look for NaN"
        )


def _check_same_size(name: str, shape: tuple[int, ...], other_name: str, other: tuple[int, ...]) -> None:
    if shape != other:
        raise UserError(
            f"the {name} is {_size(shape)}, its {other_name} {_size(other)} (height x width): resize the {name}"
        )


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
