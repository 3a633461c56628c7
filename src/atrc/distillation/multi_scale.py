"""Distillation at every level instead of at the finest only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor, nn

from atrc.distillation.base import Distillation
from atrc.heads import auxiliary_head
from atrc.necks import FPM, Levels, Neck, NeckOutput, join, resize

if TYPE_CHECKING:
    from atrc.tasks import Task


class MultiScale(Neck):
    """An FPM whose task features are refined at every level before the heads read them.

    With the gated messages of MTI-Net this is MTI-Net's decoder; with ATRC it is what the paper's Sec. 3.1 offers
    ("e.g., across multiple scales") and nobody measured. One auxiliary prediction A_n is made of a task's joined
    levels and serves all of them.

    Source: Vandenhende et al., MTI-Net, ECCV 2020, Sec. 3.3; Sec. 3.1.
    """

    def __init__(self, neck: FPM, make_distillation: Callable[[int], Distillation], tasks: Sequence[Task]) -> None:
        """Put a distillation behind every level of a neck.

        Args:
            neck: Makes the levels of every task.
            make_distillation: Channels of a level -> distillation module.
            tasks: The tasks of the network.
        """
        super().__init__()
        self.neck, self.channels = neck, neck.channels
        levels = [make_distillation(c) for c in neck.level_channels]
        self.levels = nn.ModuleList(levels)
        labelled = [task for task in tasks if task.name in levels[0].label_tasks]
        self.auxiliary = nn.ModuleDict({t.name: auxiliary_head(self.channels, t.region_count) for t in labelled})

    def forward(self, levels: Mapping[str, Levels]) -> NeckOutput:
        own, initial = self.neck.task_levels(levels)
        auxiliary = {task: head(join(own[task]).detach()) for task, head in self.auxiliary.items()}
        refined = [self._refine(i, own, auxiliary) for i in range(len(self.levels))]
        return NeckOutput({task: join([level[task] for level in refined]) for task in own}, initial, auxiliary)

    def _refine(
        self, level: int, own: Mapping[str, Levels], auxiliary: Mapping[str, Tensor]
    ) -> dict[str, Float[Tensor, "b c h w"]]:
        features = {task: levels[level] for task, levels in own.items()}
        regions = {task: resize(logits, features[task]) for task, logits in auxiliary.items()}
        return self.levels[level](features, regions)
