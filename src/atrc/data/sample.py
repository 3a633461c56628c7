"""What a data set yields: an image, the truth of every task, and where that truth is valid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypedDict

import torch
from torch import Tensor
from torchvision import tv_tensors


class Sample(TypedDict):
    """One image and its labels; typed tensors, so that joint transforms treat each as it needs.

    `image` is uint8 RGB (3 h w). `truth[task]` is of the task's `truth_type`. `valid[task]` is a boolean mask
    (h w); a label that the image lacks is valid nowhere. `size` is the image's own, before any padding.
    """

    id: str
    size: tuple[int, int]
    image: tv_tensors.Image
    truth: dict[str, tv_tensors.Mask]
    valid: dict[str, tv_tensors.Mask]


class Batch(TypedDict):
    """Samples of one size, stacked."""

    id: list[str]
    size: list[tuple[int, int]]
    image: Tensor
    truth: dict[str, Tensor]
    valid: dict[str, Tensor]


def map_tensors(sample: Sample, function: Callable[[Tensor], Tensor]) -> Sample:
    """Apply a function to the image and to every label and mask."""
    return {
        "id": sample["id"],
        "size": sample["size"],
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
        "size": [sample["size"] for sample in samples],
        "image": torch.stack([sample["image"].as_subclass(Tensor) for sample in samples]),
        "truth": stack([sample["truth"] for sample in samples]),
        "valid": stack([sample["valid"] for sample in samples]),
    }
