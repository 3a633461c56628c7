"""HRNet, from timm."""

from __future__ import annotations

from jaxtyping import Float
from timm.models import FeatureInfo
from timm.models.hrnet import HighResolutionModule
from torch import Tensor

from atrc.backbones.base import Backbone
from atrc.backbones.timm import create_timm


def hrnet18(pretrained: bool = False) -> HRNet:
    """HRNetV2-W18-small, the paper's HRNet18."""
    return HRNet("hrnet_w18_small_v2", pretrained)


class HRNet(Backbone):
    """HRNet's four levels before any classification head. Source: Sec. 4.1 (Backbones)."""

    def __init__(self, timm_name: str, pretrained: bool) -> None:
        super().__init__()
        self.model = create_timm(
            timm_name, pretrained, features_only=True, feature_location="", out_indices=(1, 2, 3, 4)
        )
        info: FeatureInfo = self.model.feature_info  # type: ignore[assignment]
        self.channels, self.strides = tuple(info.channels()), tuple(info.reduction())
        for module in self.model.modules():
            if isinstance(module, HighResolutionModule):
                module.__class__ = _AnySizeExchange

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        return self.model(image)


class _AnySizeExchange(HighResolutionModule):
    """timm's exchange unit, for any image size.

    timm adds a coarse level, upsampled by its stride, to a finer one: that fits only where the image is a
    multiple of 32. Level sizes round up, so the upsampled one is never too small; cropped, it stays aligned.
    """

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        levels = [branch(level) for branch, level in zip(self.branches, levels, strict=True)]
        if self.num_branches == 1:
            return levels
        fused = []
        for own, paths in zip(levels, self.fuse_layers, strict=False):
            h, w = own.shape[-2:]
            total = sum(path(level)[..., :h, :w] for path, level in zip(paths, levels, strict=True))
            fused.append(self.fuse_act(total))
        return fused
