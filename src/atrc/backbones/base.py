"""What a backbone promises."""

from __future__ import annotations

import abc

from jaxtyping import Float
from torch import Tensor, nn


class Backbone(nn.Module, abc.ABC):
    """Feature levels of an image of any size, finest first.

    Attributes:
        channels: Channels of each level.
        strides: Image pixels per feature pixel of each level; level sizes round up.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    @abc.abstractmethod
    def forward(self, image: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Return the levels."""
