"""Distillation modules: `(features, auxiliary) -> refined features`, dictionaries by task."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from atrc.distillation.atrc import ATRC, ContextPooling, MakeBlock
from atrc.distillation.base import Distillation, NoDistillation
from atrc.distillation.cross_stitch import CrossStitch
from atrc.distillation.mixture import GATES, Mixture, combined_atrc
from atrc.distillation.multi_scale import MultiScale
from atrc.distillation.nddr import NDDR
from atrc.distillation.pad_net import GatedMessages, PADNetB, PADNetC
from atrc.distillation.pap import PAP
from atrc.distillation.psd import PSD
from atrc.errors import UserError

__all__ = [
    "ATRC",
    "DISTILLATIONS",
    "GATES",
    "NDDR",
    "PAP",
    "PSD",
    "ContextPooling",
    "CrossStitch",
    "Distillation",
    "GatedMessages",
    "MakeBlock",
    "Mixture",
    "MultiScale",
    "NoDistillation",
    "PADNetB",
    "PADNetC",
    "build_distillation",
    "combined_atrc",
]

# Tasks and channels c of their features -> module. ATRC needs a genotype too; `atrc.network` builds it.
DISTILLATIONS: dict[str, Callable[..., Distillation]] = {
    "none": lambda tasks, channels: NoDistillation(),
    "cross_stitch": CrossStitch,
    "nddr": NDDR,
    "pad_net_b": PADNetB,
    "pad_net_c": PADNetC,
    "gated_messages": GatedMessages,
    "pap": PAP,
    "psd": PSD,
    **{name: functools.partial(combined_atrc, name) for name in GATES},
}


def build_distillation(name: str, tasks: Sequence[str], channels: int, own_weight: float = 0.9) -> Distillation:
    """Make a distillation module by name.

    Args:
        name: A key of `DISTILLATIONS`.
        tasks: Names of the tasks.
        channels: Channels c of their features.
        own_weight: At the start, the weight of a target's own features in "cross_stitch" and "nddr".

    Raises:
        UserError: The name is unknown.
    """
    if name not in DISTILLATIONS:
        raise UserError(f"unknown distillation '{name}'; choose from {', '.join(DISTILLATIONS)}, atrc")
    make = DISTILLATIONS[name]
    return make(tasks, channels, own_weight) if make in (CrossStitch, NDDR) else make(tasks, channels)
