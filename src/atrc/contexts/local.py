"""Local context: the source's pixels in a window around the target's pixel."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from atrc.contexts.base import Context

# b batch, c value channels, d query/key channels, h w feature grid, o offsets in the window, n pixels

WINDOW = 9  # width and height of the neighbourhood N_b [px]


class Local(Context):
    """Attend to the 9x9 window around a pixel; neighbours outside the image do not exist. Source: Sec. 3.2.2, Eq. 4."""

    name, title, letter, colour, meaning = "local", "local", "L", "#ccbb44", f"{WINDOW}x{WINDOW} cells around"
    window = WINDOW

    @staticmethod
    def attend(
        query: Float[Tensor, "b d h w"],
        key: Float[Tensor, "b d h w"],
        value: Float[Tensor, "b c h w"],
        window: int = WINDOW,
    ) -> Float[Tensor, "b c h w"]:
        """Return Eq. 4, with the neighbours of every pixel unfolded."""
        d, (h, w) = query.shape[1], query.shape[2:]
        unfolded = (F.unfold(x, window, padding=window // 2) for x in (key, value, torch.ones_like(key[:1, :1])))
        keys, values, exists = (x.unflatten(1, (-1, window**2)) for x in unfolded)
        scores = torch.einsum("bdn,bdon->bon", query.flatten(2), keys) / math.sqrt(d)
        weights = scores.masked_fill(exists[:, 0] == 0, -math.inf).softmax(1)
        return torch.einsum("bon,bcon->bcn", weights, values).unflatten(2, (h, w))

    @staticmethod
    def attention(
        query: Float[Tensor, " d"], key: Float[Tensor, "d y x"], row: int, column: int
    ) -> Float[Tensor, "y x"]:
        """Return the softmax over the window; 0 outside it.

        >>> (Local.attention(torch.zeros(1), torch.zeros(1, 1, 9), 0, 2) * 7).int()
        tensor([[1, 1, 1, 1, 1, 1, 1, 0, 0]], dtype=torch.int32)
        """
        window = tuple(slice(max(0, i - WINDOW // 2), i + WINDOW // 2 + 1) for i in (row, column))
        scores = torch.einsum("d,dyx->yx", query, key[:, *window]) / math.sqrt(len(query))
        weights = key.new_zeros(key.shape[1:])
        weights[window] = scores.flatten().softmax(0).view_as(scores)
        return weights

    @staticmethod
    def multiply_adds(pixels: int, regions: int, channels: int, attention_channels: int) -> int:
        return 2 * pixels * WINDOW**2 * attention_channels
