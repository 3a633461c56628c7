"""PASCAL-Context in the PASCAL_MT layout: semseg, human parts, saliency, normals and edge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from scipy import ndimage

from atrc.data.dataset import Label, MultiTaskDataset, class_labels
from atrc.data.labels import (
    name_layout,
    read_list,
    read_normals,
    read_rgb,
    rooms_classes,
)
from atrc.data.matlab import STRANGE, entries, field, integer, label_map, load_variable, mask, text
from atrc.errors import UserError
from atrc.images import image_size, read_values, single_channel
from atrc.metrics.boundary.counting import thin
from atrc.tasks import Boundaries, HumanParts, Saliency, SemanticSegmentation, SurfaceNormals, Task

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train",
    "tv monitor",
)  # fmt: skip

PERSON = 15

# The 24 part names of PASCAL-Part's persons, grouped as `HumanParts` counts them.
PARTS = {
    **dict.fromkeys(("hair", "head", "lear", "rear", "lebrow", "rebrow", "leye", "reye", "mouth", "nose"), 1),
    **dict.fromkeys(("neck", "torso"), 2),
    **dict.fromkeys(("luarm", "ruarm"), 3),
    **dict.fromkeys(("llarm", "rlarm", "lhand", "rhand"), 4),
    **dict.fromkeys(("luleg", "ruleg"), 5),
    **dict.fromkeys(("llleg", "rlleg", "lfoot", "rfoot"), 6),
}

# Context classes on which the network that distilled the normals was trained: only there are they valid.
CLASSES_WITH_NORMALS = (
    3, 4, 6, 9, 10, 11, 13, 15, 17, 18, 22, 23, 29, 30, 33, 34, 36, 37, 38, 39, 41, 43, 46, 49, 50, 51, 53, 55,
    56, 59, 61, 62, 65, 66, 68, 69, 72, 73, 78, 83, 84, 85, 87, 88, 95, 96, 101, 104, 105, 107, 111, 113, 115,
    122, 124, 135, 141, 142, 143, 146, 150, 154, 157, 158, 159, 165, 172, 174, 181, 183, 184, 191, 193, 195,
    197, 199, 202, 213, 215, 216, 219, 220, 223, 225, 228, 230, 232, 233, 238, 239, 242, 243, 246, 250, 251,
    252, 255, 260, 261, 263, 269, 272, 273, 275, 281, 283, 284, 285, 286, 287, 288, 290, 291, 292, 293, 295,
    304, 307, 309, 310, 314, 315, 319, 323, 329, 330, 331, 336, 342, 345, 349, 350, 351, 352, 355, 357, 368,
    370, 371, 374, 379, 380, 383, 384, 397, 401, 403, 405, 407, 408, 411, 412, 413, 414, 417, 419, 421, 423,
    427, 429, 430, 432, 440, 441, 442, 443, 444, 446, 454, 457,
)  # fmt: skip


def pascal_tasks(classes: tuple[str, ...] = CLASSES) -> tuple[Task, ...]:
    """Return the tasks of PASCAL-Context, or of rendered rooms with classes of their own."""
    return (
        SemanticSegmentation(num_classes=len(classes), class_names=classes),
        HumanParts(),
        Saliency(),
        SurfaceNormals(),
        Boundaries(positive_weight=0.95, max_dist=0.0075),
    )


class PASCALContext(MultiTaskDataset):
    """PASCAL_MT: `JPEGImages/`, `semseg/`, `human_parts/*.mat`, `sal_distill/`, `normals_distill/`, Context maps."""

    def __init__(self, root: str | Path, split: str, tasks: Sequence[str] | None = None) -> None:
        super().__init__(root, split, tasks)
        self.layout = name_layout(self.root, "PASCAL_MT")

    def available_tasks(self) -> tuple[Task, ...]:
        return pascal_tasks(rooms_classes(self.root) or CLASSES)

    def read_ids(self) -> list[str]:
        return read_list(self.root / "ImageSets" / "Context" / f"{self.split}.txt")

    def read_image(self, id: str) -> UInt8[np.ndarray, "h w 3"]:
        return read_rgb(self._image(id))

    def _image(self, id: str) -> Path:
        return self.root / "JPEGImages" / f"{id}.jpg"

    def label_files(self, task: Task, id: str) -> list[Path]:
        context = self.root / "pascal-context" / "trainval" / f"{id}.mat"
        if isinstance(task, HumanParts):
            return [self.root / "human_parts" / f"{id}.mat"]
        if isinstance(task, SemanticSegmentation):
            first, second = (self.root / "semseg" / copy / f"{id}.png" for copy in ("VOC12", "pascal-context"))
            return [first if first.exists() else second]
        if isinstance(task, Saliency):
            return [self.root / "sal_distill" / f"{id}.png"]
        if isinstance(task, SurfaceNormals):
            return [self.root / "normals_distill" / f"{id}.png", context]
        return [context]

    def read_label(self, task: Task, id: str) -> Label:
        path, *more = self.label_files(task, id)
        if isinstance(task, HumanParts):
            return self._human_parts(path, id)
        if isinstance(task, SemanticSegmentation):
            labels = read_values(path)
            return class_labels(labels, labels != 255, task.num_classes, path)
        if isinstance(task, Saliency):
            salient = single_channel(read_values(path, brightness=True), path) > 127
            return salient.astype(np.uint8), np.ones(salient.shape, bool)
        if isinstance(task, SurfaceNormals):
            return _where_distilled(read_normals(path), path, *more)
        changes = ndimage.laplace(label_map(path), mode="mirror") != 0
        return thin(changes).astype(np.uint8), np.ones(changes.shape, bool)

    def _human_parts(self, path: Path, id: str) -> Label:
        """Paint the parts of every person; an image without parts is valid nowhere."""
        anno = load_variable(path, "anno")
        if not isinstance(anno, dict):
            raise UserError(f"{path}: 'anno' is not one struct; {STRANGE}")
        objects = entries(field(anno, "objects", "anno", path), "anno.objects", path)
        named = [(f"anno.objects({i})", entry) for i, entry in enumerate(objects, 1)]
        masks = [mask(field(entry, "mask", where, path), where, path) for where, entry in named]
        size = masks[0].shape if masks else image_size(self._image(id)) or (1, 1)
        labels = np.zeros(size, np.uint8)
        painted = [_paint_parts(labels, entry, where, path) for where, entry in named if _is_person(entry, where, path)]
        return labels, np.full(size, any(painted))


def _is_person(entry: dict[str, Any], where: str, path: Path) -> bool:
    return integer(field(entry, "class_ind", where, path), f"{where}.class_ind", path) == PERSON


def _paint_parts(labels: UInt8[np.ndarray, "h w"], entry: dict[str, Any], where: str, path: Path) -> bool:
    """Paint the parts of one person over `labels`; return whether there are any."""
    parts = entries(field(entry, "parts", where, path), f"{where}.parts", path)
    for j, part in enumerate(parts, 1):
        here = f"{where}.parts({j})"
        name = text(field(part, "part_name", here, path), f"{here}.part_name", path)
        if name not in PARTS:
            raise UserError(f"{path}: unknown part '{name}'; choose from {', '.join(PARTS)}")
        area = mask(field(part, "mask", here, path), here, path)
        if area.shape != labels.shape:
            raise UserError(
                f"{path}: the mask of {here} is {area.shape[0]}x{area.shape[1]} pixels, the first object's "
                f"{labels.shape[0]}x{labels.shape[1]}; masks have the size of their image"
            )
        labels[area] = PARTS[name]
    return bool(parts)


def _where_distilled(normals: Label, path: Path, context_path: Path) -> Label:
    """Keep as valid only the Context classes on which the network that distilled the normals was trained."""
    unit, valid = normals
    context = label_map(context_path)
    if context.shape != valid.shape:
        raise UserError(
            f"{path}: {valid.shape[0]}x{valid.shape[1]} pixels, but {context_path} has "
            f"{context.shape[0]}x{context.shape[1]}; labels have the size of their image"
        )
    return unit, valid & np.isin(context, CLASSES_WITH_NORMALS)
