"""Statistics of labels, as sums over images: memory does not grow with the data set."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from atrc.images import read_values
from atrc.tasks import Boundaries, Depth, Saliency, SemanticSegmentation, SurfaceNormals, Task

# h w image

BINS, NEAREST, DECADES = 4000, 1e-4, 10  # of depths: from 0.1 mm to 1000 km on a log scale, in steps of 0.6 %
UNIT_LENGTH = 0.05  # tolerance on the length of a unit vector
COMBINE = {"low": min, "high": max}  # all other numbers are sums


class Statistics:
    """Number of labels of a task, and of their pixels.

    Attributes:
        columns: The details that a table shows, with their heads.
        task: The task.
        labelled: Number of images with a label.
        pixels: Number of their pixels.
        valid: Number of their valid pixels.
    """

    columns: tuple[tuple[str, str], ...] = ()

    def __init__(self, task: Task) -> None:
        self.task = task
        self.labelled = self.pixels = self.valid = 0

    def add(
        self, truth: Shaped[np.ndarray, "*_ h w"], valid: Bool[np.ndarray, "h w"], files: Sequence[Path]
    ) -> Statistics:
        """Count a label that was read from these files."""
        self.labelled += 1
        self.pixels += valid.size
        self.valid += int(valid.sum())
        if valid.any():
            self.count(truth, valid, files)
        return self

    def count(self, truth: Shaped[np.ndarray, "*_ h w"], valid: Bool[np.ndarray, "h w"], files: Sequence[Path]) -> None:
        """Count the details of a kind of task; some pixel is valid."""

    def merge(self, other: Statistics) -> None:
        """Add the numbers of other images."""
        for name, value in vars(other).items():
            if name != "task":
                setattr(self, name, COMBINE.get(name, operator.add)(getattr(self, name), value))

    def summary(self) -> dict[str, Any]:
        """Return plain values."""
        share = self.valid / self.pixels if self.pixels else None
        return {"labelled_images": self.labelled, "valid_share": share} | (self.details() if self.valid else {})

    def details(self) -> dict[str, Any]:
        """Return the details of a kind of task; some pixel is valid."""
        return {}

    def concerns(self) -> list[str]:
        """Describe oddities; some pixel is valid."""
        return []


class ClassStatistics(Statistics):
    """Frequency of every class."""

    task: SemanticSegmentation

    def __init__(self, task: SemanticSegmentation) -> None:
        super().__init__(task)
        self.counts = np.zeros(task.num_classes, np.int64)

    def count(self, truth: np.ndarray, valid: np.ndarray, files: Sequence[Path]) -> None:
        self.counts += np.bincount(truth[valid], minlength=len(self.counts))

    def details(self) -> dict[str, Any]:
        names = self.task.class_names or range(len(self.counts))
        shares = (self.counts / self.counts.sum()).tolist()
        return {"class_shares": {str(name): share for name, share in zip(names, shares, strict=True)}}

    def concerns(self) -> list[str]:
        never = [name for name, share in self.details()["class_shares"].items() if not share]
        return [f"{len(never)} of {len(self.counts)} classes never occur: {', '.join(never)}"] if never else []


class DepthStatistics(Statistics):
    """Range of depths [m]."""

    task: Depth
    columns = (
        ("min", "min [m]"),
        ("percentile_1", "1 %"),
        ("percentile_50", "median"),
        ("percentile_99", "99 %"),
        ("max", "max"),
    )

    def __init__(self, task: Depth) -> None:
        super().__init__(task)
        self.histogram = np.zeros(BINS, np.int64)
        self.low, self.high, self.outside = math.inf, 0.0, 0

    def count(self, truth: np.ndarray, valid: np.ndarray, files: Sequence[Path]) -> None:
        depths = truth[valid].astype(np.float64)
        place = np.log10(depths / NEAREST) / DECADES * BINS
        self.histogram += np.bincount(place.astype(np.int64).clip(0, BINS - 1), minlength=BINS)
        self.low, self.high = float(depths.min()), float(depths.max())
        self.outside += int(((depths < self.task.nearest) | (depths > self.task.farthest)).sum())

    def percentile(self, percent: int) -> float:
        """Return a percentile [m], to within 0.3 %."""
        place = np.searchsorted(self.histogram.cumsum(), percent / 100 * self.valid)
        middle = NEAREST * 10 ** ((int(place) + 0.5) / BINS * DECADES)
        return float(np.clip(middle, self.low, self.high))

    def details(self) -> dict[str, Any]:
        parts = {f"percentile_{percent}": self.percentile(percent) for percent in (1, 50, 99)}
        return {"min": self.low, **parts, "max": self.high, "outside_share": self.outside / self.valid}

    def concerns(self) -> list[str]:
        if (share := self.outside / self.valid) < 0.2:
            return []
        limits = f"{self.task.nearest:g} m and {self.task.farthest:g} m, the range of the label regions"
        return [f"{share:.0%} of the depths are not between {limits}: is the unit right?"]


class NormalStatistics(Statistics):
    """Vectors in the files that are not unit vectors, and normals that point away from the camera."""

    columns = (("not_unit_share", "not of length 1 [%]"), ("away_share", "away from camera [%]"))

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.away = self.not_unit = 0

    def count(self, truth: np.ndarray, valid: np.ndarray, files: Sequence[Path]) -> None:
        self.away += int((truth[2][valid] < 0).sum())
        if files:
            length = np.linalg.norm(read_vectors(files[0])[valid], axis=1)
            self.not_unit += int((np.abs(length - 1) > UNIT_LENGTH).sum())

    def details(self) -> dict[str, Any]:
        return {"not_unit_share": self.not_unit / self.valid, "away_share": self.away / self.valid}

    def concerns(self) -> list[str]:
        found, shares = [], self.details()
        if (share := shares["not_unit_share"]) > 0.01:
            found.append(f"{share:.0%} of the vectors are not of length one; they were scaled to it")
        if (share := shares["away_share"]) > 0.5:
            found.append(f"{share:.0%} point away from the camera; z must point towards it: flip the sign of z")
        return found


class MaskStatistics(Statistics):
    """Share of marked pixels."""

    columns = (("marked_share", "marked [%]"),)
    most = 0.9

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.marked = 0

    def count(self, truth: np.ndarray, valid: np.ndarray, files: Sequence[Path]) -> None:
        self.marked += int((truth[valid] > 0).sum())

    def details(self) -> dict[str, Any]:
        return {"marked_share": self.marked / self.valid}

    def concerns(self) -> list[str]:
        share = self.marked / self.valid
        return [f"{share:.2%} of the pixels are marked"] if not 0 < share < self.most else []


class BoundaryStatistics(MaskStatistics):
    """Share of boundary pixels; thin boundaries are few."""

    most = 0.25


STATISTICS: dict[type[Task], type[Statistics]] = {
    SemanticSegmentation: ClassStatistics,
    Depth: DepthStatistics,
    SurfaceNormals: NormalStatistics,
    Boundaries: BoundaryStatistics,
    Saliency: MaskStatistics,
}


def statistics_of(task: Task) -> Statistics:
    """Return empty statistics for a task."""
    return next((STATISTICS[base] for base in type(task).__mro__ if base in STATISTICS), Statistics)(task)


def read_vectors(path: Path) -> Float[np.ndarray, "h w 3"]:
    """Read normals from a file without scaling them to unit length."""
    values = read_values(path)
    return values if path.suffix.lower() == ".npy" else values / np.float32(127.5) - 1
