"""PASCAL-Context in the PASCAL_MT layout: semseg, human parts, saliency, normals and edge."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Integer, UInt8
from scipy import ndimage
from scipy.io import loadmat

from atrc.data.dataset import Label, MultiTaskDataset, class_labels, unit_normals
from atrc.data.files import read_list, read_png, read_rgb, rooms_classes
from atrc.errors import UserError
from atrc.metrics.boundary import thin
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

    layout: ClassVar[str] = "PASCAL_MT"

    def available_tasks(self) -> tuple[Task, ...]:
        return pascal_tasks(rooms_classes(self.root) or CLASSES)

    def read_ids(self) -> list[str]:
        return read_list(self.root / "ImageSets" / "Context" / f"{self.split}.txt")

    def read_image(self, id: str) -> UInt8[np.ndarray, "h w 3"]:
        return read_rgb(self.root / "JPEGImages" / f"{id}.jpg")

    def read_label(self, task: Task, id: str) -> Label:
        if isinstance(task, HumanParts):
            return _human_parts(self.root / "human_parts" / f"{id}.mat")
        if isinstance(task, SemanticSegmentation):
            return self._semseg(task, id)
        if isinstance(task, Saliency):
            salient = _grey(self.root / "sal_distill" / f"{id}.png") > 127
            return salient.astype(np.uint8), np.ones(salient.shape, bool)
        context = _label_map(self.root / "pascal-context" / "trainval" / f"{id}.mat")
        if isinstance(task, SurfaceNormals):
            path = self.root / "normals_distill" / f"{id}.png"
            normals, valid = unit_normals(read_png(path) / np.float32(127.5) - 1, path)
            return normals, valid & np.isin(context, CLASSES_WITH_NORMALS)
        changes = ndimage.laplace(context.astype(np.int32), mode="mirror") != 0
        return thin(changes).astype(np.uint8), np.ones(context.shape, bool)

    def _semseg(self, task: SemanticSegmentation, id: str) -> Label:
        path = self.root / "semseg" / "VOC12" / f"{id}.png"
        if not path.exists():
            path = self.root / "semseg" / "pascal-context" / f"{id}.png"
        labels = read_png(path)
        return class_labels(labels, labels != 255, task.num_classes, path)


def _grey(path: Path) -> UInt8[np.ndarray, "h w"]:
    array = read_png(path)
    return array if array.ndim == 2 else array[..., 0]


def _load_mat(path: Path, name: str) -> Any:
    try:
        content = loadmat(path, squeeze_me=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the split lists this id but its label is not there") from None
    except NotImplementedError:
        raise UserError(f"{path}: a MATLAB v7.3 file; save it again in MATLAB with the flag '-v7'") from None
    except Exception as error:  # scipy raises many kinds on bytes that are no MAT file
        raise UserError(f"{path}: not a readable MAT file ({error}); copy it again") from None
    if name not in content:
        raise UserError(f"{path}: has no variable '{name}'; it is not a file of this data set")
    return content[name]


def _label_map(path: Path) -> Integer[np.ndarray, "h w"]:
    return _load_mat(path, "LabelMap")


def _human_parts(path: Path) -> Label:
    """Paint the parts of every person; an image without parts is valid nowhere."""
    objects = _load_mat(path, "anno")[0, 0]["objects"]
    labels = None
    found = False
    for entry in objects.flat:
        mask = entry["mask"]
        labels = np.zeros(mask.shape, np.uint8) if labels is None else labels
        if int(entry["class_ind"].item()) != PERSON:
            continue
        for part in entry["parts"].flat:
            name = str(part["part_name"].item())
            if name not in PARTS:
                raise UserError(f"{path}: unknown part '{name}'; choose from {', '.join(PARTS)}")
            labels[part["mask"] > 0] = PARTS[name]
            found = True
    if labels is None:
        raise UserError(f"{path}: 'anno' lists no objects, so the image's size is unknown")
    return labels, np.full(labels.shape, found)
