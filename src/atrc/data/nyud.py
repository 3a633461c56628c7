"""NYUD-v2 in the NYUD_MT layout: indoor scenes with semseg, depth, normals and edge."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from jaxtyping import UInt8

from atrc.data.dataset import Label, MultiTaskDataset, class_labels, unit_normals
from atrc.data.files import read_list, read_npy, read_png, read_rgb, rooms_classes
from atrc.errors import UserError
from atrc.tasks import Boundaries, Depth, SemanticSegmentation, SurfaceNormals, Task

CLASSES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture",
    "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes",
    "ceiling", "books", "refrigerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard",
    "person", "night stand", "toilet", "sink", "lamp", "bathtub", "bag", "other structure", "other furniture",
    "other prop",
)  # fmt: skip


def nyud_tasks(classes: tuple[str, ...] = CLASSES) -> tuple[Task, ...]:
    """Return the tasks of NYUD-v2, or of rendered rooms with classes of their own."""
    return (
        SemanticSegmentation(num_classes=len(classes), class_names=classes),
        Depth(),
        SurfaceNormals(),
        Boundaries(positive_weight=0.8, max_dist=0.011),
    )


class NYUD(MultiTaskDataset):
    """NYUD_MT: `gt_sets/`, `images/*.jpg`, `segmentation/*.png` (0 = ignore), `depth|normals|edge/*.npy`."""

    layout: ClassVar[str] = "NYUD_MT"

    def available_tasks(self) -> tuple[Task, ...]:
        return nyud_tasks(rooms_classes(self.root) or CLASSES)

    def read_ids(self) -> list[str]:
        return read_list(self.root / "gt_sets" / f"{self.split}.txt")

    def read_image(self, id: str) -> UInt8[np.ndarray, "h w 3"]:
        return read_rgb(self.root / "images" / f"{id}.jpg")

    def read_label(self, task: Task, id: str) -> Label:
        if isinstance(task, SemanticSegmentation):
            path = self.root / "segmentation" / f"{id}.png"
            labels = read_png(path)
            return class_labels(labels - (labels > 0), labels > 0, task.num_classes, path)
        path = self.root / task.name / f"{id}.npy"
        array = read_npy(path)
        if isinstance(task, SurfaceNormals):
            return unit_normals(array, path)
        if array.ndim != 2:
            raise UserError(f"{path}: expected one channel, found shape {array.shape}")
        if isinstance(task, Depth):
            valid = np.isfinite(array) & (array > 0)
            return np.where(valid, array, 0).astype(np.float32), valid
        return (array > 0).astype(np.uint8), np.ones(array.shape, bool)
