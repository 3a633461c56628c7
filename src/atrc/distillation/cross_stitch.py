"""Cross-Stitch: every task's features are a learned mix of all tasks'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrc.distillation.base import Distillation, in_order

# b batch, c feature channels, h w feature grid, t targets, s sources


class CrossStitch(Distillation):
    """Mix the features of all tasks linearly, with one weight for every target, source and channel.

    At the start a target takes `own_weight` of its own features; the others share the rest equally. Table 1 counts no
    multiply-adds for the mix; they are 16 per channel and pixel for 4 tasks, 0.02 G at 425x560.

    Source: Misra et al., Cross-Stitch Networks for Multi-Task Learning, CVPR 2016: a unit per channel, 0.9 and 0.1 at
    the start. There the units are between the stages of one network per task; here, as in Table 1, there is one.
    """

    def __init__(self, tasks: Sequence[str], channels: int, own_weight: float = 0.9) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.weights = nn.Parameter(mostly_own(len(tasks), own_weight)[..., None].repeat(1, 1, channels))

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "b c h w"]],
        auxiliary: Mapping[str, Float[Tensor, "b _ h w"]] | None = None,
    ) -> dict[str, Float[Tensor, "b c h w"]]:
        sources = in_order(features, self.tasks)
        return {target: self._mix(row, sources) for target, row in zip(self.tasks, self.weights, strict=True)}

    def _mix(self, weights: Float[Tensor, "s c"], sources: Sequence[Tensor]) -> Float[Tensor, "b c h w"]:
        products = [weight[:, None, None] * f for weight, f in zip(weights, sources, strict=True)]
        return sum(products[1:], products[0])


def mostly_own(tasks: int, own: float = 0.9) -> Float[Tensor, "t s"]:
    """Return weights that add up to 1 for every target: `own` for itself, the rest in equal parts.

    >>> mostly_own(3)
    tensor([[0.9000, 0.0500, 0.0500],
            [0.0500, 0.9000, 0.0500],
            [0.0500, 0.0500, 0.9000]])
    """
    if tasks == 1:
        return torch.ones(1, 1)
    share = (1 - own) / (tasks - 1)
    return torch.full((tasks, tasks), share) + (own - share) * torch.eye(tasks)
