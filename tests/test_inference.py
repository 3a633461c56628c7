"""Windows, flips and scales: what they must not change, and that `network.predict` is what `atrc predict` does."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import atrc
from atrc.errors import UserError
from atrc.network import NetworkConfig, Output, build_network
from atrc.network.inference import WHOLE, Inference, starts
from atrc.network.predict import side_for
from atrc.tasks import Boundaries, Depth, SemanticSegmentation, SurfaceNormals

TASKS = (SemanticSegmentation(num_classes=3), Depth(), SurfaceNormals(), Boundaries())


class Toy(nn.Module):
    """A network that computes its predictions from the image by a rule."""

    def __init__(self, rule):
        super().__init__()
        self.tasks, self.rule, self.sizes = TASKS, rule, []

    def forward(self, image):
        self.sizes.append(tuple(image.shape[-2:]))
        return Output({task.name: self.rule(task, image) for task in TASKS}, {}, {}, {})


def pixelwise(task, image):
    """Look at every pixel alone; the x of normals is 0, so that a mirror does not change its sign."""
    found = image.mean(1, keepdim=True).repeat(1, task.channels, 1, 1) * torch.arange(1, task.channels + 1).view(
        -1, 1, 1
    )
    if task.name == "normals":
        found[:, 0] = 0
    return found


def constant(task, image):
    return torch.full((len(image), task.channels, *image.shape[-2:]), 3.0)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], msg=lambda text, name=name: f"{name}: {text}")


IMAGE = torch.rand(2, 3, 23, 31, generator=torch.Generator().manual_seed(0))


def test_windows_and_flips_change_nothing_for_a_network_that_looks_at_every_pixel_alone():
    toy = Toy(pixelwise)
    plain = Inference()(toy, IMAGE)
    assert_same(plain, toy(IMAGE).predictions)
    for inference in (Inference(flip=True), Inference((8, 10)), Inference((8, 40), flip=True)):
        assert_same(inference(toy, IMAGE), plain)


def test_a_window_as_large_as_the_image_is_the_plain_prediction_bit_for_bit():
    network = build_network(NetworkConfig("timm:test_resnet", neck="project"), TASKS).eval()
    with torch.inference_mode():
        plain = network(IMAGE).predictions
        for window in ((23, 31), (100, 31)):
            found = Inference(window)(network, IMAGE)
            assert all(torch.equal(found[name], plain[name]) for name in plain)


def test_constant_predictions_stay_constant_under_blending_flips_and_scales():
    toy = Toy(constant)
    found = Inference((7, 9), flip=True, scales=(0.5, 1.5))(toy, IMAGE)
    for name in ("semseg", "edge"):
        torch.testing.assert_close(found[name], torch.full_like(found[name], 3.0))
    # A mirrored vector to the right points to the left: x cancels. Metres seen at a scale are metres over it.
    torch.testing.assert_close(found["normals"].mean((0, 2, 3)), torch.tensor([0.0, 3.0, 3.0]))
    factors = [1.0, (12 * 16 / (23 * 31)) ** 0.5, (34 * 46 / (23 * 31)) ** 0.5]
    torch.testing.assert_close(found["depth"], torch.full_like(found["depth"], sum(factors)))


def test_every_window_is_whole_and_every_pixel_is_seen():
    toy = Toy(constant)
    Inference((8, 10))(toy, IMAGE)
    assert set(toy.sizes) == {(8, 10)}
    assert len(toy.sizes) == 5 * 6
    for length in range(1, 40):
        for window in range(1, length + 1):
            first = starts(length, window)
            assert first[0] == 0
            assert first[-1] == length - window
            assert all(b - a <= (window + 1) // 2 for a, b in itertools.pairwise(first))


def test_windows_are_blended_without_seams():
    def own_level(task, image):  # every window predicts another constant: the worst seam there can be
        levels.append(len(levels))
        return torch.full((len(image), task.channels, *image.shape[-2:]), float(levels[-1] // len(TASKS)))

    levels = []
    found = Inference((16, 4))(Toy(own_level), torch.rand(1, 3, 48, 4))["edge"][0, 0, :, 0]
    assert (found[0], found[-1]) == (0, 4)
    assert 0 <= found.diff().min() <= found.diff().max() < 0.25  # in steps of 1/9, or 2/9 where a window ends


@pytest.mark.parametrize(
    ("window", "tta", "said"),
    [
        ((0, 5), None, r"window \(0, 5\): give height and width"),
        (None, "flop", "tta flop: give flip, scales, or both, such as flip,0.75,1.25"),
        (None, "flip,0", "tta: 0 is not a scale from 0.1 to 10"),
        (None, "nan", "tta: nan is not a scale"),
    ],
)
def test_invalid_options_are_named(window, tta, said):
    with pytest.raises(UserError, match=said):
        Inference.parse(window, tta)


def test_a_protocol_records_both():
    assert Inference.parse((96, 128), " 0.75, flip").to_dict() == {"window": [96, 128], "tta": "flip,0.75"}
    assert Inference().to_dict() == {"window": None, "tta": None}


@pytest.fixture(scope="module")
def network():
    network = build_network(NetworkConfig("timm:test_resnet", neck="project"), TASKS)
    network.size = (40, 60)
    return network


def test_predictions_are_arrays_in_units_as_large_as_the_image(network, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (50, 90, 3), np.uint8)
    found = network.predict(pixels)
    assert network.training  # as it was
    shapes = {name: array.shape for name, array in found.items()}
    assert shapes == {"semseg": (50, 90), "depth": (50, 90), "normals": (3, 50, 90), "edge": (50, 90)}
    assert found["semseg"].dtype.kind == "i"
    assert 0 <= found["edge"].min() <= found["edge"].max() <= 1
    np.testing.assert_allclose(np.linalg.norm(found["normals"], axis=0), 1, rtol=1e-5)
    assert found.image.shape == (33, 60, 3)  # shrunk to the training size
    assert found.draw("depth").width == 480
    assert found.draw().width > found.draw("depth").width
    assert found._repr_png_().startswith(b"\x89PNG")
    assert "depth (50, 90) distance along the optical axis [m]" in repr(found)


def test_a_file_an_image_an_array_and_a_tensor_give_the_same(network, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    tensor = torch.from_numpy(pixels).movedim(-1, 0)
    expected = network.predict(str(tmp_path / "x.png"))
    for image in (tmp_path / "x.png", Image.fromarray(pixels), pixels, pixels / 255, tensor, tensor / 255):
        found = network.predict(image)
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
    with torch.inference_mode():
        logits = network.eval()(tensor[None] / 255).predictions
    depth = Depth().decode(logits["depth"])[0].numpy()
    np.testing.assert_allclose(found["depth"], depth, rtol=1e-5, atol=1e-5)


def test_what_is_not_an_image_is_refused(network, tmp_path):
    for image, said in (
        (np.zeros((4, 5)), r"image of shape \(4, 5\): expected \(h, w, 3\)"),
        (torch.zeros(4, 5, 3), r"image of shape \(4, 5, 3\): expected \(3, h, w\)"),
        (np.full((4, 5, 3), 255.0), "image of float64: expected bytes, or floats from 0 to 1"),
        (tmp_path / "gone.jpg", "gone.jpg: no such file"),
    ):
        with pytest.raises(UserError, match=said):
            network.predict(image)


def test_larger_images_are_shrunk_to_the_training_size_by_default():
    assert side_for((425, 560), None, WHOLE) == 560
    assert side_for(None, None, WHOLE) == 640
    assert side_for((425, 560), 99, WHOLE) == 99
    assert side_for((425, 560), None, Inference((425, 560))) is None


def test_with_a_window_images_keep_their_size(network):
    pixels = np.random.default_rng(0).integers(0, 255, (50, 90, 3), np.uint8)
    assert network.predict(pixels, window=(40, 60), tta="flip").image.shape == (50, 90, 3)
    assert network.predict(pixels, window=(40, 60), max_side=45).image.shape == (25, 45, 3)


def test_the_shipped_network_predicts_a_file(tmp_path):
    Image.new("RGB", (64, 48), "grey").save(tmp_path / "x.png")
    assert set(atrc.load("rooms-atrc").predict(tmp_path / "x.png")) == {"semseg", "depth", "normals", "edge"}
