"""Making timm models, with clear errors."""

from __future__ import annotations

import logging
import math
import textwrap
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import DropPath
from timm.models import load_state_dict
from torch import Tensor, nn

from atrc.backbones.base import BackboneOptions
from atrc.errors import UserError

# It warns of the weights of the classifier, which a backbone leaves out.
logging.getLogger("timm.models._builder").setLevel(logging.ERROR)


def create_timm(
    name: str, options: BackboneOptions, weights: dict[str, Tensor] | None = None, **arguments: Any
) -> nn.Module:
    """Make a timm model.

    Args:
        name: Name of the model in timm, with or without the tag of its weights.
        options: Its pretrained weights and drop path. A file of weights is .safetensors or .pth.
        weights: Pretrained weights under timm's names, in place of those of the options.
        arguments: Of timm's `create_model`.

    Raises:
        UserError: The weights cannot be downloaded or read, or do not fit, or the model has no drop path.
    """
    if options.drop_path:
        arguments["drop_path_rate"] = options.drop_path
        _require_drop_path(name, arguments)
    if isinstance(options.pretrained, str):
        path = Path(options.pretrained)
        return _filled(name, f"weights '{path}'", read_weights(path), arguments)
    if weights is not None:
        return _filled(name, "the weights", weights, arguments)
    if options.pretrained and not timm.is_model_pretrained(name):
        raise UserError(
            f"timm has no weights for '{name}'; set network.pretrained to a file of weights, or to false to train "
            "from scratch"
        )
    try:
        return timm.create_model(name, pretrained=options.pretrained, **arguments)
    except Exception as error:
        if not options.pretrained:
            raise
        raise UserError(
            f"no pretrained weights for '{name}' ({type(error).__name__}): go online once, point HF_HOME to a cache "
            "that has them, set network.pretrained to a file of weights, or to false to train from scratch"
        ) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of weights without running any code in it.

    Raises:
        UserError: No such file, or it does not hold weights.
    """
    if not path.is_file():
        raise UserError(f"no file of pretrained weights '{path}'")
    try:
        weights = load_state_dict(str(path), weights_only=True)
        return {key: value for key, value in weights.items() if isinstance(value, Tensor)}
    except Exception as error:
        raise UserError(f"cannot read weights from '{path}': {short(error)}") from error


def short(error: Exception) -> str:
    """Return the text of an error, shortened to one line of an error message."""
    return textwrap.shorten(str(error), 200, placeholder=" ...") or type(error).__name__


def _require_drop_path(name: str, arguments: dict[str, Any]) -> None:
    try:
        with torch.device("meta"):
            model = timm.create_model(name, **arguments)
    except TypeError:
        model = nn.Identity()
    if not any(isinstance(module, DropPath) for module in model.modules()):
        raise UserError(f"timm model '{name}' has no drop path; set network.drop_path to 0")


def _filled(name: str, what: str, weights: dict[str, Tensor], arguments: dict[str, Any]) -> nn.Module:
    try:
        missing = _missing(name, weights, arguments)
        model = _load(name, weights, arguments)
    except Exception as error:
        raise UserError(f"{what} do not fit '{name}': {short(error)}") from error
    if missing:
        raise UserError(f"{what} do not fit '{name}': {len(missing)} are missing, '{missing[0]}' first")
    return model


def _missing(name: str, weights: dict[str, Tensor], arguments: dict[str, Any]) -> list[str]:
    """Name the parameters that weights do not fill: timm loads those that fit and is silent about the others.

    Loading NaN in place of every weight shows them.
    """
    unknown = {k: torch.full_like(w, math.nan) if w.is_floating_point() else w for k, w in weights.items()}
    return [key for key, p in _load(name, unknown, arguments).named_parameters() if not p.isnan().all()]


def _load(name: str, weights: dict[str, Tensor], arguments: dict[str, Any]) -> nn.Module:
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": weights}, **arguments)
    for module in model.modules():
        getattr(module, "pretrained_cfg", {}).pop("state_dict", None)  # or it would keep the weights twice
    return model
