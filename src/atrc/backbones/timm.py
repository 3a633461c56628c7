"""Making timm models, with clear errors."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from atrc.errors import UserError


def create_timm(name: str, pretrained: bool, **options: Any) -> nn.Module:
    """Make a timm model; say what to do when its ImageNet weights cannot be fetched."""
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except Exception as error:
        if not pretrained:
            raise
        raise UserError(
            f"no pretrained weights for '{name}' ({type(error).__name__}): go online once, point HF_HOME to a "
            "cache that holds them, or train from scratch with pretrained: false"
        ) from error
