"""Necks: feature levels in, what the heads read out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from atrc.errors import UserError
from atrc.necks.base import Levels, Neck, NeckOutput, join, once_each, resize
from atrc.necks.concat import ConcatNeck
from atrc.necks.fpm import FPM
from atrc.necks.narrow import ASPPNeck, ProjectNeck, SkipNeck

if TYPE_CHECKING:
    from atrc.tasks import Task

__all__ = [
    "FPM",
    "NECKS",
    "ASPPNeck",
    "ConcatNeck",
    "Levels",
    "Neck",
    "NeckOutput",
    "ProjectNeck",
    "SkipNeck",
    "build_neck",
    "join",
    "once_each",
    "resize",
]

# Channels and strides of the backbone's levels, and the tasks -> neck
NECKS: dict[str, Callable[[Sequence[int], Sequence[int], Sequence[Task]], Neck]] = {
    "concat": lambda channels, strides, tasks: ConcatNeck(channels),
    "project": lambda channels, strides, tasks: ProjectNeck(channels),
    "skip": lambda channels, strides, tasks: SkipNeck(channels),
    "aspp": lambda channels, strides, tasks: ASPPNeck(channels, strides, [task.name for task in tasks]),
    "fpm": lambda channels, strides, tasks: FPM(channels, tasks),
}


def build_neck(name: str, channels: Sequence[int], strides: Sequence[int], tasks: Sequence[Task]) -> Neck:
    """Make a neck by name.

    Args:
        name: A key of `NECKS`.
        channels: Channels of the backbone's levels, finest first.
        strides: Their strides [px].
        tasks: The tasks of the network.

    Raises:
        UserError: The name is unknown, or the backbone lacks the levels that the neck needs.
    """
    if name not in NECKS:
        raise UserError(f"unknown neck '{name}'; choose from {', '.join(NECKS)}")
    if name not in ("concat", "project") and len(channels) < 2:
        raise UserError(
            f"neck '{name}' needs two levels or more, the backbone has {len(channels)} (strides "
            f"{', '.join(map(str, strides))}); take neck concat or project, or a backbone with more"
        )
    return NECKS[name](channels, strides, tasks)
