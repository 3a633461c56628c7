"""The label regions of surface normals: centroids of the training normals on the unit sphere."""

from __future__ import annotations

import json

import numpy as np
from jaxtyping import Float

from atrc.data.dataset import MultiTaskDataset
from atrc.tasks import SurfaceNormals

IMAGES, PIXELS = 200, 500  # enough normals: 100,000 in all


def normal_centroids(dataset: MultiTaskDataset, count: int = 40, seed: int = 0) -> Float[np.ndarray, "r 3"]:
    """Return the centroids of a split's normals, computed once and kept beside the data where that is writable.

    Source: Sec. 3.2.3 (k-means on the unit sphere; 40 centroids in the released settings).
    """
    key = {
        "images": len(dataset),
        "first": dataset.ids[0],
        "last": dataset.ids[-1],
        "count": count,
        "seed": seed,
    }
    cache = dataset.root / "normal_centroids.json"
    try:
        content = json.loads(cache.read_text(encoding="utf-8"))
        if content["key"] == key:
            return np.array(content["centroids"])
    except (OSError, ValueError, KeyError):
        pass
    centroids = spherical_k_means(sample_normals(dataset, seed), count, seed).round(6)
    try:
        partial = cache.with_suffix(".partial")
        partial.write_text(json.dumps({"key": key, "centroids": centroids.tolist()}), encoding="utf-8")
        partial.replace(cache)
    except OSError:
        pass  # a read-only data set: they are computed again next time
    return centroids


def sample_normals(dataset: MultiTaskDataset, seed: int) -> Float[np.ndarray, "n 3"]:
    """Draw valid normals from images of the split."""
    task = next(task for task in dataset.tasks if isinstance(task, SurfaceNormals))
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(dataset))[:IMAGES]
    drawn = []
    for index in chosen:
        normals, valid = dataset.read_label(task, dataset.ids[index])
        rows = normals.transpose(1, 2, 0)[valid]
        drawn.append(rows[rng.integers(len(rows), size=min(PIXELS, len(rows)))] if len(rows) else rows)
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
