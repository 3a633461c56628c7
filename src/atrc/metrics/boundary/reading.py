"""Boundary maps in files: predictions, and annotations in the forms that data sets have them."""

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Shaped
from numpy import ndarray

from atrc.errors import UserError
from atrc.images import read_image, read_values, single_channel
from atrc.matfile import load_variables

Truth = Literal["boundaries", "labels"]

FIELDS = {"boundaries": "Boundaries", "labels": "Segmentation"}  # of BSDS's groundTruth
TRUTH_SUFFIXES = (".png", ".npy", ".mat")
JPEG = (".jpg", ".jpeg")
SUFFIXES = (*TRUTH_SUFFIXES, *JPEG)


def read_prediction(path: Path) -> Float32[ndarray, "h w"]:
    """Read boundary probabilities: an image of 8 or 16 bits for 0..1, or an array of floats.

    Raises:
        UserError: The file is unreadable or not one grey map.
    """
    (values,) = _read(path, "")
    if values.dtype in (np.uint8, np.uint16):
        return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)
    if values.dtype == bool or np.issubdtype(values.dtype, np.floating):
        with np.errstate(over="ignore", invalid="ignore"):  # of doubles that are no probability
            return values.astype(np.float32)
    raise UserError(f"{path}: {values.dtype} values; save floats in [0, 1], or 8- or 16-bit integers")


def read_truths(*paths: Path, truth: Truth = "boundaries") -> Bool[ndarray, "a h w"]:
    """Read the annotations of one image.

    Args:
        paths: One file an annotator, or a BSDS file of all.
        truth: `boundaries` are 0 and one other value; of `labels`, `label_boundaries` are taken.

    Raises:
        UserError: A file is unreadable or holds something else, or the annotations differ in size.
    """
    maps = [(path, one) for path in paths for one in _read(path, FIELDS[truth])]
    found = [label_boundaries(one) if truth == "labels" else _binary(one, path) for path, one in maps]
    for (path, _), one in zip(maps, found, strict=True):
        if one.shape != found[0].shape:
            raise UserError(f"{path}: {one.shape} pixels, {maps[0][0]} {found[0].shape}: all annotations need one size")
    return np.stack(found) if found else np.zeros((0, 1, 1), bool)


def label_boundaries(labels: Shaped[ndarray, "h w"]) -> Bool[ndarray, "h w"]:
    """Mark pixels whose label differs from that of the next pixel to the right, below, or below to the right.

    Source: ``seg2bmap`` of the BSDS benchmark, at the size of the label map.

    >>> label_boundaries(np.array([[1, 1, 2], [1, 1, 2], [3, 3, 3]])).astype(int)
    array([[0, 1, 0],
           [1, 1, 1],
           [0, 0, 0]])
    """
    boundary = np.zeros(labels.shape, bool)
    boundary[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    boundary[:-1] |= labels[:-1] != labels[1:]
    boundary[:-1, :-1] |= labels[:-1, :-1] != labels[1:, 1:]
    return boundary


def _binary(values: Shaped[ndarray, "h w"], path: Path) -> Bool[ndarray, "h w"]:
    boundary = values != 0
    if boundary.any() and (values[boundary] != values[boundary][0]).any():
        raise UserError(
            f"{path}: a truth holds 0 and one other value, this one {len(np.unique(values))} values: "
            "give boundary maps, and binarise them; of label maps, choose truth labels (--truth labels)"
        )
    return boundary


def _read(path: Path, field: str) -> list[Shaped[ndarray, "h w"]]:
    """Return the maps in a file; of BSDS annotations this field."""
    suffix = path.suffix.lower()
    if suffix == ".mat":
        maps = _mat_maps(path, field)
    elif suffix in JPEG:
        maps = [read_image(path).pixels]
    else:
        maps = [read_values(path, brightness=field != FIELDS["labels"])]
    return [single_channel(values, path) for values in maps]


def _mat_maps(path: Path, field: str) -> list[ndarray]:
    variables = load_variables(path)
    if field and "groundTruth" in variables:
        annotators = variables["groundTruth"]
        annotators = [annotators] if isinstance(annotators, dict) else list(annotators)
        if not all(isinstance(one, dict) and field in one for one in annotators):
            raise UserError(f"{path}: groundTruth has no field {field}; it is not a file of BSDS")
        maps = [np.asarray(one[field]) for one in annotators]
    else:
        maps = [value for value in variables.values() if isinstance(value, ndarray) and value.ndim == 2]
        if len(maps) != 1:
            names = ", ".join(variables)
            raise UserError(f"{path}: holds {len(maps)} matrices (variables: {names}); save one, or BSDS's groundTruth")
    for values in maps:
        if values.dtype.kind not in "biuf" or values.ndim != 2:
            raise UserError(f"{path}: {values.dtype} of shape {values.shape}; save a matrix of numbers")
    return maps
