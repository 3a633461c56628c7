"""Necks that select and narrow the levels of the backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from atrc.necks.base import Levels, Neck, NeckOutput, once_each

SKIP, DEEP = 48, 256  # DeepLabV3+'s widths
LEVEL = 96


class ConcatNeck(Neck):
    """All levels as they are. Source: HRNetV2, as in Sec. 4.1."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.level_channels = tuple(channels)

    def forward(self, levels: Mapping[str, Levels]) -> NeckOutput:
        return NeckOutput(dict(levels), {})


class SkipNeck(Neck):
    """The finest level narrowed to 48 channels and the deepest narrowed to 256, the same for all tasks.

    The paper says "a skip connection at stride 4" and leaves the widths open; these are DeepLabV3+'s, so that the
    networks with and without ASPP differ in the ASPP only.

    Source: Sec. 4.5; Chen et al., Encoder-Decoder with Atrous Separable Convolution, ECCV 2018.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.skip, self.deep = _narrow(channels[0], SKIP), _narrow(channels[-1], DEEP)
        self.level_channels = SKIP, DEEP

    def forward(self, levels: Mapping[str, Levels]) -> NeckOutput:
        return NeckOutput(once_each(levels, self._narrowed), {})

    def _narrowed(self, levels: Levels) -> Levels:
        return [self.skip(levels[0]), self.deep(levels[-1])]


class ProjectNeck(Neck):
    """Every level narrowed to 96 channels, for backbones with wide levels.

    On the levels of ConvNeXt-Tiny as they are, the paper's heads take 70 G multiply-adds per task at 425x560.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_narrow(c, LEVEL) for c in channels)
        self.level_channels = (LEVEL,) * len(channels)

    def forward(self, levels: Mapping[str, Levels]) -> NeckOutput:
        return NeckOutput(once_each(levels, self._narrowed), {})

    def _narrowed(self, levels: Levels) -> Levels:
        return [narrow(level) for narrow, level in zip(self.levels, levels, strict=True)]


class ASPPNeck(Neck):
    """Atrous spatial pyramid pooling of the deepest level, one for every task, and the skip connection.

    Source: Sec. 4.5 (a separate ASPP module before each head); Chen et al., Rethinking Atrous Convolution, 2017.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], tasks: Sequence[str]) -> None:
        from torchvision.models.segmentation.deeplabv3 import ASPP

        super().__init__()
        rates = [max(1, rate * 16 // strides[-1]) for rate in (6, 12, 18)]  # the same reach at any output stride
        self.skip = _narrow(channels[0], SKIP)
        self.aspp = nn.ModuleDict({task: ASPP(channels[-1], rates, DEEP) for task in tasks})
        self.level_channels = SKIP, DEEP

    def forward(self, levels: Mapping[str, Levels]) -> NeckOutput:
        own: dict[str, Levels] = {t: [self.skip(levels[t][0]), aspp(levels[t][-1])] for t, aspp in self.aspp.items()}
        return NeckOutput(own, {})


def _narrow(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
