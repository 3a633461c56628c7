"""What defines a relational context."""

from __future__ import annotations

import abc
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

# b batch, c feature channels, d attention channels, h w feature grid, y x what is attended to, r label regions


class Context(abc.ABC):
    """How the pixels of a target attend to a source. A context has no state, so its class is used directly.

    Attributes:
        name: In genotypes and recipes.
        title: In figures.
        letter: In the explorer, next to the colour.
        colour: In figures and the explorer, `#rrggbb`.
        meaning: What a pixel attends to, in a few words.
        regions: The task whose label regions are attended to instead of pixels, if any.
        window: Side of the square around a pixel that it attends to [px], if the context is limited to one.
        activation: The last activation of query and key.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    letter: ClassVar[str]
    colour: ClassVar[str]
    meaning: ClassVar[str]
    regions: ClassVar[Literal["target", "source"] | None] = None
    window: ClassVar[int | None] = None
    activation: ClassVar[type[nn.Module]] = nn.ReLU

    @staticmethod
    def gather(
        source: Float[Tensor, "b c h w"], densities: Float[Tensor, "b r h w"] | None
    ) -> Float[Tensor, "b c y x"]:
        """Return what keys and values are made of: the source's pixels, unless the context says otherwise.

        Args:
            source: Features F_S.
            densities: Of the label regions that `regions` names.
        """
        return source

    @staticmethod
    @abc.abstractmethod
    def attend(
        query: Float[Tensor, "b d h w"], key: Float[Tensor, "b d y x"], value: Float[Tensor, "b c y x"]
    ) -> Float[Tensor, "b c h w"]:
        """Return the context v' of every target pixel."""

    @staticmethod
    @abc.abstractmethod
    def attention(
        query: Float[Tensor, " d"], key: Float[Tensor, "d y x"], row: int, column: int
    ) -> Float[Tensor, "y x"]:
        """Return the attention map of one target pixel, at [row, column]; it sums to 1."""

    @staticmethod
    @abc.abstractmethod
    def multiply_adds(pixels: int, regions: int, channels: int, attention_channels: int) -> int:
        """Return the multiply-adds of `gather` and `attend`, for one image.

        Args:
            pixels: Size h w of the feature grid [px].
            regions: Label regions r of the task that `regions` names.
            channels: Channels c of the features.
            attention_channels: Channels d of query, key and value.
        """
