"""Joint transforms: one draw of chance for the image, every truth and every mask. Source: Sec. A, Sec. 4.1.

How a flip or a rescale changes a truth is the task's own affair (its `truth_type`); these only apply
torchvision's functionals to everything alike.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as TF

from atrc.data.photometric import distort
from atrc.data.sample import Batch, Sample, collate, map_tensors

Transform = Callable[[Sample], Sample]
# ImageNet's mean colour [0..255]: 0 once most backbones normalise, and within a fifth of a deviation of 0 for those
# that normalise by 1/2. One for all, since no loss or metric reads padding: a batch does not depend on the network.
PAD = (124, 116, 104)


def training_transform(
    crop: tuple[int, int], scale: tuple[float, float] = (0.5, 2.0), limited: str | None = None
) -> Transform:
    """Return the paper's augmentation: scale, crop, flip, photometric distortion.

    Args:
        crop: Height and width of the crops [px].
        scale: Range of the scale.
        limited: The task of whose labels none may take more than 75 % of a crop.
    """
    return Chain((RandomScaledCrop(crop, scale, limited), RandomFlip(), PhotometricDistortion()))


@dataclass(frozen=True)
class Chain:
    """Transforms one after another."""

    transforms: Sequence[Transform]

    def __call__(self, sample: Sample) -> Sample:
        for transform in self.transforms:
            sample = transform(sample)
        return sample


@dataclass(frozen=True)
class RandomScaledCrop:
    """Resize by a factor drawn uniformly, crop at random, and pad what is too small; depth is divided by the factor.

    No label of `limited` takes more than `max_share` of the valid part of a crop, unless `tries` places did not do.

    What will not be seen need not be resized: the crop's window is cut out at whole pixels first. So the factor along
    an axis is off by what rounds the window, at most half a pixel in its length; depth is divided by the actual one.
    """

    size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    limited: str | None = None
    max_share: float = 0.75
    tries: int = 10

    def __call__(self, sample: Sample) -> Sample:
        factor = float(torch.empty(()).uniform_(*self.scale))
        h, w = sample["image"].shape[-2:]
        (height, tall), (width, wide) = _window(h, self.size[0], factor), _window(w, self.size[1], factor)
        top, left = self._place(sample, height, width)
        sample = map_tensors(sample, lambda x: TF.crop(x, top, left, height, width))
        if (height, width) != (tall, wide):
            sample = map_tensors(sample, lambda x: TF.resize(x, [tall, wide], antialias=False))
        return pad(sample, self.size)

    def _place(self, sample: Sample, height: int, width: int) -> tuple[int, int]:
        h, w = sample["image"].shape[-2:]
        for _ in range(self.tries):
            top = int(torch.randint(h - height + 1, ()))
            left = int(torch.randint(w - width + 1, ()))
            if self._varied(sample, (slice(top, top + height), slice(left, left + width))):
                break
        return top, left

    def _varied(self, sample: Sample, window: tuple[slice, slice]) -> bool:
        if self.limited is None:
            return True
        labels, valid = (sample[key][self.limited][window].as_subclass(Tensor) for key in ("truth", "valid"))
        limit = self.max_share * int(valid.sum())
        if int(torch.bincount(labels.flatten()).max()) <= limit:  # without the mask: sooner known, and enough
            return True
        return int(torch.bincount(labels[valid], minlength=1).max()) <= limit


def _window(length: int, crop: int, factor: float) -> tuple[int, int]:
    """Return a window's length before and after the resize."""
    full = max(1, round(length * factor))
    return (length, full) if full <= crop else (min(length, max(1, round(crop / factor))), crop)


@dataclass(frozen=True)
class RandomFlip:
    """Mirror left and right with probability 1/2; the normals' x changes sign."""

    def __call__(self, sample: Sample) -> Sample:
        return map_tensors(sample, TF.horizontal_flip) if torch.rand(()) < 0.5 else sample


@dataclass(frozen=True)
class PhotometricDistortion:
    """Distort brightness, contrast, saturation and hue of the image alone.

    Each with probability 1/2, in the ranges and in the order of torchvision's `RandomPhotometricDistort`, but without
    its permutation of the channels: colours tell classes here. Source: SSD (ECCV 2016).
    """

    brightness: tuple[float, float] = (0.875, 1.125)
    contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.5, 1.5)
    hue: tuple[float, float] = (-0.05, 0.05)

    def __call__(self, sample: Sample) -> Sample:
        last = bool(torch.rand(()) < 0.5)
        amounts = {
            name: float(torch.empty(()).uniform_(*limits))
            for name, limits in vars(self).items()
            if torch.rand(()) < 0.5
        }
        if not amounts:
            return sample
        image = distort(sample["image"].as_subclass(Tensor), contrast_last=last, **amounts)
        return {**sample, "image": tv_tensors.Image(image)}


def pad(sample: Sample, size: tuple[int, int]) -> Sample:
    """Pad at the right and the bottom to at least `size`; what is added is valid nowhere."""
    h, w = sample["image"].shape[-2:]
    right, bottom = max(0, size[1] - w), max(0, size[0] - h)
    if not right and not bottom:
        return sample

    def pad_one(x: Tensor) -> Tensor:
        fill = PAD if isinstance(x, tv_tensors.Image) else 0
        return TF.pad(x, [0, 0, right, bottom], fill=fill)

    return map_tensors(sample, pad_one)


def collate_padded(size: tuple[int, int]) -> Callable[[list[Sample]], list[Batch]]:
    """Return a collate function that pads each image to at least `size`: evaluation's only change.

    It makes a batch of every size that comes of it, so that no image is padded for the sake of another: what is
    predicted does not depend on what else is in the batch.
    """
    return functools.partial(_collate_padded, size)


def _collate_padded(size: tuple[int, int], samples: list[Sample]) -> list[Batch]:
    groups: dict[tuple[int, ...], list[Sample]] = {}
    for sample in samples:
        padded = pad(sample, size)
        groups.setdefault(tuple(padded["image"].shape), []).append(padded)
    return [collate(group) for group in groups.values()]
