"""What the labels of a split hold: for reports, and for weights."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from atrc.data.cache import cached
from atrc.data.dataset import Label, MultiTaskDataset
from atrc.tasks import Task

# h w image


@dataclass(frozen=True)
class LabelStatistics:
    """The labels of one task.

    Attributes:
        images: Images of the split.
        labelled: Those with any valid pixel.
        valid: Share of valid pixels among all pixels.
        classes: Share of every class among the valid pixels; empty for what has no classes.
        least: Least valid value, in the task's unit; None for what has no scale.
        greatest: Greatest valid value.
    """

    images: int
    labelled: int
    valid: float
    classes: tuple[float, ...] = ()
    least: float | None = None
    greatest: float | None = None


@dataclass(frozen=True)
class LabelCount:
    """Counts of some labels, which add up."""

    images: int = 0
    labelled: int = 0
    pixels: int = 0
    valid: int = 0
    classes: tuple[int, ...] = ()
    least: float = math.inf
    greatest: float = -math.inf

    def __add__(self, other: LabelCount) -> LabelCount:
        longer, shorter = sorted((self.classes, other.classes), key=len, reverse=True)
        return LabelCount(
            self.images + other.images,
            self.labelled + other.labelled,
            self.pixels + other.pixels,
            self.valid + other.valid,
            tuple(a + b for a, b in zip(longer, shorter, strict=True)) if shorter else longer,
            min(self.least, other.least),
            max(self.greatest, other.greatest),
        )

    def shares(self) -> LabelStatistics:
        """Return shares in the place of counts."""
        scaled = math.isfinite(self.least)
        return LabelStatistics(
            self.images,
            self.labelled,
            self.valid / max(1, self.pixels),
            tuple(count / max(1, self.valid) for count in self.classes),
            self.least if scaled else None,
            self.greatest if scaled else None,
        )


def count_label(task: Task, label: Label) -> LabelCount:
    """Count one label: whole numbers are classes, and a map of one real number is a scale."""
    truth, valid = label
    count = LabelCount(1, int(valid.any()), valid.size, int(valid.sum()))
    if truth.dtype.kind in "iu":
        classes = np.bincount(truth[valid], minlength=task.region_count)
        return dataclasses.replace(count, classes=tuple(classes.tolist()))
    if truth.ndim == 2 and count.valid:
        values = truth[valid]
        return dataclasses.replace(count, least=float(values.min()), greatest=float(values.max()))
    return count


def label_statistics(dataset: MultiTaskDataset, *, progress: bool = True) -> dict[str, LabelStatistics]:
    """Return the statistics of every task of a split, computed once and kept beside the data.

    Args:
        dataset: The split: of the training split where weights come from it.
        progress: Show a progress bar on a terminal.

    Raises:
        UserError: A label cannot be read.
    """
    return {task.name: _statistics(dataset, task, progress) for task in dataset.tasks}


def _statistics(dataset: MultiTaskDataset, task: Task, progress: bool) -> LabelStatistics:
    def compute() -> dict[str, Any]:
        counts = _counts(dataset, task)
        shown = tqdm(
            counts, f"statistics of {task.name}", len(dataset), disable=None if progress else True, leave=False
        )
        return dataclasses.asdict(sum(shown, LabelCount()).shares())

    return cached(dataset, "statistics", task, compute, _parse)


def _counts(dataset: MultiTaskDataset, task: Task) -> Iterable[LabelCount]:
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as executor:
        yield from executor.map(lambda id: count_label(task, dataset.read_label(task, id)), dataset.ids)


def _parse(value: Any) -> LabelStatistics:
    found = LabelStatistics(**value | {"classes": tuple(map(float, value["classes"]))})
    if not 0 <= found.valid <= 1 or not 0 <= found.labelled <= found.images:
        raise ValueError("no shares")
    return found
