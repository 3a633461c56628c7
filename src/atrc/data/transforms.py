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
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from atrc.data.sample import Batch, Sample, collate, map_tensors

Transform = Callable[[Sample], Sample]
PAD = (124, 116, 104)  # ImageNet's mean colour [0..255]: close to 0 once a backbone normalises


def training_transform(
    crop: tuple[int, int], scale: tuple[float, float] = (0.5, 2.0), limited: str | None = None
) -> Transform:
    """Return the paper's augmentation: scale, crop, flip, photometric distortion.

    Args:
        crop: Height and width of the crops [px].
        scale: Range of the scale.
        limited: The task of whose labels none may take more than 75 % of a crop.
    """
    return Chain((RandomScale(scale), RandomCrop(crop, limited), RandomFlip(), PhotometricDistortion()))


@dataclass(frozen=True)
class Chain:
    """Transforms one after another."""

    transforms: Sequence[Transform]

    def __call__(self, sample: Sample) -> Sample:
        for transform in self.transforms:
            sample = transform(sample)
        return sample


@dataclass(frozen=True)
class RandomScale:
    """Resize by a factor drawn uniformly; depth is divided by it."""

    scale: tuple[float, float]

    def __call__(self, sample: Sample) -> Sample:
        low, high = self.scale
        factor = float(torch.empty(()).uniform_(low, high))
        h, w = sample["image"].shape[-2:]
        size = [max(1, round(h * factor)), max(1, round(w * factor))]
        return map_tensors(sample, lambda x: TF.resize(x, size, antialias=False))


@dataclass(frozen=True)
class RandomCrop:
    """Crop at random, padding what is too small, so that no label of `limited` takes over `max_share` of it."""

    size: tuple[int, int]
    limited: str | None = None
    max_share: float = 0.75
    tries: int = 10

    def __call__(self, sample: Sample) -> Sample:
        sample = pad(sample, self.size)
        top, left = self._place(sample)
        return map_tensors(sample, lambda x: TF.crop(x, top, left, *self.size))

    def _place(self, sample: Sample) -> tuple[int, int]:
        h, w = sample["image"].shape[-2:]
        for _ in range(self.tries):
            top = int(torch.randint(h - self.size[0] + 1, ()))
            left = int(torch.randint(w - self.size[1] + 1, ()))
            if self._varied(sample, top, left):
                break
        return top, left

    def _varied(self, sample: Sample, top: int, left: int) -> bool:
        if self.limited is None:
            return True
        window = slice(top, top + self.size[0]), slice(left, left + self.size[1])
        labels = sample["truth"][self.limited][window][sample["valid"][self.limited][window]]
        counts = torch.bincount(labels.flatten())
        return len(labels) == 0 or int(counts.max()) <= self.max_share * len(labels)


@dataclass(frozen=True)
class RandomFlip:
    """Mirror left and right with probability 1/2; the normals' x changes sign."""

    def __call__(self, sample: Sample) -> Sample:
        return map_tensors(sample, TF.horizontal_flip) if torch.rand(()) < 0.5 else sample


class PhotometricDistortion:
    """Distort brightness, contrast, saturation and hue of the image alone."""

    def __init__(self) -> None:
        self.distort = v2.RandomPhotometricDistort()

    def __call__(self, sample: Sample) -> Sample:
        return {**sample, "image": self.distort(sample["image"])}


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


def collate_padded(size: tuple[int, int]) -> Callable[[list[Sample]], Batch]:
    """Return a collate function that pads to `size`, or to the largest image of the batch: evaluation's only change."""
    return functools.partial(_collate_padded, size)


def _collate_padded(size: tuple[int, int], samples: list[Sample]) -> Batch:
    h = max(size[0], *(sample["size"][0] for sample in samples))
    w = max(size[1], *(sample["size"][1] for sample in samples))
    return collate([pad(sample, (h, w)) for sample in samples])
