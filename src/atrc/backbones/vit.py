"""Plain vision transformers, from timm, with a feature pyramid."""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from timm.layers import LayerNorm2d
from timm.models import FeatureInfo
from torch import Tensor, nn

from atrc.backbones.base import Backbone, crop, pad

# b batch, d width of the transformer, c channels of a level, h w image, y x grid of patches


class PlainViT(Backbone):
    """A transformer of one resolution; its layers make levels at strides 4, 8, 16 and 32.

    The grid of patches gets a stride that is a power of two: with patches of 14 pixels, the transformer sees the image
    at 14/16 of its size, so that a patch covers 16 pixels of it, and all levels align with those of other backbones.
    """

    strides = (4, 8, 16, 32)

    def __init__(self, model: nn.Module, layers: Literal["four", "last"]) -> None:
        """Wrap a model.

        Args:
            model: A model of timm made with `features_only=True` that takes images of any whole number of patches.
            layers: Whether each level is made from one of the model's "four" maps, the finest from the first, or all
                are made from the "last" map.
        """
        super().__init__()
        info: FeatureInfo = model.feature_info  # type: ignore[assignment]
        width, self.patch = info.channels()[-1], info.reduction()[-1]
        self.stride = 2 ** math.ceil(math.log2(self.patch))
        self.model, self.layers, self.channels = model, layers, (width // 4,) * len(self.strides)
        self.mean, self.std = tuple(model.pretrained_cfg["mean"]), tuple(model.pretrained_cfg["std"])  # type: ignore
        level = _reassemble if layers == "four" else _simple_level
        self.pyramid = nn.ModuleList(level(width, width // 4, self.stride, stride) for stride in self.strides)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        maps = self.model(self._patchable(image))
        if self.layers == "last":
            maps = maps[-1:] * len(self.strides)
        return crop([level(x) for level, x in zip(self.pyramid, maps, strict=True)], self.strides, image)

    def _patchable(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 _ _"]:
        image = pad(image, self.stride)
        if self.patch == self.stride:
            return image
        size = tuple(side // self.stride * self.patch for side in image.shape[-2:])
        return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)


def _reassemble(width: int, channels: int, stride: int, wanted: int) -> nn.Sequential:
    """Bring a map to a number of channels, then from one stride to another.

    The norm is ours: the maps of different depths have different magnitudes, and the heads read them together.

    Source: Ranftl et al., Vision Transformers for Dense Prediction (DPT), ICCV 2021, Sec. 3.
    """
    layers: list[nn.Module] = [nn.Conv2d(width, channels, 1)]
    if wanted > stride:
        layers.append(nn.Conv2d(channels, channels, 3, stride=wanted // stride, padding=1))
    elif wanted < stride:
        layers.append(nn.ConvTranspose2d(channels, channels, stride // wanted, stride=stride // wanted))
    return nn.Sequential(*layers, LayerNorm2d(channels))


def _simple_level(width: int, channels: int, stride: int, wanted: int) -> nn.Sequential:
    """Bring a map from one stride to another, then to a number of channels.

    Transposed convolutions double the resolution and halve the width. The paper ends each level with a 3x3
    convolution; it is left out here, because every head begins with one.

    Source: Li et al., Exploring Plain Vision Transformer Backbones for Object Detection, ECCV 2022, Sec. 3.
    """
    layers: list[nn.Module] = [nn.MaxPool2d(wanted // stride, ceil_mode=True)] if wanted > stride else []
    for step in range(int(math.log2(max(stride // wanted, 1)))):
        layers += [LayerNorm2d(width), nn.GELU()] if step else []
        layers.append(nn.ConvTranspose2d(width, width // 2, 2, stride=2))
        width //= 2
    return nn.Sequential(*layers, nn.Conv2d(width, channels, 1, bias=False), LayerNorm2d(channels))
