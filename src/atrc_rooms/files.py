"""The files of an image in both layouts: their paths and contents."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped, UInt8
from numpy import ndarray
from PIL import Image
from scipy.io import savemat

from atrc_rooms.profiles import BODY_PARTS

if TYPE_CHECKING:
    from atrc_rooms.render import View

Encode = Callable[["View"], bytes]

PERSON = 15

# Values of instances in a context map: the PASCAL-Context classes whose normals are valid.
CONTEXT_VALUES = (
    9, 15, 18, 22, 23, 29, 30, 33, 34, 36, 37, 38, 39, 41, 43, 46, 49, 50, 51, 53, 55, 56, 59, 61, 62, 65, 66, 68,
    69, 72, 73, 78, 83, 84, 85, 87, 88, 95, 96, 101, 104, 105, 107, 111, 113, 115, 122, 124, 135, 141, 142, 143,
    146, 150, 154, 157, 158, 159, 165, 172, 174, 181, 183, 184, 191, 193, 195, 197, 199, 202, 213, 215, 216, 219,
    220, 223, 225, 228, 230, 232, 233, 238, 239, 242, 243, 246, 250, 251, 252, 255, 260, 261, 263, 269, 272, 273,
    275, 281, 283, 284, 285, 286, 287, 288, 290, 291, 292, 293, 295, 304, 307, 309, 310, 314, 315, 319, 323, 329,
    330, 331, 336, 342, 345, 349, 350, 351, 352, 355, 357, 368, 370, 371, 374, 379, 380, 383, 384, 397, 401, 403,
    405, 407, 408, 411, 412, 413, 414, 417, 419, 421, 423, 427, 429, 430, 432, 440, 441, 442, 443, 444, 446, 454,
    457,
)  # fmt: skip


def nyud_files(id: str) -> dict[str, Encode]:
    """Map the path of every file of an image to its encoder, in the NYUD_MT layout."""
    return {
        f"images/{id}.jpg": lambda view: _jpeg(view.image),
        f"segmentation/{id}.png": lambda view: _png(view.semseg + np.uint8(1)),  # 0 would be ignored
        f"depth/{id}.npy": lambda view: _npy(view.depth.astype(np.float32)),
        f"normals/{id}.npy": lambda view: _npy(view.normals.astype(np.float32)),
        f"edge/{id}.npy": lambda view: _npy(view.edge.astype(np.uint8)),
    }


def pascal_files(id: str) -> dict[str, Encode]:
    """Map the path of every file of an image to its encoder, in the PASCAL_MT layout."""
    return {
        f"JPEGImages/{id}.jpg": lambda view: _jpeg(view.image),
        f"semseg/VOC12/{id}.png": lambda view: _png(view.semseg),
        f"human_parts/{id}.mat": lambda view: _mat({"anno": _anno(view, id)}),
        f"sal_distill/{id}.png": lambda view: _png(view.sal.astype(np.uint8) * np.uint8(255)),
        f"normals_distill/{id}.png": lambda view: _png(np.round((view.normals + 1) * 127.5).astype(np.uint8)),
        f"pascal-context/trainval/{id}.mat": lambda view: _mat({"LabelMap": _label_map(view)}),
    }


def _jpeg(image: UInt8[ndarray, "h w 3"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _png(image: UInt8[ndarray, "h w *c"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=2)
    return buffer.getvalue()


def _npy(array: Shaped[ndarray, "h w *c"]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _mat(variables: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, variables, do_compression=True)
    content = bytearray(buffer.getvalue())
    content[:116] = b"MATLAB 5.0 MAT-file, written by atrc".ljust(116)  # SciPy writes the date there
    return bytes(content)


def _label_map(view: View) -> Shaped[ndarray, "h w"]:
    """Give every instance in view its own value; with more than 170 instances, values repeat."""
    _, order = np.unique(view.instances, return_inverse=True)
    return np.array(CONTEXT_VALUES, np.int16)[order.reshape(view.instances.shape) % len(CONTEXT_VALUES)]


def _anno(view: View, id: str) -> dict[str, Any]:
    """Return the struct of PASCAL-Part: persons with their parts, or an empty background."""
    persons = [i for i in np.unique(view.instances) if view.names[i] == "person"]
    entries = [_person(view, view.instances == i) for i in persons]
    nobody = {"class": "background", "class_ind": 0, "mask": np.zeros(view.depth.shape, np.uint8), "parts": _struct([])}
    return {"imname": id, "objects": _struct(entries or [nobody])}


def _person(view: View, mask: Shaped[ndarray, "h w"]) -> dict[str, Any]:
    body = view.body * mask
    parts = [
        {"part_name": BODY_PARTS[part], "mask": (body == part).astype(np.uint8)} for part in np.unique(body[body > 0])
    ]
    return {"class": "person", "class_ind": PERSON, "mask": mask.astype(np.uint8), "parts": _struct(parts)}


def _struct(entries: list[dict[str, Any]]) -> ndarray:
    """Return a 1xN MATLAB struct array, or MATLAB's empty matrix."""
    if not entries:
        return np.empty((0, 0))
    array = np.empty((1, len(entries)), [(key, object) for key in entries[0]])
    for i, entry in enumerate(entries):
        array[0, i] = tuple(entry.values())
    return array
