"""Backbones that branch: some stages are shared by some tasks only."""

from __future__ import annotations

import abc
import copy

from jaxtyping import Float
from torch import Tensor, nn

from atrc.backbones.base import Backbone
from atrc.branching import Branching
from atrc.errors import UserError

# b batch, h w image


class TaskBackbone(nn.Module, abc.ABC):
    """A backbone that gives every task levels of its own, or shared with some other tasks.

    Attributes:
        channels: Channels of each level.
        strides: Image pixels per feature pixel of each level.
        mean: As that of a `Backbone`.
        std: As that of a `Backbone`.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.channels, self.strides = backbone.channels, backbone.strides
        self.mean, self.std = backbone.mean, backbone.std

    @abc.abstractmethod
    def forward(self, image: Float[Tensor, "b 3 h w"]) -> dict[str, list[Float[Tensor, "b _ _ _"]]]:
        """Return the levels by task; tasks that share all stages get the same list."""


class BranchedBackbone(TaskBackbone):
    """A tree of stages: one copy of a stage for every group of tasks. Source: Sec. 4.5 (BMTAS)."""

    def __init__(self, backbone: Backbone, branching: Branching) -> None:
        """Copy the stages; every copy starts from the backbone's weights.

        Args:
            backbone: Any backbone made of stages; its first stage is always shared.
            branching: Which tasks share which later stages.

        Raises:
            UserError: The backbone has another number of stages, or none.
        """
        super().__init__(backbone)
        stages = backbone.stages()
        if len(stages) != branching.stages:
            raise UserError(
                f"the branching is for {branching.stages} stages, the backbone {type(backbone).__name__} has "
                f"{len(stages)}; search one for this backbone"
            )
        self.branching = branching
        self.first = stages[0]
        self.later = nn.ModuleList(
            nn.ModuleList(copy.deepcopy(stage) for _ in groups)
            for stage, groups in zip(stages[1:], branching.groups, strict=True)
        )

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> dict[str, list[Float[Tensor, "b _ _ _"]]]:
        states = [self.first([image])]
        for i, copies in enumerate(self.later):
            parents = [self.branching.parent(i, j) if i else 0 for j in range(len(copies))]  # type: ignore[arg-type]
            states = [stage(states[parent]) for stage, parent in zip(copies, parents, strict=True)]  # type: ignore[call-overload]
        by_group = zip(self.branching.groups[-1], states, strict=True)
        return {task: levels for group, levels in by_group for task in group}
