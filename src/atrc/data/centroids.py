"""The label regions of surface normals: centroids of the training normals on the unit sphere.

They are computed once and kept next to the data, or in the user's cache folder if the data cannot be written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from atrc.data.dataset import MultiTaskDataset
from atrc.errors import UserError, first_line
from atrc.files import write_atomic
from atrc.tasks import SurfaceNormals, Task

# n normals, r centroids

COUNT = 40  # Source: the released settings
IMAGES, PIXELS = 200, 500  # enough normals: 100,000 in all
CACHE = "statistics.json"
FORMAT = 1  # to be raised when labels are read, or centroids computed, in another way
CARDS = ("dataset.yaml", "rooms.json")  # files of a folder that say how its labels are read


def with_centroids(dataset: MultiTaskDataset, file: str | None = None) -> tuple[Task, ...]:
    """Return the data set's tasks; the label regions of normals are those of a file, or of the data set's split.

    Raises:
        UserError: The split has no valid normal, or the file does not hold centroids.
    """
    return tuple(
        replace(task, centroids=tuple(map(tuple, _centroids(dataset, task, file).tolist())))
        if isinstance(task, SurfaceNormals)
        else task
        for task in dataset.tasks
    )


def _centroids(dataset: MultiTaskDataset, task: SurfaceNormals, file: str | None) -> Float[np.ndarray, "r 3"]:
    return read_centroids(Path(file)) if file else normal_centroids(dataset, task)


def read_centroids(path: Path) -> Float[np.ndarray, "r 3"]:
    """Read the centroids that a published network was trained with: unit vectors in a NPY file (40 3).

    Raises:
        UserError: They are not that.
    """
    cure = f"give unit vectors as a NumPy array ({COUNT}, 3), or leave data.centroids out to compute them"
    try:
        return _unit_vectors(np.load(path, allow_pickle=False), COUNT)
    except Exception as error:  # NumPy raises many kinds on bytes that are not an array
        raise UserError(f"data.centroids {path}: not centroids ({first_line(error)}); {cure}") from None


def _unit_vectors(values: Any, count: int) -> Float[np.ndarray, "r 3"]:
    centroids = np.array(values, np.float64)
    if centroids.shape != (count, 3):
        raise ValueError(f"shape {centroids.shape}")
    length = np.linalg.norm(centroids, axis=1, keepdims=True)
    if not np.allclose(length, 1, atol=1e-3):
        raise ValueError(f"vectors of length {length.min():.3f} to {length.max():.3f}")
    return centroids


def normal_centroids(
    dataset: MultiTaskDataset, task: SurfaceNormals, count: int = COUNT, seed: int = 0
) -> Float[np.ndarray, "r 3"]:
    """Return the centroids of a split's normals: read from the cache if it is valid, else computed and kept there.

    Source: Sec. 3.2.3 (k-means on the unit sphere).

    Raises:
        UserError: The split has no valid normal.
    """
    settings = f"{count} centroids, seed {seed}, {IMAGES} images, {PIXELS} pixels of each"
    name = f"{dataset.split} {task.name}: {settings}"
    key = _key(dataset, name, task)
    for path in _places(dataset.root):
        with contextlib.suppress(ValueError, TypeError, KeyError):
            entry = _read(path)[name]
            if entry["key"] == key:
                return _unit_vectors(entry["value"], count)
    centroids = spherical_k_means(sample_normals(dataset, task, seed), count, seed).round(6)
    for path in _places(dataset.root):
        with contextlib.suppress(OSError):
            content = _read(path) | {name: {"key": key, "value": centroids.tolist()}}
            write_atomic(path, json.dumps(content, indent=1) + "\n", shared=True)
            break
    return centroids


def _key(dataset: MultiTaskDataset, name: str, task: Task) -> str:
    files = [file for id in dataset.ids for file in dataset.label_files(task, id)]
    cards = [path for card in CARDS if (path := dataset.root / card).exists()]
    states = [_state(dataset.root, file) for file in (*files, *cards)]
    content = json.dumps([FORMAT, name, task.to_dict(), dataset.ids, states])
    return hashlib.sha256(content.encode()).hexdigest()


def _state(root: Path, path: Path) -> list[Any]:
    place = str(path.relative_to(root) if path.is_relative_to(root) else path)
    try:
        state = path.stat()
    except OSError:  # a label that is not there, which whoever reads it reports
        return [place]
    return [place, state.st_size, state.st_mtime_ns]


def _places(root: Path) -> list[Path]:
    """Return where the cache may be: next to the data, or else with the user's caches."""
    places = [root / CACHE]
    with contextlib.suppress(RuntimeError):  # a user without a home
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        mark = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
        places.append(folder / "atrc" / f"{root.resolve().name}-{mark}.json")
    return places


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def sample_normals(dataset: MultiTaskDataset, task: SurfaceNormals, seed: int) -> Float[np.ndarray, "n 3"]:
    """Draw valid normals from images of the split that have any.

    Raises:
        UserError: There are none.
    """
    rng = np.random.default_rng(seed)
    drawn: list[np.ndarray] = []
    for index in rng.permutation(len(dataset)):
        normals, valid = dataset.read_label(task, dataset.ids[index])
        if len(rows := normals.transpose(1, 2, 0)[valid]):
            drawn.append(rows[rng.integers(len(rows), size=min(PIXELS, len(rows)))])
        if len(drawn) == IMAGES:
            break
    if not drawn:
        raise UserError(
            f"{dataset.root}: no image of the {dataset.split} split has a valid normal, so the label regions of "
            f"{task.name} are unknown; check the labels, or leave '{task.name}' out of data.tasks"
        )
    return np.concatenate(drawn)


def spherical_k_means(
    points: Float[np.ndarray, "n 3"], count: int, seed: int, iterations: int = 50
) -> Float[np.ndarray, "r 3"]:
    """Cluster unit vectors by angle (Lloyd's iterations from k-means++ seeds)."""
    rng = np.random.default_rng(seed)
    centroids = points[rng.integers(len(points), size=1)]
    while len(centroids) < count:
        distance = np.clip(1 - (points @ centroids.T).max(1), 1e-12, None)
        centroids = np.concatenate([centroids, points[rng.choice(len(points), size=1, p=distance / distance.sum())]])
    for _ in range(iterations):
        nearest = (points @ centroids.T).argmax(1)
        sums = np.stack([np.bincount(nearest, points[:, axis], count) for axis in range(3)], 1)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        centroids = np.where(length > 0, sums / np.where(length > 0, length, 1), centroids)
    return centroids
