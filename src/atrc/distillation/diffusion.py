"""What PAP and PSD share: patterns of all tasks decide how the values of each spread over the image."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrc.distillation.base import Distillation, in_order, projection

# b batch, c feature channels, p pattern channels, d channels of the values, t tasks, h w feature grid

STEPS = 2


class Diffusion(Distillation):
    """Spread values by the affinities of patterns, then join them with the features of each task."""

    def __init__(
        self, tasks: Sequence[str], channels: int, make_pattern: Callable[[], nn.Module], value_channels: int
    ) -> None:
        """Make the layers.

        Args:
            tasks: The tasks to refine.
            channels: Channels c of the features of every task.
            make_pattern: Makes the layers of a pattern, for every task.
            value_channels: Channels d of the values.
        """
        super().__init__()
        self.tasks = tuple(tasks)
        c, d = channels, value_channels
        self.patterns = nn.ModuleDict({task: make_pattern() for task in tasks})
        self.values = nn.ModuleDict({task: nn.Sequential(*projection(c, d)) for task in tasks})
        self.joins = nn.ModuleDict({task: nn.Sequential(*projection(c + d, c)) for task in tasks})

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "b c h w"]],
        auxiliary: Mapping[str, Float[Tensor, "b _ h w"]] | None = None,
    ) -> dict[str, Float[Tensor, "b c h w"]]:
        own = dict(zip(self.tasks, in_order(features, self.tasks), strict=True))
        patterns = torch.stack([self.patterns[task](f) for task, f in own.items()], 1)
        values = torch.stack([self.values[task](f) for task, f in own.items()], 1)
        diffused = dict(zip(self.tasks, self.diffuse(patterns, values).unbind(1), strict=True))
        return {task: self.joins[task](torch.cat([f, diffused[task]], 1)) for task, f in own.items()}

    @abc.abstractmethod
    def diffuse(
        self, patterns: Float[Tensor, "b t p h w"], values: Float[Tensor, "b t d h w"]
    ) -> Float[Tensor, "b t d h w"]:
        """Return the spread values of every task."""
