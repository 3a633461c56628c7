"""What a network is made of, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class NetworkConfig:
    """What is trained.

    Attributes:
        backbone: A name from `atrc.backbones`, or timm:NAME for a model of timm that takes images of any size.
        pretrained: Start the backbone from the weights that timm fetches (ImageNet's; DINO's own), or from a file of
            weights with timm's names.
        branching: Which tasks share which stages of the backbone: a file, or "at:N" to share the first N stages; all
            tasks share all by default.
        neck: What the heads read: "concat" (all levels), "project" (all levels, narrowed), "skip" (the finest and the
            deepest, for dilated backbones), "aspp" (the same with ASPP, one for each task) or "fpm" (feature
            propagation, of MTI-Net).
        distillation: "none" (the baselines), "atrc", or another name from `atrc.distillation`.
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
    branching: str | None = None
    neck: str = "concat"
    distillation: str = "none"
    distil_at: Literal["finest", "all"] = "finest"
    genotype: str | None = None
    attention_channels: int | None = None
    dropout: float = 0.05
    freeze: str | None = None
    init: str | None = None
