"""The interface of backbones."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from atrc.errors import UserError

# b batch, c channels, h w image

Size = int | torch.SymInt  # a SymInt while a network is exported for any image size


@dataclass(frozen=True)
class BackboneOptions:
    """What a recipe says about its backbone, other than the name.

    Attributes:
        pretrained: Whether to load pretrained weights, or a file that holds weights under timm's names.
        drop_path: Rate of stochastic depth, rising linearly to it at the last block. Source: Huang et al., ECCV 2016.
        hrnet_upsampling: How HRNet's exchange units upsample: "bilinear" (the paper's code) or "nearest" (timm).
        vit_layers: Layers of a plain vision transformer that its levels are made from: "four" evenly spaced ones, or
            the "last".
    """

    pretrained: bool | str = False
    drop_path: float = 0.0
    hrnet_upsampling: Literal["bilinear", "nearest"] = "bilinear"
    vit_layers: Literal["four", "last"] = "four"


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

    def stages(self) -> list[nn.Module]:
        """Return the backbone as modules that run one after the other, so that a network can branch between them.

        Each maps a list of tensors to a list of tensors; the first gets `[image]`, the last returns the levels:

            state = [image]
            for stage in backbone.stages():
                state = stage(state)

        equals `backbone(image)`. A stage does not change the list it gets, so several may continue from one list.
        Every call makes new modules that share the backbone's parameters; copy them for separate parameters.

        Raises:
            UserError: The backbone is not made of stages.
        """
        raise UserError(
            "this backbone is not made of stages, so it cannot branch or be frozen by stages; those of HRNet, ResNet, "
            "ConvNeXt, Swin and EfficientNet are"
        )


def pad(image: Float[Tensor, "b c h w"], multiple: int) -> Float[Tensor, "b c _ _"]:
    """Pad the bottom and the right with the mean colour (0) to multiples of a number of pixels."""
    h, w = image.shape[-2:]  # torch.export reasons about // better than about %
    return F.pad(
        image, (0, (w + multiple - 1) // multiple * multiple - w, 0, (h + multiple - 1) // multiple * multiple - h)
    )


def crop(
    levels: Sequence[Float[Tensor, "b _ _ _"]], strides: Sequence[int], image: Float[Tensor, "b _ h w"]
) -> list[Float[Tensor, "b _ _ _"]]:
    """Crop the levels of a padded image to the image; sizes round up."""
    h, w = image.shape[-2:]
    return [cut(level, (h + s - 1) // s, (w + s - 1) // s) for level, s in zip(levels, strides, strict=True)]


def cut(x: Float[Tensor, "b c _ _"], height: Size, width: Size) -> Float[Tensor, "b c _ _"]:
    """Crop the bottom and the right to a size that is not larger."""
    if isinstance(height, torch.SymInt) or isinstance(width, torch.SymInt):
        # A negative pad rather than a slice: it asks nothing about the sizes, so any size exports.
        return F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]))  # type: ignore[arg-type]
    return x[..., :height, :width]
