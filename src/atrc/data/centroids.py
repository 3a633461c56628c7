"""The label regions of surface normals: centroids of the training normals on the unit sphere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from atrc.data.cache import cached
from atrc.data.dataset import MultiTaskDataset
from atrc.errors import UserError
from atrc.tasks import SurfaceNormals, Task

# n normals, r centroids

IMAGES, PIXELS = 200, 500  # enough normals: 100,000 in all


def with_centroids(dataset: MultiTaskDataset) -> tuple[Task, ...]:
    """Return the data set's tasks, the normals' label regions being those of its split.

    Raises:
        UserError: The split has no valid normal.
    """
    return tuple(
        replace(task, centroids=tuple(map(tuple, normal_centroids(dataset).tolist())))
        if isinstance(task, SurfaceNormals)
        else task
        for task in dataset.tasks
    )


def normal_centroids(dataset: MultiTaskDataset, count: int = 40, seed: int = 0) -> Float[np.ndarray, "r 3"]:
    """Return the centroids of a split's normals, computed once and kept beside the data.

    Source: Sec. 3.2.3 (k-means on the unit sphere; 40 centroids in the released settings).

    Raises:
        UserError: The split has no valid normal.
    """

    def compute() -> list[list[float]]:
        return spherical_k_means(sample_normals(dataset, seed), count, seed).round(6).tolist()

    def parse(value: Any) -> Float[np.ndarray, "r 3"]:
        centroids = np.array(value, np.float64)
        if centroids.shape != (count, 3) or not np.allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-4):
            raise ValueError("no unit vectors")
        return centroids

    name = f"{count} centroids, seed {seed}, {IMAGES} images, {PIXELS} pixels of each"
    return cached(dataset, name, _task(dataset), compute, parse)


def sample_normals(dataset: MultiTaskDataset, seed: int) -> Float[np.ndarray, "n 3"]:
    """Draw valid normals from images of the split that have any.

    Raises:
        UserError: There are none.
    """
    task, rng = _task(dataset), np.random.default_rng(seed)
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
            "normals are unknown; check the labels, or leave 'normals' out of data.tasks"
        )
    return np.concatenate(drawn)


def _task(dataset: MultiTaskDataset) -> SurfaceNormals:
    return next(task for task in dataset.tasks if isinstance(task, SurfaceNormals))


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
