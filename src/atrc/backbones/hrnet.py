"""HRNet, from timm."""

from __future__ import annotations

from jaxtyping import Float
from timm.models import FeatureInfo
from timm.models.hrnet import HighResolutionModule
from torch import Tensor, nn

from atrc.backbones.base import Backbone, cut
from atrc.backbones.timm import create_timm


def hrnet18(pretrained: bool | str = False) -> HRNet:
    """HRNetV2-W18-small, the paper's HRNet18."""
    return HRNet("hrnet_w18_small_v2", pretrained)


def hrnet48(pretrained: bool | str = False) -> HRNet:
    """HRNetV2-W48, the paper's HRNet48."""
    return HRNet("hrnet_w48", pretrained)


class HRNet(Backbone):
    """HRNet's four levels before any classification head. Source: Sec. 4.1 (Backbones)."""

    def __init__(self, timm_name: str, pretrained: bool | str) -> None:
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

    def stages(self) -> list[nn.Module]:
        """The stem with HRNet's first stage, then the stages of two, three and four resolutions."""
        part = self.model.get_submodule
        stem = (part(name) for name in ("conv1", "bn1", "act1", "conv2", "bn2", "act2", "layer1"))
        return [_Stem(*stem), *(_Stage(part(f"transition{i}"), part(f"stage{i + 1}")) for i in (1, 2, 3))]


class _Stem(nn.Sequential):
    def forward(self, state: list[Tensor]) -> list[Tensor]:
        return [super().forward(state[0])]


class _Stage(nn.Module):
    """A transition that adds a coarser branch, made of the coarsest one there is, and exchange units."""

    def __init__(self, transition: nn.Module, exchanges: nn.Module) -> None:
        super().__init__()
        self.transition, self.exchanges = transition, exchanges

    def forward(self, state: list[Tensor]) -> list[Tensor]:
        steps = enumerate(self.transition.children())
        return self.exchanges([state[i] if isinstance(step, nn.Identity) else step(state[-1]) for i, step in steps])


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
            total = sum(cut(path(level), h, w) for path, level in zip(paths, levels, strict=True))
            fused.append(self.fuse_act(total))
        return fused
