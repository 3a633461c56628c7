"""What every distillation module promises."""

from __future__ import annotations

import abc
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

# b batch, c feature channels, h w feature grid


class Distillation(nn.Module, abc.ABC):
    """Multi-modal distillation: every task's features in, refined features out.

    Attributes:
        label_tasks: The tasks whose auxiliary predictions A_n the module reads.
    """

    label_tasks: tuple[str, ...] = ()

    @abc.abstractmethod
    def forward(
        self,
        features: Mapping[str, Float[Tensor, "b c h w"]],
        regions: Mapping[str, Float[Tensor, "b _ h w"]] | None = None,
    ) -> dict[str, Float[Tensor, "b c h w"]]:
        """Return refined features of the same shapes, by task."""


class NoDistillation(Distillation):
    """The baselines: every task keeps its own features."""

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "b c h w"]],
        regions: Mapping[str, Float[Tensor, "b _ h w"]] | None = None,
    ) -> dict[str, Float[Tensor, "b c h w"]]:
        return dict(features)
