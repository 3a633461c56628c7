"""Use the levels of the backbone as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atrc.necks.base import Levels, Neck, NeckOutput


class ConcatNeck(Neck):
    """All levels upsampled to the first and concatenated. Source: HRNetV2, as in Sec. 4.1."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.level_channels = tuple(channels)

    def forward(self, levels: Mapping[str, Levels]) -> NeckOutput:
        return NeckOutput(dict(levels), {})
