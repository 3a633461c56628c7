"""Backbones: an image in, feature levels out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from atrc.backbones.base import Backbone, BackboneOptions
from atrc.backbones.from_timm import from_timm
from atrc.backbones.lite import efficientnet_lite
from atrc.backbones.pyramid import resnet50
from atrc.errors import UserError

__all__ = ["BACKBONES", "Backbone", "BackboneOptions", "build_backbone"]

# The tags name the weights: without one, timm's default may change.
BACKBONES: dict[str, Callable[[BackboneOptions], Backbone]] = {
    "hrnet18": partial(from_timm, "hrnet_w18_small_v2.ms_in1k"),  # the paper's; HRNetV2-W18-small
    "hrnet48": partial(from_timm, "hrnet_w48.ms_in1k"),
    "resnet50": resnet50,
    "convnext_tiny": partial(from_timm, "convnext_tiny.fb_in1k"),
    "swin_tiny": partial(from_timm, "swin_tiny_patch4_window7_224.ms_in1k"),
    "dinov2_small": partial(from_timm, "vit_small_patch14_dinov2.lvd142m"),
    "dinov3_small": partial(from_timm, "vit_small_patch16_dinov3.lvd1689m"),
    "efficientnet_lite0": partial(efficientnet_lite, 0),
    "efficientnet_lite1": partial(efficientnet_lite, 1),
    "efficientnet_lite2": partial(efficientnet_lite, 2),
}


def build_backbone(name: str, pretrained: bool | str = False, **options: Any) -> Backbone:
    """Make a backbone by name.

    Args:
        name: A key of `BACKBONES`, or `timm:NAME` for a model of timm.
        pretrained: Whether to load pretrained weights, or a file that holds weights under timm's names.
        options: The other fields of `BackboneOptions`.

    Raises:
        UserError: The name is unknown, the model cannot be a backbone, or pretrained weights are not available.
    """
    chosen = BackboneOptions(pretrained, **options)
    if name.startswith("timm:"):
        return from_timm(name.removeprefix("timm:"), chosen)
    if name not in BACKBONES:
        raise UserError(
            f"unknown backbone '{name}'; choose from {', '.join(BACKBONES)}, or timm:NAME for timm's models"
        )
    return BACKBONES[name](chosen)
