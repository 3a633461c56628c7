"""Boundary scores of a folder of predictions against a folder of truths."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray
from tqdm import tqdm

from atrc.errors import UserError
from atrc.files import Files
from atrc.images import read_values, single_channel
from atrc.metrics.boundary.counting import Mode, boundary_counts, check_settings
from atrc.metrics.boundary.scores import BoundaryScores, boundary_scores

_SUFFIXES = (".png", ".npy")


def evaluate_folders(
    pred_dir: Path | str,
    truth_dir: Path | str,
    max_dist: float = 0.0075,
    mode: Mode = "exact",
    workers: int | None = None,
    progress: bool = False,
) -> BoundaryScores:
    """Score predicted boundary maps against truths of the same file name, suffix aside.

    Predictions are grey PNG (8 or 16 bits for 0..1) or NPY (floats in 0..1, or 8 or 16 bits as in PNG);
    truths are PNG or NPY with 0 for no boundary and one other value for boundary.

    Args:
        pred_dir: Folder with the predictions.
        truth_dir: Folder with the truths.
        max_dist: Tolerance as a fraction of the image diagonal: 0.011 for NYUD, 0.0075 for PASCAL.
        mode: As in ``boundary_counts``.
        workers: Number of threads (the kernels release Python's lock); by default one per core.
        progress: Whether to show a progress bar on standard error.

    Raises:
        UserError: Names the file that cannot be used, the reason and the cure.
    """
    check_settings(max_dist, mode)
    pairs = _pairs(Path(pred_dir), Path(truth_dir))

    def count(pair: tuple[Path, Path]) -> Int64[ndarray, "t 3"]:
        prediction, truth = pair
        probability, boundary = read_prediction(prediction), read_truth(truth)
        try:
            return boundary_counts(probability, boundary, max_dist, mode)
        except UserError as error:
            raise UserError(f"{prediction} (truth: {truth}): {error}") from error

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        shown = tqdm(pool.map(count, pairs), "boundaries", len(pairs), unit="image", disable=not progress)
        counts = list(shown)
    return boundary_scores(np.stack(counts))


def read_prediction(path: Path) -> Float32[ndarray, "h w"]:
    """Read boundary probabilities.

    Raises:
        UserError: The file is unreadable or not a grey image.
    """
    values = _read(path)
    if values.dtype in (np.uint8, np.uint16):
        return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)
    if values.dtype == bool or np.issubdtype(values.dtype, np.floating):
        with np.errstate(over="ignore", invalid="ignore"):  # of doubles that are no probability
            return values.astype(np.float32)
    raise UserError(f"{path}: {values.dtype} values; save floats in [0, 1], or 8- or 16-bit integers")


def read_truth(path: Path) -> Bool[ndarray, "h w"]:
    """Read true boundaries.

    Raises:
        UserError: The file is unreadable, not a grey image or not binary.
    """
    values = _read(path)
    boundary = values != 0
    if boundary.any() and (values[boundary] != values[boundary][0]).any():
        raise UserError(
            f"{path}: a truth holds 0 and one other value, this one {len(np.unique(values))} values: "
            "give boundary maps, not labels, and binarise them"
        )
    return boundary


def _read(path: Path) -> ndarray:
    return single_channel(read_values(path, brightness=True), path)


def _pairs(pred_dir: Path, truth_dir: Path) -> list[tuple[Path, Path]]:
    predictions, truths = _files(pred_dir), _files(truth_dir)
    for have, lack in ((truths, predictions), (predictions, truths)):
        missing = sorted(have.paths.keys() - lack.paths.keys())
        if missing:
            raise UserError(
                f"{lack.folder}: nothing goes with {have.paths[missing[0]][0]} (of {len(missing)} such files); "
                "both folders need the same names"
            )
    found = ((predictions.find(name), truths.find(name)) for name in sorted(truths.paths))
    return [(prediction, truth) for prediction, truth in found if prediction and truth]


def _files(folder: Path) -> Files:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    files = Files(folder, _SUFFIXES)
    if not files.paths:
        raise UserError(f"{folder}: no files that end in {' or '.join(_SUFFIXES)}")
    return files
