"""From a boundary map and its annotations to the counts that precision and recall are made of."""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Int64
from numpy import ndarray

from atrc.errors import UserError
from atrc.metrics.boundary.protocol import BoundaryProtocol

# numba takes half a second to import: the modules with kernels are imported where they are first used.

Changes = tuple[Int32[ndarray, " added"], Int32[ndarray, " removed"]]


# h w image, _ the same, refused with a message of our own if not, t thresholds, a annotators
def suppress(probability: Float[ndarray, "h w"], filter_radius: int = 0) -> Float32[ndarray, "h w"]:
    """Keep the strengths that are maximal across their boundary, set the others to 0.

    Source: Dollár and Zitnick, "Fast Edge Detection Using Structured Forests", 2015, with the settings of their
    toolbox: triangle filter of radius 4 for the directions, r = 1, s = 5, m = 1.01.

    Args:
        probability: Boundary probabilities in [0, 1].
        filter_radius: Radius of a triangle filter that smooths the probabilities first [px].
    """
    from atrc.metrics.boundary.suppression import suppress as kernel

    return kernel(_smooth(probability, filter_radius))


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

    The size of the matching is unique, which pixels it holds need not be. The BSDS code also minimises distances, over
    a random sample of the pairs, and so misses some matches (docs/boundaries.md).

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
    truth: Bool[ndarray, "*a _ _"],
    protocol: BoundaryProtocol,
    valid: Bool[ndarray, "_ _"] | None = None,
) -> Int64[ndarray, "t 4"]:
    """Count correct and predicted, found and true boundary pixels at each threshold.

    A predicted pixel is correct if it has a match in any annotation. True pixels are those of all annotations, taken as
    they are; found are those with a match. Invalid pixels are neither predicted nor true. From one threshold to the
    next, only what changes is thinned and matched again.

    Source: SEISM (Pont-Tuset and Marques, 2016) and the BSDS benchmark (Arbelaez et al., 2011), by the protocol.

    Args:
        probability: Boundary probabilities in [0, 1].
        truth: True boundary pixels; of several annotators stacked.
        protocol: What to do, such as ``BoundaryProtocol.named("seism", max_dist=0.011)``.
        valid: Pixels that count; by default all.

    Raises:
        UserError: Sizes differ, a value lies outside its range, or the protocol takes fewer annotations.
    """
    from atrc.metrics.boundary.matching import Matching

    truths = _annotations(truth, protocol)
    _check_same_size("prediction", probability.shape, "truth", truths.shape[1:])
    if valid is not None:
        _check_same_size("prediction", probability.shape, "valid mask", valid.shape)
        probability, truths = np.where(valid, probability, 0), truths & valid
    radius = protocol.max_dist * math.hypot(*probability.shape)
    margin = int(radius) + 1
    strength = np.pad(boundary_strength(probability, protocol), margin)
    votes = np.zeros(strength.size, np.uint8) if len(truths) > 1 else None
    matchings = [Matching(np.pad(one, margin), radius, votes) for one in truths]
    counts = np.empty((len(protocol.thresholds), 4), np.int64)
    correct = predicted = 0
    for step, (added, removed) in enumerate(_line_changes(strength, protocol)):
        correct += sum(matching.update(added, removed) for matching in matchings)
        predicted += added.size - removed.size
        counts[-1 - step, :3] = correct, predicted, sum(matching.size for matching in matchings)
    counts[:, 3] = np.count_nonzero(truths)
    return counts


def boundary_strength(probability: Float[ndarray, "h w"], protocol: BoundaryProtocol) -> Float32[ndarray, "h w"]:
    """Return the map that a protocol thresholds: filtered and suppressed as it says."""
    if protocol.suppression:
        return suppress(probability, protocol.filter_radius)
    return _smooth(probability, protocol.filter_radius)


def boundary_lines(
    strength: Float32[ndarray, "h w"], threshold: float, protocol: BoundaryProtocol
) -> Bool[ndarray, "h w"]:
    """Return the lines that a protocol predicts at one threshold."""
    limit = np.float32(threshold)
    mask = strength >= limit if protocol.inclusive else strength > limit
    return mask if protocol.mode == "unthinned" else thin(mask)


def _smooth(probability: Float[ndarray, "h w"], radius: int) -> Float32[ndarray, "h w"]:
    from atrc.metrics.boundary.suppression import triangle_filter

    _check_probability(probability)
    values = np.ascontiguousarray(probability, np.float32)
    return triangle_filter(values, radius) if radius else values


def _annotations(truth: Bool[ndarray, "*a _ _"], protocol: BoundaryProtocol) -> Bool[ndarray, "a _ _"]:
    truths = truth if truth.ndim == 3 else truth[None]
    if not len(truths):
        raise UserError("there is no annotation of this image: add one, or leave the image out")
    if protocol.annotators == "one" and len(truths) > 1:
        raise UserError(
            f"{len(truths)} annotations, protocol {protocol.name!r} takes one: give annotators all or first, "
            "or protocol bsds"
        )
    return truths if protocol.annotators == "all" else truths[:1]


def _line_changes(strength: Float32[ndarray, "h w"], protocol: BoundaryProtocol) -> Iterator[Changes]:
    """Flat indices of the pixels that join and leave the thin lines, from the highest threshold to the lowest."""
    from atrc.metrics.boundary.thinning import Skeleton

    thresholds, none = np.array(protocol.thresholds, np.float32), np.empty(0, np.int32)
    skeleton = Skeleton(strength.size, strength.shape[1])
    pixels = _flat_indices(strength >= thresholds[0] if protocol.inclusive else strength > thresholds[0])
    if protocol.mode == "nested":
        pixels, _ = skeleton.switch_on(pixels)
    # How many thresholds each pixel passes.
    levels = np.searchsorted(thresholds, strength.ravel()[pixels], "right" if protocol.inclusive else "left")
    pixels = pixels[np.argsort(-levels, kind="stable")]
    ends = np.cumsum(np.bincount(levels, minlength=len(thresholds) + 1)[::-1])
    for new in np.split(pixels, ends)[: len(thresholds)]:
        yield skeleton.switch_on(new) if protocol.mode == "exact" else (new, none)


def _flat_indices(mask: Bool[ndarray, "h w"]) -> Int32[ndarray, " n"]:
    return np.flatnonzero(mask).astype(np.int32)


def _mask(pixels: ndarray, shape: tuple[int, int], margin: int) -> Bool[ndarray, "h w"]:
    mask = np.zeros(shape, bool)
    mask.flat[pixels] = True
    return mask[margin:-margin, margin:-margin]


def _check_probability(probability: ndarray) -> None:
    if min(probability.shape) < 2:
        raise UserError(f"a boundary map needs at least 2x2 pixels; got {_size(probability.shape)}")
    low, high = probability.min(), probability.max()
    if low >= 0 and high <= 1:
        return
    count = np.count_nonzero(~np.isfinite(probability))
    if count:
        raise UserError(
            f"boundary probabilities lie in [0, 1], {count} of these are NaN or infinite: look for them in what the "
            "network predicts"
        )
    cure = "divide 8-bit values by 255" if low >= 0 and 1 < high <= 255 else "apply a sigmoid to logits"
    raise UserError(f"boundary probabilities lie in [0, 1], these in [{low:.4g}, {high:.4g}]: {cure}")


def _check_same_size(name: str, shape: tuple[int, ...], other_name: str, other: tuple[int, ...]) -> None:
    if shape == other:
        return
    if shape == other[::-1]:
        cure = f"transpose the {name}"
    elif max(abs(a - b) for a, b in zip(shape, other, strict=True)) == 1:
        cure = f"crop or pad the {name} by the one pixel that the network's padding took or added"
    elif abs(math.log(shape[0] * other[1] / max(shape[1] * other[0], 1))) < 0.05:
        cure = f"resize the {name}; it has another scale"
    else:
        cure = "check that both belong to the same image"
    raise UserError(f"the {name} is {_size(shape)}, its {other_name} {_size(other)} (height x width): {cure}")


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
