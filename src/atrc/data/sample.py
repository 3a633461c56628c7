"""What a data set yields: an image, the truth of every task, and where that truth is valid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypedDict

import torch
from jaxtyping import Float
from timm.data.constants import IMAGENET_DEFAULT_MEAN
from torch import Tensor
from torchvision import tv_tensors

Window = tuple[int, int, int, int]  # top, left, height and width of an image in its padding [px]


class Sample(TypedDict):
    """One image and its labels; typed tensors, so that joint transforms treat each as it needs.

    `image` is uint8 RGB (3 h w). `truth[task]` is of the task's `truth_type`. `valid[task]` is a boolean mask
    (h w); a label that the image lacks is valid nowhere. `window` is where the image is; outside it is padding.
    """

    id: str
    window: Window
    image: tv_tensors.Image
    truth: dict[str, tv_tensors.Mask]
    valid: dict[str, tv_tensors.Mask]


class Batch(TypedDict):
    """Samples of one size, stacked."""

    id: list[str]
    window: list[Window]
    image: Tensor
    truth: dict[str, Tensor]
    valid: dict[str, Tensor]


def map_tensors(sample: Sample, function: Callable[[Tensor], Tensor]) -> Sample:
    """Apply a function to the image and to every label and mask."""
    return {
        "id": sample["id"],
        "window": sample["window"],
        "image": function(sample["image"]),
        "truth": {task: function(truth) for task, truth in sample["truth"].items()},
        "valid": {task: function(valid) for task, valid in sample["valid"].items()},
    }


def collate(samples: list[Sample]) -> Batch:
    """Stack samples of one size."""

    def stack(maps: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {task: torch.stack([m[task].as_subclass(Tensor) for m in maps]) for task in maps[0]}

    return {
        "id": [sample["id"] for sample in samples],
        "window": [sample["window"] for sample in samples],
        "image": torch.stack([sample["image"].as_subclass(Tensor) for sample in samples]),
        "truth": stack([sample["truth"] for sample in samples]),
        "valid": stack([sample["valid"] for sample in samples]),
    }


def network_input(batch: Batch, device: torch.device | str | None = None) -> Float[Tensor, "b 3 h w"]:
    """Return the images of a batch for a network, in [0, 1]; padding is ImageNet's mean colour exactly.

    So padding is 0 once a backbone with ImageNet's statistics normalises, as most do and all of the paper's.
    """
    images = batch["image"].to(device).float() / 255
    mean = torch.tensor(IMAGENET_DEFAULT_MEAN, device=images.device)[:, None, None]
    for image, window in zip(images, batch["window"], strict=True):
        if window[2:] != image.shape[1:]:
            inside = cut(image, window).clone()
            image[:] = mean
            cut(image, window)[:] = inside
    return images


def without_padding(batch: Batch, task: str) -> Iterator[tuple[Window, Tensor, Tensor]]:
    """Yield the window of every image of a batch, with its truth (1 *_ h w) and its valid mask (1 h w)."""
    truth, valid = batch["truth"][task], batch["valid"][task]
    for i, window in enumerate(batch["window"]):
        yield window, cut(truth[i : i + 1], window), cut(valid[i : i + 1], window)


def cut(values: Tensor, window: Window) -> Tensor:
    """Return what lies in a window of maps (.. h w)."""
    top, left, h, w = window
    return values[..., top : top + h, left : left + w]
