"""What a backbone promises."""

from __future__ import annotations

import abc

from jaxtyping import Float
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn


class Backbone(nn.Module, abc.ABC):
    """Feature levels of an image of any size, finest first.

    Attributes:
        channels: Channels of each level.
        strides: Image pixels per feature pixel of each level; level sizes round up.
        mean: Mean colour of the images that the weights were trained on, RGB in [0, 1].
        std: Their standard deviation.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    mean: tuple[float, float, float] = IMAGENET_DEFAULT_MEAN
    std: tuple[float, float, float] = IMAGENET_DEFAULT_STD

    @abc.abstractmethod
    def forward(self, image: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Return the levels."""
