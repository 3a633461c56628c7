"""The interface of necks."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

# b batch, c channels, h w feature grid of the finest level

T = TypeVar("T")
Levels = Sequence[Float[Tensor, "b _ _ _"]]  # of one task, finest first


class NeckOutput(NamedTuple):
    """What a neck makes of the backbone's levels: dictionaries by task.

    Attributes:
        levels: The levels of every task, finest first; tasks may share one list.
        initial: Initial predictions at every level, to be supervised; empty for most necks.
    """

    levels: dict[str, Levels]
    initial: dict[str, list[Float[Tensor, "b _ _ _"]]]


class Neck(nn.Module, abc.ABC):
    """Turns the levels of the backbone into those that the heads read, joined (`join`).

    Attributes:
        level_channels: Channels of every level, finest first.
    """

    level_channels: tuple[int, ...]

    @property
    def channels(self) -> int:
        """Channels c of the joined levels."""
        return sum(self.level_channels)

    @abc.abstractmethod
    def forward(self, levels: Mapping[str, Levels]) -> NeckOutput:
        """Return the levels of every task; tasks that share a backbone give the same list."""


def join(levels: Levels) -> Float[Tensor, "b c h w"]:
    """Upsample all levels bilinearly to the first and concatenate them. Source: HRNetV2, as in Sec. 4.1."""
    return torch.cat([levels[0], *(resize(level, levels[0]) for level in levels[1:])], 1)


def once_each(levels: Mapping[str, Levels], function: Callable[[Levels], T]) -> dict[str, T]:
    """Apply a function to the levels of every task, once for tasks that share them."""
    done: dict[str, T] = {}
    for task, own in levels.items():
        twin = next((other for other in done if levels[other] is own), None)
        done[task] = function(own) if twin is None else done[twin]
    return done


def resize(features: Float[Tensor, "b c _ _"], like: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b c h w"]:
    """Resize bilinearly to another map's size."""
    return F.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=False)
