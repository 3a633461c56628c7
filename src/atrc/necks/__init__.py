"""Necks: from the levels of a backbone to the features that the heads read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from atrc.errors import UserError
from atrc.necks.base import Levels, Neck, NeckOutput, join, once_each, resize
from atrc.necks.fpm import FPM, Over
from atrc.necks.narrow import ASPPNeck, ConcatNeck, ProjectNeck, SkipNeck

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

# Channels and strides of the backbone's levels, the tasks, what FPM's softmax runs over -> neck
NECKS: dict[str, Callable[[Sequence[int], Sequence[int], Sequence[Task], Over], Neck]] = {
    "concat": lambda channels, *_: ConcatNeck(channels),
    "project": lambda channels, *_: ProjectNeck(channels),
    "skip": lambda channels, *_: SkipNeck(channels),
    "aspp": lambda channels, strides, tasks, _: ASPPNeck(channels, strides, [task.name for task in tasks]),
    "fpm": lambda channels, _, tasks, over: FPM(channels, tasks, over),
}


def build_neck(
    name: str, channels: Sequence[int], strides: Sequence[int], tasks: Sequence[Task], fpm_softmax: Over = "tasks"
) -> Neck:
    """Make a neck by name.

    Args:
        name: A key of `NECKS`.
        channels: Channels of the backbone's levels, finest first.
        strides: Their strides [px].
        tasks: The tasks of the network.
        fpm_softmax: What the attention of "fpm" is normalised over; see `FPM`.

    Raises:
        UserError: The name is unknown, or the backbone lacks the levels that the neck needs.
    """
    if name not in NECKS:
        raise UserError(f"unknown neck '{name}'; choose from {', '.join(NECKS)}")
    if name not in ("concat", "project") and len(channels) < 2:
        raise UserError(
            f"neck '{name}' needs two levels or more, the backbone has {len(channels)} (strides "
            f"{', '.join(map(str, strides))}); take neck concat or project, or a backbone with more levels"
        )
    return NECKS[name](channels, strides, tasks, fpm_softmax)
