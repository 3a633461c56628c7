"""Backbones: an image in, feature levels out; channels and strides travel with them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from atrc.backbones.base import Backbone
from atrc.backbones.from_timm import from_timm
from atrc.backbones.hrnet import hrnet18, hrnet48
from atrc.backbones.pyramid import resnet50
from atrc.errors import UserError

__all__ = ["BACKBONES", "Backbone", "build_backbone"]

BACKBONES: dict[str, Callable[[bool | str], Backbone]] = {
    "hrnet18": hrnet18,
    "hrnet48": hrnet48,
    "resnet50": resnet50,
    "convnext_tiny": partial(from_timm, "convnext_tiny.fb_in1k"),
    "swin_tiny": partial(from_timm, "swin_tiny_patch4_window7_224.ms_in1k"),
    "dinov2_small": partial(from_timm, "vit_small_patch14_dinov2.lvd142m"),
    "dinov3_small": partial(from_timm, "vit_small_patch16_dinov3.lvd1689m"),
}


def build_backbone(name: str, pretrained: bool | str = False) -> Backbone:
    """Make a backbone by name.

    Args:
        name: A key of `BACKBONES`, or `timm:NAME` for a model of timm.
        pretrained: Whether to fetch timm's pretrained weights, or a file that holds weights under timm's names.

    Raises:
        UserError: The name is unknown, the model cannot be a backbone, or pretrained weights cannot be had.
    """
    if name.startswith("timm:"):
        return from_timm(name.removeprefix("timm:"), pretrained)
    if name not in BACKBONES:
        raise UserError(
            f"unknown backbone '{name}'; choose from {', '.join(BACKBONES)}, or timm:NAME for timm's models"
        )
    return BACKBONES[name](pretrained)
