"""Any model of timm as a backbone."""

from __future__ import annotations

import difflib
from typing import Any

import timm
import torch

from atrc.backbones.base import Backbone
from atrc.backbones.hrnet import HRNet
from atrc.backbones.pyramid import Pyramid
from atrc.backbones.timm import create_timm, short
from atrc.backbones.vit import PlainViT
from atrc.errors import UserError

# What makes a model take images of any size; the first that it knows
_ANY_SIZE: tuple[dict[str, Any], ...] = (
    {"strict_img_size": False, "always_partition": True},  # Swin: its windows shift in every stage
    {"dynamic_img_size": True},  # vision transformers: position embeddings are resized
    {},
)


def from_timm(name: str, pretrained: bool | str = False) -> Backbone:
    """Make a backbone of a timm model.

    HRNets give their four resolutions, other pyramids their levels from stride 4 on, and models of one resolution get
    a simple feature pyramid.

    Args:
        name: Name of the model in timm, with or without the tag of its weights.
        pretrained: Whether to fetch the weights, or a file that holds them under timm's names.

    Raises:
        UserError: There is no such model, it cannot be a backbone, or pretrained weights cannot be had.
    """
    _check_name(name)
    if name.startswith("hrnet"):
        return HRNet(name, pretrained)
    model = create_timm(name, pretrained, features_only=True, **_any_size_options(name))
    plain = len(set(model.feature_info.reduction())) == 1  # type: ignore[union-attr, operator]
    backbone = PlainViT(model) if plain else Pyramid(model)
    _check_levels(name, backbone)
    return backbone


def _check_name(name: str) -> None:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=5)
        cure = f"did you mean {', '.join(close)}?" if close else "timm.list_models() lists them"
        raise UserError(f"timm has no model '{architecture}'; {cure}")
    known = timm.list_models(f"{architecture}.*", pretrained=True)
    if tag and name not in known:
        raise UserError(f"timm has no weights '{tag}' for '{architecture}'; choose from {', '.join(known) or 'none'}")


def _any_size_options(name: str) -> dict[str, Any]:
    """Try which options a model knows, without memory for its parameters."""
    for options in _ANY_SIZE:
        try:
            with torch.device("meta"):
                timm.create_model(name, features_only=True, **options)
        except TypeError:
            continue
        except Exception as error:
            raise UserError(f"timm model '{name}' has no feature levels: {short(error)}") from error
        return options
    raise UserError(f"timm model '{name}' has no feature levels")


def _check_levels(name: str, backbone: Backbone) -> None:
    """Try an image of odd size: some models of timm take one size only, or round sizes down."""
    h, w = 65, 97
    expected = [(c, -(-h // s), -(-w // s)) for c, s in zip(backbone.channels, backbone.strides, strict=True)]
    try:
        with torch.no_grad():
            found = [tuple(level.shape[1:]) for level in backbone.eval()(torch.zeros(1, 3, h, w))]
    except Exception as error:
        raise UserError(f"timm model '{name}' does not take images of any size: {short(error)}") from error
    if found != expected:
        raise UserError(f"timm model '{name}' is no backbone: levels of {w} x {h} pixels are {found}, not {expected}")
    backbone.train()
