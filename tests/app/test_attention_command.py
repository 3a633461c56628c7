"""`atrc attention`: the picture, the raw maps and mistakes."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from atrc.app.attention import load_pixel
from atrc.app.cli import main
from atrc.backbones import build_backbone
from atrc.distillation import ATRC
from atrc.genotype import Genotype
from atrc.images import read_image
from atrc.network import MultiTaskNetwork
from atrc.studies.attention.figures import describe_range, draw_attention, overlay
from atrc.studies.attention.inspection import Inspection
from atrc.tasks import Depth, HumanParts

TASKS = HumanParts(), Depth(bins=4, nearest=1.0, farthest=16.0)
GENOTYPE = Genotype(
    {"human_parts": {"human_parts": "local", "depth": "s_label"}, "depth": {"human_parts": "none", "depth": "global"}}
)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MultiTaskNetwork(TASKS, build_backbone("hrnet18"), lambda c: ATRC(GENOTYPE, c)).eval()


@pytest.fixture
def photo(tmp_path, network, monkeypatch):
    """Write an image, and let every model be the network."""
    monkeypatch.setattr("atrc.app.attention.load", lambda model: network)
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)).save(path)
    return path


def test_the_figure_and_the_raw_maps_are_written(tmp_path, network, photo):
    out, raw = tmp_path / "new" / "sheet.png", tmp_path / "raw"
    numbers = tmp_path / "numbers.json"
    main(
        [
            "attention",
            "m",
            str(photo),
            "--pixel",
            "[20,63]",
            "--out",
            str(out),
            "--raw",
            str(raw),
            "--json",
            str(numbers),
        ]
    )
    assert read_image(out).size[1] > 500
    assert {file.name for file in raw.iterdir()} == {
        "attention.json", "human_parts-human_parts.npy", "human_parts-depth.npy", "depth-depth.npy",
    }  # fmt: skip
    image = torch.from_numpy(read_image(photo).pixels.transpose(2, 0, 1).copy()).float() / 255
    expected = Inspection(network, image).maps("human_parts", 20, 63)
    np.testing.assert_allclose(np.load(raw / "human_parts-depth.npy"), expected["depth"].pixels, rtol=1e-5)
    content = json.loads(numbers.read_text())
    assert (content["pixel"], content["size"], content["grid"]) == ([20, 63], [48, 64], [12, 16])
    found = content["targets"]["human_parts"]["depth"]
    assert found["context"] == "s_label"
    assert found["regions_of"] == "depth"
    assert list(found["regions"]) == ["1.00-2.00 m", "2.00-4.00 m", "4.00-8.00 m", "8.00-16.00 m"]
    assert sum(found["regions"].values()) == pytest.approx(1)
    assert content["targets"]["depth"] == {"human_parts": {"context": "none"}, "depth": {"context": "global"}}


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_the_figure_of_one_target_is_the_same_every_time(tmp_path, photo, suffix):
    files = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for file in files:
        main(["attention", "m", str(photo), "--target", "depth", "--out", str(file)])
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_panels_say_what_they_show(network):
    photo = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    inspection = Inspection(network, torch.from_numpy(photo.transpose(2, 0, 1).copy()).float() / 255)
    maps = {target: inspection.maps(target, 0, 0) for target in inspection.targets}
    figure = draw_attention(inspection, photo, (0, 0), maps)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:3] == ["pixel of human_parts", "from human_parts: local", "from depth: S-label"]
    assert titles[3] == "predicted human_parts"
    assert titles[4].startswith("window: ")
    assert titles[5] == "regions of depth"
    assert titles[7:9] == ["from human_parts: none", "from depth: global"]
    window, regions = figure.axes[4], figure.axes[5]
    assert window.images[0].get_array().shape == (5, 5)  # in the corner of the image
    assert [bar.get_width() for bar in regions.patches] == sorted(maps["human_parts"]["depth"].regions.tolist())[::-1]
    np.testing.assert_allclose(regions.patches[0].get_facecolor()[:3], best_colour(maps), atol=1e-6)


def best_colour(maps):
    return TASKS[1].region_colours[int(maps["human_parts"]["depth"].regions.argmax())] / 255


def test_the_pixel_is_found_in_the_reduced_image(photo):
    pixels, place = load_pixel(photo, (47, 32), longest=16)
    assert pixels.shape == (12, 16, 3)
    assert place == (11, 8)
    assert load_pixel(photo, None, longest=640)[1] == (24, 32)


def test_the_overlay_is_brightest_where_the_weight_is():
    weights = np.zeros((4, 4), np.float32)
    weights[1, 2] = 1
    mixed = overlay(weights, np.full((16, 16, 3), 128, np.uint8)).astype(int).sum(2)
    assert divmod(int(mixed.argmax()), 16) in [(y, x) for y in (5, 6) for x in (9, 10)]
    assert describe_range(weights) == "0.00 to 16 \N{MULTIPLICATION SIGN} even"


def test_an_almost_even_map_stays_dark():
    photo = np.full((4, 4, 3), 9, np.uint8)
    even, almost = (overlay(np.array([[low, 0.25]] * 2, np.float32), photo).max() for low in (0.25, 0.24))
    assert len(np.unique(overlay(np.ones((2, 2), np.float32), photo))) <= 3
    assert even < almost < 40  # of 255


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pixel", "[48,0]"], "--pixel [48,0] is not in {photo}, of 48x64; rows and columns count from 0"),
        (["--target", "edge"], "no target 'edge'; the network has human_parts, depth"),
        (["--out", "x.jpg"], "--out x.jpg: the name of the figure has to end in one of .png, .svg, .pdf"),
        (["--longest", "0"], "--longest is 0"),
        (["--out", "{photo}/x.png"], "{photo}: cannot be written"),
    ],
)
def test_mistakes_are_one_line(photo, capsys, arguments, said):
    with pytest.raises(SystemExit) as exit:
        main(["attention", "m", str(photo), *(text.format(photo=photo) for text in arguments)])
    assert exit.value.code == 2
    assert capsys.readouterr().err.startswith(f"atrc attention: error: {said.format(photo=photo)}")
