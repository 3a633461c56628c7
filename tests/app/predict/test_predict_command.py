"""Predictions of any images: in the units of the tasks, at the size of the image, whatever else is in the folder."""

import copy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atrc import sharing
from atrc.app.predict import files as predict_files
from atrc.app.predict.inputs import find_inputs
from atrc.app.predict.predict import batches, run_predict
from atrc.app.predict.predictor import Predictor
from atrc.app.predict.report import Report
from atrc.app.predict.settings import Settings
from atrc.errors import UserError
from atrc.images import read_image
from predicting import CLASSES, NAMES, RAW, files, index, noise, read

STEMS = ["animated", "large", "one", "sub/turned", "turned"]


@pytest.fixture(scope="module")
def done(model, tmp_path_factory):
    """Predict a mixed folder."""
    root = tmp_path_factory.mktemp("mixed")
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(root / "in/turned.jpg", exif=exif)
    noise(root / "in/sub/turned.png", 40, 30)
    noise(root / "in/large.png", 150, 60)
    noise(root / "in/one.png", 1, 1)
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    frames[0].save(root / "in/animated.gif", save_all=True, append_images=frames[1:])
    (root / "in/zero.jpg").touch()
    (root / "in/text.jpg").write_text("dear diary")
    (root / "in/notes.txt").touch()
    assert not run_predict(model, [str(root / "in")], root / "out", Settings(max_side=64, batch=2, device="cpu"))
    return root


def test_every_image_has_every_file_and_nothing_is_left_over(done):
    raw = [f"{task}/{stem}.{RAW[task]}" for task in RAW for stem in STEMS]
    coloured = [f"colour/{task}/{stem}.png" for task in RAW for stem in STEMS]
    sheets = [f"sheets/{stem}.png" for stem in STEMS]
    assert files(done / "out") == sorted([*raw, *coloured, *sheets, "predictions.json"])


def test_predictions_have_the_size_of_the_upright_image(done):
    for stem, size in {"turned": (40, 30), "sub/turned": (30, 40), "large": (60, 150), "one": (1, 1)}.items():
        for task, suffix in RAW.items():
            assert read(done / f"out/{task}/{stem}.{suffix}").shape[:2] == size


def test_predictions_are_those_of_the_network(done, network):
    pixels = np.array(Image.open(done / "in/sub/turned.png"))
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255).predictions
    found = read(done / "out/depth/sub/turned.npy")
    torch.testing.assert_close(torch.from_numpy(found), expected["depth"][0, 0].clamp(min=0), rtol=1e-4, atol=1e-5)
    classes = read(done / "out/semseg/sub/turned.png")
    assert (classes == expected["semseg"][0].argmax(0).numpy()).mean() > 0.99


def test_the_index_lists_what_is_done_and_what_failed(done, model):
    content = index(done / "out")
    assert content["model"] == model
    assert content["tasks"][0] == {"name": "semseg", "kind": "semseg", "classes": list(CLASSES)}
    assert sorted(one["name"] for one in content["images"]) == STEMS
    animated = next(one for one in content["images"] if one["name"] == "animated")
    assert (animated["size"], animated["note"]) == ([10, 20], "the first of several frames")
    failed = {Path(one["source"]).name: one["reason"] for one in content["failed"]}
    assert failed["zero.jpg"] == "an empty file"
    assert failed["text.jpg"].startswith("not ")
    assert len(failed) == 2


def test_failures_are_listed_at_the_end(model, tmp_path, capsys):
    good, bad = str(noise(tmp_path / "a.jpg")), str(tmp_path / "b.jpg")
    (tmp_path / "b.jpg").touch()
    assert not run_predict(model, [good, bad], tmp_path / "out", Settings(keep="sheets", device="cpu"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == [f"1 done, 1 failed: {tmp_path / 'out'}", f"failed: {bad}: an empty file"]
    assert files(tmp_path / "out") == ["predictions.json", "sheets/a.png"]
    for keep in ("raw", "colour"):
        assert run_predict(model, [good], tmp_path / keep, Settings(keep=keep, device="cpu"))
    assert files(tmp_path / "raw") == sorted([*(f"{task}/a.{RAW[task]}" for task in RAW), "predictions.json"])
    assert files(tmp_path / "colour") == sorted([*(f"colour/{task}/a.png" for task in RAW), "predictions.json"])


def test_a_file_that_cannot_be_written_is_a_failure_and_a_full_disk_stops_the_command(model, tmp_path, monkeypatch):
    given = [str(noise(tmp_path / name)) for name in ("a.jpg", "b.jpg")]
    (tmp_path / "out/depth/a.npy").mkdir(parents=True)
    assert not run_predict(model, given, tmp_path / "out", Settings(keep="raw", device="cpu"))
    content = index(tmp_path / "out")
    assert [one["name"] for one in content["images"]] == ["b"]
    assert "cannot be written (Is a directory)" in content["failed"][0]["reason"]

    def full(*args):
        raise OSError(28, "No space left on device", "x.png")

    monkeypatch.setattr(predict_files, "write_raw", full)
    with pytest.raises(UserError, match="x.png: No space left on device; 0 files are done"):
        run_predict(model, given, tmp_path / "out", Settings(keep="raw", device="cpu"))


@pytest.mark.parametrize("error", [ValueError("odd\nmore"), MemoryError(), KeyError("x")])
def test_an_unexpected_failure_concerns_one_file(model, tmp_path, failing_at, capsys, error):
    given = [str(noise(tmp_path / name)) for name in ("a.png", "b.png", "c.png")]
    failing_at(2, error)
    assert not run_predict(model, given, tmp_path / "out", Settings(keep="raw", batch=1, device="cpu"))
    content = index(tmp_path / "out")
    assert [one["name"] for one in content["images"]] == ["a", "c"]
    assert content["not_reached"] == []
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"failed: {given[1]}: ")
    assert type(error).__name__ in last


def test_the_index_is_written_even_if_the_run_is_interrupted(model, tmp_path, failing_at, capsys):
    given = [str(noise(tmp_path / name)) for name in ("a.png", "b.png", "c.png")]
    failing_at(2, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run_predict(model, given, tmp_path / "out", Settings(keep="raw", batch=1, device="cpu"))
    content = index(tmp_path / "out")
    assert [one["name"] for one in content["images"]] == ["a"]
    assert content["not_reached"] == given[1:]
    assert "1 done, 0 failed, 2 not reached" in capsys.readouterr().err


def test_an_index_that_cannot_be_written_is_named_and_the_summary_is_printed(model, tmp_path, capsys):
    (tmp_path / "out/predictions.json").mkdir(parents=True)
    given = [str(noise(tmp_path / "a.png"))]
    with pytest.raises(UserError, match=r"out/predictions.json: Is a directory; the predictions themselves are kept"):
        run_predict(model, given, tmp_path / "out", Settings(keep="raw", device="cpu"))
    assert "1 done, 0 failed" in capsys.readouterr().err


def test_predictions_that_are_not_finite_are_reported(network, tmp_path, capsys):
    broken = copy.deepcopy(network)
    torch.nn.init.constant_(broken.final["depth"].weight, torch.nan)
    torch.nn.init.constant_(broken.final["normals"].bias, torch.inf)
    sharing.save(broken, tmp_path / "diverged")
    given = [str(noise(tmp_path / name)) for name in ("a.png", "b.png")]
    assert run_predict(str(tmp_path / "diverged"), given, tmp_path / "out", Settings(device="cpu"))
    assert [one["non_finite"] for one in index(tmp_path / "out")["images"]] == 2 * [{"depth": 1.0, "normals": 1.0}]
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")] == [
        f"warning: 2 of 2 files have predictions that are NaN or infinite, first {given[0]} (depth, normals); "
        "predictions.json has the shares; the training has diverged, or the network needs --precision 32"
    ]
    assert np.isnan(read(tmp_path / "out/depth/a.npy")).all()


def test_if_a_batch_fails_its_images_are_tried_one_by_one(model, tmp_path, monkeypatch):
    for i in range(3):
        noise(tmp_path / f"{i}.png", 24 + 8 * (i == 2), 24)
    whole = Predictor.__call__

    def scant(self, images):
        if len(images) > 1 or images[0].shape[1] > 24:
            raise RuntimeError("out of memory\nmore")
        return whole(self, images)

    monkeypatch.setattr(Predictor, "__call__", scant)
    run_predict(model, [str(tmp_path)], tmp_path / "out", Settings(batch=2, keep="raw", device="cpu"))
    content = index(tmp_path / "out")
    assert [one["name"] for one in content["images"]] == ["0", "1"]
    assert content["failed"][0]["reason"] == "the network failed (out of memory); try a smaller --max-side"


def test_images_of_one_size_form_batches_and_few_wait(tmp_path):
    sizes = [10, 20, 10, 20, 30, 10, 40, 50, 60, 70, 80, 90]
    inputs, _ = find_inputs([str(noise(tmp_path / f"{i:02}.png", w, 8)) for i, w in enumerate(sizes)], tmp_path / "o")
    found = [[one.name for one, _ in batch] for batch in batches(inputs, 640, 2, Report())]
    assert found[:2] == [["00", "02"], ["01", "03"]]
    assert Counter(name for batch in found for name in batch) == Counter(one.name for one in inputs)
    assert {len(batch) for batch in batches(inputs, 640, 1, Report())} == {1}


def test_batches_and_half_precision_predict_about_the_same(network, tmp_path):
    images = [read_image(noise(tmp_path / f"{i}.png")).pixels for i in range(3)]
    predictor = Predictor(network, "cpu")
    for image, outputs in zip(images, predictor(images), strict=True):
        alone = predictor([image])[0]
        for name in NAMES:
            torch.testing.assert_close(outputs[name], alone[name], rtol=1e-3, atol=1e-4)
    half = Predictor(network, "cpu", "bf16")([images[-1]])[0]["depth"]
    assert half.dtype == torch.float32
    assert 0 < (half - alone["depth"]).abs().max() < 0.05 * alone["depth"].abs().max() + 0.05


def test_windows_and_flips_are_those_of_python_and_images_keep_their_size(network, model, tmp_path):
    image, options = noise(tmp_path / "a.png", 90, 70), {"window": (40, 60), "tta": "flip"}
    assert run_predict(model, [str(image)], tmp_path / "out", Settings(keep="raw", **options))
    expected = network.predict(image, **options)
    assert expected.image.shape == (70, 90, 3)
    np.testing.assert_array_equal(read(tmp_path / "out/depth/a.npy"), expected["depth"])
    np.testing.assert_array_equal(read(tmp_path / "out/semseg/a.png"), expected["semseg"])


def test_invalid_settings_are_refused(network):
    for change in ({"batch": 0}, {"max_side": -1}, {"every": 0}):
        ((key, value),) = change.items()
        with pytest.raises(UserError, match=f"{key} is {value}; it has to be 1 or more"):
            Settings(**change)
    with pytest.raises(UserError, match="--device warp: not available here"):
        Predictor(network, "warp")


def test_the_model_is_loaded_before_anything_is_written(tmp_path):
    noise(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="no such run, checkpoint or saved network"):
        run_predict(str(tmp_path / "gone"), [str(tmp_path / "a.jpg")], tmp_path / "out", Settings())
    assert not (tmp_path / "out").exists()
