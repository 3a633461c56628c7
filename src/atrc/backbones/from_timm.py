"""Any model of timm as a backbone."""

from __future__ import annotations

import difflib
from typing import Any

import timm
import torch
from torch import Tensor

from atrc.backbones.base import Backbone, BackboneOptions
from atrc.backbones.hrnet import HRNet
from atrc.backbones.pyramid import Pyramid
from atrc.backbones.timm import create_timm, short
from atrc.backbones.vit import PlainViT
from atrc.errors import UserError

# Arguments that make a model take images of any size; the first that it knows are used
_ANY_SIZE: tuple[dict[str, Any], ...] = (
    {"strict_img_size": False, "always_partition": True},  # Swin: its windows shift in every stage
    {"dynamic_img_size": True},  # vision transformers: position embeddings are resized
    {},
)


def from_timm(name: str, options: BackboneOptions, weights: dict[str, Tensor] | None = None) -> Backbone:
    """Make a backbone of a timm model.

    HRNets give their four resolutions, other pyramids their levels from stride 4 on, and models of one resolution get
    a pyramid made from some of their layers.

    Args:
        name: Name of the model in timm, with or without the tag of its weights.
        options: What the recipe says about it.
        weights: Pretrained weights under timm's names, in place of those of the options.

    Raises:
        UserError: There is no such model, it cannot be a backbone, or pretrained weights are not available.
    """
    _check_name(name)
    if name.startswith("hrnet"):
        return HRNet(name, options)
    arguments, layers = _probe(name)
    kind = options.vit_layers if layers >= 4 else "last"
    if layers and kind == "four":
        arguments["out_indices"] = [layers * quarter // 4 - 1 for quarter in (1, 2, 3, 4)]
    model = create_timm(name, options, weights, features_only=True, **arguments)
    backbone = PlainViT(model, kind) if layers else Pyramid(model)
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


def _probe(name: str) -> tuple[dict[str, Any], int]:
    """Find arguments that a model knows and its number of layers (0 for pyramids), without memory for parameters."""
    for arguments in _ANY_SIZE:
        try:
            with torch.device("meta"):
                info: Any = timm.create_model(name, features_only=True, **arguments).feature_info
        except TypeError:
            continue
        except Exception as error:
            raise UserError(f"timm model '{name}' has no feature levels: {short(error)}") from error
        plain = len({level["reduction"] for level in info.info}) == 1
        return dict(arguments), len(info.info) if plain else 0
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
        raise UserError(
            f"timm model '{name}' cannot be a backbone: levels of {w} x {h} pixels are {found}, not {expected}"
        )
    backbone.train()
