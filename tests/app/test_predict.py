"""Predictions of anybody's pictures: in the units of the tasks, as large as the picture, whatever lies beside it."""

import copy
import errno
import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from atrc import sharing
from atrc.app.data import sheet as data_sheet
from atrc.app.legends import LINE, draw_key
from atrc.app.predict import writer as predict_writer
from atrc.app.predict.files import STRIP, strips, write_raw
from atrc.app.predict.inputs import Input, find_inputs
from atrc.app.predict.predict import batches, run_predict
from atrc.app.predict.predictor import Predictor, decode, non_finite
from atrc.app.predict.report import Report
from atrc.app.predict.settings import Settings
from atrc.app.predict.sheet import draw_picture, draw_sheet
from atrc.app.predict.video import Frame, Seen, chunks
from atrc.app.predict.writer import Writer
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.images import read_image
from atrc.network import NetworkConfig, build_network
from atrc.tasks import Boundaries, Depth, HumanParts, Saliency, SemanticSegmentation, SurfaceNormals

CLASSES = ("wall", "floor", "a very long name of a class")
SEMSEG = SemanticSegmentation(num_classes=3, class_names=CLASSES)
TASKS = (SEMSEG, HumanParts(), Saliency(), Depth(), SurfaceNormals(), Boundaries())
SHOWN = (SEMSEG, *TASKS[3:])  # the network's
NAMES = [task.name for task in SHOWN]
RAW = {"semseg": "png", "depth": "npy", "normals": "npy", "edge": "png"}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network(NetworkConfig(distillation="atrc"), SHOWN, Genotype.uniform(NAMES, "global")).eval()


@pytest.fixture(scope="module")
def model(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    sharing.save(network, folder)
    return str(folder)


def picture(path, w=40, h=30, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((w, h), 80).convert("RGB").save(path, **options)
    return path


def names(given, out="out"):
    inputs, others = find_inputs([str(one) for one in given], Path(out))
    return [one.name for one in inputs], dict(others)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# What is given


def test_folders_give_all_pictures_below_them_by_their_path(tmp_path):
    for name in ("b.jpg", "a/z.PNG", "a/deep/x.webp", "clip.mp4", "notes.txt", "more.txt", ".hidden.jpg", ".git/x.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert names([tmp_path]) == (["b", "clip", "a/z", "a/deep/x"], {".txt": 2})


def test_names_never_collide(tmp_path):
    given = [tmp_path / name for name in ("a/x.jpg", "b/x.jpg", "b/X.png", "c/x.jpg", "c/x_jpg.png")]
    for path in given:
        picture(path)
    found, _ = names(given)
    assert found == ["x", "x_jpg", "X_png", "x_2", "x_jpg_png"]
    assert len({name.casefold() for name in found}) == len(given)


def test_a_file_that_is_given_twice_is_predicted_once(tmp_path):
    one = picture(tmp_path / "x.jpg")
    (tmp_path / "link.jpg").symlink_to(one)
    assert names([one, tmp_path, tmp_path / "link.jpg"])[0] == ["x"]
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    assert names([tmp_path])[0] == ["circle", "link"]


def test_patterns_that_the_shell_left_alone_are_expanded(tmp_path):
    for name in ("a/1.jpg", "a/2.png", "b/3.jpg"):
        picture(tmp_path / name)
    assert names([tmp_path / "a/*"])[0] == ["1", "2"]
    assert names([tmp_path / "**/*.jpg"])[0] == ["1", "3"]
    picture(tmp_path / "[odd].jpg")
    assert names([tmp_path / "[odd].jpg"])[0] == ["[odd]"]
    for name in (".hidden.jpg", ".cache/4.jpg"):
        picture(tmp_path / name)
    assert names([tmp_path / "**/*.jpg"])[0] == ["[odd]", "1", "3"]
    assert names([tmp_path / ".[a-z]*/*.jpg", tmp_path / ".h*.jpg"])[0] == ["4", ".hidden"]


def test_earlier_predictions_inside_the_folder_are_no_input(tmp_path):
    picture(tmp_path / "x.jpg")
    picture(tmp_path / "out/sheets/x.png")
    assert names([tmp_path], tmp_path / "out")[0] == ["x"]
    with pytest.raises(UserError, match="is the folder of the pictures itself; choose another, it may be inside"):
        names([tmp_path], tmp_path)


def test_a_second_run_with_the_same_patterns_predicts_the_same(tmp_path):
    out = tmp_path / "out"
    for file in (tmp_path / "x.png", tmp_path / "deep/y.png", out / "sheets/z.png"):
        picture(file)
    for pattern in ("**/*.png", "*"):
        assert names([tmp_path / pattern], out)[0] == ["y", "x"]
    assert names([out / "*/*.png"], out)[0] == ["z"]  # which was asked for
    assert names([tmp_path / "*.png"], tmp_path)[0] == ["x"]
    given = sorted(tmp_path.iterdir())  # what a shell makes of *
    with pytest.raises(UserError, match="is the folder of the pictures itself"):
        names(given, out)
    (out / "predictions.json").touch()
    assert names(given, out) == (["y", "x"], {f"{out}/": 1})


@pytest.mark.parametrize(
    ("given", "said"),
    [("gone.jpg", "gone.jpg: no such file or folder"), ("*.jpg", "no such"), ("empty", "no pictures .*1 .txt")],
)
def test_nothing_to_predict_is_an_error(tmp_path, monkeypatch, given, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").touch()
    with pytest.raises(UserError, match=said):
        names([given])
    with pytest.raises(UserError, match="nothing given: name pictures, folders or videos"):
        names([])


# Predictions as files


@pytest.mark.parametrize("size", [(30, 41), (61, 77), (7, 200), (13, 9)])
def test_strips_are_the_networks_own_resize(size, monkeypatch):
    logits = torch.randn(3, 13, 9)
    expected = F.interpolate(logits[None], size, mode="bilinear")
    for numbers in (STRIP, 700):
        monkeypatch.setattr("atrc.app.predict.files.STRIP", numbers)
        found = torch.cat(list(strips(logits, size)), 2)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    if size == logits.shape[1:]:
        assert torch.equal(found[0], logits)


def read(path):
    return np.load(path) if path.suffix == ".npy" else np.asarray(Image.open(path))


def test_every_task_is_written_in_its_unit(tmp_path):
    for task in TASKS:
        logits = torch.randn(task.channels, 6, 8) + 2
        file = write_raw(task, logits, (6, 8), tmp_path / task.name)
        found, expected = read(file), task.decode(logits[None])[0].numpy()
        assert file.suffix[1:] == RAW.get(task.name, "png")
        if task.name == "normals":
            np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-6)
            expected = expected.transpose(1, 2, 0)
        elif task.name in ("edge", "sal"):
            expected = np.round(expected * 255)
        assert found.dtype == (np.float32 if file.suffix == ".npy" else np.uint8)
        np.testing.assert_array_equal(found, expected.astype(found.dtype))


def test_classes_have_the_colours_of_the_task_in_the_palette(tmp_path):
    logits = F.one_hot(torch.tensor([[0, 1, 2]]), 3).permute(2, 0, 1).float()
    file = Image.open(write_raw(SEMSEG, logits, (1, 3), tmp_path / "x"))
    assert file.mode == "P"
    np.testing.assert_array_equal(np.asarray(file.convert("RGB"))[0], SEMSEG.colours)


def test_more_than_256_classes_take_16_bits(tmp_path):
    task = SemanticSegmentation(num_classes=300)
    logits = F.one_hot(torch.tensor([[299, 7]]), 300).permute(2, 0, 1).float()
    assert np.asarray(Image.open(write_raw(task, logits, (1, 2), tmp_path / "x"))).tolist() == [[299, 7]]


def test_a_prediction_of_twenty_thousand_pixels_a_side_comes_in_small_strips():
    some = list(itertools.islice(strips(torch.rand(40, 4, 64), (20_000, 20_000)), 5))
    assert all(strip.numel() <= STRIP for strip in some)
    assert some[0].shape[-1] == 20_000


# The whole verb


@pytest.fixture(scope="module")
def done(model, tmp_path_factory):
    """Predictions of a mixed folder."""
    root = tmp_path_factory.mktemp("mixed")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(root / "in/turned.jpg", exif=exif)
    picture(root / "in/sub/turned.png", 40, 30)
    picture(root / "in/large.png", 150, 60)
    picture(root / "in/one.png", 1, 1)
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    frames[0].save(root / "in/animated.gif", save_all=True, append_images=frames[1:])
    (root / "in/zero.jpg").touch()
    (root / "in/text.jpg").write_text("dear diary")
    (root / "in/notes.txt").touch()
    well = run_predict(model, [str(root / "in")], root / "out", Settings(max_side=64, batch=2, device="cpu"))
    assert not well
    return root


STEMS = ["animated", "large", "one", "sub/turned", "turned"]


def test_every_picture_has_every_file_and_nothing_is_left_over(done):
    raw = [f"{task}/{stem}.{RAW[task]}" for task in RAW for stem in STEMS]
    painted = [f"pictures/{task}/{stem}.png" for task in RAW for stem in STEMS]
    sheets = [f"sheets/{stem}.png" for stem in STEMS]
    assert files(done / "out") == sorted([*raw, *painted, *sheets, "predictions.json"])


def test_predictions_are_as_large_as_the_upright_picture(done):
    for stem, size in {"turned": (40, 30), "sub/turned": (30, 40), "large": (60, 150), "one": (1, 1)}.items():
        for task, suffix in RAW.items():
            assert read(done / f"out/{task}/{stem}.{suffix}").shape[:2] == size


def test_they_are_those_of_the_network(done, network):
    pixels = np.array(Image.open(done / "in/sub/turned.png"))
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255).predictions
    found = read(done / "out/depth/sub/turned.npy")
    torch.testing.assert_close(torch.from_numpy(found), expected["depth"][0, 0], rtol=1e-4, atol=1e-5)
    classes = read(done / "out/semseg/sub/turned.png")
    assert (classes == expected["semseg"][0].argmax(0).numpy()).mean() > 0.99


def test_the_index_tells_what_was_done_and_what_failed(done, model):
    content = json.loads((done / "out/predictions.json").read_text())
    assert content["model"] == model
    assert content["tasks"][0] == {"name": "semseg", "kind": "semseg", "classes": list(CLASSES)}
    assert sorted(one["name"] for one in content["images"]) == STEMS
    animated = next(one for one in content["images"] if one["name"] == "animated")
    assert (animated["size"], animated["note"]) == ([10, 20], "the first of several frames")
    failed = {Path(one["source"]).name: one["reason"] for one in content["failed"]}
    assert failed == {
        "text.jpg": "not a readable image; convert it to JPEG or PNG",
        "zero.jpg": "an empty file",
    }


def test_failures_are_listed_at_the_end(model, tmp_path, capsys):
    picture(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").touch()
    settings = Settings(keep="sheets", device="cpu")
    assert not run_predict(model, [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")], tmp_path / "out", settings)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == [f"1 done, 1 failed: {tmp_path / 'out'}", f"failed: {tmp_path / 'b.jpg'}: an empty file"]
    assert files(tmp_path / "out") == ["predictions.json", "sheets/a.png"]
    assert run_predict(model, [str(tmp_path / "a.jpg")], tmp_path / "out", Settings(keep="raw", device="cpu"))
    assert (tmp_path / "out/depth/a.npy").exists()


def test_what_cannot_be_written_is_a_failure_and_a_full_disk_the_end(model, tmp_path, monkeypatch):
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / name)
    (tmp_path / "out/depth/a.npy").mkdir(parents=True)
    given = [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    assert not run_predict(model, given, tmp_path / "out", Settings(keep="raw", device="cpu"))
    content = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [one["name"] for one in content["images"]] == ["b"]
    assert "cannot be written (Is a directory)" in content["failed"][0]["reason"]

    def full(*args):
        raise OSError(28, "No space left on device", "x.png")

    monkeypatch.setattr(predict_writer, "write_raw", full)
    with pytest.raises(UserError, match="x.png: No space left on device; 0 files are done"):
        run_predict(model, given, tmp_path / "out", Settings(keep="raw", device="cpu"))


def index(folder):
    return json.loads((folder / "predictions.json").read_text())


def failing_at(number, error):
    """Return a network's call that fails the n-th time."""
    whole, calls = Predictor.__call__, itertools.count(1)

    def call(self, pictures):
        if next(calls) == number:
            raise error
        return whole(self, pictures)

    return call


@pytest.mark.parametrize("error", [ValueError("odd\nmore"), MemoryError(), KeyError("x")])
def test_a_failure_that_nobody_foresaw_is_that_of_one_file(model, tmp_path, monkeypatch, capsys, error):
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / name)
    monkeypatch.setattr(Predictor, "__call__", failing_at(2, error))
    assert not run_predict(model, [str(tmp_path)], tmp_path / "out", Settings(keep="raw", batch=1, device="cpu"))
    content = index(tmp_path / "out")
    assert [one["name"] for one in content["images"]] == ["a", "c"]
    assert content["not_reached"] == []
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"failed: {tmp_path / 'b.png'}: ")
    assert type(error).__name__ in last


def test_the_index_is_written_even_if_the_run_is_interrupted(model, tmp_path, monkeypatch, capsys):
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / name)
    monkeypatch.setattr(Predictor, "__call__", failing_at(2, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run_predict(model, [str(tmp_path)], tmp_path / "out", Settings(keep="raw", batch=1, device="cpu"))
    content = index(tmp_path / "out")
    assert [one["name"] for one in content["images"]] == ["a"]
    assert content["not_reached"] == [str(tmp_path / "b.png"), str(tmp_path / "c.png")]
    assert f"1 done, 0 failed, 2 not reached: {tmp_path / 'out'}" in capsys.readouterr().err


def test_an_index_that_cannot_be_written_is_named_and_what_is_done_is_told(model, tmp_path, capsys):
    (tmp_path / "out/predictions.json").mkdir(parents=True)
    given = [str(picture(tmp_path / "a.png"))]
    with pytest.raises(UserError, match=r"out/predictions.json: Is a directory; the predictions themselves are kept"):
        run_predict(model, given, tmp_path / "out", Settings(keep="raw", device="cpu"))
    assert "1 done, 0 failed" in capsys.readouterr().err


@pytest.fixture(scope="module")
def diverged(network, tmp_path_factory):
    """A network whose depth is NaN and whose normals are infinite."""
    broken = copy.deepcopy(network)
    torch.nn.init.constant_(broken.final["depth"].weight, torch.nan)
    torch.nn.init.constant_(broken.final["normals"].bias, torch.inf)
    folder = tmp_path_factory.mktemp("diverged")
    sharing.save(broken, folder)
    return str(folder)


def test_predictions_that_are_not_finite_are_told_of(diverged, tmp_path, capsys):
    given = [str(picture(tmp_path / name)) for name in ("a.png", "b.png")]
    assert run_predict(diverged, given, tmp_path / "out", Settings(device="cpu"))
    assert [one["non_finite"] for one in index(tmp_path / "out")["images"]] == 2 * [{"depth": 1.0, "normals": 1.0}]
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")] == [
        f"warning: 2 of 2 files have predictions that are NaN or infinite, first {given[0]} (depth, normals), with "
        "their shares in predictions.json; the training has diverged, or the network needs --precision 32"
    ]
    assert np.isnan(read(tmp_path / "out/depth/a.npy")).all()  # as the network said


def test_a_video_has_the_mean_share_of_its_frames():
    seen, report = Seen(), Report()
    for shares in ({}, {"depth": 1.0}, {"depth": 0.5, "edge": 0.3}):
        seen.add((2, 3), shares)
    seen.report(Input(Path("x.mp4"), "x"), report)
    assert report.done[0]["non_finite"] == pytest.approx({"depth": 0.5, "edge": 0.1})
    report.succeed(Input(Path("y.png"), "y"), (2, 3), non_finite=non_finite({"depth": torch.zeros(1, 2, 3)}))
    assert "non_finite" not in report.done[1]


def test_a_network_that_fails_on_a_batch_tries_one_by_one(model, tmp_path, monkeypatch):
    for i in range(3):
        picture(tmp_path / f"{i}.png", 24 + 8 * (i == 2), 24)
    whole = Predictor.__call__

    def scant(self, pictures):
        if len(pictures) > 1 or pictures[0].shape[1] > 24:
            raise RuntimeError("out of memory\nmore")
        return whole(self, pictures)

    monkeypatch.setattr(Predictor, "__call__", scant)
    run_predict(model, [str(tmp_path)], tmp_path / "out", Settings(batch=2, keep="raw", device="cpu"))
    content = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [one["name"] for one in content["images"]] == ["0", "1"]
    assert content["failed"][0]["reason"] == "the network failed (out of memory); try a smaller --max-side"


def test_pictures_of_one_size_go_together_and_few_wait(tmp_path):
    sizes = [10, 20, 10, 20, 30, 10, 40, 50, 60, 70, 80, 90]
    inputs, _ = find_inputs([str(picture(tmp_path / f"{i:02}.png", w, 8)) for i, w in enumerate(sizes)], tmp_path / "o")
    found = [[one.name for one, _ in batch] for batch in batches(inputs, 640, 2, Report())]
    assert found[:2] == [["00", "02"], ["01", "03"]]
    assert Counter(name for batch in found for name in batch) == Counter(one.name for one in inputs)
    held = most = 0
    for batch in batches(inputs, 640, 1, Report()):
        held, most = len(batch), max(most, held)
    assert most <= 1


def test_batches_change_nothing(network, tmp_path):
    photos = [read_image(picture(tmp_path / f"{i}.png")).pixels for i in range(3)]
    predictor = Predictor(network, "cpu")
    together = predictor(photos)
    for photo, outputs in zip(photos, together, strict=True):
        alone = predictor([photo])[0]
        for name in NAMES:
            torch.testing.assert_close(outputs[name], alone[name], rtol=1e-3, atol=1e-4)


def test_half_precision_predicts_about_the_same(network, tmp_path):
    photo = read_image(picture(tmp_path / "x.png")).pixels
    exact, half = (Predictor(network, "cpu", precision)([photo])[0] for precision in ("32", "bf16"))
    assert half["depth"].dtype == torch.float32
    scale = exact["depth"].abs().max()
    assert 0 < (half["depth"] - exact["depth"]).abs().max() < 0.05 * scale + 0.05


def test_the_longest_side_is_by_default_what_the_network_was_trained_on():
    assert Settings().side_for((425, 560)) == 560
    assert Settings().side_for(None) == 640
    assert Settings(max_side=99).side_for((425, 560)) == 99


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch": 0}, "batch is 0; it has to be 1 or more"),
        ({"max_side": -1}, "max_side is -1"),
        ({"every": 0}, "every"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, said):
    with pytest.raises(UserError, match=said):
        Settings(**change)


def test_a_device_that_is_not_there_is_named(network):
    with pytest.raises(UserError, match="--device warp: not available here"):
        Predictor(network, "warp")


def test_a_name_of_a_task_leads_out_of_no_folder(tmp_path):
    for name in ("../x", "pictures", "frames", "Sheets", "a/b"):
        with pytest.raises(UserError, match=f"a task called '{name}' has no folder to go to"):
            Writer(tmp_path / "out", [Depth(name=name)], "all")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: File exists; choose another folder"):
        Writer(tmp_path / "file", TASKS, "all")


# Pictures for people


def outputs(h=30, w=40):
    return {task.name: torch.randn(task.channels, h, w) for task in TASKS}


def test_sheets_of_one_size_of_pictures_are_of_one_size():
    sizes = set()
    for seed in range(3):
        torch.manual_seed(seed)
        decoded = decode(TASKS, outputs())
        decoded["semseg"][...] = seed
        sizes.add(draw_sheet(np.zeros((30, 40, 3), np.uint8), TASKS, decoded, "x").size)
    assert len(sizes) == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (500, 30)])
def test_pictures_of_any_shape_are_drawn(size):
    decoded = decode(TASKS, outputs(*size))
    sheet = draw_sheet(np.zeros((*size, 3), np.uint8), TASKS, decoded)
    assert max(sheet.size) < 3000
    for task in TASKS:
        assert max(draw_picture(task, decoded[task.name]).size) < 2500


def colours(image):
    return {tuple(colour) for colour in np.asarray(image).reshape(-1, 3).tolist()}


def test_the_key_names_the_classes_that_occur():
    key = draw_key(SEMSEG, np.array([[0, 2]]), 300)
    assert tuple(SEMSEG.colours[0].tolist()) in colours(key)
    assert tuple(SEMSEG.colours[2].tolist()) in colours(key)
    assert tuple(SEMSEG.colours[1].tolist()) not in colours(key)


@pytest.mark.parametrize("names", [("für", "fär"), ("дом", "дым"), ("ηλί", "ηλύ")])
def test_names_that_are_not_ascii_can_be_read(names):
    drawn = []
    for name in names:  # whose letters would all be the same box
        task = SemanticSegmentation(num_classes=1, class_names=(name,))
        sample = {
            "id": name,
            "image": torch.zeros(3, 4, 4).byte(),
            "truth": {},
            "valid": {"semseg": torch.zeros(4, 4).bool()},
        }
        sample["truth"]["semseg"] = torch.zeros(4, 4, dtype=torch.long)
        key = draw_key(task, np.zeros((1, 1), int), 300)
        sheet = draw_sheet(np.zeros((4, 4, 3), np.uint8), [], {}, name)
        drawn.append([np.asarray(picture) for picture in (key, sheet, data_sheet.draw_sheet([task], [sample]))])
    for one, other in zip(*drawn, strict=True):
        assert one.shape != other.shape or (one != other).any()


def test_a_key_that_is_too_long_leaves_out_the_smallest_classes():
    task = SemanticSegmentation(num_classes=40)
    decoded = np.repeat(np.arange(40), np.arange(40, 0, -1))[None]
    whole, cut = draw_key(task, decoded, 120, lines=None), draw_key(task, decoded, 120)
    assert whole.height > cut.height == 3 * LINE
    assert tuple(task.colours[39].tolist()) in colours(whole)
    assert tuple(task.colours[39].tolist()) not in colours(cut)
    assert tuple(task.colours[0].tolist()) in colours(cut)


def test_the_bar_of_depth_runs_from_the_nearest_to_the_farthest_in_its_colours():
    task = Depth()
    row = np.asarray(draw_key(task, np.ones((2, 2), np.float32), 400))[6]
    np.testing.assert_array_equal(row[6], task.colour(np.array([[0.7]], np.float32))[0, 0])
    np.testing.assert_array_equal(row[393], task.colour(np.array([[10.0]], np.float32))[0, 0])


def test_the_ball_of_normals_is_seen_from_the_front():
    task = SurfaceNormals()
    key = np.asarray(draw_key(task, np.ones((3, 2, 2), np.float32), 200)).astype(int)
    ball = key[:, 200 // 2 - 52 : 200 // 2]  # the front is blue, above green, the right red
    assert np.abs(ball[27, 26] - (128, 128, 255)).max() < 8
    assert np.abs(ball[2, 26] - (128, 255, 128)).max() < 60
    assert np.abs(ball[27, 50] - (255, 128, 128)).max() < 60


# Videos


@pytest.fixture
def clip(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for i in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 40 * i, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return tmp_path / "clip.mp4"


def test_a_video_becomes_a_video_of_sheets(model, clip, tmp_path):
    import av

    settings = Settings(every=2, frames=True, batch=2, device="cpu")
    assert run_predict(model, [str(clip)], tmp_path / "out", settings)
    with av.open(str(tmp_path / "out/videos/clip.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 5
    assert len(frames) == 3
    drawn = draw_sheet(np.zeros((32, 48, 3), np.uint8), SHOWN, decode(SHOWN, outputs(32, 48)), "x")
    assert frames[0].shape[:2] == tuple(side + side % 2 for side in drawn.size[::-1])
    photo = [frame[100, 100].mean() for frame in frames]  # grey levels 0, 80 and 160
    np.testing.assert_allclose(photo, [0, 80, 160], atol=12)
    raw = [f"frames/{task}/clip/{i:06}.{RAW[task]}" for task in RAW for i in (0, 2, 4)]
    assert files(tmp_path / "out") == sorted([*raw, "predictions.json", "videos/clip.mp4"])
    assert read(tmp_path / "out/frames/depth/clip/000004.npy").shape == (32, 48)


def test_frames_are_apart_from_photographs_that_are_called_like_them(model, clip, tmp_path):
    picture(tmp_path / "clip/000001.png", 30, 30)
    settings = Settings(frames=True, keep="raw", device="cpu")
    assert run_predict(model, [str(clip), str(tmp_path)], tmp_path / "out", settings)
    assert read(tmp_path / "out/frames/depth/clip/000001.npy").shape == (32, 48)
    assert read(tmp_path / "out/depth/clip/000001.npy").shape == (30, 30)


def changing(path, *sizes):
    """Write a video of MPEG parts, eight frames of each size."""
    av = pytest.importorskip("av")
    parts = []
    for i, (width, height) in enumerate(sizes):
        part = path.with_name(f"part{i}")
        with av.open(str(part), "w", format="mpegts") as container:
            stream = container.add_stream("mpeg2video", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for j in range(8):
                grey = np.full((height, width, 3), 30 * j, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(stream.encode())
        parts.append(part.read_bytes())
        part.unlink()
    path.write_bytes(b"".join(parts))
    return path


def test_frames_of_a_video_may_change_their_size_midway(model, tmp_path):
    import av

    video = changing(tmp_path / "x.mpg", (64, 48), (48, 96), (64, 48))
    with av.open(str(video)) as container:
        expected = [(frame.height, frame.width) for frame in container.decode(video=0)]
    assert {(48, 64), (96, 48)} == set(expected)
    assert run_predict(model, [str(video)], tmp_path / "out", Settings(frames=True, batch=3, device="cpu"))
    done = index(tmp_path / "out")["images"][0]
    assert (done["size"], done["note"]) == ([48, 64], f"{len(expected)} frames of 2 sizes")
    raw = sorted((tmp_path / "out/frames/depth/x").iterdir())
    assert [read(file).shape for file in raw] == expected
    with av.open(str(tmp_path / "out/videos/x.mp4")) as container:
        assert len({(frame.height, frame.width) for frame in container.decode(video=0)}) == 1


def test_frames_of_one_size_go_together_in_their_order():
    frames = [Frame(i, (h, 4), np.zeros((h, 4, 3), np.uint8)) for i, h in enumerate([4, 4, 4, 8, 4, 4])]
    assert [[frame.number for frame in chunk] for chunk in chunks(frames, 2)] == [[0, 1], [2], [3], [4, 5]]


def test_a_video_that_fails_midway_leaves_the_rest_and_the_index(model, clip, tmp_path, monkeypatch, capsys):
    picture(tmp_path / "a.png")
    monkeypatch.setattr(Predictor, "__call__", failing_at(3, ValueError("odd")))
    settings = Settings(keep="raw", batch=1, device="cpu")
    assert not run_predict(model, [str(clip), str(tmp_path / "a.png")], tmp_path / "out", settings)
    content = index(tmp_path / "out")
    assert [one["name"] for one in content["images"]] == ["a"]
    assert [one["source"] for one in content["failed"]] == [str(clip)]
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"failed: {clip}: ValueError (odd); a mistake in atrc")


def test_a_disk_that_is_full_ends_all_in_a_video_too(model, clip, tmp_path, monkeypatch):
    import av

    def full(*_):
        raise av.error.OSError(errno.ENOSPC, "No space left on device", "x.mp4")

    monkeypatch.setattr("atrc.app.predict.video._encode", full)
    with pytest.raises(UserError, match="x.mp4: No space left on device; 0 files are done"):
        run_predict(model, [str(clip)], tmp_path / "out", Settings(device="cpu"))
    assert index(tmp_path / "out")["failed"][0]["source"] == str(clip)


@pytest.mark.parametrize("content", [b"", b"no video at all"])
def test_what_is_no_video_is_a_failure(model, tmp_path, content):
    pytest.importorskip("av")
    (tmp_path / "x.mp4").write_bytes(content)
    assert not run_predict(model, [str(tmp_path / "x.mp4")], tmp_path / "out", Settings(device="cpu"))
    failed = json.loads((tmp_path / "out/predictions.json").read_text())["failed"]
    assert failed[0]["reason"].startswith("cannot be read as a video (Invalid data")
    assert files(tmp_path / "out") == ["predictions.json"]


def test_without_pyav_the_extra_is_named(model, clip, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    picture(tmp_path / "a.jpg")
    assert not run_predict(model, [str(clip), str(tmp_path / "a.jpg")], tmp_path / "out", Settings(device="cpu"))
    content = json.loads((tmp_path / "out/predictions.json").read_text())
    assert "pip install 'atrc[video]'" in content["failed"][0]["reason"]
    assert [one["name"] for one in content["images"]] == ["a"]


def test_the_model_is_loaded_before_anything_is_written(tmp_path):
    picture(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="no such run, checkpoint or saved network"):
        run_predict(str(tmp_path / "gone"), [str(tmp_path / "a.jpg")], tmp_path / "out", Settings())
    assert not (tmp_path / "out").exists()
