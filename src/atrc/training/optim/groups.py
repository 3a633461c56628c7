"""Parameter groups: which parameters have a smaller learning rate, and which no weight decay."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import nn

from atrc.errors import UserError
from atrc.network import MultiTaskNetwork
from atrc.training.recipe import OptimConfig


def parameter_groups(
    network: MultiTaskNetwork, parameters: Sequence[nn.Parameter], config: OptimConfig
) -> list[dict[str, Any]]:
    """Split parameters into the groups of an optimiser; with the paper's settings there is one.

    Args:
        network: Has the parameters.
        parameters: Those that are trained.
        config: `backbone_lr_factor`, `layer_decay` and `decay_all`.

    Raises:
        UserError: Layer decay of a backbone whose layers are unknown.
    """
    scales = _scales(network, config)
    spared = set() if config.decay_all else _without_decay(network)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault((scales.get(parameter, 1.0), parameter in spared), []).append(parameter)
    return [
        {"params": members}
        | ({"lr_scale": scale} if scale != 1 else {})
        | ({"weight_decay": 0.0} if without_decay else {})
        for (scale, without_decay), members in groups.items()
    ]


def pretrained_part(backbone: nn.Module) -> nn.Module:
    """Return what has pretrained weights: timm's model, without layers that we add; all of a branched backbone."""
    return getattr(backbone, "model", backbone)


def _scales(network: MultiTaskNetwork, config: OptimConfig) -> dict[nn.Parameter, float]:
    """Return the learning-rate factors of the backbone's parameters.

    Source: Bao et al., BEiT, ICLR 2022, for the layer-wise decay; the layers are those of timm.
    """
    part = pretrained_part(network.backbone)
    if config.layer_decay == 1:
        return dict.fromkeys(part.parameters(), config.backbone_lr_factor)
    whole = _whole(part)
    if whole is None:
        raise UserError(
            f"optim.layer_decay {config.layer_decay} needs a backbone of timm that does not branch; set it to 1, or "
            "take optim.backbone_lr_factor"
        )
    layers = group_parameters(whole, whole.group_matcher(coarse=False), reverse=True)
    last = max(layers.values())  # of the classifier, in whose place the heads are
    return {
        parameter: config.backbone_lr_factor * config.layer_decay ** (last - layers[name])
        for name, parameter in _timm_names(part, layers).items()
    }


def _without_decay(network: MultiTaskNetwork) -> set[nn.Parameter]:
    """Return norms, biases and what timm spares, such as position embeddings."""
    found = {p for name, p in network.named_parameters() if p.ndim <= 1 or name.endswith(".bias")}
    part = pretrained_part(network.backbone)
    if (whole := _whole(part)) is not None and hasattr(whole, "no_weight_decay"):
        names = _timm_names(part, dict(whole.named_parameters()))
        found |= {names[name] for name in whole.no_weight_decay() if name in names}
    return found


def _whole(part: nn.Module) -> Any | None:
    """Return timm's whole model, without memory for its parameters; None for modules that are not timm's."""
    architecture = getattr(part, "pretrained_cfg", {}).get("architecture")
    if architecture is None:
        return None
    with torch.device("meta"):
        return timm.create_model(architecture)


def _timm_names(part: nn.Module, known: Mapping[str, object]) -> dict[str, nn.Parameter]:
    """Return parameters by their names in the whole model: timm renames some where it cuts out feature levels."""
    found = {}
    for name, parameter in part.named_parameters():
        name = name if name in known else name.removeprefix("model.")
        found[name if name in known else re.sub(r"^([a-z]+)_(\d+)\.", r"\1.\2.", name)] = parameter
    return {name: parameter for name, parameter in found.items() if name in known}
