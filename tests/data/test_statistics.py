import dataclasses
import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from atrc.data import centroids, statistics
from atrc.data.cache import cached
from atrc.data.centroids import normal_centroids, sample_normals, spherical_k_means
from atrc.data.layouts import open_dataset
from atrc.data.statistics import LabelCount, count_label, label_statistics
from atrc.errors import UserError
from atrc.tasks import Depth, Saliency, SemanticSegmentation, SurfaceNormals
from folders import scene, write_nyud, write_pascal


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return write_nyud(tmp_path / "NYUD_MT")


@pytest.fixture
def computed(monkeypatch):
    """Names of what was computed, not read from a cache."""
    found = []

    def watch(module, name):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args: (found.append(name), function(*args))[1])

    watch(centroids, "spherical_k_means")
    watch(statistics, "_counts")
    return found


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
    first = normal_centroids(dataset, 3)
    assert np.array_equal(normal_centroids(open_dataset(root, "train"), 3), first)
    assert len(computed) == 1
    found = sorted(map(tuple, first.round(3).tolist()))
    assert found == [(0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.6, 0.0, 0.8)]  # wall, floor and box
    assert (sample_normals(dataset, 0) @ first.T).max(1).min() == pytest.approx(1)


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
    normal_centroids(open_dataset(root, "train"), 3)
    change(root)
    for _ in range(2):
        again = normal_centroids(open_dataset(root, "train"), 3)
        assert np.allclose(np.linalg.norm(again, axis=1), 1)
    assert len(computed) == 2


def test_other_labels_do_not_matter_but_settings_do(root, computed):
    dataset = open_dataset(root, "train")
    normal_centroids(dataset, 3)
    np.save(root / "depth/0001.npy", np.ones((48, 64), np.float32))
    normal_centroids(open_dataset(root, "train", ["normals"]), 3)
    assert len(computed) == 1
    normal_centroids(dataset, 4)
    normal_centroids(dataset, 3, seed=1)
    normal_centroids(open_dataset(root, "val"), 3)
    dataset.tasks = tuple(dataclasses.replace(task, weight=7.0) for task in dataset.tasks)
    normal_centroids(dataset, 3)
    assert len(computed) == 5


def test_a_folder_that_cannot_be_written_is_cached_with_the_user(root, tmp_path, computed):
    (root / "statistics.json").mkdir()  # as little writable as a read-only folder, for root as well
    dataset = open_dataset(root, "train")
    first = normal_centroids(dataset, 3)
    assert np.array_equal(normal_centroids(dataset, 3), first)
    assert len(computed) == 1
    assert [path.name[:8] for path in (tmp_path / "caches/atrc").iterdir()] == ["NYUD_MT-"]
    assert not list(root.glob(".statistics*"))


def test_where_nothing_can_be_written_it_is_computed_every_time(root, tmp_path, computed, monkeypatch):
    (root / "statistics.json").mkdir()
    (tmp_path / "caches").write_text("")
    dataset = open_dataset(root, "train")
    for _ in range(2):
        assert normal_centroids(dataset, 3).shape == (3, 3)
    assert len(computed) == 2


def test_writers_that_come_at_once_leave_a_whole_cache(root):
    dataset = open_dataset(root, "train")
    task = dataset.tasks[0]

    def write(writer):
        return [cached(dataset, f"{writer} {i}", task, lambda i=i: i, int) for i in range(60)]

    with ThreadPoolExecutor(4) as executor:
        writers = [executor.submit(write, writer) for writer in range(4)]
        while not all(writer.done() for writer in writers):
            if (root / "statistics.json").exists():
                json.loads((root / "statistics.json").read_text())
    assert [writer.result() for writer in writers] == [list(range(60))] * 4
    assert not list(root.glob(".statistics*"))
    assert not (root.parent / "caches").exists()


def test_a_split_without_a_valid_normal_is_named(root):
    for path in (root / "normals").iterdir():
        np.save(path, np.zeros((48, 64, 3), np.float32))
    with pytest.raises(UserError, match=r"NYUD_MT: no image of the train split has a valid normal"):
        normal_centroids(open_dataset(root, "train"))


def test_images_without_a_valid_normal_are_passed_over(root, monkeypatch):
    monkeypatch.setattr(centroids, "IMAGES", 2)
    paths = sorted((root / "normals").iterdir())
    for path in paths[:-4]:  # 5 of the 6 training images
        np.save(path, np.zeros((48, 64, 3), np.float32))
    assert len(sample_normals(open_dataset(root, "train"), 0)) == centroids.PIXELS


def test_a_count_is_what_one_counts_by_hand():
    labels, valid = np.array([[0, 1, 1], [2, 0, 0]], np.uint8), np.array([[1, 1, 1], [1, 0, 0]], bool)
    count = count_label(SemanticSegmentation(num_classes=4), (labels, valid))
    assert count == LabelCount(1, 1, 6, 4, (1, 2, 1, 0))
    assert count_label(Saliency(), (labels // 2, valid)).classes == (3, 1)
    depth = np.array([[1, 0.5, 9], [2, 99, -1]], np.float32)
    assert count_label(Depth(), (depth, valid)) == LabelCount(1, 1, 6, 4, (), 0.5, 9.0)
    assert count_label(Depth(), (depth, valid & False)) == LabelCount(1, 0, 6, 0)
    assert count_label(SurfaceNormals(), (np.zeros((3, 2, 3), np.float32), valid)) == LabelCount(1, 1, 6, 4)
    shares = (count + count).shares()
    assert (shares.images, shares.labelled, shares.valid) == (2, 2, pytest.approx(4 / 6))
    assert shares.classes == (0.25, 0.5, 0.25, 0.0)
    assert LabelCount().shares().valid == 0


def test_label_statistics_are_those_of_the_files_computed_once(root, computed):
    label = np.asarray(Image.open(root / "segmentation/0000.png")).copy()
    label[:3] = 0
    Image.fromarray(label).save(root / "segmentation/0000.png")
    drawn = [scene(i) for i in range(6)]
    truth = np.stack([image["semseg"] for image in drawn])
    valid = np.ones(truth.shape, bool)
    valid[0, :3] = False
    dataset = open_dataset(root, "train")
    found = label_statistics(dataset)
    assert found == label_statistics(open_dataset(root, "train"), progress=False)
    assert computed == ["_counts"] * 4
    assert list(found) == ["semseg", "depth", "normals", "edge"]
    expected = np.bincount(truth[valid], minlength=40) / valid.sum()
    np.testing.assert_allclose(found["semseg"].classes, expected, rtol=1e-12)
    assert found["semseg"].valid == pytest.approx(valid.mean())
    assert (found["depth"].least, found["depth"].greatest) == (1.5, 6.0)
    assert found["edge"].classes[1] == pytest.approx(np.mean([image["edge"] for image in drawn]))
    assert (found["normals"].classes, found["normals"].least, found["normals"].labelled) == ((), None, 6)


def test_label_statistics_count_images_without_a_label(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    found = label_statistics(open_dataset(write_pascal(tmp_path / "PASCAL_MT"), "val", ["human_parts"]))["human_parts"]
    assert (found.images, found.labelled, found.valid) == (2, 1, 0.5)
    assert len(found.classes) == 7


def test_a_broken_label_ends_the_statistics_with_its_name(root):
    (root / "depth/0003.npy").write_bytes(b"")
    with pytest.raises(UserError, match=r"depth/0003\.npy"):
        label_statistics(open_dataset(root, "train"))


def test_the_card_of_a_folder_is_part_of_the_key(root, computed):
    (root / "dataset.yaml.txt").touch()
    normal_centroids(open_dataset(root, "train"), 3)
    (root / "rooms.json").write_text(json.dumps({"classes": ["a", "b", "c"]}))
    normal_centroids(open_dataset(root, "train"), 3)
    assert len(computed) == 2
