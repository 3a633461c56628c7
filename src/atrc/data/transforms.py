"""Joint transforms: one draw of chance for the image, every truth and every mask. Source: Sec. A, Sec. 4.1.

How a flip or a resize changes a truth is decided by the task (its `truth_type`); these transforms apply torchvision's
functionals to everything alike. Where the released code and we differ is listed in docs/method.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from atrc.data.photometric import distort
from atrc.data.sample import Batch, Sample, collate, map_tensors

Transform = Callable[[Sample], Sample]
PAD = (124, 116, 104)  # ImageNet's mean colour in 8 bits; `network_input` makes it exact


def training_transform(
    crop: tuple[int, int],
    scale: tuple[float, float] = (0.5, 2.0),
    *,
    distortion: float = 1.0,
    limited: str | None = None,
    corner: bool = False,
    labelled_by_parts: Sequence[str] = (),
) -> Transform:
    """Return the paper's augmentation: scale, crop, flip, photometric distortion, padding.

    Args:
        crop: Height and width of the crops [px].
        scale: Range of the scale.
        distortion: Strength of the photometric distortion; 1 is the paper's.
        limited: The task of whose labels none may take 75 % of a crop.
        corner: Resize labels by the corner rule of OpenCV, instead of by the centres of the pixels.
        labelled_by_parts: Tasks for which a crop of nothing but background counts as unlabelled.
    """
    return Chain(
        (
            RandomScaledCrop(crop, scale, limited, corner=corner),
            IgnoreBackgroundCrops(labelled_by_parts),
            RandomFlip(),
            PhotometricDistortion(distortion),
            Pad(crop),
        )
    )


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
    """Resize by a factor drawn uniformly, dividing depth by it, and crop at random what is larger than `size`.

    Up to `tries` places are drawn until no label of `limited` takes `max_share` of the crop's valid part; if all fail,
    one more is drawn and taken as it is. A crop without a valid label fails.

    What will not be seen need not be resized: the crop's window is cut out at whole pixels first. So the factor along
    an axis is off by what rounds the window, at most half a pixel in its length; depth is divided by the actual one.
    """

    size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    limited: str | None = None
    max_share: float = 0.75
    tries: int = 10
    corner: bool = False

    def __call__(self, sample: Sample) -> Sample:
        factor = float(torch.empty(()).uniform_(*self.scale))
        h, w = sample["image"].shape[-2:]
        (height, tall), (width, wide) = _window(h, self.size[0], factor), _window(w, self.size[1], factor)
        top, left = self._place(sample, height, width)
        sample = map_tensors(sample, lambda x: TF.crop(x, top, left, height, width))
        if (height, width) != (tall, wide):
            sample = map_tensors(sample, lambda x: self._resize(x, [tall, wide]))
        return {**sample, "window": (0, 0, tall, wide)}

    def _resize(self, x: Tensor, size: list[int]) -> Tensor:
        corner = self.corner and not isinstance(x, tv_tensors.Image)
        mode = InterpolationMode.NEAREST if corner else InterpolationMode.BILINEAR
        return TF.resize(x, size, mode, antialias=False)

    def _place(self, sample: Sample, height: int, width: int) -> tuple[int, int]:
        h, w = sample["image"].shape[-2:]
        for attempt in range(self.tries + 1):
            top = int(torch.randint(h - height + 1, ()))
            left = int(torch.randint(w - width + 1, ()))
            window = slice(top, top + height), slice(left, left + width)
            if attempt < self.tries and self._varied(sample, window):
                break
        return top, left

    def _varied(self, sample: Sample, window: tuple[slice, slice]) -> bool:
        if self.limited is None:
            return True
        labels, valid = (sample[key][self.limited][window].as_subclass(Tensor) for key in ("truth", "valid"))
        limit = self.max_share * int(valid.sum())
        if int(torch.bincount(labels.flatten()).max()) < limit:  # without the mask: sooner known, and enough
            return True
        return int(torch.bincount(labels[valid], minlength=1).max()) < limit


def _window(length: int, crop: int, factor: float) -> tuple[int, int]:
    """Return a window's length before and after the resize."""
    full = max(1, int(length * factor))
    return (length, full) if full <= crop else (min(length, max(1, round(crop / factor))), crop)


@dataclass(frozen=True)
class IgnoreBackgroundCrops:
    """Make a task valid nowhere in a crop that holds nothing but its background, class 0."""

    tasks: Sequence[str]

    def __call__(self, sample: Sample) -> Sample:
        valid = dict(sample["valid"])
        for task in self.tasks:
            if not ((sample["truth"][task] > 0) & valid[task]).any():
                valid[task] = torch.zeros_like(valid[task])
        return {**sample, "valid": valid}


@dataclass(frozen=True)
class RandomFlip:
    """Mirror left and right with probability 1/2; the normals' x changes sign."""

    def __call__(self, sample: Sample) -> Sample:
        return map_tensors(sample, TF.horizontal_flip) if torch.rand(()) < 0.5 else sample


@dataclass(frozen=True)
class PhotometricDistortion:
    """Distort brightness, contrast, saturation and hue of the image alone, each with probability 1/2.

    Brightness adds up to 32 of 255 either way, contrast and saturation are multiplied by 0.5 to 1.5, and the hue turns
    by -36 to 34 degrees; `strength` scales these ranges. Contrast comes before or after the colours by a coin flip.

    Source: the released code, which uses mmsegmentation's, after SSD (ECCV 2016).
    """

    strength: float = 1.0

    def __call__(self, sample: Sample) -> Sample:
        last = bool(torch.rand(()) < 0.5)
        brightness, contrast, saturation = (
            float(torch.empty(()).uniform_(-half, half)) * self.strength if torch.rand(()) < 0.5 else 0.0
            for half in (32.0, 0.5, 0.5)
        )
        steps = round(18 * self.strength)
        hue = int(torch.randint(-steps, steps, ())) if torch.rand(()) < 0.5 and steps else 0
        image = distort(
            sample["image"].as_subclass(Tensor),
            brightness=brightness, contrast=1 + contrast, saturation=1 + saturation, hue=hue, contrast_last=last,
        )  # fmt: skip
        return {**sample, "image": tv_tensors.Image(image)}


@dataclass(frozen=True)
class Pad:
    """Pad to at least `size`, with the image in the centre and the odd pixel on the far side; padding is not valid."""

    size: tuple[int, int]

    def __call__(self, sample: Sample) -> Sample:
        h, w = sample["image"].shape[-2:]
        down, right = max(0, self.size[0] - h), max(0, self.size[1] - w)
        if not down and not right:
            return sample
        top, left = down // 2, right // 2

        def pad_one(x: Tensor) -> Tensor:
            fill = PAD if isinstance(x, tv_tensors.Image) else 0
            return TF.pad(x, [left, top, right - left, down - top], fill=fill)

        return {**map_tensors(sample, pad_one), "window": (top, left, h, w)}


def collate_padded(size: tuple[int, int]) -> Callable[[list[Sample]], list[Batch]]:
    """Return a collate function that pads each image to at least `size`: evaluation's only change.

    It makes one batch for each size that results, so that no image is padded because of another one: what is predicted
    does not depend on what else is in the batch.
    """
    return functools.partial(_collate_padded, Pad(size))


def _collate_padded(pad: Pad, samples: list[Sample]) -> list[Batch]:
    groups: dict[tuple[int, ...], list[Sample]] = {}
    for sample in samples:
        padded = pad(sample)
        groups.setdefault(tuple(padded["image"].shape), []).append(padded)
    return [collate(group) for group in groups.values()]
