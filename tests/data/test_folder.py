import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from atrc.data.folder.dataset import FolderDataset
from atrc.data.layouts import open_dataset
from atrc.errors import UserError
from atrc.images import read_image
from atrc.tasks import Boundaries, Depth, SemanticSegmentation, tasks_from_dicts, tasks_to_dicts
from folders import scene
from own_folder import write_own


@pytest.fixture(scope="session")
def own_folder(tmp_path_factory):
    return write_own(tmp_path_factory.mktemp("own") / "warehouse")


def make(root, tasks, size=(4, 6), **files):
    """Write a data set of one image, and label files; `tasks` is the YAML below that key."""
    files.setdefault("images/a.png", np.zeros((*size, 3), np.uint8))
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, content) if path.suffix == ".npy" else Image.fromarray(content).save(path)
    for task in tasks if isinstance(tasks, dict) else ():
        (root / task).mkdir(exist_ok=True)
    content = {"splits": {"train": ["a"], "val": ["a"]}, "tasks": tasks}
    (root / "dataset.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return root


def read(root):
    """Return truth and valid of the only task of the only image."""
    sample = open_dataset(root, "train")[0]
    (truth,), (valid,) = sample["truth"].values(), sample["valid"].values()
    return truth.numpy(), valid.numpy()


def test_the_documented_folder_reads_back_pixel_for_pixel(own_folder):
    dataset = open_dataset(own_folder, "train")
    assert isinstance(dataset, FolderDataset)
    assert dataset.layout == "own data 'warehouse'"
    semseg, depth, edge, material = dataset.tasks
    assert semseg.class_names == ("wall", "floor", "box")
    assert semseg.class_colours[2] == (255, 160, 0)
    assert (depth.nearest, depth.farthest, depth.bins) == (0.5, 12, 40)
    assert isinstance(edge, Boundaries)
    assert isinstance(material, SemanticSegmentation)
    assert (material.name, material.class_names, material.weight) == (
        "material",
        ("concrete", "steel", "cardboard"),
        0.5,
    )
    drawn, sample = scene(2), dataset[2]
    unmarked = drawn["depth"] > 5.9
    assert np.array_equal(sample["valid"]["semseg"].numpy(), ~unmarked)
    assert np.array_equal(sample["truth"]["semseg"].numpy()[~unmarked], drawn["semseg"][~unmarked])
    np.testing.assert_allclose(sample["truth"]["depth"].numpy(), drawn["depth"], atol=5.1e-4)
    assert np.array_equal(sample["truth"]["edge"].numpy(), drawn["edge"])
    assert np.array_equal(sample["truth"]["material"].numpy(), np.array([1, 0, 2])[drawn["semseg"]])


def test_a_label_that_is_missing_is_valid_nowhere_and_sizes_may_differ(own_folder):
    dataset = open_dataset(own_folder, "train")
    first, second = dataset[0], dataset[1]
    assert first["truth"]["depth"].shape == (48, 64)
    assert not first["valid"]["depth"].any()
    assert first["valid"]["edge"].all()
    assert second["window"] == (0, 0, 48, 72)
    assert second["valid"]["depth"].all()


def test_colours_and_names_survive_checkpoints(own_folder):
    tasks = open_dataset(own_folder, "train").tasks
    restored = tasks_from_dicts(yaml.safe_load(yaml.safe_dump([*map(_plain, tasks_to_dicts(tasks))])))
    assert restored == tasks
    assert restored[0].colour(np.array([[2]])).tolist() == [[[255, 160, 0]]]


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("ending", ["jpg", "JPEG", "png", "webp", "bmp", "tif"])
def test_images_of_any_common_format_are_found_by_name(tmp_path, ending):
    make(tmp_path, {"sal": {}})
    (tmp_path / "images/a.png").unlink()
    Image.fromarray(np.full((4, 6, 3), 200, np.uint8)).save(tmp_path / f"images/a.{ending}")
    image = open_dataset(tmp_path, "train")[0]["image"]
    assert image.shape == (3, 4, 6)
    assert (image.int() - 200).abs().max() < 8


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (1, 1)), (6, (0, 1)), (8, (1, 0))])
def test_images_are_turned_upright_by_their_exif_orientation(tmp_path, ending, orientation, corner):
    make(tmp_path, {"sal": {}})
    (tmp_path / "images/a.png").unlink()
    array = np.zeros((32, 48, 3), np.uint8)
    array[:16, :16] = 255  # the stored picture's top left
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(array).save(tmp_path / f"images/a.{ending}", exif=exif)
    sample = open_dataset(tmp_path, "train")[0]
    assert sample["window"] == (0, 0, *((48, 32) if orientation > 4 else (32, 48)))
    assert sample["valid"]["sal"].shape == sample["window"][2:]  # a missing label, its size from the header
    bright = sample["image"][0].float()
    corners = bright[[2, -3]][:, [2, -3]]
    assert tuple(divmod(int(corners.argmax()), 2)) == corner


PALETTE = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "L")


@pytest.mark.parametrize(
    ("options", "stored", "truth", "valid"),
    [
        ({"classes": ["p", "q", "r"]}, np.array([[0, 1, 2]], np.uint8), [0, 1, 2], [1, 1, 1]),
        ({"classes": ["p", "q"], "ignore": 255}, np.array([[0, 1, 255]], np.uint8), [0, 1, 0], [1, 1, 0]),
        ({"classes": ["p", "q"], "ignore": "others"}, np.array([[0, 1, 9]], np.uint16), [0, 1, 0], [1, 1, 0]),
        ({"classes": {"p": 7, "q": [9, 300]}, "ignore": [0]}, np.array([[7, 300, 0]], np.uint16), [0, 1, 0], [1, 1, 0]),
        ({"classes": {"p": 7}, "ignore": -1}, np.array([[7, -1, 7]]), [0, 0, 0], [1, 0, 1]),
        ({"classes": {"p": 3}, "ignore": "others"}, np.array([[3, 2**40, -5]]), [0, 0, 0], [1, 0, 0]),
        ({"classes": ["p", "q"]}, np.array([[[0] * 3, [1] * 3, [1] * 3]], np.uint8), [0, 1, 1], [1, 1, 1]),
    ],
)
def test_class_values_are_mapped_and_ignored_as_written(tmp_path, options, stored, truth, valid):
    kind = "npy" if stored.dtype == np.int64 else "png"
    make(tmp_path, {"semseg": options}, size=(1, 3), **{f"semseg/a.{kind}": stored})
    found, where = read(tmp_path)
    assert found.tolist() == [truth]
    assert where.tolist() == [list(map(bool, valid))]


def test_a_palette_picture_holds_indices(tmp_path):
    make(tmp_path, {"semseg": {"classes": ["p", "q"]}}, size=(1, 2))
    picture = Image.new("P", (2, 1))
    picture.putpalette([9, 9, 9, 200, 0, 0])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "semseg/a.png")
    assert read(tmp_path)[0].tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("options", "stored", "truth"),
    [
        ({}, np.array([[1.5, 2, 0]], np.float32), [1.5, 2, None]),
        ({"unit": "mm"}, np.array([[1500, 2000, 0]], np.uint16), [1.5, 2, None]),
        ({"unit": "cm", "invalid": [0, 65535]}, np.array([[150, 65535, 0]], np.uint16), [1.5, None, None]),
        ({"unit": "2e-3"}, np.array([[500, 1000, 0]], np.uint16), [1, 2, None]),
        ({"invalid": [-1, "nan", "inf"]}, np.array([[-1, np.nan, np.inf]], np.float32), [None] * 3),
        ({"invalid": 0.1}, np.array([[0.1, 2, 3]], np.float32), [None, 2, 3]),
        ({}, np.array([[[1], [2], [0]]], np.float16), [1, 2, None]),
    ],
)
def test_depth_is_in_metres_and_its_invalid_values_are_named(tmp_path, options, stored, truth):
    kind = "png" if stored.dtype == np.uint16 else "npy"
    make(tmp_path, {"depth": options}, size=(1, 3), **{f"depth/a.{kind}": stored})
    found, valid = read(tmp_path)
    assert found.dtype == np.float32
    assert valid.tolist() == [[value is not None for value in truth]]
    np.testing.assert_allclose(found[0], [value or 0 for value in truth], rtol=1e-6)


def test_float_tiff_depth_is_read(tmp_path):
    make(tmp_path, {"depth": {}}, size=(1, 2), **{"depth/a.tif": np.array([[1.25, 3.5]], np.float32)})
    assert read(tmp_path)[0].tolist() == [[1.25, 3.5]]


def test_normals_of_another_convention_are_flipped(tmp_path):
    vectors = np.array([[[0.6, 0.8, 0], [0, 0, -1], [0, 0, 0]]], np.float32)
    picture = np.round((vectors + 1) * 127.5).astype(np.uint8)
    for name, stored, tolerance in (("npy", vectors, 1e-6), ("png", picture, 0.01)):
        root = tmp_path / name
        root.mkdir()
        make(root, {"normals": {"flip": ["y", "z"]}}, size=(1, 3), **{f"normals/a.{name}": stored})
        truth, valid = read(root)
        np.testing.assert_allclose(truth[:, 0].T, [[0.6, -0.8, 0], [0, 0, 1], [0, 0, 0]], atol=tolerance)
        assert valid.tolist() == [[True, True, False]]


@pytest.mark.parametrize(
    ("options", "stored", "truth"),
    [
        ({}, [0, 255, 0], [0, 1, 0]),
        ({}, [0, 1, 1], [0, 1, 1]),
        ({"threshold": 127}, [127, 128, 1], [0, 1, 0]),
        ({"ignore": 255}, [0, 1, 255], [0, 1, None]),
    ],
)
@pytest.mark.parametrize("task", ["edge", "sal"])
def test_masks_are_two_values_or_a_threshold(tmp_path, task, options, stored, truth):
    make(tmp_path, {task: options}, size=(1, 3), **{f"{task}/a.png": np.array([stored], np.uint8)})
    found, valid = read(tmp_path)
    assert valid.tolist() == [[value is not None for value in truth]]
    assert found.tolist() == [[value or 0 for value in truth]]


GREY, TWO = np.zeros((4, 6), np.uint8), {"semseg": {"classes": ["p", "q"]}}


@pytest.mark.parametrize(
    ("tasks", "files", "message"),
    [
        (TWO, {"semseg/a.png": GREY + 2},
         r"semseg/a\.png: holds the value 2 \(100\.0% of its pixels\), which is none of the 2 classes \(0 to 1\)"),
        (TWO, {"semseg/a.npy": GREY * 0.5}, "class labels are whole numbers, these are float64"),
        (TWO, {"semseg/a.png": np.arange(72, dtype=np.uint8).reshape(4, 6, 3)},
         r"semseg/a\.png: expected one channel, found 3; save labels as values"),
        (TWO, {"semseg/a.png": GREY[:2]}, "image 'a' is 4x6 pixels but its semseg label is 2x6"),
        (TWO, {"semseg/a.jpg": GREY}, r"a\.jpg: not a kind of file that is read here"),
        (TWO, {"semseg/a.png": GREY, "semseg/a.npy": GREY}, "and a.png have the same name"),
        ({"depth": {}}, {"depth/a.npy": np.full((4, 6), np.nan)},
         r"a\.npy: holds the value nan \(100\.0% of its pixels\), which is no depth; .* tasks\.depth\.invalid"),
        ({"depth": {}}, {"depth/a.npy": np.full((4, 6), -2.0)}, r"holds the value -2\.0"),
        ({"depth": {"unit": "mm"}}, {"depth/a.npy": np.full((4, 6), 1e300)}, r"holds the value 1e\+300"),
        ({"edge": {}}, {"edge/a.png": np.arange(24, dtype=np.uint8).reshape(4, 6)},
         "holds 24 values from 0 to 23, a mask has 0 and one other; .* tasks.edge.threshold"),
        ({"sal": {"threshold": 0}}, {"sal/a.npy": np.full((4, 6), np.nan)}, "holds numbers that are not finite"),
        ({"normals": {}}, {"normals/a.npy": np.ones((4, 6))}, "normals have three channels"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named_with_the_reason(tmp_path, tasks, files, message):
    with pytest.raises(UserError, match=message):
        open_dataset(make(tmp_path, tasks, **files), "train")[0]


def test_truncated_and_missing_files_are_named(tmp_path):
    make(tmp_path, {"sal": {}}, **{"sal/a.png": np.random.default_rng(0).integers(0, 2, (40, 60), np.uint8)})
    path = tmp_path / "sal/a.png"
    path.write_bytes(path.read_bytes()[:70])
    with pytest.raises(UserError, match=r"sal/a\.png: cannot be read"):
        open_dataset(tmp_path, "train")[0]
    (tmp_path / "images/a.png").unlink()
    with pytest.raises(UserError, match="images: no image 'a', which the train split lists; add the image"):
        open_dataset(tmp_path, "train")[0]


HEAD = "splits: {train: [a], val: [a]}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty; give keys with values"),
        ("[1, 2]", r"the file is \[1, 2\]; give keys"),
        ("tasks: {sal: }\n  x", "not readable YAML"),
        ("!!python/object/apply:os.getcwd []", "not readable YAML .*could not determine a constructor"),
        ("tasks: {sal: }", "splits is missing"),
        (HEAD, "tasks is missing"),
        (HEAD + "tasks: {}", "tasks is empty; give keys"),
        (HEAD + "task: {sal: }", "tasks is missing; is task meant to be it"),
        (HEAD + "imges: pictures\ntasks: {sal: }", "unknown key imges; did you mean images"),
        (HEAD + "images: imags\ntasks: {sal: }", r"images is 'imags', but there is no folder .*; did you mean images"),
        (HEAD + "images: 3\ntasks: {sal: }", "images is 3; give text"),
        (
            HEAD + "tasks: {sal: {labels: sall}}",
            "tasks.sal.labels is 'sall', but there is no folder .*; did you mean sal",
        ),
        (HEAD + "tasks: {sal: {labelz: sal}}", "unknown key tasks.sal.labelz; did you mean labels"),
        (HEAD + "tasks: {sal: 3}", "tasks.sal is 3; give keys"),
        (HEAD + "tasks: {sal: , sal: }", "key 'sal' is given twice"),
        (HEAD + "tasks: {salt: }", "tasks.salt.kind is missing, and 'salt' is no kind of its own; did you mean sal"),
        (HEAD + "tasks: {x: {kind: semsegg}}", "tasks.x.kind is 'semsegg'; did you mean semseg"),
        (HEAD + "tasks: {x: {kind: flow}}", "kind is 'flow'; choose from depth, edge, human_parts"),
        (HEAD + "tasks: {sal: {weight: -1}}", "tasks.sal.weight is -1; give a number above 0"),
        (HEAD + "tasks: {sal: {weight: yes}}", "tasks.sal.weight is True; give a number"),
        (HEAD + "tasks: {sal: {threshold: .nan}}", "tasks.sal.threshold is nan; give a number"),
        (HEAD + "tasks: {sal: {ignore: [0]}}", r"tasks.sal.ignore is \[0\]; give whole numbers, not 0"),
        (HEAD + "tasks: {sal_aux: {kind: sal}}", "tasks.sal_aux is no name for a task"),
        (HEAD + "tasks: {a/b: {kind: sal}}", "tasks.a/b is no name for a task; use letters"),
        (HEAD + "tasks: {a.b: {kind: sal}}", "tasks.a.b is no name for a task"),
        (HEAD + "tasks: {7: {kind: sal}}", "tasks.7 is no name for a task"),
        (HEAD + "tasks: {type: {kind: sal}}", "tasks.type is no name for a task, it means something else"),
        (HEAD + "tasks: {loss: {kind: sal}}", "tasks.loss is no name for a task, it means something else"),
        (HEAD + "tasks: {semseg: {}}", "tasks.semseg.classes is missing"),
        (HEAD + "tasks: {semseg: {classes: 3}}", "tasks.semseg.classes is 3; give the names of the classes"),
        (HEAD + "tasks: {semseg: {classes: []}}", r"tasks.semseg.classes is \[\]; give the names"),
        (HEAD + "tasks: {semseg: {classes: [yes, b]}}", "tasks.semseg.classes holds True; .* in quotes"),
        (HEAD + "tasks: {semseg: {classes: [b, b]}}", "tasks.semseg.classes holds 'b' twice"),
        (HEAD + "tasks: {semseg: {classes: {b: x}}}", "tasks.semseg.classes.b is 'x'; give the value"),
        (HEAD + "tasks: {semseg: {classes: {b: 70000}}}", "tasks.semseg.classes.b is 70000; give the value"),
        (HEAD + "tasks: {semseg: {classes: {b: 1, c: 1}}}", "tasks.semseg.classes.c has the value 1 of b too"),
        (
            HEAD + "tasks: {semseg: {classes: [b], ignore: rest}}",
            "tasks.semseg.ignore holds 'rest'; give values .* `others`",
        ),
        (
            HEAD + "tasks: {semseg: {classes: [b], ignore: 0}}",
            "tasks.semseg.ignore holds 0, which is the value of a class",
        ),
        (
            HEAD + "tasks: {semseg: {classes: [box], colours: {bx: [1, 2, 3]}}}",
            "colours names 'bx', .* did you mean box",
        ),
        (HEAD + "tasks: {semseg: {classes: [b], colours: {b: [1, 2, 300]}}}", "colours.b is .1, 2, 300.; give red"),
        (HEAD + "tasks: {depth: {unit: feet}}", "tasks.depth.unit is 'feet'; choose from m, cm, mm"),
        (HEAD + "tasks: {depth: {unit: 0}}", "tasks.depth.unit is 0; choose from m, cm, mm"),
        (HEAD + "tasks: {depth: {invalid: [none]}}", "tasks.depth.invalid is .'none'.; give numbers, nan or inf"),
        (HEAD + "tasks: {depth: {nearest: 3, farthest: 2}}", "tasks.depth.farthest is 2; give a number above 3"),
        (HEAD + "tasks: {depth: {bins: 1}}", "tasks.depth.bins is 1; give a whole number from 2"),
        (HEAD + "tasks: {normals: {flip: w}}", "tasks.normals.flip holds 'w'; choose from x, y, z"),
        (HEAD + "tasks: {edge: {positive_weight: 2}}", "positive_weight is 2; give a number above 0 and up to 1"),
        ("splits: {train: 0.8}\ntasks: {sal: }", "splits.train is 0.8; give a text file with one id a line, or a list"),
        ("splits: {train: []}\ntasks: {sal: }", r"splits.train is \[\]; give a text file"),
        ("splits: {train: [0001]}\ntasks: {sal: }", "splits.train holds 1, which is no id; .* numbers in quotes"),
        ("splits: {train: [../a]}\ntasks: {sal: }", "splits.train holds '../a', which is no id"),
        ("splits: {train: [..]}\ntasks: {sal: }", "splits.train holds '..', which is no id"),
        ("splits: {train: [a, a]}\ntasks: {sal: }", "splits.train: id 'a' is listed twice"),
        ("splits: {train: t.txt}\ntasks: {sal: }", r"t\.txt: no such split list"),
        ("splits: {val: [a]}\ntasks: {sal: }", "no split 'train'; splits has val"),
    ],
)
def test_a_faulty_file_names_the_key_the_value_and_the_cure(tmp_path, text, message):
    for folder in ("images", "sal", "semseg", "depth", "normals", "edge", "x"):
        (tmp_path / folder).mkdir()
    (tmp_path / "dataset.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        open_dataset(tmp_path, "train")
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(str(tmp_path))


def test_the_yaml_file_may_be_in_other_codings_or_none(tmp_path):
    (tmp_path / "dataset.yaml").write_bytes(b"\xff\xfe\x00\x00")
    with pytest.raises(UserError, match=r"dataset\.yaml: not readable YAML"):
        open_dataset(tmp_path, "train")


def test_remarks_name_files_that_nothing_refers_to(own_folder, tmp_path):
    root = write_own(tmp_path / "own")
    assert open_dataset(root, "train").remarks() == []
    Image.fromarray(GREY).save(root / "images/left_over.png")
    Image.fromarray(GREY).save(root / "depth/aisle_0000_depth.png")
    assert open_dataset(root, "train").remarks() == [
        "images/: 1 file is in no split (left_over)",
        "depth/: 1 file is named like no image (aisle_0000_depth)",
    ]


def test_two_segmentations_train_in_one_network(own_folder):
    from atrc.network import build_network
    from atrc.training.losses import task_losses, total_loss
    from atrc.training.recipe import NetworkConfig

    dataset = open_dataset(own_folder, "train", ["semseg", "material", "depth"])
    network = build_network(NetworkConfig(distillation="atrc", genotype="s_label"), dataset.tasks)
    sample = dataset[0]
    output = network(sample["image"][None].float().as_subclass(torch.Tensor) / 255)
    truth, valid = (
        {name: x[None].as_subclass(torch.Tensor) for name, x in sample[key].items()} for key in ("truth", "valid")
    )
    losses = task_losses(output, truth, valid, dataset.tasks)
    assert losses["depth"] == 0  # this image has no depth
    assert losses["semseg"] > 0
    assert losses["material/auxiliary"] > 0
    assert total_loss(losses, dataset.tasks).isfinite()
    assert isinstance(dataset.tasks[2], Depth)


def test_training_sees_transparent_images_as_predict_does(tmp_path):
    make(tmp_path, {"sal": {}}, **{"sal/a.png": GREY})
    clear = np.zeros((4, 6, 4), np.uint8)
    for image in (Image.fromarray(clear), Image.fromarray(clear[..., :2]), Image.fromarray(clear).quantize(4)):
        image.save(tmp_path / "images/a.png")
        pixels = open_dataset(tmp_path, "train")[0]["image"].numpy()
        assert (pixels == 255).all()
        assert np.array_equal(pixels.transpose(1, 2, 0), read_image(tmp_path / "images/a.png").pixels)
