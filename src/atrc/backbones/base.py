"""What a backbone promises."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from atrc.errors import UserError

# b batch, c channels, h w image

Size = int | torch.SymInt  # which has no value yet while a network is exported for any size


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
        """Return the backbone cut into modules that run one after the other, for networks that branch in between.

        Each maps a list of tensors to a list of tensors; the first gets `[image]`, the last returns the levels:

            state = [image]
            for stage in backbone.stages():
                state = stage(state)

        equals `backbone(image)`. A stage leaves the list it gets as it is, so several may go on from one list. The
        stages are made anew by every call and share the backbone's parameters; copy them to have others.

        Raises:
            UserError: The backbone is not made of stages.
        """
        raise UserError(
            "this backbone is not made of stages, so it cannot branch or be frozen by stages; those of HRNet, ResNet, "
            "ConvNeXt and Swin are"
        )


def pad(image: Float[Tensor, "b c h w"], multiple: int) -> Float[Tensor, "b c _ _"]:
    """Pad below and to the right, with the mean colour (0), to multiples of a number of pixels."""
    h, w = image.shape[-2:]  # torch.export reasons about // better than about %
    return F.pad(
        image, (0, (w + multiple - 1) // multiple * multiple - w, 0, (h + multiple - 1) // multiple * multiple - h)
    )


def crop(
    levels: Sequence[Float[Tensor, "b _ _ _"]], strides: Sequence[int], image: Float[Tensor, "b _ h w"]
) -> list[Float[Tensor, "b _ _ _"]]:
    """Cut from the levels of a padded image what belongs to the image; sizes round up."""
    h, w = image.shape[-2:]
    return [cut(level, (h + s - 1) // s, (w + s - 1) // s) for level, s in zip(levels, strides, strict=True)]


def cut(x: Float[Tensor, "b c _ _"], height: Size, width: Size) -> Float[Tensor, "b c _ _"]:
    """Cut off rows below and columns to the right; none, if there are no more than wanted."""
    if isinstance(height, torch.SymInt) or isinstance(width, torch.SymInt):
        # A negative pad rather than a slice: it asks nothing about the sizes, so any size exports.
        return F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]))  # type: ignore[arg-type]
    return x[..., :height, :width]
