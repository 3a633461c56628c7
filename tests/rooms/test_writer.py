"""Rooms on disk: layouts, determinism, resuming, growing, errors."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from atrc_rooms import CLASSES, RoomsError, render_room, write_rooms
from atrc_rooms import writer as writing

SIZE = (24, 32)


def write(root, profile="indoor", train=2, val=1, seed=0, workers=1, size=SIZE):
    return write_rooms(root, profile, train=train, val=val, size=size, seed=seed, workers=workers, progress=False)


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_workers(tmp_path):
    write(tmp_path / "one", "people")
    write(tmp_path / "two", "people", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_indoor_profile_has_the_layout_of_nyud(tmp_path):
    write(tmp_path)
    assert set(contents(tmp_path)) == {
        "rooms.json",
        "gt_sets/train.txt",
        "gt_sets/val.txt",
        *(
            f"{folder}/{id}.{kind}"
            for id in ("train_00000", "train_00001", "val_00000")
            for folder, kind in (
                ("images", "jpg"),
                ("segmentation", "png"),
                ("depth", "npy"),
                ("normals", "npy"),
                ("edge", "npy"),
            )
        ),
    }
    view = render_room("indoor", (0, 0, 1), SIZE)
    labels = np.asarray(Image.open(tmp_path / "segmentation/train_00001.png"))
    assert np.array_equal(labels, view.semseg + 1)
    depth = np.load(tmp_path / "depth/train_00001.npy")
    assert depth.dtype == np.float32
    assert np.array_equal(depth, view.depth)
    normals = np.load(tmp_path / "normals/train_00001.npy")
    assert (normals.dtype, normals.shape) == (np.float32, (*SIZE, 3))
    edge = np.load(tmp_path / "edge/train_00001.npy")
    assert edge.dtype == np.uint8
    assert np.array_equal(edge, view.edge)


def test_the_people_profile_has_the_layout_of_pascal(tmp_path):
    write(tmp_path, "people", train=1)
    assert set(contents(tmp_path)) == {
        "rooms.json",
        "ImageSets/Context/train.txt",
        "ImageSets/Context/val.txt",
        *(
            f"{folder}/{id}.{kind}"
            for id in ("train_00000", "val_00000")
            for folder, kind in (
                ("JPEGImages", "jpg"),
                ("semseg/VOC12", "png"),
                ("human_parts", "mat"),
                ("sal_distill", "png"),
                ("normals_distill", "png"),
                ("pascal-context/trainval", "mat"),
            )
        ),
    }
    view = render_room("people", (0, 0, 0), SIZE)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "semseg/VOC12/train_00000.png")), view.semseg)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "sal_distill/train_00000.png")) > 127, view.sal)
    normals = np.asarray(Image.open(tmp_path / "normals_distill/train_00000.png")) / 255 * 2 - 1
    assert np.abs(normals - view.normals).max() < 0.005


def test_a_context_map_has_one_value_for_each_instance(tmp_path):
    write(tmp_path, "people", train=1)
    view = render_room("people", (0, 0, 0), SIZE)
    label_map = loadmat(tmp_path / "pascal-context/trainval/train_00000.mat")["LabelMap"]
    pairs = set(zip(label_map.ravel().tolist(), view.instances.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(label_map)) == len(np.unique(view.instances))
    assert label_map.min() > 0


def test_part_files_have_the_structure_of_pascal_part(tmp_path):
    seed = next(s for s in range(20) if (render_room("people", (s, 0, 0), SIZE).human_parts > 0).mean() > 0.04)
    write(tmp_path, "people", train=1, seed=seed)
    view = render_room("people", (seed, 0, 0), SIZE)
    anno = loadmat(tmp_path / "human_parts/train_00000.mat")["anno"]
    assert anno.dtype.names == ("imname", "objects")
    painted = np.zeros(SIZE, bool)
    for entry in anno[0, 0]["objects"][0]:
        assert entry.dtype.names == ("class", "class_ind", "mask", "parts")
        assert (entry["class"].item(), entry["class_ind"].item()) == ("person", 15)
        for part in entry["parts"][0]:
            assert part.dtype.names == ("part_name", "mask")
            assert part["part_name"].item() in "head hair neck torso luarm ruarm llarm rlarm lhand rhand " + (
                "luleg ruleg llleg rlleg lfoot rfoot"
            )
            assert (part["mask"] <= entry["mask"]).all()
            painted |= part["mask"] > 0
    assert np.array_equal(painted, view.human_parts > 0)


def test_an_image_without_people_has_no_parts(tmp_path):
    seed = next(s for s in range(60) if not (render_room("people", (s, 0, 0), SIZE).human_parts > 0).any())
    write(tmp_path, "people", train=1, seed=seed)
    objects = loadmat(tmp_path / "human_parts/train_00000.mat")["anno"][0, 0]["objects"]
    assert all(entry["parts"].size == 0 for entry in objects.flat)


def test_rooms_json_describes_the_folder(tmp_path):
    write(tmp_path, "people", seed=7)
    card = json.loads((tmp_path / "rooms.json").read_text())
    assert (card["format"], card["profile"], card["seed"], card["size"]) == ("atrc-rooms", "people", 7, list(SIZE))
    assert card["classes"] == list(CLASSES["people"])
    assert card["splits"] == {"train": 2, "val": 1}


def test_train_and_val_show_other_rooms(tmp_path):
    write(tmp_path)
    images = [(tmp_path / "images" / f"{id}.jpg").read_bytes() for id in ("train_00000", "train_00001", "val_00000")]
    assert len(set(images)) == 3
    lists = [(tmp_path / "gt_sets" / f"{split}.txt").read_text().split() for split in ("train", "val")]
    assert not set(lists[0]) & set(lists[1])


def test_a_complete_set_is_not_rendered_again(tmp_path):
    assert write(tmp_path).written == 3
    before = contents(tmp_path)
    report = write(tmp_path)
    assert (report.written, report.skipped) == (0, 3)
    assert contents(tmp_path) == before


def test_deleted_files_are_rendered_again_with_the_same_bytes(tmp_path):
    write(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "depth/train_00001.npy").unlink()
    assert write(tmp_path).written == 1
    assert contents(tmp_path) == before


def test_an_interrupted_set_has_no_lists_and_is_completed(tmp_path, monkeypatch):
    original, written = writing._write, []

    def killed(path, content):
        written.append(path)
        if len(written) == 9:
            raise KeyboardInterrupt
        original(path, content)

    monkeypatch.setattr(writing, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "one")
    monkeypatch.setattr(writing, "_write", original)
    assert not list((tmp_path / "one").rglob("*.txt"))
    assert "splits" not in json.loads((tmp_path / "one/rooms.json").read_text())
    report = write(tmp_path / "one")
    assert (report.written, report.skipped) == (2, 1)
    write(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_half_written_file_is_never_under_its_name_and_is_replaced(tmp_path, monkeypatch):
    write(tmp_path / "whole")
    (tmp_path / "killed/images").mkdir(parents=True)
    (tmp_path / "killed/images/.train_00000.jpg.partial").write_bytes(b"half")
    (tmp_path / "killed/rooms.json").write_bytes((tmp_path / "whole/rooms.json").read_bytes())
    write(tmp_path / "killed")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_set_grows_without_changing_what_is_there(tmp_path):
    write(tmp_path, train=1)
    before = contents(tmp_path)
    assert write(tmp_path, train=3).written == 2
    after = contents(tmp_path)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"rooms.json", "gt_sets/train.txt"}
    write(tmp_path / "new", train=3)
    assert contents(tmp_path / "new").items() <= {k: v for k, v in contents(tmp_path).items() if "new" not in k}.items()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"seed": 1}, "seed 0, not 1; choose another folder"),
        ({"profile": "people"}, "profile indoor, not people"),
        ({"size": (32, 32)}, r"size \[24, 32\], not \[32, 32\]"),
    ],
)
def test_a_folder_of_other_rooms_is_refused(tmp_path, arguments, said):
    write(tmp_path, train=1)
    with pytest.raises(RoomsError, match=said):
        write(tmp_path, **arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"profile": "outdoor"}, "unknown Rooms profile 'outdoor'; choose from indoor, people, varied, varied_people"),
        ({"train": 0}, "train = 0"),
        ({"val": -1}, "val = -1"),
        ({"size": (8, 32)}, "size = 8x32"),
        ({"seed": -1}, "seed = -1"),
        ({"workers": 0}, "workers = 0"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_written(tmp_path, arguments, said):
    with pytest.raises(RoomsError, match=said):
        write(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("text")
    with pytest.raises(RoomsError, match="holds other files"):
        write(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RoomsError, match="cannot write"):
        write(tmp_path / "file" / "rooms")
