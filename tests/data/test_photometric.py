"""Photometric distortion: the arithmetic of 8-bit OpenCV images, and the ranges of mmsegmentation."""

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision import tv_tensors

from atrc.data.photometric import distort
from atrc.data.transforms import PhotometricDistortion
from atrc.tasks.maps import LabelMap


def colours(seed: int) -> tv_tensors.Image:
    return tv_tensors.Image(torch.randint(256, (3, 20, 30), generator=torch.Generator().manual_seed(seed)).byte())


def pixel(*rgb: int) -> Tensor:
    return torch.tensor(rgb, dtype=torch.uint8).view(3, 1, 1)


def as_sample(image: Tensor):
    h, w = image.shape[1:]
    labels, known = LabelMap(torch.zeros(h, w, dtype=torch.uint8)), LabelMap(torch.ones(h, w, dtype=torch.bool))
    image = tv_tensors.Image(image)
    return {"id": "", "window": (0, 0, h, w), "image": image, "truth": {"semseg": labels}, "valid": {"semseg": known}}


def test_the_distortion_touches_the_image_alone():
    sample = as_sample(colours(0))
    results = [PhotometricDistortion()(sample) for _ in range(12)]
    assert all(result["truth"] is sample["truth"] and result["valid"] is sample["valid"] for result in results)
    assert all(isinstance(result["image"], tv_tensors.Image) for result in results)
    assert sum(not torch.equal(result["image"], sample["image"]) for result in results) >= 8


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"brightness": 31.9}, (231, 131, 31)),  # 231.9 is cut off
        ({"brightness": -32.0}, (168, 68, 0)),
        ({"contrast": 1.5}, (255, 150, 0)),
        ({"contrast": 0.505}, (101, 50, 0)),
        ({"saturation": 0.5}, (200, 150, 100)),  # S 255 becomes 127, V stays
        ({"hue": 60}, (0, 200, 100)),  # a third of the circle
        ({"hue": -60}, (100, 0, 200)),
        ({"brightness": 10.0, "contrast": 1.2}, (252, 132, 12)),
        ({"brightness": 20.0, "hue": 90, "contrast": 0.5, "contrast_last": True}, (10, 60, 110)),
    ],
)
def test_steps_follow_one_another_each_cut_off_to_8_bits(change, expected):
    assert distort(pixel(200, 100, 0), **change).flatten().tolist() == list(expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.5, 1.5), st.integers(-18, 17))
def test_colours_are_changed_in_hsv(seed, factor, turn):
    """Against Python's own HSV, which is not rounded: hues to 2 degrees and saturations to 1/255 here."""
    image = torch.randint(256, (3, 4, 5), generator=torch.Generator().manual_seed(seed)).byte()
    changed = distort(image, saturation=factor).numpy(), distort(image, hue=turn).numpy()
    for y, x in np.ndindex(4, 5):
        h, s, v = colorsys.rgb_to_hsv(*(image[:, y, x] / 255).tolist())
        for result, hsv in zip(changed, ((h, min(s * factor, 1), v), ((h + turn / 180) % 1, s, v)), strict=True):
            assert np.abs(result[:, y, x] / 255 - colorsys.hsv_to_rgb(*hsv)).max() < 0.022


def test_a_grey_image_has_neither_hue_nor_saturation():
    grey = torch.arange(256).byte().view(16, 16).expand(3, 16, 16)
    assert torch.equal(distort(grey, saturation=1.5, hue=13), grey)
    assert torch.equal(distort(colours(0).as_subclass(Tensor)), colours(0))


def test_ranges_and_chances_are_those_of_mmsegmentation(monkeypatch):
    drawn = []
    monkeypatch.setattr("atrc.data.transforms.distort", lambda image, **amounts: drawn.append(amounts) or image)
    torch.manual_seed(0)
    for _ in range(4000):
        PhotometricDistortion()(as_sample(pixel(1, 2, 3)))
    for name, centre, half in (("brightness", 0, 32), ("contrast", 1, 0.5), ("saturation", 1, 0.5), ("hue", 0, 18)):
        values = np.array([amounts[name] for amounts in drawn], float) - centre
        assert np.abs(values).max() <= half
        assert values.std() == pytest.approx(half / 6**0.5, rel=0.05)  # uniform in half of the cases, else 0
        assert np.abs(values).max() > 0.97 * half
    hues = {amounts["hue"] for amounts in drawn}
    assert hues == set(range(-18, 18))
    assert np.mean([amounts["contrast_last"] for amounts in drawn]) == pytest.approx(0.5, abs=0.03)


def test_the_mean_brightness_varies_as_much_as_in_the_released_code():
    """By hand, of a grey image of 100: sqrt(32^2 / 6 + 50^2 / 6 + 32^2 * 0.5^2 / 36) = 24.4."""
    sample = as_sample(torch.full((3, 2, 2), 100, dtype=torch.uint8))
    torch.manual_seed(0)
    means = [float(PhotometricDistortion()(sample)["image"].float().mean()) for _ in range(3000)]
    assert np.std(means) == pytest.approx(24.4, rel=0.04)


def test_the_strength_scales_every_range(monkeypatch):
    drawn = []
    monkeypatch.setattr("atrc.data.transforms.distort", lambda image, **amounts: drawn.append(amounts) or image)
    for _ in range(300):
        PhotometricDistortion(0.5)(as_sample(pixel(1, 2, 3)))
    assert 14 < max(abs(amounts["brightness"]) for amounts in drawn) <= 16
    assert 0.22 < max(abs(amounts["contrast"] - 1) for amounts in drawn) <= 0.25
    assert max(abs(amounts["hue"]) for amounts in drawn) == 9
    monkeypatch.undo()
    sample = as_sample(colours(0))
    assert all(torch.equal(PhotometricDistortion(0.0)(sample)["image"], sample["image"]) for _ in range(20))
