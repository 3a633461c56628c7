"""Backbones: an image in, feature levels out; channels and strides travel with them."""

from __future__ import annotations

from collections.abc import Callable

from atrc.backbones.base import Backbone
from atrc.backbones.hrnet import hrnet18
from atrc.errors import UserError

__all__ = ["BACKBONES", "Backbone", "build_backbone"]

BACKBONES: dict[str, Callable[[bool], Backbone]] = {"hrnet18": hrnet18}


def build_backbone(name: str, pretrained: bool = False) -> Backbone:
    """Make a backbone by name.

    Raises:
        UserError: The name is unknown, or pretrained weights cannot be had.
    """
    if name not in BACKBONES:
        raise UserError(f"unknown backbone '{name}'; choose from {', '.join(BACKBONES)}")
    return BACKBONES[name](pretrained)
