"""Boundary scores of a folder of predictions against a folder of annotations."""

import os
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray
from tqdm import tqdm

from atrc.errors import UserError
from atrc.files import Files
from atrc.metrics.boundary.counting import boundary_counts
from atrc.metrics.boundary.protocol import BoundaryProtocol
from atrc.metrics.boundary.reading import JPEG, SUFFIXES, TRUTH_SUFFIXES, Truth, read_prediction, read_truths
from atrc.metrics.boundary.scores import BoundaryScores, best_point, boundary_scores

# What can be wrong with an image and still be scored, and the cure.
FINDINGS = {
    "zero": "predict no boundary at all: check that the files hold what the network predicted",
    "faint": "hold nothing above 1/255, as if 0..1 was saved as whole numbers: multiply by 255 (8 bits) before saving",
    "inverted": "score higher when inverted: if boundaries are dark, save 1 - p",
    "jpeg": "are JPEG, whose compression changes scores: save PNG",
    "empty": "have an annotation without a boundary pixel: remove it if it is not meant so",
}
HOPELESS = ("zero", "faint")  # if true of all images


@dataclass(frozen=True)
class Pair:
    """A prediction and the files of its annotations."""

    name: str
    prediction: Path
    truths: tuple[Path, ...]
    truth: Truth = "boundaries"

    def read(self) -> tuple[Float32[ndarray, "h w"], Bool[ndarray, "a _ _"]]:
        """Read the boundary probabilities and the annotations."""
        return read_prediction(self.prediction), read_truths(*self.truths, truth=self.truth)


@dataclass(frozen=True)
class FolderScores:
    """Scores of folders, and what they are made of.

    Attributes:
        scores: Scores of the whole set.
        pairs: The files of each image.
        counts: What ``boundary_counts`` counted in each image.
        remarks: What may be wrong with the files, one line each.
    """

    scores: BoundaryScores
    pairs: tuple[Pair, ...]
    counts: Int64[ndarray, "i t 4"] = field(compare=False, repr=False)
    remarks: tuple[str, ...]


def evaluate_folders(
    pred_dir: Path | str,
    truth_dir: Path | str,
    protocol: BoundaryProtocol,
    truth: Truth = "boundaries",
    skip_missing: bool = False,
    workers: int | None = None,
    progress: bool = False,
) -> FolderScores:
    """Score predicted boundary maps against annotations of the same name, suffix aside.

    Predictions are grey PNG (8 or 16 bits for 0..1), NPY or MAT (floats in 0..1, or 8 or 16 bits as in PNG), or JPEG.
    The annotations of an image are a PNG, NPY or MAT file, or a folder of such files, one an annotator, or a MAT file
    of BSDS with all annotators.

    Args:
        pred_dir: Folder with the predictions.
        truth_dir: Folder with the annotations.
        protocol: Such as ``BoundaryProtocol.named("seism", max_dist=0.011)``.
        truth: ``boundaries`` are 0 and one other value; ``labels`` are label maps, whose boundaries are taken by
            ``label_boundaries``.
        skip_missing: Whether to leave out images that lack a prediction or an annotation, instead of refusing.
        workers: Number of threads (the kernels release Python's lock); by default one per core.
        progress: Whether to show a progress bar on standard error.

    Raises:
        UserError: Names the file that cannot be used, the reason and the cure.
    """
    pairs, skipped = _pairs(Path(pred_dir), Path(truth_dir), truth, skip_missing)
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        done = pool.map(lambda pair: _count(pair, protocol, skip_missing), pairs)
        results = list(tqdm(done, "boundaries", len(pairs), unit="image", disable=not progress))
    kept = [(pair, *result) for pair, result in zip(pairs, results, strict=True) if result]
    skipped += len(pairs) - len(kept)
    if not kept:
        raise UserError(f"{truth_dir}: no annotation of any image in {pred_dir}; both folders need the same names")
    counts = np.stack([counts for _, counts, _ in kept])
    remarks = [
        f"{skipped} images skipped that lack a prediction or an annotation: the scores are of the other {len(kept)}"
    ]
    remarks = remarks * (skipped > 0) + _remarks({pair.prediction: findings for pair, _, findings in kept})
    return FolderScores(boundary_scores(counts, protocol), tuple(pair for pair, _, _ in kept), counts, tuple(remarks))


def _count(
    pair: Pair, protocol: BoundaryProtocol, skip_missing: bool
) -> tuple[Int64[ndarray, "t 4"], list[str]] | None:
    """Return the counts of an image and the keys of ``FINDINGS`` that are true of it; None to skip it."""
    probability, truths = pair.read()
    if skip_missing and not len(truths):
        return None
    try:
        counts = boundary_counts(probability, truths, protocol)
    except UserError as error:
        raise UserError(f"{pair.prediction} (truth: {pair.truths[0]}): {error}") from error
    suffix, highest = pair.prediction.suffix.lower(), probability.max()
    checks = {
        "zero": highest == 0,
        "faint": suffix == ".png" and 0 < highest <= np.float32(1 / 255),
        "inverted": probability.mean() > 0.5
        and _best_f(boundary_counts(1 - probability, truths, protocol), protocol) > _best_f(counts, protocol),
        "jpeg": suffix in JPEG,
        "empty": not truths.any(axis=(1, 2)).all(),
    }
    return counts, [finding for finding, true in checks.items() if true]


def _remarks(findings: dict[Path, list[str]]) -> list[str]:
    """Say what was found in how many images; refuse what is hopeless in all."""
    remarks = []
    for finding, text in FINDINGS.items():
        paths = [path for path, found in findings.items() if finding in found]
        remark = f"{len(paths)} of {len(findings)} images {text} (first: {paths[0]})" if paths else ""
        if len(paths) == len(findings) and finding in HOPELESS:
            raise UserError(remark)
        remarks += [remark] * bool(paths)
    return remarks


def _best_f(counts: Int64[ndarray, "t 4"], protocol: BoundaryProtocol) -> float:
    return best_point(counts, protocol).f_measure


def _pairs(pred_dir: Path, truth_dir: Path, truth: Truth, skip_missing: bool) -> tuple[list[Pair], int]:
    """Return the pairs of both folders, and how many images are left out."""
    predictions, truths = _by_name(pred_dir, SUFFIXES), _by_name(truth_dir, TRUTH_SUFFIXES, folders=True)
    for found, folder, suffixes in ((predictions, pred_dir, SUFFIXES), (truths, truth_dir, TRUTH_SUFFIXES)):
        if not found:
            raise UserError(f"{folder}: no files that end in {_listed(suffixes)}")
    files = {name: _annotation_files(path) for name, path in truths.items()}
    bare = [name for name, paths in files.items() if not paths]
    if bare and not skip_missing:
        raise UserError(
            f"{truths[bare[0]]}: no annotation in this folder (of {len(bare)} such folders); "
            f"add {_listed(TRUTH_SUFFIXES)} files, or skip such images (--skip-missing)"
        )
    for have, lack, folder in ((truths, predictions, pred_dir), (predictions, truths, truth_dir)):
        missing = sorted(have.keys() - lack.keys())
        if missing and not skip_missing:
            raise UserError(
                f"{folder}: nothing goes with {have[missing[0]]} (of {len(missing)} such files); "
                f"{_rename(missing[0], have, lack)}, or skip such images (--skip-missing)"
            )
    names = sorted(truths.keys() & predictions.keys() - set(bare))
    if not names:
        raise UserError(f"{pred_dir}, {truth_dir}: no image is in both folders; both need the same names")
    pairs = [Pair(name, predictions[name], files[name], truth) for name in names]
    return pairs, len(truths.keys() | predictions.keys()) - len(pairs)


def _by_name(folder: Path, suffixes: tuple[str, ...], folders: bool = False) -> dict[str, Path]:
    """Return the files in a folder, and its folders if wanted, by their names without suffix."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    files = Files(folder, suffixes)
    found = {name: path for name in files.paths if (path := files.find(name))}
    for path in sorted(folder.iterdir()) if folders else ():
        name = unicodedata.normalize("NFC", path.name)
        if path.is_dir() and not name.startswith("."):
            if name in found:
                raise UserError(f"{found[name]} and {path.name}/ have the same name; keep the one that counts")
            found[name] = path
    return found


def _annotation_files(path: Path) -> tuple[Path, ...]:
    return tuple(_by_name(path, TRUTH_SUFFIXES).values()) if path.is_dir() else (path,)


def _rename(name: str, have: dict[str, Path], lack: dict[str, Path]) -> str:
    """Return the cure for a name that the other folder lacks, where that has one like it."""
    for other, path in lack.items():
        longer, shorter = sorted((other.casefold(), name.casefold()), key=len, reverse=True)
        around = longer.partition(shorter)
        alike = around[1] and not around[0][-1:].isalnum() and not around[2][:1].isalnum()
        if other not in have and alike:
            return f"rename {path.name}, which is named much the same"
    return "both folders need the same names"


def _listed(suffixes: tuple[str, ...]) -> str:
    return f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
