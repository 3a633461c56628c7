"""NYUD-v2 in the NYUD_MT layout: indoor scenes with semseg, depth, normals and edge."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from atrc.data.dataset import Label, MultiTaskDataset, class_labels
from atrc.data.labels import (
    common_size,
    name_layout,
    read_list,
    read_normals,
    read_rgb,
    rooms_classes,
)
from atrc.errors import UserError
from atrc.images import read_values, single_channel
from atrc.tasks import Boundaries, Depth, SemanticSegmentation, SurfaceNormals, Task

CLASSES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture",
    "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes",
    "ceiling", "books", "refrigerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard",
    "person", "night stand", "toilet", "sink", "lamp", "bathtub", "bag", "other structure", "other furniture",
    "other prop",
)  # fmt: skip

# Two copies circulate: one with the first of these file types, one with the second.
FORMS = {"images": ("jpg", "png"), "normals": ("npy", "png"), "edge": ("npy", "png")}


def nyud_tasks(classes: tuple[str, ...] = CLASSES) -> tuple[Task, ...]:
    """Return the tasks of NYUD-v2, or of rendered rooms with classes of their own."""
    return (
        SemanticSegmentation(num_classes=len(classes), class_names=classes),
        Depth(),
        SurfaceNormals(),
        Boundaries(positive_weight=0.8, max_dist=0.011),
    )


class NYUD(MultiTaskDataset):
    """NYUD_MT: `gt_sets/`, `images/`, `segmentation/*.png` (0 = ignore), `depth/*.npy`, `normals/`, `edge/`.

    Which of the circulating copies a folder is, its files tell: images as .jpg or .png, normals and edge as .npy
    or .png, and the size of the images.
    """

    def __init__(self, root: str | Path, split: str, tasks: Sequence[str] | None = None) -> None:
        super().__init__(root, split, tasks)
        used = {"images", *(task.name for task in self.tasks)}
        for folder, counts in self._counts.items():
            if len(counts) > 1 and folder in used:
                held = " and ".join(f"{count} .{form}" for form, count in counts.items())
                raise UserError(
                    f"{self.root / folder}: holds {held} files of the {split} split, those of two copies; keep one kind"
                )
        self.layout = f"{name_layout(self.root, 'NYUD_MT')}, {self._describe()}"

    def _describe(self) -> str:
        kinds = {folder: "+".join(counts) for folder, counts in self._counts.items() if counts}
        if "images" in kinds:
            kinds["images"] += " " + common_size([self._path("images", id) for id in self.ids])
        return ", ".join(f"{folder} {kind}" for folder, kind in kinds.items()) or "no files"

    @cached_property
    def _counts(self) -> dict[str, dict[str, int]]:
        """Of each folder that comes in two forms: the forms found, with the number of the split's files."""
        ids, counts = set(self.ids), {}
        for folder, forms in FORMS.items():
            path = self.root / folder
            names = [entry.name.rpartition(".") for entry in path.iterdir()] if path.is_dir() else []
            found = {form: sum(id in ids and ending == form for id, _, ending in names) for form in forms}
            counts[folder] = {form: count for form, count in found.items() if count}
        return counts

    def _path(self, folder: str, id: str) -> Path:
        form = next(iter(self._counts[folder]), FORMS[folder][0])
        return self.root / folder / f"{id}.{form}"

    def available_tasks(self) -> tuple[Task, ...]:
        return nyud_tasks(rooms_classes(self.root) or CLASSES)

    def read_ids(self) -> list[str]:
        return read_list(self.root / "gt_sets" / f"{self.split}.txt")

    def read_image(self, id: str) -> UInt8[np.ndarray, "h w 3"]:
        return read_rgb(self._path("images", id))

    def label_files(self, task: Task, id: str) -> list[Path]:
        if isinstance(task, SemanticSegmentation):
            return [self.root / "segmentation" / f"{id}.png"]
        if isinstance(task, Depth):
            return [self.root / "depth" / f"{id}.npy"]
        return [self._path(task.name, id)]

    def read_label(self, task: Task, id: str) -> Label:
        (path,) = self.label_files(task, id)
        if isinstance(task, SemanticSegmentation):
            labels = read_values(path)
            return class_labels(labels - (labels > 0), labels > 0, task.num_classes, path)
        if isinstance(task, SurfaceNormals):
            return read_normals(path)
        array = single_channel(read_values(path, brightness=isinstance(task, Boundaries)), path)
        if isinstance(task, Depth):
            with np.errstate(over="ignore", invalid="ignore"):  # of what is no depth in metres
                array = array.astype(np.float32)
            valid = np.isfinite(array) & (array > 0)
            return np.where(valid, array, np.float32(0)), valid
        return (array > 0).astype(np.uint8), ~np.isnan(array)
