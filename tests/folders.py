"""Tiny data sets in the real formats: planes and boxes, drawn by formula, so that every label is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat


def scene(seed: int, h: int = 48, w: int = 64) -> dict[str, np.ndarray]:
    """Draw a wall, a floor and a box; colours tell the classes, so that a network can learn."""
    rng = np.random.default_rng(seed)
    semseg = np.zeros((h, w), np.uint8)
    horizon, left, top = rng.integers(h // 3, 2 * h // 3), rng.integers(0, w // 2), rng.integers(0, h // 2)
    semseg[horizon:] = 1
    box = slice(top, top + h // 3), slice(left, left + w // 3)
    semseg[box] = 2
    depth = np.linspace(6, 2, h, dtype=np.float32)[:, None].repeat(w, 1)
    depth[box] = 1.5
    normals = np.zeros((h, w, 3), np.float32)
    normals[..., 2], normals[semseg == 1] = 1, (0, 1, 0)
    normals[box] = (0.6, 0, 0.8)
    edge = np.zeros((h, w), np.uint8)
    edge[:, :-1] |= semseg[:, 1:] != semseg[:, :-1]
    edge[:-1] |= semseg[1:] != semseg[:-1]
    colours = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])
    image = np.clip(colours[semseg] + rng.normal(0, 12, (h, w, 3)), 0, 255).astype(np.uint8)
    return {"image": image, "semseg": semseg, "depth": depth, "normals": normals, "edge": edge}


def _split(path: Path, ids: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{id}\n" for id in ids))


def write_nyud(
    root: Path, train: int = 6, val: int = 3, h: int = 48, w: int = 64, *, images: str = "jpg", labels: str = "npy"
) -> Path:
    """Write NYUD_MT files; the other copy that circulates has images, normals and edge as png."""
    for folder in ("images", "segmentation", "depth", "normals", "edge"):
        (root / folder).mkdir(parents=True)
    ids = [f"{i:04d}" for i in range(train + val)]
    for i, id in enumerate(ids):
        drawn = scene(i, h, w)
        Image.fromarray(drawn["image"]).save(root / "images" / f"{id}.{images}", quality=95)
        Image.fromarray(drawn["semseg"] + 1).save(root / "segmentation" / f"{id}.png")
        np.save(root / "depth" / f"{id}.npy", drawn["depth"])
        if labels == "npy":
            np.save(root / "normals" / f"{id}.npy", drawn["normals"])
            np.save(root / "edge" / f"{id}.npy", drawn["edge"])
        else:
            Image.fromarray(encode_normals(drawn["normals"])).save(root / "normals" / f"{id}.png")
            Image.fromarray(drawn["edge"] * 255).save(root / "edge" / f"{id}.png")
    _split(root / "gt_sets" / "train.txt", ids[:train])
    _split(root / "gt_sets" / "val.txt", ids[train:])
    return root


def encode_normals(normals: np.ndarray) -> np.ndarray:
    """Return the picture of which v / 255 * 2 - 1 are the normals."""
    return np.round((normals + 1) * 127.5).astype(np.uint8)


def write_pascal(root: Path, train: int = 4, val: int = 2, h: int = 48, w: int = 64) -> Path:
    """Write PASCAL_MT files; the box is a person with a head and a left lower leg, but in the last image."""
    folders = ("JPEGImages", "semseg/VOC12", "human_parts", "sal_distill", "normals_distill", "pascal-context/trainval")
    for folder in folders:
        (root / folder).mkdir(parents=True)
    ids = [f"2008_{i:06d}" for i in range(train + val)]
    for i, id in enumerate(ids):
        drawn = scene(i, h, w)
        person = drawn["semseg"] == 2
        Image.fromarray(drawn["image"]).save(root / "JPEGImages" / f"{id}.jpg", quality=95)
        Image.fromarray(np.where(person, 15, drawn["semseg"]).astype(np.uint8)).save(root / f"semseg/VOC12/{id}.png")
        Image.fromarray(person.astype(np.uint8) * 255).save(root / "sal_distill" / f"{id}.png")
        Image.fromarray(encode_normals(drawn["normals"])).save(root / "normals_distill" / f"{id}.png")
        # 3 and 4 are Context classes with normals, 1 is not
        savemat(root / f"pascal-context/trainval/{id}.mat", {"LabelMap": np.array([3, 1, 4])[drawn["semseg"]]})
        savemat(root / "human_parts" / f"{id}.mat", {"anno": _anno(person, with_parts=i + 1 < len(ids))})
    _split(root / "ImageSets/Context/train.txt", ids[:train])
    _split(root / "ImageSets/Context/val.txt", ids[train:])
    return root


def _anno(person: np.ndarray, with_parts: bool) -> dict:
    rows = np.nonzero(person.any(1))[0]
    head, leg = person.copy(), person.copy()
    head[rows[len(rows) // 2] :] = False
    leg[: rows[len(rows) // 2]] = False
    parts = struct_array([{"part_name": "head", "mask": head}, {"part_name": "llleg", "mask": leg}])
    entry = {"class": "person", "class_ind": 15, "mask": person, "parts": parts if with_parts else np.empty((0, 0))}
    return {"imname": "x", "objects": struct_array([entry])}


def struct_array(entries: list[dict]) -> np.ndarray:
    """Make a 1xN MATLAB struct array, as PASCAL-Part has for objects and for parts."""
    array = np.empty((1, len(entries)), [(key, object) for key in entries[0]])
    for i, entry in enumerate(entries):
        for key, value in entry.items():
            array[0, i][key] = (
                value.astype(np.uint8) if isinstance(value, np.ndarray) and value.dtype == bool else value
            )
    return array
