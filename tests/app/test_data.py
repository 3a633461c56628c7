import json
import re
import shlex
import shutil

import numpy as np
import pytest
from PIL import Image

from atrc.app.cli import main
from atrc.app.data.check import check_data
from atrc.app.data.tables import percent
from atrc.errors import UserError
from atrc.tasks.sheet import CELL
from folders import write_nyud
from own_folder import PAGE, write_own

TINY = ["--data.crop", "[32,32]", "--data.batch-size", "2", "--optim.steps", "2", "--accelerator", "cpu"]
TINY += ["--network.backbone", "timm:test_resnet"]
COMMANDS = [line for block in re.findall(r"```\n(atrc .*?)```", PAGE.read_text(), re.S) for line in block.splitlines()]


def check(root, *options):
    """Run `atrc data check`; return its exit status."""
    try:
        main(["data", "check", str(root), "--workers", "0", *options])
    except SystemExit as stop:
        return stop.code
    return 0


def give_numbers(path):
    """Write scores that two steps do not reach: no gain is relative to 0."""
    content = json.loads(path.read_text())
    for result in content["results"].values():
        result["value"] = 50.0
    path.write_text(json.dumps(content))


def test_the_commands_of_the_page_lead_from_a_folder_to_a_trained_network(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_own(tmp_path / "data/warehouse", train=3, val=2, h=32, w=40)
    names = []
    for command in COMMANDS:
        arguments = shlex.split(command)[1:]
        names.append(arguments[0])
        if arguments[1] == "check":
            arguments += ["--workers", "0"]
        if arguments[0] == "evaluate":
            give_numbers(tmp_path / "runs/baseline/results.json")
        if arguments[0] in ("train", "search"):
            arguments += TINY
        if arguments[0] == "train":
            arguments += ["--optim.steps", "8"]  # after 2 the running statistics can be so far off that it overflows
        main(arguments)
    assert names == ["data", "data", "data", "train", "search", "train", "evaluate"]
    said = capsys.readouterr()
    assert "no faults" in said.out
    assert re.search(r"material +mIoU +\d+\.\d\d %", said.err)
    assert "against runs/baseline" in said.err
    for sheet in ("sheet.png", "crops.png"):
        with Image.open(sheet) as image:
            assert image.size[0] > 4 * CELL


def test_the_report_counts_by_hand(tmp_path):
    root = write_own(tmp_path / "own")
    semseg = np.zeros((48, 64), np.uint8)
    semseg[:12] = 1
    semseg[:, 48:] = 255
    for i in range(4):
        Image.fromarray(semseg if i != 1 else np.pad(semseg, ((0, 0), (0, 8)))).save(root / f"semseg/aisle_000{i}.png")
        depth = np.full((48, 64 + 8 * (i == 1)), 2000, np.uint16)
        depth[0, 0] = 0
        if i == 2:
            depth[1:3] = 1000
        Image.fromarray(depth).save(root / f"depth/aisle_000{i}.png")
    (root / "depth/aisle_0000.png").unlink()
    report = check_data(root)
    assert report.faults == []
    content = json.loads(json.dumps(report.to_dict()))
    train = content["splits"]["train"]
    assert (train["images"], train["sizes"]) == (4, {"48x64": 3, "48x72": 1})
    pixels = 3 * 48 * 64 + 48 * 72
    found = train["tasks"]["semseg"]
    assert found["labelled_images"] == 4
    assert found["valid_share"] == pytest.approx(1 - 4 * 48 * 16 / pixels)
    assert found["class_shares"] == {
        "wall": pytest.approx(1 - 4 * 12 * 48 / (pixels - 4 * 48 * 16)),
        "floor": pytest.approx(4 * 12 * 48 / (pixels - 4 * 48 * 16)),
        "box": 0,
    }
    depth = train["tasks"]["depth"]
    assert depth["labelled_images"] == 3
    assert depth["valid_share"] == pytest.approx(1 - 3 / (pixels - 48 * 64))
    assert (depth["min"], depth["max"]) == (1, 2)
    assert depth["percentile_50"] == pytest.approx(2, rel=0.006)
    assert depth["percentile_1"] == pytest.approx(1, rel=0.006)
    assert "train, semseg: 1 of 3 classes never occur: box" in report.remarks


def test_the_tables_show_counts_and_shares(tmp_path, capsys):
    assert check(write_own(tmp_path / "own")) == 0
    said = capsys.readouterr().out
    assert re.search(r"train +4 +48x64 \(3\), 48x72 \(1\)", said)
    assert re.search(r"depth\n +labelled +valid \[%\] +min \[m\].*\ntrain +3 of 4 +100 +1\.5 ", said)
    assert re.search(r"steel +\d\d\.\d\d", said)
    assert said.endswith("no faults\n")
    assert [percent(share) for share in (0.0, 1e-6, 0.5, 1 - 1e-6, 1.0)] == ["0", "<0.01", "50.00", ">99.99", "100"]


def break_everything(root):
    """Break one file after another; return the expected messages, in the order of the ids."""
    noise = np.random.default_rng(0).integers(0, 3, (48, 64), np.uint8)
    Image.fromarray(noise).save(root / "semseg/aisle_0000.png")
    path = root / "semseg/aisle_0000.png"
    path.write_bytes(path.read_bytes()[:80])
    (root / "depth/aisle_0001.png").unlink()
    np.save(root / "depth/aisle_0001.npy", np.where(np.arange(72) < 18, np.nan, np.ones((48, 72))))
    Image.fromarray(np.stack([noise, noise + 1, noise], 2)).save(root / "material/aisle_0002.png")
    Image.fromarray(noise[:, :60]).save(root / "semseg/aisle_0003.png")
    (root / "images/aisle_0004.jpg").write_bytes(b"")
    Image.fromarray(np.full((48, 64), 7, np.uint8)).save(root / "semseg/aisle_0005.png")
    ids = [f"aisle_000{i}" for i in range(6)] + ["aisle_0009"]
    (root / "splits/train.txt").write_text("\n".join(ids))
    return [
        r"semseg/aisle_0000\.png: cannot be read \(.*; copy or export it again",
        r"depth/aisle_0001\.npy: holds the value nan \(25\.0% of its pixels\), which is no depth",
        r"material/aisle_0002\.png: expected one channel, found 3",
        r"semseg/aisle_0003\.png: 48x60 pixels, its image 48x64; labels have the size of their image",
        r"images/aisle_0004\.jpg: (not a readable image|cannot be read|an empty file)",
        r"semseg/aisle_0005\.png: holds the value 7 .*none of the 3 classes \(0 to 2\)",
        r"images: no image 'aisle_0009', which the train split lists",
        r"splits/val\.txt: the split is empty",
    ]


def test_every_fault_is_listed_by_its_file_and_the_check_goes_on(tmp_path, capsys):
    root = write_own(tmp_path / "own", train=6, val=1)
    expected = break_everything(root)
    (root / "splits/val.txt").write_text("\n")
    assert check(root, "--json", str(tmp_path / "report.json")) == 1
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["faults"]) == len(expected)
    for pattern in expected:
        assert sum(bool(re.match(pattern, fault)) for fault in report["faults"]) == 1, pattern
    assert report["splits"]["train"]["images"] == 7
    assert report["splits"]["train"]["tasks"]["edge"]["labelled_images"] == 6
    said = capsys.readouterr().out
    assert "8 faults" in said
    for fault in report["faults"]:
        assert fault in said


def test_training_stops_at_a_fault_with_one_line(tmp_path, capsys):
    root = write_own(tmp_path / "own", train=6, val=1)
    for fault in break_everything(root)[:7]:
        id = re.search(r"aisle_000\d", fault)[0]
        (root / "splits/train.txt").write_text(id)
        with pytest.raises(SystemExit) as stop:
            main(["train", "--data.root", str(root), "--out", str(tmp_path / id), *TINY])
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert id in line


def test_images_that_splits_share_are_faults_by_name_and_by_content(tmp_path):
    root = write_own(tmp_path / "own")
    shutil.copy(root / "images/aisle_0002.jpg", root / "images/aisle_0005.jpg")
    shutil.copy(root / "images/aisle_0002.jpg", root / "images/aisle_0003.jpg")
    (root / "splits/val.txt").write_text("aisle_0000\naisle_0005\n")
    report = check_data(root)
    assert report.faults == [
        "train and val: both list 'aisle_0000'",
        "train and val: 'aisle_0002' and 'aisle_0005' have identical pixels",
    ]
    assert "train: images 'aisle_0002' and 'aisle_0003' have identical pixels" in report.remarks
    assert "images/: 1 file is in no split (aisle_0004)" in report.remarks


def test_labels_without_valid_pixels_are_noticed(tmp_path):
    root = write_own(tmp_path / "own", train=3, val=2)
    for i in (3, 4):
        Image.fromarray(np.zeros((48, 64), np.uint16)).save(root / f"depth/aisle_000{i}.png")
        (root / f"material/aisle_000{i}.png").unlink()
    Image.fromarray(np.full((48, 64), 255, np.uint8)).save(root / "semseg/aisle_0000.png")
    report = check_data(root)
    assert report.faults == ["val, depth: no label has a valid pixel", "val, material: no image has a label"]
    assert "train, semseg: 1 label has no valid pixel (aisle_0000)" in report.remarks
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_wrong_unit_a_wrong_axis_and_lengths_are_remarked(tmp_path):
    root = tmp_path / "own"
    for folder in ("images", "depth", "normals", "edge"):
        (root / folder).mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(root / "images/a.png")
    np.save(root / "depth/a.npy", np.full((4, 4), 2500.0))
    normals = np.zeros((4, 4, 3))
    normals[..., 2] = -1
    normals[0] *= 0.8
    np.save(root / "normals/a.npy", normals)
    np.save(root / "edge/a.npy", np.ones((4, 4)))
    (root / "dataset.yaml").write_text("splits: {train: [a]}\ntasks: {depth: , normals: , edge: }")
    report = check_data(root)
    assert report.faults == []
    assert report.remarks == [
        "train, depth: 100% of the depths are not between 0.7 m and 10 m, the range of the label regions: "
        "is the unit right?",
        "train, normals: 25% of the vectors are not of length one; they were scaled to it",
        "train, normals: 100% point away from the camera; z must point towards it: flip the sign of z",
        "train, edge: 100.00% of the pixels are marked",
    ]


def test_the_benchmarks_are_checked_too(tmp_path, pascal_folder):
    root = write_nyud(tmp_path / "NYUD_MT")
    depth = np.load(root / "depth/0001.npy")
    depth[:12] = np.nan
    np.save(root / "depth/0001.npy", depth)
    (root / "segmentation/0002.png").unlink()
    with (root / "gt_sets/train.txt").open("a") as file:
        file.write("0000\n")
    report = check_data(root)
    assert [fault.split(";")[0] for fault in report.faults] == [
        "depth/0001.npy: 25.0% of the depths are not finite",
        "segmentation/0002.png: no such file",
        "train: id '0000' is listed 2 times",
    ]
    people = check_data(pascal_folder)
    assert people.faults == []
    assert list(people.splits["train"].labels) == ["semseg", "human_parts", "sal", "normals", "edge"]


def test_a_negative_number_of_workers_is_refused(tmp_path):
    with pytest.raises(UserError, match="workers is -1; give 0 or more"):
        check_data(tmp_path, -1)


def test_worker_processes_find_the_same(tmp_path):
    root = write_own(tmp_path / "own", train=6, val=1)
    break_everything(root)
    assert check_data(root, workers=1).to_dict() == check_data(root, workers=0).to_dict()


def test_only_the_report_goes_to_standard_output(tmp_path, capsys):
    assert check(write_own(tmp_path / "own"), "--json", "-") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["layout"] == "own data 'warehouse'"
    assert "no faults" in said.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--count", "0"], "count is 0"),
        (["--split", "test"], "no split 'test'; splits has train, val"),
        (["--augmented", "--crop", "[0,9]"], "crop is [0, 9]; give a height"),
        (["--cont", "3"], "did you mean count"),
    ],
)
def test_options_that_cannot_be_shown_are_one_line(tmp_path, capsys, options, message):
    root = write_own(tmp_path / "own")
    with pytest.raises(SystemExit) as stop:
        main(["data", "show", str(root), "--out", str(tmp_path / "x.png"), *options])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "x.png").exists()


def test_a_sheet_colours_labels_and_hatches_invalid_pixels(tmp_path):
    root = write_own(tmp_path / "own", train=2, val=1)
    for i in range(2):
        path = root / f"semseg/aisle_000{i}.png"
        size = np.asarray(Image.open(path)).shape
        Image.fromarray(np.full(size, 2 if i else 255, np.uint8)).save(path)
    main(["data", "show", str(root), "--out", str(tmp_path / "sheets/x.png")])
    sheet = np.asarray(Image.open(tmp_path / "sheets/x.png").convert("RGB")).astype(int)
    column = sheet[:, CELL + 20 : CELL + 200]
    assert ((column == (255, 160, 0)).all(2)).sum() > 100 * 150  # the second image is all box
    hatched = ((column == 225).all(2)).sum(), ((column == 200).all(2)).sum()
    assert min(hatched) > 5000
    assert not list((tmp_path / "sheets").glob("*.partial"))
