"""What every data set shares: ids, tasks, and samples with validity decided once."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Shaped, UInt8
from torch.utils.data import Dataset
from torchvision import tv_tensors

from atrc.data.sample import Sample
from atrc.errors import UserError
from atrc.tasks import Task, select_tasks
from atrc.tasks.maps import LabelMap

Label = tuple[Shaped[np.ndarray, "*_"], Bool[np.ndarray, "h w"]]  # truth and where it is valid


class MultiTaskDataset(Dataset[Sample], abc.ABC):
    """Images of one split of a folder, with the labels of some tasks.

    Attributes:
        layout: What the folder is, in words, for the metadata of a run.
        tasks: The tasks whose labels are read.
        ids: One name per image.
    """

    layout: str

    def __init__(self, root: str | Path, split: str, tasks: Sequence[str] | None = None) -> None:
        """Open a split.

        Args:
            root: The data set's folder.
            split: "train" or "val".
            tasks: Names of the tasks to read, in order; all by default.

        Raises:
            UserError: The folder, the split or a task is not there.
        """
        self.root, self.split = Path(root), split
        if not self.root.is_dir():
            raise UserError(f"{root}: no such data set folder")
        self.tasks = select_tasks(self.available_tasks(), tasks)
        self.ids = self.read_ids()

    @abc.abstractmethod
    def available_tasks(self) -> tuple[Task, ...]:
        """Return every task that this layout labels."""

    @abc.abstractmethod
    def read_ids(self) -> list[str]:
        """Return the ids of the split."""

    @abc.abstractmethod
    def read_image(self, id: str) -> UInt8[np.ndarray, "h w 3"]:
        """Return an image."""

    @abc.abstractmethod
    def read_label(self, task: Task, id: str) -> Label:
        """Return the truth of a task, (h w) or (3 h w), and where it is valid."""

    @abc.abstractmethod
    def label_files(self, task: Task, id: str) -> list[Path]:
        """Return the files that decide a label: what is computed from it holds until one of them changes."""

    @classmethod
    def split_names(cls, root: Path) -> tuple[str, ...]:
        """Return the splits of a folder."""
        return "train", "val"

    def remarks(self) -> list[str]:
        """Say what is odd about the folder without being wrong."""
        return []

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def crop_guide(self) -> Task | None:
        """The task of whose labels none may fill a crop; the same whichever tasks are read."""
        return next((task for task in self.available_tasks() if task.limits_crop), None)

    def __getitem__(self, index: int) -> Sample:
        return self.read(index, self.tasks)

    def read(self, index: int, tasks: Sequence[Task]) -> Sample:
        """Return an image with the labels of these tasks.

        Raises:
            UserError: A file cannot be read, or a label has another size than its image.
        """
        id = self.ids[index]
        image = self.read_image(id)
        sample: Sample = {
            "id": id,
            "window": (0, 0, *image.shape[:2]),
            "image": tv_tensors.Image(torch.from_numpy(image.transpose(2, 0, 1).copy())),
            "truth": {},
            "valid": {},
        }
        for task in tasks:
            truth, valid = self.read_label(task, id)
            if truth.shape[-2:] != image.shape[:2]:
                raise UserError(
                    f"{self.root}: image '{id}' is {image.shape[0]}x{image.shape[1]} pixels but its {task.name} label "
                    f"is {truth.shape[-2]}x{truth.shape[-1]}; labels must have the size of their image"
                )
            sample["truth"][task.name] = task.truth_type(torch.from_numpy(np.ascontiguousarray(truth)))
            sample["valid"][task.name] = LabelMap(torch.from_numpy(np.ascontiguousarray(valid)))
        return sample


def class_labels(
    array: Shaped[np.ndarray, "h w *c"], valid: Bool[np.ndarray, "h w *c"], num_classes: int, path: Path
) -> Label:
    """Check class indices 0 .. num_classes - 1 where valid; elsewhere they become 0."""
    if array.ndim != 2:
        raise UserError(f"{path}: a label map has one channel, this has shape {array.shape}; save class indices")
    labels = np.where(valid, array, 0)
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= num_classes:
        wrong = labels[(labels < 0) | (labels >= num_classes)][0]
        raise UserError(
            f"{path}: class index {int(wrong)} is out of range 0..{num_classes - 1}; "
            "fix the label or the number of classes"
        )
    return labels.astype(np.uint8 if num_classes <= 256 else np.int32), valid


def unit_normals(array: Shaped[np.ndarray, "h w *c"], path: Path, longest: float = np.inf) -> Label:
    """Return unit vectors (3 h w), valid where the vector is finite, not about zero, and not longer than `longest`."""
    if array.ndim != 3 or array.shape[2] != 3:
        raise UserError(f"{path}: normals have three channels, this has shape {array.shape}")
    with np.errstate(over="ignore", invalid="ignore"):  # numbers too large for a length, or none at all
        planes = np.ascontiguousarray(array.transpose(2, 0, 1), np.float32)
        length = np.sqrt(np.square(planes).sum(0))
        valid = np.isfinite(length) & (length > 0.5) & (length < longest)
        planes /= np.where(valid, length, 1)
    planes[:, ~valid] = 0
    return planes, valid
