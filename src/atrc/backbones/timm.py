"""Making timm models, with clear errors."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import load_state_dict
from torch import Tensor, nn

from atrc.errors import UserError


def create_timm(name: str, pretrained: bool | str, **options: Any) -> nn.Module:
    """Make a timm model.

    Args:
        name: Name of the model in timm, with or without the tag of its weights.
        pretrained: Whether to fetch the weights, or a file that holds them under timm's names (.safetensors, .pth).
        options: What timm's `create_model` takes.

    Raises:
        UserError: The weights cannot be fetched or read, or do not fit.
    """
    if isinstance(pretrained, str):
        return _from_file(name, Path(pretrained), options)
    if pretrained and not timm.is_model_pretrained(name):
        raise UserError(f"timm has no weights for '{name}'; name a file of them, or train from scratch (false)")
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except Exception as error:
        if not pretrained:
            raise
        raise UserError(
            f"no pretrained weights for '{name}' ({type(error).__name__}): go online once, point HF_HOME to a "
            "cache that holds them, name a file of them in the place of true, or train from scratch with "
            "pretrained: false"
        ) from error


def _from_file(name: str, path: Path, options: dict[str, Any]) -> nn.Module:
    weights = _read(path)
    try:
        lacking = _lacking(name, weights, options)
        model = _filled(name, weights, options)
    except Exception as error:
        raise UserError(f"weights '{path}' do not fit '{name}': {short(error)}") from error
    if lacking:
        raise UserError(f"weights '{path}' do not fit '{name}': {len(lacking)} are missing, '{lacking[0]}' first")
    return model


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"no file of pretrained weights '{path}'")
    try:
        weights = load_state_dict(str(path), weights_only=True)
        return {key: value for key, value in weights.items() if isinstance(value, Tensor)}
    except Exception as error:
        raise UserError(f"cannot read weights from '{path}': {short(error)}") from error


def _lacking(name: str, weights: dict[str, Tensor], options: dict[str, Any]) -> list[str]:
    """Name the parameters that weights leave as they were: timm loads what fits and is silent about the rest.

    Filled with weights that are all NaN, those are the ones that are not.
    """
    unknown = {k: torch.full_like(w, math.nan) if w.is_floating_point() else w for k, w in weights.items()}
    return [key for key, p in _filled(name, unknown, options).named_parameters() if not p.isnan().all()]


def _filled(name: str, weights: dict[str, Tensor], options: dict[str, Any]) -> nn.Module:
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": weights}, **options)
    for module in model.modules():
        getattr(module, "pretrained_cfg", {}).pop("state_dict", None)  # or it would keep the weights twice
    return model


def short(error: Exception) -> str:
    """What an error says, on one line of an error message."""
    return textwrap.shorten(str(error), 200, placeholder=" ...") or type(error).__name__
