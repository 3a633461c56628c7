"""Tasks, images and files for the tests of `atrc predict`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from atrc.tasks import Boundaries, Depth, HumanParts, Saliency, SemanticSegmentation, SurfaceNormals

CLASSES = ("wall", "floor", "a very long name of a class")
SEMSEG = SemanticSegmentation(num_classes=3, class_names=CLASSES)
TASKS = (SEMSEG, HumanParts(), Saliency(), Depth(), SurfaceNormals(), Boundaries())
PREDICTED = (SEMSEG, *TASKS[3:])  # by the network
NAMES = [task.name for task in PREDICTED]
RAW = {"semseg": "png", "depth": "npy", "normals": "npy", "edge": "png"}


def noise(path: Path, w: int = 40, h: int = 30, **options: Any) -> Path:
    """Write an image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((w, h), 80).convert("RGB").save(path, **options)
    return path


def outputs(h: int = 30, w: int = 40) -> dict[str, torch.Tensor]:
    """Return random outputs of all tasks."""
    return {task.name: torch.randn(task.channels, h, w) for task in TASKS}


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def index(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "predictions.json").read_text())


def read(path: Path) -> np.ndarray:
    return np.load(path) if path.suffix == ".npy" else np.asarray(Image.open(path))
