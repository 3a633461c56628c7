"""The fused photometric distortion against torchvision's functionals."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as TF

from atrc.data.photometric import distort
from atrc.data.transforms import PhotometricDistortion
from atrc.tasks.maps import LabelMap


def colours(seed: int) -> tv_tensors.Image:
    return tv_tensors.Image(torch.randint(256, (3, 20, 30), generator=torch.Generator().manual_seed(seed)).byte())


def apart(one: Tensor, other: Tensor) -> int:
    return int((one.int() - other.int()).abs().max())


def test_the_distortion_touches_the_image_alone():
    labels = LabelMap(torch.arange(600).view(20, 30))
    known = LabelMap(torch.ones(20, 30, dtype=torch.bool))
    sample = {"id": "", "size": (20, 30), "image": colours(0), "truth": {"semseg": labels}, "valid": {"semseg": known}}
    results = [PhotometricDistortion()(sample) for _ in range(12)]
    assert all(result["truth"] is sample["truth"] and result["valid"] is sample["valid"] for result in results)
    assert all(isinstance(result["image"], tv_tensors.Image) for result in results)
    assert sum(not torch.equal(result["image"], sample["image"]) for result in results) >= 8


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.5, 1.5), st.floats(-0.5, 0.5))
def test_each_distortion_is_that_of_torchvision(seed, factor, hue):
    image = colours(seed)
    bare = image.as_subclass(Tensor)
    assert apart(distort(bare, brightness=factor), TF.adjust_brightness(image, factor)) <= 1
    assert apart(distort(bare, contrast=factor), TF.adjust_contrast(image, factor)) <= 1
    assert apart(distort(bare, contrast=factor, contrast_last=True), TF.adjust_contrast(image, factor)) <= 1
    assert apart(distort(bare, saturation=factor), TF.adjust_saturation(image, factor)) <= 1
    assert apart(distort(bare, hue=hue), TF.adjust_hue(image, hue)) <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.875, 1.125), st.floats(0.5, 1.5), st.floats(0.5, 1.5), st.booleans())
def test_distortions_follow_one_another_as_in_torchvision(seed, brightness, contrast, saturation, last):
    image = colours(seed)
    ours = distort(
        image.as_subclass(Tensor), brightness=brightness, contrast=contrast, saturation=saturation, contrast_last=last
    )
    theirs = TF.adjust_brightness(image, brightness)
    theirs = theirs if last else TF.adjust_contrast(theirs, contrast)
    theirs = TF.adjust_saturation(theirs, saturation)
    theirs = TF.adjust_contrast(theirs, contrast) if last else theirs
    assert apart(ours, theirs) <= 4  # they cut fractions off after every step


def test_a_grey_image_has_neither_hue_nor_saturation():
    grey = torch.arange(256).byte().view(16, 16).expand(3, 16, 16)
    assert torch.equal(distort(grey, saturation=1.5, hue=0.3), grey)
    assert torch.equal(distort(colours(0).as_subclass(Tensor)), colours(0))


def test_a_third_of_the_colour_circle_makes_red_green():
    red = torch.tensor([200, 30, 30], dtype=torch.uint8).view(3, 1, 1)
    assert distort(red, hue=1 / 3).flatten().tolist() == [30, 200, 30]
