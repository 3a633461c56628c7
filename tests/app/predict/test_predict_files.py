"""Files of predictions: in the units of the tasks, and as sheets with legends."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from atrc.app.data import sheet as data_sheet
from atrc.app.predict.files import Writer, write_raw
from atrc.app.predict.predictor import decode
from atrc.errors import UserError
from atrc.network.predict import STRIP, strips
from atrc.tasks import Depth, SemanticSegmentation, SurfaceNormals
from atrc.tasks.legends import LINE, draw_legend
from atrc.tasks.sheet import draw_colour, draw_sheet
from predicting import RAW, SEMSEG, TASKS, outputs, read


@pytest.mark.parametrize("size", [(30, 41), (61, 77), (7, 200), (13, 9)])
def test_strips_are_the_networks_own_resize(size, monkeypatch):
    logits = torch.randn(3, 13, 9)
    expected = F.interpolate(logits[None], size, mode="bilinear")
    for numbers in (STRIP, 700):
        monkeypatch.setattr("atrc.network.predict.STRIP", numbers)
        found = torch.cat(list(strips(logits, size)), 2)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    if size == logits.shape[1:]:
        assert torch.equal(found[0], logits)


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


def test_classes_are_palette_images_in_the_colours_of_the_task_or_of_16_bits(tmp_path):
    logits = F.one_hot(torch.tensor([[0, 1, 2]]), 3).permute(2, 0, 1).float()
    file = Image.open(write_raw(SEMSEG, logits, (1, 3), tmp_path / "x"))
    assert file.mode == "P"
    np.testing.assert_array_equal(np.asarray(file.convert("RGB"))[0], SEMSEG.colours)
    logits = F.one_hot(torch.tensor([[299, 7]]), 300).permute(2, 0, 1).float()
    task = SemanticSegmentation(num_classes=300)
    assert read(write_raw(task, logits, (1, 2), tmp_path / "x")).tolist() == [[299, 7]]


def test_a_prediction_of_twenty_thousand_pixels_a_side_comes_in_small_strips():
    some = list(itertools.islice(strips(torch.rand(40, 4, 64), (20_000, 20_000)), 5))
    assert all(strip.numel() <= STRIP for strip in some)
    assert some[0].shape[-1] == 20_000


def test_the_name_of_a_task_cannot_leave_the_folder(tmp_path):
    for name in ("../x", "colour", "frames", "Sheets", "a/b"):
        with pytest.raises(UserError, match=f"the task name '{name}' cannot be a folder of predictions"):
            Writer(tmp_path / "out", [Depth(name=name)], "all")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: File exists; choose another folder"):
        Writer(tmp_path / "file", TASKS, "all")


def test_sheets_of_images_of_one_size_have_one_size():
    sizes = set()
    for seed in range(3):
        decoded = decode(TASKS, outputs())
        decoded["semseg"][...] = seed
        sizes.add(draw_sheet(np.zeros((30, 40, 3), np.uint8), TASKS, decoded, "x").size)
    assert len(sizes) == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (500, 30)])
def test_images_of_any_shape_are_drawn(size):
    decoded = decode(TASKS, outputs(*size))
    sheet = draw_sheet(np.zeros((*size, 3), np.uint8), TASKS, decoded)
    assert max(sheet.size) < 3000
    for task in TASKS:
        assert max(draw_colour(task, decoded[task.name]).size) < 2500


def colours(image):
    return {tuple(colour) for colour in np.asarray(image).reshape(-1, 3).tolist()}


def test_the_legend_names_the_classes_that_occur():
    found = colours(draw_legend(SEMSEG, np.array([[0, 2]]), 300))
    assert [tuple(colour) in found for colour in SEMSEG.colours.tolist()] == [True, False, True]


@pytest.mark.parametrize("names", [("für", "fär"), ("дом", "дым"), ("ηλί", "ηλύ")])
def test_names_that_are_not_ascii_are_readable(names):
    drawn = []
    for name in names:  # a font without these letters would draw equal boxes
        task = SemanticSegmentation(num_classes=1, class_names=(name,))
        sample = {"id": name, "image": torch.zeros(3, 4, 4).byte()}
        sample["truth"] = {"semseg": torch.zeros(4, 4, dtype=torch.long)}
        sample["valid"] = {"semseg": torch.zeros(4, 4).bool()}
        legend = draw_legend(task, np.zeros((1, 1), int), 300)
        sheet = draw_sheet(np.zeros((4, 4, 3), np.uint8), [], {}, name)
        drawn.append([np.asarray(image) for image in (legend, sheet, data_sheet.draw_sheet([task], [sample]))])
    for one, other in zip(*drawn, strict=True):
        assert one.shape != other.shape or (one != other).any()


def test_a_legend_that_is_too_long_leaves_out_the_rarest_classes():
    task = SemanticSegmentation(num_classes=40)
    decoded = np.repeat(np.arange(40), np.arange(40, 0, -1))[None]
    whole, cut = draw_legend(task, decoded, 120, lines=None), draw_legend(task, decoded, 120)
    assert whole.height > cut.height == 3 * LINE
    first, last = (tuple(task.colours[i].tolist()) for i in (0, 39))
    assert {first, last} <= colours(whole)
    assert first in colours(cut)
    assert last not in colours(cut)


def test_the_bar_of_depth_goes_from_the_nearest_to_the_farthest_in_its_colours():
    task = Depth()
    row = np.asarray(draw_legend(task, np.ones((2, 2), np.float32), 400))[6]
    np.testing.assert_array_equal(row[6], task.colour(np.array([[0.7]], np.float32))[0, 0])
    np.testing.assert_array_equal(row[393], task.colour(np.array([[10.0]], np.float32))[0, 0])


def test_the_ball_of_normals_is_seen_from_the_front():
    legend = np.asarray(draw_legend(SurfaceNormals(), np.ones((3, 2, 2), np.float32), 200)).astype(int)
    ball = legend[:, 200 // 2 - 52 : 200 // 2]  # blue in front, green at the top, red on the right
    assert np.abs(ball[27, 26] - (128, 128, 255)).max() < 8
    assert np.abs(ball[2, 26] - (128, 255, 128)).max() < 60
    assert np.abs(ball[27, 50] - (255, 128, 128)).max() < 60
