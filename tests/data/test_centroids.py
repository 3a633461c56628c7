import dataclasses
import json
import os

import numpy as np
import pytest

from atrc.data import centroids
from atrc.data.centroids import normal_centroids, read_centroids, sample_normals, spherical_k_means, with_centroids
from atrc.data.layouts import open_dataset
from atrc.errors import UserError
from atrc.tasks import SurfaceNormals
from folders import write_nyud


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return write_nyud(tmp_path / "NYUD_MT")


@pytest.fixture
def computed(monkeypatch):
    """What was computed, not read from a cache."""
    found, function = [], centroids.spherical_k_means
    monkeypatch.setattr(centroids, "spherical_k_means", lambda *args: (found.append(args), function(*args))[1])
    return found


def normals_of(dataset):
    return next(task for task in dataset.tasks if isinstance(task, SurfaceNormals))


def centroids_of(dataset, *settings, **more):
    return normal_centroids(dataset, normals_of(dataset), *settings, **more)


def test_k_means_finds_clusters_on_the_sphere():
    rng = np.random.default_rng(0)
    centres = np.eye(3)
    points = np.repeat(centres, 50, 0) + rng.normal(0, 0.05, (150, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    found = spherical_k_means(points, 3, seed=0)
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    assert np.sort((found @ centres.T).max(0)).min() > 0.99


def test_k_means_takes_fewer_directions_than_clusters():
    points = np.eye(3)[:2].repeat(3, 0)
    found = spherical_k_means(points, 5, seed=0)
    assert found.shape == (5, 3)
    assert (found @ points.T).max(0).min() == pytest.approx(1)


def test_centroids_are_computed_once_and_are_those_of_the_split(root, computed):
    dataset = open_dataset(root, "train")
    first = centroids_of(dataset, 3)
    assert np.array_equal(centroids_of(open_dataset(root, "train"), 3), first)
    assert len(computed) == 1
    found = sorted(map(tuple, first.round(3).tolist()))
    assert found == [(0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.6, 0.0, 0.8)]  # wall, floor and box
    assert (sample_normals(dataset, normals_of(dataset), 0) @ first.T).max(1).min() == pytest.approx(1)


def _touch(root):
    path = root / "normals/0001.npy"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def _resize(root):
    path = root / "normals/0001.npy"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    np.save(path, np.load(path).astype(np.float64))
    os.utime(path, ns=times)


def _shorten(root):
    path = root / "gt_sets/train.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


def _broken(root):
    (root / "statistics.json").write_bytes(b'{"train normals: ')


def _foreign(root):
    (root / "statistics.json").write_text('["made by another program"]')


def _edited(root):
    content = json.loads((root / "statistics.json").read_text())
    for entry in content.values():
        entry["value"] = [[3, 4, 5]] * 3
    (root / "statistics.json").write_text(json.dumps(content))


def _removed(root):
    (root / "statistics.json").unlink()


@pytest.mark.parametrize("change", [_touch, _resize, _shorten, _broken, _foreign, _edited, _removed])
def test_what_changed_is_computed_again_once(root, computed, change):
    centroids_of(open_dataset(root, "train"), 3)
    change(root)
    for _ in range(2):
        again = centroids_of(open_dataset(root, "train"), 3)
        assert np.allclose(np.linalg.norm(again, axis=1), 1)
    assert len(computed) == 2


def test_other_labels_do_not_matter_but_settings_do(root, computed):
    dataset = open_dataset(root, "train")
    centroids_of(dataset, 3)
    np.save(root / "depth/0001.npy", np.ones((48, 64), np.float32))
    centroids_of(open_dataset(root, "train", ["normals"]), 3)
    assert len(computed) == 1
    centroids_of(dataset, 4)
    centroids_of(dataset, 3, seed=1)
    centroids_of(open_dataset(root, "val"), 3)
    dataset.tasks = tuple(dataclasses.replace(task, weight=7.0) for task in dataset.tasks)
    centroids_of(dataset, 3)
    assert len(computed) == 5


def test_a_folder_that_cannot_be_written_is_cached_with_the_user(root, tmp_path, computed):
    (root / "statistics.json").mkdir()  # as little writable as a read-only folder, for root as well
    dataset = open_dataset(root, "train")
    first = centroids_of(dataset, 3)
    assert np.array_equal(centroids_of(dataset, 3), first)
    assert len(computed) == 1
    assert [path.name[:8] for path in (tmp_path / "caches/atrc").iterdir()] == ["NYUD_MT-"]
    assert not list(root.glob(".statistics*"))


def test_where_nothing_can_be_written_it_is_computed_every_time(root, tmp_path, computed, monkeypatch):
    (root / "statistics.json").mkdir()
    (tmp_path / "caches").write_text("")
    dataset = open_dataset(root, "train")
    for _ in range(2):
        assert centroids_of(dataset, 3).shape == (3, 3)
    assert len(computed) == 2


def test_a_split_without_a_valid_normal_is_named(root):
    for path in (root / "normals").iterdir():
        np.save(path, np.zeros((48, 64, 3), np.float32))
    with pytest.raises(UserError, match=r"NYUD_MT: no image of the train split has a valid normal"):
        centroids_of(open_dataset(root, "train"))


def test_images_without_a_valid_normal_are_passed_over(root, monkeypatch):
    monkeypatch.setattr(centroids, "IMAGES", 2)
    paths = sorted((root / "normals").iterdir())
    for path in paths[:-4]:  # 5 of the 6 training images
        np.save(path, np.zeros((48, 64, 3), np.float32))
    dataset = open_dataset(root, "train", ["normals"])
    assert len(sample_normals(dataset, normals_of(dataset), 0)) == centroids.PIXELS


def test_the_card_of_a_folder_is_part_of_the_key(root, computed):
    (root / "dataset.yaml.txt").touch()
    centroids_of(open_dataset(root, "train"), 3)
    (root / "rooms.json").write_text(json.dumps({"classes": ["a", "b", "c"]}))
    centroids_of(open_dataset(root, "train"), 3)
    assert len(computed) == 2


def test_a_file_of_centroids_is_used_as_it_is(root, tmp_path, computed):
    given = np.random.default_rng(0).normal(size=(40, 3))
    given /= np.linalg.norm(given, axis=1, keepdims=True)
    np.save(tmp_path / "c.npy", given)
    dataset = open_dataset(root, "train")
    tasks = {task.name: task for task in with_centroids(dataset, str(tmp_path / "c.npy"))}
    assert np.array_equal(tasks["normals"].centroids, given)
    assert all(tasks[task.name] == task for task in dataset.tasks if task.name != "normals")
    assert not computed
    assert not (root / "statistics.json").exists()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((40, 3)), "vectors of length 0.000 to 0.000"),
        (np.eye(3), r"shape \(3, 3\)"),
        (np.full((40, 3), np.nan), "vectors of length nan"),
        (None, "No such file"),
    ],
)
def test_a_file_that_does_not_hold_centroids_is_refused(tmp_path, values, reason):
    if values is not None:
        np.save(tmp_path / "c.npy", values)
    with pytest.raises(
        UserError, match=rf"data\.centroids .*c\.npy: not centroids \(.*{reason}.*\); give unit vectors"
    ):
        read_centroids(tmp_path / "c.npy")
