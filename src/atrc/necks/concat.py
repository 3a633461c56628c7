"""Bring every level to the finest one and concatenate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class ConcatNeck(nn.Module):
    """Upsample all levels bilinearly to the first and concatenate them. Source: HRNetV2, as in Sec. 4.1."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = sum(channels)

    def forward(self, levels: list[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b c h w"]:
        size = levels[0].shape[-2:]
        coarse = [F.interpolate(level, size=size, mode="bilinear", align_corners=False) for level in levels[1:]]
        return torch.cat([levels[0], *coarse], 1)
