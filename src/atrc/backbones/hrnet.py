"""HRNet, from timm."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.models import FeatureInfo
from timm.models.hrnet import HighResolutionModule
from torch import Tensor, nn

from atrc.backbones.base import Backbone, BackboneOptions, cut
from atrc.backbones.timm import create_timm


class HRNet(Backbone):
    """HRNet's four levels before any classification head. Source: Sec. 4.1 (Backbones)."""

    def __init__(self, timm_name: str, options: BackboneOptions) -> None:
        super().__init__()
        self.model = create_timm(timm_name, options, features_only=True, feature_location="", out_indices=(1, 2, 3, 4))
        info: FeatureInfo = self.model.feature_info  # type: ignore[assignment]
        self.channels, self.strides = tuple(info.channels()), tuple(info.reduction())
        bilinear = options.hrnet_upsampling == "bilinear"
        for module in self.model.modules():
            if isinstance(module, HighResolutionModule):
                module.__class__ = _BilinearExchange if bilinear else _NearestExchange
            elif isinstance(module, nn.Upsample) and bilinear:
                module.mode, module.align_corners = "bilinear", False

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
    """A transition, which makes one more branch from the coarsest one, and exchange units."""

    def __init__(self, transition: nn.Module, exchanges: nn.Module) -> None:
        super().__init__()
        self.transition, self.exchanges = transition, exchanges

    def forward(self, state: list[Tensor]) -> list[Tensor]:
        steps = enumerate(self.transition.children())
        return self.exchanges([state[i] if isinstance(step, nn.Identity) else step(state[-1]) for i, step in steps])


class _NearestExchange(HighResolutionModule):
    """timm's exchange unit, for any image size.

    timm adds a coarse level, upsampled by its stride, to a finer one: their sizes are equal only where the image is a
    multiple of 32. Level sizes round up, so the upsampled level is never too small; cropped, it stays aligned.
    """

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        levels = [branch(level) for branch, level in zip(self.branches, levels, strict=True)]
        if self.num_branches == 1:
            return levels
        fused = []
        for own, paths in zip(levels, self.fuse_layers, strict=False):
            total = sum(self.fit(path(level), own) for path, level in zip(paths, levels, strict=True))
            fused.append(self.fuse_act(total))
        return fused

    def fit(self, level: Float[Tensor, "b c _ _"], own: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b c h w"]:
        """Crop an upsampled level to the size of a finer one."""
        return cut(level, *own.shape[-2:])


class _BilinearExchange(_NearestExchange):
    """The exchange unit of the paper's code: it resizes where timm's is cropped."""

    def fit(self, level: Float[Tensor, "b c _ _"], own: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b c h w"]:
        """Resize an upsampled level to the size of a finer one."""
        if not isinstance(own.shape[-1], torch.SymInt) and level.shape == own.shape:
            return level
        return F.interpolate(level, size=own.shape[-2:], mode="bilinear", align_corners=False)
