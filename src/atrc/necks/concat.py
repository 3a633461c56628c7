"""Bring every level to the finest one and concatenate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atrc.necks.base import Levels, Neck, NeckOutput, join, once_each


class ConcatNeck(Neck):
    """All levels upsampled to the first and concatenated. Source: HRNetV2, as in Sec. 4.1."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = sum(channels)

    def forward(self, levels: Mapping[str, Levels]) -> NeckOutput:
        return NeckOutput(once_each(levels, join), {}, {})
