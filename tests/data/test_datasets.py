import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atrc.data.dataset import class_labels
from atrc.data.layouts import NYUD, PASCALContext, open_dataset
from atrc.errors import UserError
from folders import scene, write_nyud


def test_nyud_files_read_back_pixel_for_pixel(nyud_folder):
    dataset = open_dataset(nyud_folder, "train")
    assert isinstance(dataset, NYUD)
    assert len(dataset) == 6
    drawn, sample = scene(2), dataset[2]
    assert sample["id"] == "0002"
    assert np.array_equal(sample["truth"]["semseg"].numpy(), drawn["semseg"])
    assert np.array_equal(sample["truth"]["depth"].numpy(), drawn["depth"])
    np.testing.assert_allclose(sample["truth"]["normals"].permute(1, 2, 0).numpy(), drawn["normals"], atol=1e-6)
    assert np.array_equal(sample["truth"]["edge"].numpy(), drawn["edge"])
    assert all(valid.all() for valid in sample["valid"].values())
    assert np.abs(sample["image"].permute(1, 2, 0).numpy().astype(int) - drawn["image"]).mean() < 12  # JPEG


def test_nyud_marks_what_is_invalid(tmp_path):
    root = write_nyud(tmp_path / "NYUD_MT")
    label = np.asarray(Image.open(root / "segmentation" / "0000.png")).copy()
    label[:3] = 0
    Image.fromarray(label).save(root / "segmentation" / "0000.png")
    depth, normals = np.load(root / "depth/0000.npy"), np.load(root / "normals/0000.npy")
    depth[0, :2], depth[1, 0] = 0, np.nan
    normals[4] = 0
    np.save(root / "depth/0000.npy", depth)
    np.save(root / "normals/0000.npy", normals)
    valid = NYUD(root, "train")[0]["valid"]
    assert np.array_equal(valid["semseg"].numpy(), label > 0)
    assert not valid["depth"][0, :2].any()
    assert not valid["depth"][1, 0]
    assert valid["depth"].sum() == depth.size - 3
    assert not valid["normals"][4].any()
    assert NYUD(root, "train")[0]["truth"]["depth"].isfinite().all()


def test_pascal_files_read_back(pascal_folder):
    dataset = open_dataset(pascal_folder, "train")
    assert isinstance(dataset, PASCALContext)
    drawn, sample = scene(1), dataset[1]
    person = drawn["semseg"] == 2
    assert np.array_equal(sample["truth"]["semseg"].numpy(), np.where(person, 15, drawn["semseg"]))
    assert np.array_equal(sample["truth"]["sal"].numpy(), person)
    parts = sample["truth"]["human_parts"].numpy()
    assert set(np.unique(parts)) == {0, 1, 6}  # head and lower leg
    assert np.array_equal(parts > 0, person)
    assert sample["valid"]["human_parts"].all()
    floor = drawn["semseg"] == 1  # a Context class without normals
    assert np.array_equal(sample["valid"]["normals"].numpy(), ~floor)
    angle = (sample["truth"]["normals"].permute(1, 2, 0).numpy() * drawn["normals"]).sum(2)[~floor]
    assert np.rad2deg(np.arccos(angle.clip(-1, 1))).max() < 1  # 8 bits a channel


def test_pascal_boundaries_are_the_thinned_changes_of_the_context_map(pascal_folder):
    sample, drawn = open_dataset(pascal_folder, "train", ["edge"])[0], scene(0)
    edge = sample["truth"]["edge"].numpy() > 0
    assert edge.any()
    near = np.zeros_like(edge)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            near |= np.roll(drawn["edge"] > 0, (dy, dx), (0, 1))
    assert near[edge].all()
    assert edge.sum() < 2 * drawn["edge"].sum()


def test_an_image_without_human_parts_is_valid_nowhere(pascal_folder):
    dataset = open_dataset(pascal_folder, "val", ["human_parts"])
    assert not dataset[len(dataset) - 1]["valid"]["human_parts"].any()


def test_tasks_are_picked_by_name_in_order(nyud_folder):
    dataset = open_dataset(nyud_folder, "val", ["edge", "semseg"])
    assert [task.name for task in dataset.tasks] == ["edge", "semseg"]
    assert list(dataset[0]["truth"]) == ["edge", "semseg"]


def _wide_label(root):
    Image.fromarray(np.full((48, 64, 3), 1, np.uint8)).save(root / "segmentation/0000.png")


def _overwrite_label(root):
    Image.fromarray(np.full((48, 64), 41, np.uint8)).save(root / "segmentation/0000.png")


def _truncate(root):
    path = root / "segmentation/0000.png"
    path.write_bytes(path.read_bytes()[:60])


def _pickle(root):
    np.save(root / "depth/0000.npy", np.array([{"a": 1}], object), allow_pickle=True)


def _small(root):
    np.save(root / "depth/0000.npy", np.ones((4, 4), np.float32))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "images/0000.jpg").unlink(), r"0000\.jpg: no such file"),
        (lambda root: (root / "images/0000.jpg").write_bytes(b""), r"0000\.jpg: not a readable picture"),
        (lambda root: (root / "images/0000.jpg").write_text("hello"), r"0000\.jpg: not a readable picture"),
        (lambda root: (root / "depth/0000.npy").unlink(), r"0000\.npy: no such file"),
        (lambda root: (root / "depth/0000.npy").write_bytes(b"\x93NUMPY"), r"0000\.npy: not a readable .npy"),
        (_pickle, r"0000\.npy: not a readable .npy"),
        (_overwrite_label, r"segmentation/0000\.png: class index 40 is out of range 0\.\.39"),
        (_wide_label, r"segmentation/0000\.png: a label map has one channel"),
        (_truncate, r"segmentation/0000\.png: not a readable picture"),
        (_small, r"image '0000' is 48x64 pixels but its depth label is 4x4"),
        (lambda root: np.save(root / "normals/0000.npy", np.ones((48, 64))), r"normals have three channels"),
    ],
)
def test_a_bad_file_is_named_with_the_reason(nyud_folder, tmp_path, damage, message):
    root = shutil.copytree(nyud_folder, tmp_path / "copy")
    damage(root)
    with pytest.raises(UserError, match=message):
        open_dataset(root, "train")[0]


def test_bad_folders_splits_and_tasks_are_named(nyud_folder, tmp_path):
    with pytest.raises(UserError, match="not a data set folder"):
        open_dataset(tmp_path, "train")
    with pytest.raises(UserError, match=r"test\.txt: no such split list"):
        open_dataset(nyud_folder, "test")
    with pytest.raises(UserError, match="unknown task 'sal'; this data set has semseg, depth"):
        open_dataset(nyud_folder, "train", ["sal"])
    (tmp_path / "gt_sets").mkdir()
    (tmp_path / "gt_sets/train.txt").write_text("\n")
    with pytest.raises(UserError, match="the split is empty"):
        open_dataset(tmp_path, "train")


def test_bad_mat_files_are_named(pascal_folder, tmp_path):
    root = shutil.copytree(pascal_folder, tmp_path / "copy")
    path = root / "human_parts/2008_000000.mat"
    for content in (b"", b"MATLAB 5.0 garbage", path.read_bytes()[:200]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"2008_000000\.mat: not a readable MAT file"):
            open_dataset(root, "train", ["human_parts"])[0]
    shutil.copy(root / "pascal-context/trainval/2008_000000.mat", path)
    with pytest.raises(UserError, match="has no variable 'anno'"):
        open_dataset(root, "train", ["human_parts"])[0]


def test_samples_are_plain_tensors_after_collating(nyud_folder):
    from atrc.data.sample import collate

    dataset = open_dataset(nyud_folder, "train")
    batch = collate([dataset[0], dataset[1]])
    assert batch["image"].shape == (2, 3, 48, 64)
    assert type(batch["truth"]["depth"]) is torch.Tensor
    assert batch["id"] == ["0000", "0001"]


def test_class_indices_are_checked_before_they_are_narrowed():
    labels = np.array([[0, 256]])
    with pytest.raises(UserError, match="class index 256 is out of range"):
        class_labels(labels, labels >= 0, 40, Path("x.png"))
    with pytest.raises(UserError, match="class index -1 is out of range"):
        class_labels(-labels // 256, labels >= 0, 40, Path("x.png"))
