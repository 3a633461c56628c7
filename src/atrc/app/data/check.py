"""`atrc data check`: read every file once, count, and list every fault."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader
from tqdm import tqdm

from atrc.app.data.statistics import Statistics, statistics_of
from atrc.data.archives import ensure_folder
from atrc.data.dataset import MultiTaskDataset
from atrc.data.folder.dataset import FolderDataset
from atrc.data.layouts import find_layout
from atrc.errors import UserError
from atrc.images import read_values
from atrc.tasks import Depth, Task

NAMES = 5  # names in a remark


@dataclass
class Facts:
    """One image: its size [px], a digest of its pixels, statistics of its labels, empty labels, and faults."""

    id: str
    size: tuple[int, int] | None = None
    digest: bytes = b""
    labels: dict[str, Statistics] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@dataclass
class SplitReport:
    """One split: its images by size [px], and the statistics of its labels by task."""

    images: int
    sizes: Counter[tuple[int, int]]
    labels: dict[str, Statistics]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        sizes = {f"{h}x{w}": count for (h, w), count in self.sizes.most_common()}
        tasks = {task: statistics.summary() for task, statistics in self.labels.items()}
        return {"images": self.images, "sizes": sizes, "tasks": tasks}


@dataclass
class Report:
    """The content of a folder. A fault stops a training or spoils its result; a remark may be intended."""

    root: Path
    layout: str = "unknown"
    splits: dict[str, SplitReport] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add_fault(self, message: str) -> None:
        """Add a fault, with paths below the folder."""
        self.faults.append(message.removeprefix(f"{self.root}/"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        splits = {name: split.to_dict() for name, split in self.splits.items()}
        found = {"faults": self.faults, "remarks": self.remarks}
        return {"root": str(self.root), "layout": self.layout, "splits": splits, **found}


def check_data(root: Path, workers: int | None = 0) -> Report:
    """Read every image and label of every split; go on after each fault.

    Args:
        root: Data set folder.
        workers: Number of processes; None starts one per core, 0 reads in this process.

    Raises:
        UserError: The folder is not a data set.
    """
    if workers is not None and workers < 0:
        raise UserError(f"workers is {workers}; give 0 or more")
    root = ensure_folder(root)
    layout, report = find_layout(root), Report(root)
    names = layout.split_names(root)
    opened, seen = [], {}
    for name in names:
        try:
            opened.append(layout(root, name))
        except UserError as error:
            report.add_fault(str(error))
    for dataset in opened:
        report.layout = dataset.layout
        seen[dataset.split] = _check_split(dataset, report, _cores() if workers is None else workers)
    _check_shared(opened, seen, report)
    if len(opened) == len(names):
        report.remarks += opened[0].remarks()
    return report


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_split(dataset: MultiTaskDataset, report: Report, workers: int) -> dict[bytes, str]:
    """Add a split to the report; return the images by the digest of their pixels."""
    labels = {task.name: statistics_of(task) for task in dataset.tasks}
    split = report.splits[dataset.split] = SplitReport(len(dataset), Counter(), labels)
    seen: dict[bytes, str] = {}
    empty: dict[str, list[str]] = {name: [] for name in labels}
    for facts in _inspect_all(dataset, workers):
        for fault in facts.faults:
            report.add_fault(fault)
        for name, statistics in facts.labels.items():
            labels[name].merge(statistics)
        for name in facts.empty:
            empty[name].append(facts.id)
        if facts.size:
            split.sizes[facts.size] += 1
            if (twin := seen.setdefault(facts.digest, facts.id)) != facts.id:
                report.remarks.append(f"{dataset.split}: images '{twin}' and '{facts.id}' have identical pixels")
    for id, count in Counter(dataset.ids).items():
        if count > 1:
            report.add_fault(f"{dataset.split}: id '{id}' is listed {count} times")
    for name, statistics in labels.items():
        _judge(f"{dataset.split}, {name}", statistics, empty[name], report)
    return seen


def _inspect_all(dataset: MultiTaskDataset, workers: int) -> Iterator[Facts]:
    ids: Any = dataset.ids  # any sequence is a data set to the loader
    loader: Iterable[Facts] = DataLoader(
        ids, batch_size=None, num_workers=workers, collate_fn=partial(inspect, dataset)
    )
    yield from tqdm(loader, dataset.split, total=len(dataset), unit="image", disable=None, leave=False)


def inspect(dataset: MultiTaskDataset, id: str) -> Facts:
    """Read an image and each of its labels."""
    facts = Facts(id)
    try:
        image = dataset.read_image(id)
        facts.size = image.shape[:2]
        facts.digest = hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).digest()
    except UserError as error:
        facts.faults.append(str(error))
    for task in dataset.tasks:
        try:
            _inspect_label(dataset, task, facts)
        except UserError as error:
            if str(error) not in facts.faults:  # its labels may name a broken image too
                facts.faults.append(str(error))
    return facts


def _inspect_label(dataset: MultiTaskDataset, task: Task, facts: Facts) -> None:
    files = dataset.label_files(task, facts.id)
    own = isinstance(dataset, FolderDataset)
    if own and not files:
        return
    truth, valid = dataset.read_label(task, facts.id)
    if facts.size and valid.shape != facts.size:
        (h, w), (image_h, image_w) = valid.shape, facts.size
        where = files[0] if files else f"{task.name} of '{facts.id}'"
        raise UserError(f"{where}: {h}x{w} pixels, its image {image_h}x{image_w}; labels have the size of their image")
    facts.labels[task.name] = statistics_of(task).add(truth, valid, files)
    if not valid.any():
        facts.empty.append(task.name)
    # The benchmarks' readers take infinite depths as unknown; in own data they must be declared, or reading fails.
    if isinstance(task, Depth) and not own and (share := float((~np.isfinite(read_values(files[0]))).mean())):
        message = f"{share:.1%} of the depths are not finite; they are taken as unknown, write 0 instead"
        raise UserError(f"{files[0]}: {message}")


def _judge(where: str, statistics: Statistics, empty: list[str], report: Report) -> None:
    """Report faults and oddities of all labels of a task."""
    if not statistics.labelled:
        report.add_fault(f"{where}: no image has a label")
    elif not statistics.valid:
        report.add_fault(f"{where}: no label has a valid pixel")
    else:
        report.remarks += [f"{where}: {concern}" for concern in statistics.concerns()]
        if empty:
            names = ", ".join(empty[:NAMES]) + (" .." if len(empty) > NAMES else "")
            count = "1 label has" if len(empty) == 1 else f"{len(empty)} labels have"
            report.remarks.append(f"{where}: {count} no valid pixel ({names})")


def _check_shared(opened: list[MultiTaskDataset], seen: dict[str, dict[bytes, str]], report: Report) -> None:
    """Find images in two splits: they make scores too good."""
    for one, other in combinations(opened, 2):
        both = f"{one.split} and {other.split}"
        shared = set(one.ids) & set(other.ids)
        for id in sorted(shared):
            report.add_fault(f"{both}: both list '{id}'")
        ours, theirs = seen[one.split], seen[other.split]
        for digest in [digest for digest in ours if digest in theirs]:
            if ours[digest] not in shared and theirs[digest] not in shared:
                report.add_fault(f"{both}: '{ours[digest]}' and '{theirs[digest]}' have identical pixels")
