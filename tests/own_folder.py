"""One's own data in the form that docs/own-data.md describes, at a tiny size."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from folders import scene

PAGE = Path(__file__).parent.parent / "docs" / "own-data.md"
MATERIALS = np.array([20, 10, 30])  # of wall, floor and box


def documented_yaml() -> str:
    """Return the `dataset.yaml` of the page."""
    return re.findall(r"```yaml\n(name: warehouse.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[0]


def write_own(root: Path, train: int = 4, val: int = 2, h: int = 48, w: int = 64, yaml: str | None = None) -> Path:
    """Write the page's folder; the first image has no depth, and the second image is of another size."""
    for folder in ("images", "semseg", "depth", "edge", "material", "splits"):
        (root / folder).mkdir(parents=True)
    ids = [f"aisle_{i:04d}" for i in range(train + val)]
    for i, id in enumerate(ids):
        drawn = scene(i, h, w + 8 * (i == 1))
        semseg = np.where(drawn["depth"] > 5.9, 255, drawn["semseg"]).astype(np.uint8)
        Image.fromarray(drawn["image"]).save(root / "images" / f"{id}.jpg", quality=95)
        Image.fromarray(semseg).save(root / "semseg" / f"{id}.png")
        Image.fromarray(drawn["edge"] * np.uint8(255)).save(root / "edge" / f"{id}.png")
        Image.fromarray(MATERIALS[drawn["semseg"]].astype(np.uint8)).save(root / "material" / f"{id}.png")
        if i:
            Image.fromarray(np.round(drawn["depth"] * 1000).astype(np.uint16)).save(root / "depth" / f"{id}.png")
    (root / "splits/train.txt").write_text("\n".join(ids[:train]) + "\n")
    (root / "splits/val.txt").write_text("\n".join(ids[train:]) + "\n")
    (root / "dataset.yaml").write_text(yaml or documented_yaml())
    return root
