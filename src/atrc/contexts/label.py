"""Label contexts: prototypes of the label regions of the target (T-label) or of the source (S-label)."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from atrc.contexts.base import Context
from atrc.errors import UserError

# b batch, c feature or value channels, d query/key channels, h w feature grid, r label regions, n pixels


def spatial_softmax(logits: Float[Tensor, "b r h w"]) -> Float[Tensor, "b r h w"]:
    """Turn logits over label regions into one density over the pixels per region. Source: Sec. 3.2.3."""
    return logits.flatten(2).softmax(2).view_as(logits)


def prototypes(densities: Float[Tensor, "b r h w"], features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c r"]:
    """Average the source's features over every label region. Source: Sec. 3.2.3, Eq. 5."""
    return torch.einsum("brhw,bchw->bcr", densities, features)


class TLabel(Context):
    """Attend to the label regions of the target, in the source's features. Source: Sec. 3.2.3, Eq. 5 and 2."""

    name, title, letter, colour = "t_label", "T-label", "T", "#228833"
    meaning = "label regions of the row's task"
    regions: ClassVar[Literal["target", "source"] | None] = "target"

    @staticmethod
    def gather(
        source: Float[Tensor, "b c h w"], densities: Float[Tensor, "b r h w"] | None
    ) -> Float[Tensor, "b c r 1"]:
        """Return the prototypes, as an image r pixels high.

        Raises:
            UserError: The densities are missing.
        """
        if densities is None:
            raise UserError("a label context needs the label regions of its task: give their logits as `auxiliary`")
        return prototypes(densities, source)[..., None]

    @staticmethod
    def attend(
        query: Float[Tensor, "b d h w"], key: Float[Tensor, "b d r 1"], value: Float[Tensor, "b c r 1"]
    ) -> Float[Tensor, "b c h w"]:
        """Return Eq. 2, with the prototypes as what is attended to."""
        scores = torch.einsum("bdn,bdr->bnr", query.flatten(2), key.flatten(2)) / math.sqrt(query.shape[1])
        context = torch.einsum("bnr,bcr->bcn", scores.softmax(2).to(value.dtype), value.flatten(2))
        return context.unflatten(2, query.shape[2:])

    @staticmethod
    def attention(
        query: Float[Tensor, " d"], key: Float[Tensor, "d y x"], row: int, column: int
    ) -> Float[Tensor, "y x"]:
        """Return the softmax over the label regions.

        >>> TLabel.attention(torch.tensor([1.0]), torch.zeros(1, 2, 1), 0, 0).flatten()
        tensor([0.5000, 0.5000])
        """
        return (torch.einsum("d,dyx->yx", query, key) / math.sqrt(len(query))).softmax(0)

    @staticmethod
    def multiply_adds(pixels: int, regions: int, channels: int, attention_channels: int) -> int:
        return pixels * regions * (channels + 2 * attention_channels)


class SLabel(TLabel):
    """Attend to the label regions of the source, in the source's features. Source: Sec. 3.2.3, Eq. 5 and 2."""

    name, title, letter, colour = "s_label", "S-label", "S", "#aa3377"
    meaning = "label regions of the column's task"
    regions = "source"
