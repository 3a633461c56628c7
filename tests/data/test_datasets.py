import json
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atrc.data import layouts
from atrc.data.dataset import class_labels
from atrc.data.layouts import NYUD, PASCALContext, open_dataset
from atrc.errors import UserError
from folders import encode_normals, scene, write_nyud, write_pascal


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


def test_the_other_nyud_copy_reads_back_pixel_for_pixel(tmp_path):
    root = write_nyud(tmp_path / "NYUDv2", images="png", labels="png")
    drawn, sample = scene(2), open_dataset(root, "train")[2]
    assert np.array_equal(sample["image"].permute(1, 2, 0).numpy(), drawn["image"])
    for task in ("semseg", "depth", "edge"):
        assert np.array_equal(sample["truth"][task].numpy(), drawn[task])
    normals = sample["truth"]["normals"].permute(1, 2, 0).numpy()
    assert np.abs(normals - drawn["normals"]).max() < 0.01  # 8 bits a channel
    assert np.linalg.norm(normals, axis=2) == pytest.approx(1, abs=1e-6)
    assert all(valid.all() for valid in sample["valid"].values())


def test_normals_in_a_picture_are_invalid_where_no_unit_vector_is(tmp_path):
    root = write_nyud(tmp_path / "NYUDv2", images="png", labels="png")
    encoded = encode_normals(scene(0)["normals"])
    encoded[0], encoded[1], encoded[2], encoded[3] = 127, 128, 0, 255  # about zero, then black and white
    Image.fromarray(encoded).save(root / "normals/0000.png")
    sample = open_dataset(root, "train", ["normals"])[0]
    assert not sample["valid"]["normals"][:4].any()
    assert sample["valid"]["normals"][4:].all()
    assert not sample["truth"]["normals"][:, :4].any()


@pytest.mark.parametrize("images", ["jpg", "png"])
@pytest.mark.parametrize("labels", ["npy", "png"])
@pytest.mark.parametrize("size", [(425, 560), (480, 640), (48, 64)])
def test_the_layout_names_the_nyud_copy(tmp_path, images, labels, size):
    root = write_nyud(tmp_path / "any name", 1, 1, *size, images=images, labels=labels)
    expected = f"NYUD_MT, images {images} {size[0]}x{size[1]}, normals {labels}, edge {labels}"
    for split in ("train", "val"):
        for tasks in (None, ["depth"]):
            assert open_dataset(root, split, tasks).layout == expected


def test_the_layout_is_named_whatever_is_missing_or_broken(tmp_path):
    root = write_nyud(tmp_path / "NYUD_MT", h=24, w=32)
    shutil.rmtree(root / "edge")
    Image.new("RGB", (40, 30)).save(root / "images/0000.jpg")
    assert NYUD(root, "train").layout == "NYUD_MT, images jpg of several sizes, normals npy"
    for path in (root / "images").iterdir():
        path.write_bytes(b"")
    assert NYUD(root, "train").layout == "NYUD_MT, images jpg of unknown size, normals npy"
    shutil.rmtree(root / "images")
    shutil.rmtree(root / "normals")
    assert NYUD(root, "train").layout == "NYUD_MT, no files"


def test_two_copies_in_one_folder_are_an_error_where_they_matter(tmp_path):
    root = write_nyud(tmp_path / "NYUD_MT", h=24, w=32)
    Image.new("RGB", (32, 24)).save(root / "normals/0001.png")
    Image.new("RGB", (32, 24)).save(root / "normals/preview.png")  # no id of the split
    with pytest.raises(UserError, match=r"normals: holds 6 \.npy and 1 \.png files of the train split"):
        open_dataset(root, "train")
    assert open_dataset(root, "train", ["depth"]).layout.endswith("normals npy+png, edge npy")
    assert len(open_dataset(root, "val")) == 3


def test_rooms_say_which_they_are(tmp_path):
    for write, name in ((write_nyud, "indoor"), (write_pascal, "people")):
        root = write(tmp_path / name, h=24, w=32)
        card = {"profile": name, "version": 1, "seed": 7, "classes": ["a", "b", "c"]}
        (root / "rooms.json").write_text(json.dumps(card))
        assert open_dataset(root, "train").layout.startswith(f"Rooms {name} version 1 seed 7")
        (root / "rooms.json").write_text(json.dumps({"classes": ["a", "b", "c"]}))
        assert open_dataset(root, "train").layout.startswith("Rooms")
    assert open_dataset(write_pascal(tmp_path / "P"), "train").layout == "PASCAL_MT"


def test_a_folder_of_two_data_sets_is_an_error(tmp_path):
    write_pascal(write_nyud(tmp_path / "both"))
    with pytest.raises(UserError, match=r"both: which data set\? it holds gt_sets and ImageSets/Context; give each"):
        open_dataset(tmp_path / "both", "train")


def test_pascal_falls_back_to_the_labels_of_pascal_context(tmp_path):
    root = write_pascal(tmp_path / "PASCAL_MT", h=24, w=32)
    (root / "semseg/pascal-context").mkdir()
    Image.fromarray(np.full((24, 32), 20, np.uint8)).save(root / "semseg/pascal-context/2008_000001.png")
    assert open_dataset(root, "train", ["semseg"])[1]["truth"]["semseg"].max() == 15  # VOC12 goes first
    (root / "semseg/VOC12/2008_000001.png").unlink()
    assert (open_dataset(root, "train", ["semseg"])[1]["truth"]["semseg"] == 20).all()


def test_semantic_labels_may_be_indices_of_a_palette_and_255_is_invalid(tmp_path):
    root = write_pascal(tmp_path / "PASCAL_MT", h=24, w=32)
    labels = np.zeros((24, 32), np.uint8)
    labels[2:], labels[5:] = 15, 255
    picture = Image.fromarray(labels, "P")
    picture.putpalette([255 - i // 3 for i in range(768)])
    picture.save(root / "semseg/VOC12/2008_000000.png")
    sample = open_dataset(root, "train", ["semseg"])[0]
    assert np.array_equal(sample["valid"]["semseg"].numpy(), labels != 255)
    assert np.array_equal(sample["truth"]["semseg"].numpy(), np.where(labels == 255, 0, labels))


def test_saliency_is_what_is_brighter_than_127(tmp_path):
    root = write_pascal(tmp_path / "PASCAL_MT", h=24, w=32)
    grey = np.arange(24 * 32).reshape(24, 32).astype(np.uint8)
    for picture in (Image.fromarray(grey), Image.fromarray(grey[..., None].repeat(3, 2))):
        picture.save(root / "sal_distill/2008_000000.png")
        sample = open_dataset(root, "train", ["sal"])[0]
        assert np.array_equal(sample["truth"]["sal"].numpy(), grey > 127)
    Image.fromarray(np.stack([grey, 255 - grey, grey], 2)).save(root / "sal_distill/2008_000000.png")
    with pytest.raises(UserError, match=r"2008_000000\.png: expected one channel, found 3"):
        open_dataset(root, "train", ["sal"])[0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_depth_that_is_no_distance_is_invalid(tmp_path, dtype):
    root = write_nyud(tmp_path / "NYUD_MT")
    depth = np.full((48, 64), 3, dtype)
    depth[0, 0], depth[0, 1] = 0, -2
    expected = depth > 0
    if np.issubdtype(dtype, np.floating):
        depth[1, :3] = np.nan, np.inf, -np.inf
        expected[1, :3] = False
    if dtype == np.float64:
        depth[1, 3], expected[1, 3] = 1e300, False
    np.save(root / "depth/0000.npy", depth[..., None])  # one channel, as some save it
    sample = open_dataset(root, "train", ["depth"])[0]
    assert np.array_equal(sample["valid"]["depth"].numpy(), expected)
    assert np.array_equal(sample["truth"]["depth"].numpy(), np.where(expected, 3, 0))


def test_a_boundary_that_is_no_number_is_invalid(tmp_path):
    root = write_nyud(tmp_path / "NYUD_MT")
    edge = np.zeros((48, 64), np.float32)
    edge[0, 0], edge[0, 1] = 1, np.nan
    np.save(root / "edge/0000.npy", edge)
    sample = open_dataset(root, "train", ["edge"])[0]
    assert np.array_equal(sample["valid"]["edge"].numpy(), ~np.isnan(edge))
    assert np.array_equal(sample["truth"]["edge"].numpy(), edge == 1)


def test_normals_that_are_not_finite_or_not_unit_vectors_are_invalid_or_scaled(tmp_path):
    root = write_nyud(tmp_path / "NYUD_MT")
    normals = scene(0)["normals"].astype(np.float64) * 0.9
    normals[0, 0], normals[0, 1], normals[0, 2], normals[0, 3] = np.nan, np.inf, 1e300, 0.1
    np.save(root / "normals/0000.npy", normals)
    sample = open_dataset(root, "train", ["normals"])[0]
    valid = sample["valid"]["normals"]
    assert valid[0, :5].tolist() == [False] * 4 + [True]
    assert valid.sum() == valid.numel() - 4
    assert sample["truth"]["normals"].norm(dim=0)[valid].numpy() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("line", ["../0000", "a/0000", "..", "a\\0000", "/etc/passwd", "C:\\x", "a\0b"])
def test_an_id_that_leads_out_of_its_folder_is_refused(tmp_path, line):
    (tmp_path / "gt_sets").mkdir()
    (tmp_path / "gt_sets/train.txt").write_text(f"0000\n{line}\n")
    with pytest.raises(UserError, match=r"gt_sets/train\.txt: .* is no image id"):
        open_dataset(tmp_path, "train")


def test_split_lists_may_come_from_windows_and_must_be_text(tmp_path):
    root = write_nyud(tmp_path / "NYUD_MT", h=24, w=32)
    (root / "gt_sets/train.txt").write_bytes(b"\xef\xbb\xbf0000\r\n\r\n 0001 \r\n")
    assert open_dataset(root, "train").ids == ["0000", "0001"]
    (root / "gt_sets/train.txt").write_bytes(b"\xff\xfe0\x000\x00")
    with pytest.raises(UserError, match=r"train\.txt: not a readable text"):
        open_dataset(root, "train")
    (root / "gt_sets/test.txt").mkdir()
    with pytest.raises(UserError, match=r"test\.txt: not a readable text"):
        open_dataset(root, "test")


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


def _npy(folder, array):
    return lambda root: np.save(root / folder / "0000.npy", array)


def _npz(root):
    with (root / "depth/0000.npy").open("wb") as file:
        np.savez(file, depth=np.ones((48, 64)))


def _huge(root):
    content = (root / "depth/0000.npy").read_bytes()
    (root / "depth/0000.npy").write_bytes(
        content.replace(b"(48, 64), }", b"(9**9, 9), }").replace(b"48, 64", b"9999999999999, 64")
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "images/0000.jpg").unlink(), r"0000\.jpg: no such file"),
        (lambda root: (root / "images/0000.jpg").write_bytes(b""), r"0000\.jpg: an empty file"),
        (lambda root: (root / "images/0000.jpg").write_text("hello"), r"0000\.jpg: not a readable image"),
        (lambda root: (root / "depth/0000.npy").unlink(), r"0000\.npy: no such file"),
        (lambda root: (root / "depth/0000.npy").write_bytes(b"\x93NUMPY"), r"0000\.npy: not a readable .npy"),
        (_pickle, r"0000\.npy: not a readable .npy"),
        (_overwrite_label, r"segmentation/0000\.png: class index 40 is out of range 0\.\.39"),
        (_wide_label, r"segmentation/0000\.png: a label map has one channel"),
        (_truncate, r"segmentation/0000\.png: cannot be read"),
        (_small, r"image '0000' is 48x64 pixels but its depth label is 4x4"),
        (lambda root: np.save(root / "normals/0000.npy", np.ones((48, 64))), r"normals have three channels"),
        (_npy("normals", np.ones((48, 64, 3), np.uint8)), r"normals are numbers from -1 to 1, these are uint8"),
        (_npy("normals", np.ones((48, 64, 4))), r"normals have three channels, this has shape \(48, 64, 4\)"),
        (
            _npy("depth", np.ones((48, 64), complex)),
            r"0000\.npy: expected an array of real numbers, this is of complex",
        ),
        (_npy("depth", np.full((48, 64), "far")), r"0000\.npy: expected an array of real numbers, this is of <U3"),
        (
            _npy("depth", np.ones((48, 64), "M8[s]")),
            r"0000\.npy: expected an array of real numbers, this is of datetime",
        ),
        (
            _npy("depth", np.ones(48 * 64)),
            r"0000\.npy: expected an array \(h, w\) or \(h, w, c\), found shape \(3072,\)",
        ),
        (_npy("depth", np.float32(1)), r"0000\.npy: expected an array .* found shape \(\)"),
        (_npy("depth", np.ones((48, 64, 4))), r"0000\.npy: expected one channel, found 4"),
        (_npz, r"0000\.npy: expected an array of real numbers, this is an archive"),
        (_huge, r"0000\.npy: not a readable .npy array"),
        (lambda root: (root / "edge/0000.npy").unlink(), r"edge/0000\.npy: no such file"),
        (lambda root: (root / "segmentation/0000.png").unlink(), r"segmentation/0000\.png: no such file"),
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


@pytest.mark.parametrize("task", ["semseg", "human_parts", "sal", "normals", "edge", "depth"])
def test_label_files_are_those_that_are_read(nyud_folder, pascal_folder, tmp_path, task):
    """Without them a label cannot be read; with them alone it can."""
    for folder in (nyud_folder, pascal_folder):
        dataset = open_dataset(folder, "train")
        if task not in [known.name for known in dataset.tasks]:
            continue
        dataset = open_dataset(folder, "train", [task])
        files = dataset.label_files(dataset.tasks[0], dataset.ids[0])
        for file in files:
            copy = tmp_path / "alone" / file.relative_to(folder)
            copy.parent.mkdir(parents=True)
            shutil.copy(file, copy)
        lists = "gt_sets" if folder == nyud_folder else "ImageSets"
        shutil.copytree(folder / lists, tmp_path / "alone" / lists)
        alone = open_dataset(tmp_path / "alone", "train", [task])
        expected, found = (d.read_label(d.tasks[0], d.ids[0]) for d in (dataset, alone))
        assert np.array_equal(expected[0], found[0])
        for file in files:
            copy = tmp_path / "alone" / file.relative_to(folder)
            copy.unlink()
            with pytest.raises(UserError, match=f"{file.name}: no such file"):
                alone.read_label(alone.tasks[0], alone.ids[0])
            shutil.copy(file, copy)
        shutil.rmtree(tmp_path / "alone")


def mutations(content, rng):
    """Yield a file cut off, with bytes changed, with bytes left out and with bytes repeated."""
    for _ in range(6):
        at, length = int(rng.integers(len(content))), int(rng.integers(1, 9))
        changed = bytearray(content)
        changed[at : at + length] = rng.bytes(len(changed[at : at + length]))
        early = bytearray(content)
        early[int(rng.integers(min(200, len(content))))] ^= 1 << int(rng.integers(8))
        yield from (
            content[:at],
            bytes(changed),
            bytes(early),
            content[:at] + content[at + length :],
            content + content[at:],
        )


@pytest.mark.parametrize("seed", range(2))
def test_bytes_that_are_wrong_give_a_label_or_a_named_error(tmp_path, seed):
    rng = np.random.default_rng(seed)
    folders = (
        write_nyud(tmp_path / "a", 1, 1, 16, 24),
        write_nyud(tmp_path / "b", 1, 1, 16, 24, images="png", labels="png"),
        write_pascal(tmp_path / "c", 1, 1, 16, 24),
    )
    messages = []
    for root in folders:
        for path in sorted(root.rglob("*")):
            if not path.is_file() or not path.stem.endswith("0"):
                continue
            content, dataset = path.read_bytes(), open_dataset(root, "train")
            for damaged in mutations(content, rng):
                path.write_bytes(damaged)
                try:
                    sample = dataset[0]
                    assert all(truth.isfinite().all() for truth in sample["truth"].values())
                except UserError as error:
                    messages.append((path, str(error)))
            path.write_bytes(content)
    assert len(messages) > 50
    for path, message in messages:
        assert path.name in message or f"'{path.stem}'" in message
        assert len(message.splitlines()) == 1


def test_the_example_of_the_docs_reads_its_files(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs/extend/dataset.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    module = types.ModuleType("streets")
    monkeypatch.setitem(sys.modules, "streets", module)
    exec(code, vars(module))
    monkeypatch.setitem(layouts.LAYOUTS, "lists", module.Streets)
    for folder in ("lists", "colour", "classes", "depth"):
        (tmp_path / folder).mkdir()
    (tmp_path / "lists/train.txt").write_text("a\n")
    labels, depth = np.array([[0, 255], [2, 1]], np.uint8), np.array([[0, 3], [4, 5]], np.float32)
    Image.new("RGB", (2, 2)).save(tmp_path / "colour/a.png")
    Image.fromarray(labels).save(tmp_path / "classes/a.png")
    np.save(tmp_path / "depth/a.npy", depth)
    dataset = open_dataset(tmp_path, "train")
    assert dataset.layout == "Streets"
    assert np.array_equal(dataset[0]["valid"]["semseg"].numpy(), labels != 255)
    assert np.array_equal(dataset[0]["truth"]["depth"].numpy(), depth)
    assert np.array_equal(dataset[0]["valid"]["depth"].numpy(), depth > 0)
